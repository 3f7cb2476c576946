"""What may a collector ask of a model? These ports, and nothing else.

An adapter implements them; a collector never learns device, dtype or batch size. Adapters register through the entry-point
group ``dossier.models`` and declare what they can do; one conformance suite (``tests/evidence_collectors/conformance.py``)
holds for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from dossier.model import Completion, Environment, Request, Subject

Capability = Literal["generate", "logprobs", "capture", "intervene", "gradients"]


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
