"""What happened on the way to the answers, in words that can be shown? Failures by kind, counts, and texts without keys.

A failure's kind says whose turn it is: the infrastructure's (the next run asks again) or nobody's (the request was answered
with something that is no answer).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from evidence_collectors.models.inspect_replies import Refused, Unusable

Kind = Literal["rate-limited", "timed out", "unreachable", "server error", "no access", "refused", "unusable"]
INFRASTRUCTURE: frozenset[Kind] = frozenset(("rate-limited", "timed out", "unreachable", "server error", "no access"))

_SHORTEST_SECRET = 12  # characters; "none" and "EMPTY", keys of local servers, would be cut out of honest answers
_DETAIL = 300  # characters of a provider's message that are kept
_NAMES = 5
_TOO_MANY, _NO_ACCESS, _FORBIDDEN = 429, frozenset((401, 403, 404, 407)), 403
_PASSING = frozenset((408, 409, 425))  # client errors that time may mend


@dataclass(frozen=True)
class Redactor:
    """Cuts secrets out of texts. Call it before a text is cut short: half a key is a leak too."""

    secrets: tuple[str, ...] = field(repr=False)

    @staticmethod
    def of(candidates: Iterable[object]) -> Redactor:
        """Return one for the candidates that are long enough to be secrets."""
        found = {one for one in candidates if isinstance(one, str) and len(one) >= _SHORTEST_SECRET}
        return Redactor(tuple(sorted(found, key=len, reverse=True)))

    def __call__(self, text: str) -> str:
        """Return the text without the secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "[key withheld]")
        return text


@dataclass(frozen=True)
class Failure:
    """Why a request has no answer.

    ``retry``: asking again may help; ``retry_after_s`` is the provider's word on when. ``fatal``: asking anything else would
    be in vain too.
    """

    kind: Kind
    detail: str
    retry: bool
    retry_after_s: float = 0.0
    fatal: bool = False


@dataclass
class Tally:
    """What happened on the way, counted in this process: answers replayed from a journal are not in it.

    ``reasons`` says why a request got no answer, by its digest.
    """

    retried: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    reasoning: Counter[str] = field(default_factory=Counter)
    served_as: set[str] = field(default_factory=set)
    prompt_tokens: int = 0
    generated_tokens: int = 0
    uncounted: int = 0
    keys_cut: int = 0

    def facts(self, price: tuple[float, float] | None) -> dict[str, str]:
        """Return what is worth telling, in words, by name."""
        asked = sum(self.reasoning.values())
        paid = cost(price, self.prompt_tokens, self.generated_tokens)
        apart = {f"{kind} instead of the text": self.reasoning[kind] for kind in ("summary", "withheld")}
        facts = {
            "session.retried": listed(self.retried),
            "session.unanswered": listed(self.unanswered),
            "session.reasoning": listed(apart),
            "session.served_as": _some(sorted(self.served_as)),
            "session.tokens": f"{self.prompt_tokens} prompt, {self.generated_tokens} generated" if asked else "",
            "session.cost": f"{paid:.6g}" if paid is not None and asked else "",
            "session.answers_without_token_counts": str(self.uncounted) if self.uncounted else "",
            "session.answers_with_the_key_cut_out": str(self.keys_cut) if self.keys_cut else "",
        }
        return {name: value for name, value in facts.items() if value}


def _some(names: list[str]) -> str:
    """Return a few names: a server may invent one for each answer."""
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def cost(price: tuple[float, float] | None, prompt_tokens: int, generated_tokens: int) -> float | None:
    """Return what so many tokens cost at prices per million; None without prices."""
    return None if price is None else (price[0] * prompt_tokens + price[1] * generated_tokens) / 1e6


def listed(counts: Mapping[str, int]) -> str:
    """Return counts by kind in words, those above 0."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()) if count)


def plain(text: str) -> str:
    """Return a provider's message, which may be anything, as one short line of printable characters."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= _DETAIL else line[:_DETAIL] + " ..."


def failure_of(error: Exception, api: Any, *, others_answered: bool) -> Failure:
    """Return what an exception of a provider's library means. The detail is raw: redact it before it is shown.

    A 403 counts as lack of access only before anybody was answered; later it is about that one request.
    """
    cause = _cause(error)
    detail = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, Refused | Unusable):
        kind: Kind = "refused" if isinstance(cause, Refused) else "unusable"
        return Failure(kind, str(cause), retry=kind == "unusable")
    status = _status(cause)
    limited, after = _provider_says(api, cause)
    if status == _TOO_MANY or limited:
        return Failure("rate-limited", detail, retry=True, retry_after_s=after)
    if status in _NO_ACCESS and not (status == _FORBIDDEN and others_answered):
        return Failure("no access", detail, retry=False)
    if status is not None and 400 <= status < 500 and status not in _PASSING:
        return Failure("refused", detail, retry=False)
    if status is not None and status >= 400:
        return Failure("server error", detail, retry=True, retry_after_s=after)
    return Failure(_kind_by_name(cause), detail, retry=True)


def _kind_by_name(cause: BaseException) -> Kind:
    """Tell time-outs and lost connections from garbage: each library has its own classes, and names them alike."""
    names = {one.__name__ for one in type(cause).__mro__}
    if any("Timeout" in name for name in names):
        return "timed out"
    if isinstance(cause, OSError) or any("Connect" in name or "ProtocolError" in name for name in names):
        return "unreachable"
    return "unusable"


def _cause(error: BaseException) -> BaseException:
    """Return the provider's own exception: inspect_ai's retry loop and its report of a bad request stand around it."""
    last = getattr(error, "last_attempt", None)
    inner = last.exception() if last is not None else None
    if inner is None and type(error).__name__ == "ModelGenerateError":
        inner = error.__cause__
    return error if inner is None else _cause(inner)


def _status(cause: BaseException) -> int | None:
    """Return the HTTP status an exception carries, wherever its library puts it."""
    places = (cause, getattr(cause, "response", None))
    found = (getattr(place, name, None) for place in places for name in ("status_code", "status", "code"))
    return next((one for one in found if isinstance(one, int) and 100 <= one < 600), None)


def _provider_says(api: Any, cause: BaseException) -> tuple[bool, float]:
    """Return whether inspect_ai's adapter for the provider sees a rate limit, and after how many seconds to try again."""
    decision: Any = None
    with suppress(Exception):  # some adapters assume an exception of their own
        decision = api.should_retry(cause)
    limited = bool(decision) and getattr(decision, "kind", None) == "rate_limit"
    return limited, float(getattr(decision, "retry_after", None) or 0.0)
