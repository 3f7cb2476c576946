"""How does a Hugging Face model answer, measured on the weights themselves? The adapter behind the name ``hf``.

It loads any causal language model that transformers knows from safetensors, never from pickles, and never runs code
from the folder. The same request gives the same completion whatever the batch size and the order; `decoding` says how,
and ``environment.same_completion`` what is claimed for this device and dtype.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tokenizers
import torch
import transformers

from dossier import canonical
from dossier.errors import ConfigError
from dossier.language_model import Capability, Continuation, ModelSize
from dossier.model import Completion, Environment, Request, Subject
from evidence_collectors.models import digests
from evidence_collectors.models.decoding import Decoder, Row, alone, decode, largest_shift, threads
from evidence_collectors.models.hf_loading import Loaded, load_folder
from evidence_collectors.models.prompts import Prompt, Renderer, render
from evidence_collectors.models.reasoning import split_reasoning
from evidence_collectors.models.sampling import SAMPLER

TOLERANCE = 1e-3  # logits; the least. Batching moved 35 k random float32 parameters by 5e-6 and 113 M by 2e-5
_MARGIN, _WIDEST = 32, 0.1  # the tolerance is this many times the shift seen at loading, and no more than this
_SMALL = 10_000_000  # parameters; below, threads wait for each other longer than they compute
_PROBE = 24  # tokens of the padding check at loading

_PROMISED = (
    "The same request gives the same completion at every batch size and in every order, on this platform with this "
    "number of threads: near ties are decided on the row alone, and a shift that could "
    "break this stops the run. Across platforms float32 rounding may change a token now and then."
)
_NOT_PROMISED = (
    "Not claimed: on this device or dtype the batch may change a completion by rounding. The noise of each draw still "
    "depends on its request alone."
)


@dataclass(frozen=True)
class HuggingFaceModel:
    """A `dossier.language_model.LanguageModel` over a loaded model; see `load`."""

    loaded: Loaded
    decoder: Decoder
    renderer: Renderer
    threads: int
    subject: Subject
    environment: Environment
    size: ModelSize

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this adapter can do."""
        return frozenset(("generate", "logprobs"))

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion per distinct request, a batch as soon as it is done.

        All requests are rendered before the first is asked, so that a bad one fails before anything is spent.

        Raises:
            CollectionError: the chat template fails, the model cannot take a request, or its logits are unusable.
        """
        prompts = {prompt.request_sha256: prompt for prompt in map(self._render, requests)}
        by_length = sorted(prompts.values(), key=lambda prompt: (len(prompt.token_ids), prompt.request.max_tokens))
        size = self.environment.batch_size
        for start in range(0, len(by_length), size):
            with threads(self.threads):
                rows = decode(self.decoder, by_length[start : start + size])
            for row in rows:
                yield self._completion(row)

    def logprobs(self, continuations: Iterable[Continuation]) -> Iterator[tuple[float, ...]]:
        """Yield the log-probability of each token of each continuation, in nats, in the order asked.

        Each is asked alone, so that its numbers are the same whatever it is asked with. Temperature is not applied.

        Raises:
            CollectionError: as `generate`.
        """
        for continuation in continuations:
            prompt = self._render(continuation.request)
            ids = self.loaded.tokenizer.encode(continuation.text, add_special_tokens=False)
            if ids:
                with threads(self.threads):
                    logits = alone(self.decoder, [*prompt.token_ids, *ids], last=False)
                table = logits[len(prompt.token_ids) - 1 : -1].double().log_softmax(dim=-1)
                yield tuple(float(table[position, token]) for position, token in enumerate(ids))
            else:
                yield ()

    def _render(self, request: Request) -> Prompt:
        return render(self.renderer, request)

    def _completion(self, row: Row) -> Completion:
        assert row.finish_reason is not None
        shown = row.generated[:-1] if row.finish_reason == "stop" else row.generated
        text = self.loaded.tokenizer.decode(shown, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        split = split_reasoning(text, self.renderer.tags, already_open=row.prompt.already_open)
        return Completion(
            request_sha256=row.prompt.request_sha256,
            reasoning=split.reasoning,
            answer=split.answer,
            parse=split.parse,
            finish_reason=row.finish_reason,
            prompt_tokens=len(row.prompt.token_ids),
            token_ids=tuple(row.generated),
        )


def load(
    path_or_id: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    batch_size: int = 64,
    reasoning_tags: tuple[str, str] = ("<think>", "</think>"),
) -> HuggingFaceModel:
    """Return the model of a folder, or of a hub id ``owner/name`` or ``owner/name@revision``.

    Args:
        path_or_id: a folder with ``config.json``, safetensors, a tokenizer and a chat template.
        dtype: ``float32``, ``bfloat16`` or ``float16``; what is loaded is what is digested.
        device: as torch names it.
        batch_size: rows at a time; it changes the speed, not the answers.
        reasoning_tags: what opens and closes the reasoning.

    Raises:
        ConfigError: the folder cannot be loaded as it is, or an argument is impossible.
    """
    if batch_size < 1:
        raise ConfigError(f"{path_or_id}: batch_size must be 1 or more, got {batch_size}")
    if len(reasoning_tags) != 2 or not all(reasoning_tags) or reasoning_tags[0] == reasoning_tags[1]:
        raise ConfigError(f"{path_or_id}: reasoning_tags must be two different texts, got {reasoning_tags!r}")
    loaded = load_folder(path_or_id, dtype=dtype, device=device)
    stop_ids = _stop_ids(loaded)
    thread_count = 1 if loaded.model.num_parameters() < _SMALL else torch.get_num_threads()
    exact = dtype == "float32" and torch.device(device).type == "cpu"
    context = getattr(loaded.model.config, "max_position_embeddings", None)
    decoder = Decoder.of(loaded.model, stop_ids, None)
    if exact:
        with threads(thread_count):
            decoder = replace(decoder, tolerance=_tolerance(decoder, batch_size, path_or_id))
    return HuggingFaceModel(
        loaded=loaded,
        decoder=decoder,
        renderer=Renderer.of(loaded.tokenizer, loaded.chat_template, reasoning_tags, context),
        subject=_subject(loaded, stop_ids, reasoning_tags),
        environment=_environment(dtype, device, batch_size, thread_count=thread_count, exact=exact),
        threads=thread_count,
        size=ModelSize(_active_parameters(loaded.model)),
    )


def _stop_ids(loaded: Loaded) -> frozenset[int]:
    ids: set[int] = set()
    generation = getattr(loaded.model, "generation_config", None)
    for holder in (generation, loaded.model.config, loaded.tokenizer):
        value = getattr(holder, "eos_token_id", None)
        ids.update([value] if isinstance(value, int) else value or [])
    if not ids:
        raise ConfigError(
            f"{loaded.folder}: no end-of-sequence token in generation_config.json, config.json or the tokenizer",
            hint="Set eos_token_id; without it every answer runs to max_tokens.",
        )
    return frozenset(ids)


def _tolerance(decoder: Decoder, batch_size: int, path_or_id: str) -> float:
    """Return how near a tie must be to be decided alone. A wider one costs time and changes no completion."""
    vocabulary = decoder.model.get_input_embeddings().weight.shape[0]
    shift = largest_shift(decoder, [(7 * index + 3) % vocabulary for index in range(_PROBE)])
    if batch_size > 1 and not shift * _MARGIN <= _WIDEST:
        raise ConfigError(
            f"{path_or_id}: padding and neighbours move its logits by {shift:.2g}; expected at most {_WIDEST / _MARGIN:.2g}",
            hint="Load it with batch_size=1, where no row is padded.",
        )
    return min(max(TOLERANCE, shift * _MARGIN), _WIDEST)


def _subject(loaded: Loaded, stop_ids: frozenset[int], tags: tuple[str, str]) -> Subject:
    generation = {"reasoning_tags": list(tags), "sampler": SAMPLER, "stop_token_ids": sorted(stop_ids)}
    return Subject(
        name=loaded.name,
        identity="digests",
        weights_sha256=digests.weights_sha256(loaded.model.state_dict()),
        tokenizer_sha256=digests.tokenizer_sha256(loaded.folder, loaded.tokenizer.special_tokens_map),
        chat_template_sha256=canonical.sha256(loaded.chat_template.encode()),
        config_sha256=canonical.sha256((loaded.folder / "config.json").read_bytes()),
        generation_sha256=canonical.digest(generation),
        parameter_count=sum(tensor.numel() for _, tensor in _parameters(loaded.model)),
    )


def _environment(dtype: str, device: str, batch_size: int, *, thread_count: int, exact: bool) -> Environment:
    kind = torch.device(device).type
    return Environment(
        engine=f"transformers {transformers.__version__}",
        versions={
            "python": platform.python_version(),
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        platform=f"{platform.system()} {platform.machine()}, {thread_count} threads",
        device=f"{kind}: {torch.cuda.get_device_name(device)}" if kind == "cuda" else device,
        dtype=dtype,
        quantisation=None,
        batch_size=batch_size,
        same_completion=_PROMISED if exact else _NOT_PROMISED,
    )


def _parameters(model: Any) -> Iterator[tuple[str, Any]]:
    names: Mapping[str, Any] = dict(model.named_parameters())
    return digests.untied(names)


def _active_parameters(model: Any) -> int:
    """Count the parameters one token meets: of a mixture of experts, the share of the experts that is routed to."""
    config = model.config
    sizes = (getattr(config, name, None) for name in ("num_local_experts", "num_experts", "n_routed_experts"))
    experts = next((size for size in sizes if size), None)
    routed = getattr(config, "num_experts_per_tok", None)
    share = routed / experts if experts and routed else 1.0
    total: float = sum(tensor.numel() * (share if ".experts." in name else 1.0) for name, tensor in _parameters(model))
    return int(total)
