"""What may a collector ask of a model? These ports, and nothing else.

An adapter implements them; a collector never learns device, dtype or batch size. Adapters register through the entry-point
group ``dossier.models`` and declare what they can do; one conformance suite (``tests/evidence_collectors/conformance.py``)
holds for all.

Shapes: r rows of a batch, p positions, d the width at a point, v the vocabulary. An `Array` is a tensor of the adapter's
engine; collectors import that engine only inside `collect`.

A **point** is a module path: ``model.layers.3`` is what that module puts out, ``model.layers.3:in`` what goes in. Where the
module takes or gives several tensors it is the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from dossier.model import Completion, Environment, Request, Subject

Capability = Literal["generate", "prefill", "logprobs", "capture", "intervene", "gradients", "perturb", "tune"]
Array = Any


@dataclass(frozen=True)
class ModelSize:
    """What a cost estimate needs to know: the number of parameters a forward pass touches for one token."""

    active_parameters: int


@dataclass(frozen=True)
class Continuation:
    """A text whose probability after a request's prompt is asked. ``text`` is tokenised without special tokens added."""

    request: Request
    text: str


class LanguageModel(Protocol):
    """A model that answers. The same request gives the same completion, whatever the batch or the order."""

    @property
    def subject(self) -> Subject:
        """Digests of what was really loaded."""
        ...

    @property
    def environment(self) -> Environment:
        """Engine, versions, device and dtype, and what is claimed about equal completions."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this adapter can do."""
        ...

    @property
    def size(self) -> ModelSize | None:
        """The model's size, None behind an endpoint."""
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion per distinct request, in the order batches finish; each names its request by digest.

        Raises:
            CollectionError: the chat template fails, or the model cannot take the request.
        """
        ...

    def logprobs(self, continuations: Iterable[Continuation]) -> Iterator[tuple[float, ...]]:
        """Yield the log-probability of each token of each continuation, in nats, in the order asked.

        Raises:
            CollectionError: the adapter lacks the capability ``logprobs``.
        """
        ...


NO_COMPLETION = "the model gave no completion"


def why_unanswered(model: LanguageModel, request_sha256: str) -> str:
    """Return why a request got no completion.

    An adapter that knows (a provider's refusal, an answer that holds nothing) tells it in a mapping ``unanswered`` by the
    request's digest; it is text from outside, without the caller's key.
    """
    told: Mapping[str, str] = getattr(model, "unanswered", {})
    return told.get(request_sha256, NO_COMPLETION)


def takes_prefill(model: LanguageModel) -> bool | None:
    """Return whether a model goes on from an opening of its own turn (``Request.prefill``); None where only a try tells.

    An adapter that builds the prompt itself can. One that sends messages to a server says in an attribute ``takes_prefill``
    that it cannot (False) or does not know (None).
    """
    told: bool | None = getattr(model, "takes_prefill", True)
    return told


# --- white box -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Where the parts of a decoder lie, as points.

    ``residual`` are the outputs of the blocks, in order; ``attention`` and ``mlp`` the parts inside them, alike.
    ``unembedding`` holds a weight of shape (v, d).
    """

    embedding: str
    residual: tuple[str, ...]
    attention: tuple[str, ...]
    mlp: tuple[str, ...]
    final_norm: str
    unembedding: str
    d_model: int
    vocabulary: int


@dataclass(frozen=True)
class Edit:
    """A change to what passes a point: ``change`` maps the activation (r, p, d) to another of the same shape.

    ``where`` says at which positions it counts: at all, or only at the last token of the prompt.
    """

    point: str
    change: Callable[[Array], Array]
    where: Literal["all", "last_prompt"] = "all"


@dataclass(frozen=True)
class Activations:
    """What passed the points for one batch; padding lies on the right.

    Attributes:
        index: which of the continuations asked, a row each.
        token_ids: (r, p).
        mask: (r, p), true at real tokens.
        response: (r, p), true at the tokens of the continuation's text.
        at: by point, (r, p, d).
        gradients: by point, (r, p, d): the objective's gradient there; empty unless an objective was given.
        logits: (r, v) after the last token, None unless asked for.
        token_logprobs: (r, p), in nats, of each token after the ones before it; the first is 0. None unless asked for.
    """

    index: tuple[int, ...]
    token_ids: Array
    mask: Array
    response: Array
    at: Mapping[str, Array]
    gradients: Mapping[str, Array]
    logits: Array
    token_logprobs: Array


class WhiteBoxModel(LanguageModel, Protocol):
    """A model whose computation can be read and changed. An adapter with the capabilities capture, intervene, gradients."""

    @property
    def layout(self) -> Layout:
        """Where its parts lie."""
        ...

    @property
    def source(self) -> str:
        """The folder or hub id it was loaded from, for engines that must load it again themselves."""
        ...

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
        """Yield what passes the points, batches of like length first; the pass stops after the last point it needs.

        A continuation's text is read, not generated; "" reads the prompt alone. ``objective`` maps the last logits (r, v)
        to one number a row (r,); with it gradients are taken at the points.

        Raises:
            CollectionError: an unknown point, a request the model cannot take, or activations that are not finite.
        """
        ...

    def generate_edited(self, requests: Iterable[Request], edits: Sequence[Edit]) -> Iterator[Completion]:
        """Yield completions as `generate` does, with the edits in force at every step; they must count at all positions.

        Raises:
            CollectionError: as `generate`, or an unknown point.
        """
        ...

    def parameter(self, name: str) -> Array:
        """Return a parameter by its name, detached. Raises CollectionError for an unknown one."""
        ...

    def token_ids(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text, without special tokens added."""
        ...

    def token_text(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        ...

    def random_twin(self, seed: str) -> WhiteBoxModel:
        """Return a model of this architecture with random weights, as its initialiser draws them: a negative control."""
        ...

    def parity(self) -> float:
        """Return by how much `capture` differs from what the engine itself reports: the self-test before any record.

        The largest difference over the residual stream, as a share of its mean norm.
        """
        ...


# --- changed weights -----------------------------------------------------------------------------------------------


class AlterableModel(LanguageModel, Protocol):
    """A model that can be copied with other weights. An adapter with the capabilities perturb and tune.

    The model itself stays as it is; a copy's subject names what was done and has digests of its own.
    """

    def perturbed(self, *, seed: str, strength: float) -> LanguageModel:
        """Return a copy with Gaussian noise on its weights; ``strength`` counts each matrix's own standard deviation.

        Raises:
            CollectionError: there is no room for a copy.
        """
        ...

    def tuned(
        self, demonstrations: Sequence[Continuation], *, steps: int, learning_rate: float, seed: str
    ) -> LanguageModel:
        """Return a copy trained on demonstrations, each a request and the answer it is to learn, which ends there.

        Raises:
            CollectionError: there is no room for a copy, it cannot be trained, or training diverges.
        """
        ...
