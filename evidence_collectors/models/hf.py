"""How does a Hugging Face model answer, measured on the weights themselves? The adapter behind the name ``hf``.

It loads any causal language model that transformers knows from safetensors, never from pickles, and never runs code
from the folder. The same request gives the same completion whatever the batch size and the order; `decoding` says how,
and ``environment.same_completion`` what is claimed for this device and dtype.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from dossier.errors import CollectionError, ConfigError
from dossier.language_model import Activations, Array, Capability, Continuation, Edit, Layout, ModelSize
from dossier.model import Completion, Environment, Request, Subject
from evidence_collectors.models import activations, digests, elicited, identity
from evidence_collectors.models.activations import Batching, Pass, TokenRow
from evidence_collectors.models.decoding import Decoder, Row, alone, decode, largest_shift, threads
from evidence_collectors.models.hf_loading import Loaded, check_options, load_folder
from evidence_collectors.models.layout import layout_of
from evidence_collectors.models.prompts import Prompt, Renderer, check_plain_turn, render
from evidence_collectors.models.reasoning import split_reasoning

TOLERANCE = 1e-3  # logits; the least. Batching moved 35 k random float32 parameters by 5e-6 and 113 M by 2e-5
_MARGIN, _WIDEST = 32, 0.1  # the tolerance is this many times the shift seen at loading, and no more than this
_SMALL = 10_000_000  # parameters; below, threads wait for each other longer than they compute
_PROBE = 24  # tokens of the padding check at loading


@dataclass(frozen=True)
class HuggingFaceModel:
    """A `dossier.language_model.WhiteBoxModel` over a loaded model; see `load`.

    ``batching`` is the one part that changes: it shrinks when memory runs out, and the environment then says so.
    """

    loaded: Loaded
    decoder: Decoder
    renderer: Renderer
    threads: int
    subject: Subject
    loaded_environment: Environment
    size: ModelSize
    batching: Batching

    @property
    def environment(self) -> Environment:
        """Where the model runs, with the batch size now in force."""
        return self.loaded_environment.model_copy(update={"batch_size": self.batching.rows})

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this adapter can do."""
        return frozenset(("generate", "logprobs", "capture", "intervene", "gradients", "perturb", "tune"))

    @property
    def source(self) -> str:
        """The folder it was loaded from."""
        return str(self.loaded.folder)

    @property
    def layout(self) -> Layout:
        """Where its parts lie."""
        return layout_of(self.loaded.model)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion per distinct request, a batch as soon as it is done.

        All requests are rendered before the first is asked, so that a bad one fails before anything is spent.

        Raises:
            CollectionError: the chat template fails, the model cannot take a request, or its logits are unusable.
        """
        for rows in self._decoded(requests, ()):
            yield from map(self._completion, rows)

    def generate_edited(self, requests: Iterable[Request], edits: Sequence[Edit]) -> Iterator[Completion]:
        """Yield completions as `generate` does, with the edits in force at every step."""
        for rows in self._decoded(requests, edits):
            yield from map(self._completion, rows)

    def capture(
        self,
        continuations: Iterable[Continuation],
        points: Sequence[str],
        *,
        edits: Sequence[Edit] = (),
        logits: bool = False,
        token_logprobs: bool = False,
        objective: Callable[[Array], Array] | None = None,
    ) -> Iterator[Activations]:
        """Yield what passes the points; see `dossier.language_model.WhiteBoxModel.capture`."""
        rows = [self._row(index, asked) for index, asked in enumerate(continuations)]
        wanted = Pass(tuple(points), tuple(edits), logits, token_logprobs, objective)
        found = activations.passes(self.loaded.model, rows, wanted, self.batching)
        while True:
            with threads(self.threads):
                batch = next(found, None)
            if batch is None:
                return
            yield batch

    def parameter(self, name: str) -> Array:
        """Return a parameter by its name."""
        try:
            return self.loaded.model.get_parameter(name).detach()
        except AttributeError as error:
            raise CollectionError(f"{self.loaded.name}: no parameter {name!r}.") from error

    def token_ids(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text, without special tokens added."""
        return tuple(self.loaded.tokenizer.encode(text, add_special_tokens=False))

    def token_text(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        text: str = self.loaded.tokenizer.decode(
            list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def random_twin(self, seed: str) -> HuggingFaceModel:
        """Return a model of this architecture with weights as its initialiser draws them."""
        model = self.loaded.model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed, 16) % 2**63)
            twin = type(model)(copy.deepcopy(model.config)).to(device=model.device, dtype=model.dtype)
        return self._altered(twin.eval().requires_grad_(False), f"random weights {seed}")

    def perturbed(self, *, seed: str, strength: float) -> HuggingFaceModel:
        """Return a copy with noise on its weights; see `dossier.language_model.AlterableModel.perturbed`."""
        noisy = elicited.with_noise(self.loaded.model, seed=seed, strength=strength)
        return self._altered(noisy, f"weight noise {strength:g}, seed {seed}")

    def tuned(
        self, demonstrations: Sequence[Continuation], *, steps: int, learning_rate: float, seed: str
    ) -> HuggingFaceModel:
        """Return a copy trained on demonstrations; see `dossier.language_model.AlterableModel.tuned`."""
        end = min(self.decoder.stop_ids)
        rows = [(self._render(one.request).token_ids, (*self.token_ids(one.text), end)) for one in demonstrations]
        with threads(self.threads):
            taught = elicited.with_demonstrations(
                self.loaded.model, rows, steps=steps, learning_rate=learning_rate, seed=seed
            )
        return self._altered(taught, f"trained on {len(rows)} demonstrations, {steps} steps, seed {seed}")

    def _altered(self, model: torch.nn.Module, what: str) -> HuggingFaceModel:
        """Return this adapter over other weights, with a name that says so and their digest."""
        subject = self.subject.model_copy(
            update={
                "name": f"{self.subject.name}, {what}",
                "weights_sha256": digests.weights_sha256(model.state_dict()),
            }
        )
        return replace(
            self,
            loaded=replace(self.loaded, model=model),
            decoder=replace(self.decoder, model=model),
            subject=subject,
            batching=Batching(self.batching.rows),
        )

    def parity(self) -> float:
        """Return by how much captured activations differ from the engine's own hidden states."""
        with threads(self.threads):
            return activations.parity(self.loaded.model, self.layout)

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

    def _decoded(self, requests: Iterable[Request], edits: Sequence[Edit]) -> Iterator[list[Row]]:
        """Yield the batches, shortest prompts first; the edits are in force only while a batch is decoded."""
        prompts = {prompt.request_sha256: prompt for prompt in map(self._render, requests)}
        waiting = sorted(prompts.values(), key=lambda prompt: (len(prompt.token_ids), prompt.request.max_tokens))
        while waiting:
            batch = waiting[: self.batching.rows]
            try:
                with threads(self.threads), activations.edited(self.loaded.model, edits):
                    rows = decode(self.decoder, batch)
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                if not self.batching.halve():
                    raise CollectionError(
                        f"a single request of {len(batch[0].token_ids)} tokens does not fit into the device's memory",
                        hint="Use a smaller dtype, fewer tokens or more devices.",
                    ) from error
                continue
            waiting = waiting[len(batch) :]
            yield rows

    def _row(self, index: int, asked: Continuation) -> TokenRow:
        prompt = self._render(asked.request).token_ids
        return TokenRow(index, (*prompt, *self.token_ids(asked.text)), len(prompt))

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
        dtype: ``float32``, ``bfloat16``, ``float16`` or, for a replay's band, ``float64``; what is loaded is what is digested.
        device: as torch names it, or ``auto`` to shard the layers over all devices.
        batch_size: rows at a time; it changes the speed, not the answers.
        reasoning_tags: what opens and closes the reasoning.

    Raises:
        ConfigError: the folder cannot be loaded as it is, its chat template fails on a plain question, or an argument
            is impossible.
    """
    check_options(path_or_id, dtype=dtype, device=device, batch_size=batch_size, reasoning_tags=reasoning_tags)
    loaded = load_folder(path_or_id, dtype=dtype, device=device)
    context = getattr(loaded.model.config, "max_position_embeddings", None)
    renderer = Renderer.of(loaded.tokenizer, loaded.chat_template, reasoning_tags, context)
    check_plain_turn(renderer, path_or_id)
    stop_ids = identity.stop_ids(loaded)
    thread_count = 1 if loaded.model.num_parameters() < _SMALL else torch.get_num_threads()
    exact = dtype == "float32" and loaded.model.device.type == "cpu"
    decoder = Decoder.of(loaded.model, stop_ids, None)
    if exact:
        with threads(thread_count):
            decoder = replace(decoder, tolerance=_tolerance(decoder, batch_size, path_or_id))
    return HuggingFaceModel(
        loaded=loaded,
        decoder=decoder,
        renderer=renderer,
        subject=identity.subject(loaded, stop_ids, reasoning_tags),
        loaded_environment=identity.environment(
            dtype,
            device,
            batch_size,
            attention=str(loaded.model.config._attn_implementation),
            thread_count=thread_count,
            exact=exact,
        ),
        threads=thread_count,
        size=ModelSize(identity.active_parameters(loaded.model)),
        batching=Batching(batch_size),
    )


def _tolerance(decoder: Decoder, batch_size: int, path_or_id: str) -> float:
    """Return how near a tie must be to be decided alone. A wider one costs time and changes no completion."""
    vocabulary = decoder.model.get_input_embeddings().weight.shape[0]
    shift = largest_shift(decoder, [(7 * index + 3) % vocabulary for index in range(_PROBE)])
    if math.isnan(shift):  # no row of such a model is near a tie; instruments say of each number why there is none
        return TOLERANCE
    if batch_size > 1 and not shift * _MARGIN <= _WIDEST:
        raise ConfigError(
            f"{path_or_id}: padding and neighbours move its logits by {shift:.2g}; expected at most {_WIDEST / _MARGIN:.2g}",
            hint="Load it with batch_size=1, where no row is padded.",
        )
    return min(max(TOLERANCE, shift * _MARGIN), _WIDEST)
