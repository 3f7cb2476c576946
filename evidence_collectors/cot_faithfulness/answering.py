"""How is a phase of questions put to a model, so that one it cannot take costs no other its answer, and what comes back?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from pydantic import JsonValue

from dossier.errors import CollectionError
from dossier.language_model import LanguageModel, why_unanswered
from dossier.model import Completion, Message, Request, Trial, TrialKey, digest_of


class Sampling(Protocol):
    """What a request needs to know of an instrument's parameters."""

    @property
    def max_tokens(self) -> int:
        """How long an answer may be."""
        ...

    @property
    def temperature(self) -> float:
        """Of the draw of each token."""
        ...

    @property
    def top_p(self) -> float:
        """The probability mass tokens are drawn from."""
        ...


def request_of(params: Sampling, messages: tuple[Message, ...], seed: str, *, prefill: str = "") -> Request:
    """Return the request of a conversation, sampled as the parameters say."""
    return Request(
        messages=messages,
        prefill=prefill,
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        seed=seed,
    )


def trial_of(
    key: TrialKey, seed: str, request: Request, said: Completion | str, noted: Mapping[str, JsonValue] | None = None
) -> Trial:
    """Return the trial of a request from its completion, or from the reason why there is none."""
    completion, error = (None, said) if isinstance(said, str) else (said, None)
    return Trial(
        key=key, seed=seed, request=request, completion=completion, measurements=dict(noted or {}), error=error
    )


def answers(
    model: LanguageModel, requests: Sequence[Request], *, apart: bool, kind: str
) -> Iterator[tuple[str, Completion | str]]:
    """Yield (request digest, completion) as they arrive, and (request digest, reason) for each that got none.

    ``apart``: a request the model refuses (a text of its own that holds a control token, one beyond its context) is found
    by halving and gets its reason, the others are asked all the same. Leave it off behind an endpoint, where a failure is
    the infrastructure's and must stop the run, so that it can be resumed.

    Raises:
        CollectionError: a completion for what was not asked or is answered already; without ``apart`` whatever the model
            raises.
    """
    open_: dict[str, Request] = {digest_of(request): request for request in requests}
    refused: dict[str, str] = {}
    for digest, completion in _asked(model, list(open_.values()), apart=apart, refused=refused):
        if digest not in open_:
            raise CollectionError(
                f"{kind}: a completion for request {digest[:16]}..., which was not asked or is already answered",
                hint="The adapter must yield one completion per request and name it by digest.",
            )
        del open_[digest]
        yield digest, completion
    for digest in open_:
        yield digest, refused.get(digest) or why_unanswered(model, digest)


def _asked(
    model: LanguageModel, requests: Sequence[Request], *, apart: bool, refused: dict[str, str]
) -> Iterator[tuple[str, Completion]]:
    got: set[str] = set()
    stream = iter(model.generate(requests)) if requests else iter(())
    while True:
        try:
            completion = next(stream)
        except StopIteration:
            return
        except CollectionError as error:
            if not apart:
                raise
            left = [request for request in requests if digest_of(request) not in got]
            if len(left) <= 1:
                refused.update({digest_of(request): error.message for request in left})
                return
            middle = len(left) // 2
            for half in (left[:middle], left[middle:]):
                yield from _asked(model, half, apart=apart, refused=refused)
            return
        got.add(completion.request_sha256)
        yield completion.request_sha256, completion


def by_digest(
    model: LanguageModel, requests: Sequence[Request], *, apart: bool, kind: str
) -> Mapping[str, Completion | str]:
    """Return what `answers` yields, as a mapping."""
    return dict(answers(model, requests, apart=apart, kind=kind))
