"""How is a graph got out of circuit-tracer without its traps? The one module that knows the library (extra ``circuits``).

The library loads the subject again from its folder, through its nnsight backend, which takes local folders and works
offline. What this module does not leave to it (all seen in version 0.5.0):

- The prompt. Given ids that do not start with a token it holds special, it puts one in front (with a BOS of id 0 even the
  padding token), so that another prompt is traced than the model was asked. Here ids go in as they are.
- What the token nodes are. It takes raw rows of the embedding; where the embedding module scales them (Gemma 3, sqrt(d)),
  the gradient is taken after the scale and every token is too small by it. Here a token is what the module puts out.
- Positions left out. It leaves the MLPs at the first position out of the graph, or at the first four where the folder's
  *name* says gemma-3 and -it, and then asserts one fixed prefix. Here the number is a parameter.
- Adding up. With biases and left-out positions counted as errors, a logit's row must sum to that logit less the mean over
  the vocabulary, exactly: `unexplained` says by how much it does not.
- Its files. It pickles graphs (``Graph.from_pt`` unpickles with ``weights_only=False``) and reloads TopK as ReLU. Neither its
  reader nor its writer is used.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dossier.errors import CollectionError
from dossier.language_model import Array
from evidence_collectors.interpretability.circuit_trace import graph
from evidence_collectors.interpretability.circuit_trace.graph import Graph
from evidence_collectors.models.transcoders import Transcoders

FROZEN = ("attention patterns", "norm scales")
_BATCH = 64  # rows of a backward pass: the forward pass is repeated that often


@dataclass(frozen=True)
class Limits:
    """What a graph may hold: ``logits`` at most, fewer once they reach ``probability``, and ``features``."""

    logits: int
    probability: float
    features: int


@dataclass(frozen=True)
class Traced:
    """A graph, and the two scores the library itself gives it."""

    graph: Graph
    replacement: float
    completeness: float


@dataclass(frozen=True)
class Engine:
    """The library's replacement model over the subject's folder. ``left_out`` leading positions have no feature or error."""

    model: Any
    left_out: int
    decoder_biases: Array  # (layer, d)
    parts: tuple[Any, ...]  # the library's transcoders, a layer each

    def trace(self, token_ids: Array, embedded: Array, limits: Limits) -> Traced:
        """Return the graph of a prompt, ids (position,), whose embedding module puts out ``embedded`` (position, d).

        Raises:
            CollectionError: the library fails on it, or no feature is active.
        """
        from circuit_tracer.graph import compute_graph_scores

        found = self._attribute(_Prompt(self.model, embedded, self.left_out, None), token_ids, limits)
        replacement, completeness = compute_graph_scores(found)
        return Traced(graph.of(found), replacement, completeness)

    def unexplained(self, token_ids: Array, embedded: Array, limits: Limits) -> float:
        """Return by how much the rows of the logits fail to add up to the logits, as a share of the largest logit.

        All features are in the graph, biases count as errors and no position is left out.
        """
        whole = Limits(limits.logits, limits.probability, 1 << 30)
        found = self._attribute(_Prompt(self.model, embedded, 0, self.decoder_biases), token_ids, whole)
        whole_graph = graph.of(found)
        logits = self.logits(token_ids).double()
        cap = getattr(self.model._hf_config.get_text_config(), "final_logit_softcapping", None)
        if cap is not None:
            logits = cap * (logits / cap).clamp(-1 + 1e-12, 1 - 1e-12).atanh()
        centred = (logits - logits.mean()).cpu().numpy()[list(whole_graph.targets)]
        rows = whole_graph.adjacency[whole_graph.logits].sum(axis=1)
        return float(abs(rows - centred).max() / max(abs(centred).max(), 1e-12))

    @contextlib.contextmanager
    def shuffled(self, orders: Sequence[NDArray[np.int64]]) -> Iterator[None]:
        """Have each layer's decoder rows in another order inside the block: a null, without a second copy of the model."""
        import torch

        before = [part.W_dec.data for part in self.parts]
        try:
            for part, rows, order in zip(self.parts, before, orders, strict=True):
                part.W_dec.data = rows[torch.tensor(order, device=rows.device)]
            yield
        finally:
            for part, rows in zip(self.parts, before, strict=True):
                part.W_dec.data = rows

    def logits(self, token_ids: Array) -> Array:
        """Return the library's own logits (v,) after a prompt, without any replacement."""
        with _quiet(), _library(), _no_gradient():
            return self.model.setup_attribution(token_ids.to(self.model.device)).logits[0, -1]

    def _attribute(self, prompt: _Prompt, token_ids: Array, limits: Limits) -> Any:
        from circuit_tracer import attribute

        before = self.model.zero_positions
        self.model.zero_positions = slice(0, prompt.left_out)
        try:
            with _quiet(), _library():
                taken: Any = prompt  # all that `attribute` asks of a model
                return attribute(
                    token_ids.to(self.model.device),
                    taken,
                    max_n_logits=limits.logits,
                    desired_logit_prob=limits.probability,
                    batch_size=_BATCH,
                    max_feature_nodes=limits.features,
                )
        finally:
            self.model.zero_positions = before


def check_installed() -> None:
    """Raise CollectionError where circuit-tracer or its nnsight backend cannot be imported."""
    try:
        with _quiet():
            importlib.import_module("circuit_tracer.replacement_model.replacement_model_nnsight")
    except ImportError as error:
        raise CollectionError(
            f"this instrument builds its graphs with circuit-tracer, which cannot be imported: {error}",
            hint="Install the extra: pip install 'dossier[circuits]' (circuit-tracer 0.5 needs nnsight 0.7).",
        ) from error


def open_engine(source: str, transcoders: Transcoders, *, left_out: int, device: Any, dtype: Any) -> Engine:
    """Load the subject's folder into the library, with the transcoders in the place of its MLPs.

    Raises:
        CollectionError: the library is not installed, or does not know the architecture or the points.
    """
    check_installed()
    import torch
    from circuit_tracer import ReplacementModel

    parts = _library_set(transcoders, device, dtype)
    try:
        with _quiet():
            model = ReplacementModel.from_pretrained_and_transcoders(
                source, parts, backend="nnsight", device=device, dtype=dtype
            )
    except (ValueError, KeyError, OSError, AttributeError, RuntimeError) as error:
        raise CollectionError(
            f"circuit-tracer cannot open {source}: {type(error).__name__}: {error}",
            hint="Its nnsight backend knows Llama, Gemma 2 and 3, Qwen 3 and GPT-OSS; see points in transcoders.json.",
        ) from error
    if model.cfg.n_layers != len(transcoders.layers) or model.cfg.d_model != transcoders.settings.d_model:
        raise CollectionError(
            f"the transcoders are for {len(transcoders.layers)} layers of width {transcoders.settings.d_model}, and the "
            f"model has {model.cfg.n_layers} of width {model.cfg.d_model}",
            hint="Transcoders belong to the very model they were trained on.",
        )
    biases = np.stack([layer.decoder_bias for layer in transcoders.layers])
    return Engine(model, left_out, torch.tensor(biases, device=device, dtype=dtype), tuple(parts.transcoders))


@dataclass(frozen=True)
class _Prompt:
    """What the library's `attribute` takes for a model: the replacement model, told what the tokens are."""

    model: Any
    embedded: Array
    left_out: int
    biases: Array | None  # (layer, d), to be counted as errors

    @property
    def unembed_proj(self) -> Array:
        return self.model.unembed_proj

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    @property
    def model_config(self) -> Any:
        return self.model.model_config

    @property
    def scan(self) -> Any:
        return self.model.scan

    def ensure_tokenized(self, prompt: Array) -> Array:
        return prompt

    def setup_attribution(self, token_ids: Array) -> Any:
        context = self.model.setup_attribution(token_ids)
        context.token_vectors = self.embedded.to(device=context.token_vectors.device, dtype=context.token_vectors.dtype)
        if self.biases is not None:
            context.error_vectors += self.biases[:, None, :].to(context.error_vectors)
        if not context.activation_matrix._nnz():
            raise CollectionError("no feature is active on this prompt")
        return context

    def run_forward_pass(self, token_ids: Array, batch_size: int, context: Any) -> None:
        self.model.run_forward_pass(token_ids, batch_size, context)


def _library_set(transcoders: Transcoders, device: Any, dtype: Any) -> Any:
    """Return the transcoders as the library's own, activation function included."""
    import torch
    from circuit_tracer.transcoder.activation_functions import JumpReLU, TopK
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, TranscoderSet

    settings, made = transcoders.settings, {}
    for index, layer in enumerate(transcoders.layers):
        activation: Any = torch.relu
        if settings.activation.name == "topk":
            assert settings.activation.k is not None
            activation = TopK(settings.activation.k)
        if layer.threshold is not None:
            activation = JumpReLU(torch.tensor(layer.threshold, device=device, dtype=dtype))
        own = SingleLayerTranscoder(settings.d_model, settings.width, activation, index, device=device, dtype=dtype)
        for name, value in (
            ("W_enc", layer.encoder),
            ("W_dec", layer.decoder),
            ("b_enc", layer.encoder_bias),
            ("b_dec", layer.decoder_bias),
        ):
            getattr(own, name).data = torch.tensor(value, device=device, dtype=dtype)
        made[index] = own
    return TranscoderSet(
        made, feature_input_hook=settings.input_hook, feature_output_hook=settings.output_hook, scan="local"
    )


@contextlib.contextmanager
def _library() -> Iterator[None]:
    """Turn what the library and its tracer raise into a CollectionError; they wrap errors in types of their own."""
    try:
        yield
    except CollectionError:
        raise
    except Exception as error:
        raise CollectionError(f"circuit-tracer failed: {type(error).__name__}: {str(error)[-300:]}") from error


@contextlib.contextmanager
def _no_gradient() -> Iterator[None]:
    import torch

    with torch.no_grad():
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own warnings and log lines out of a run: they speak of uploads and of their imports."""
    logger = logging.getLogger("circuit_tracer")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning, ResourceWarning, SyntaxWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        logger.setLevel(before)
