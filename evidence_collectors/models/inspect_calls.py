"""How are requests put to a provider so that an outage ends, a rate limit is respected, and no answer is lost?

At most ``max_connections`` requests are in flight, and each answer is handed on before more are sent: a crash loses what
is in flight and nothing else. What fails is told apart by who can mend it (`inspect_conduct`):

    infrastructure   rate limit, time-out, no connection, server error, no access: tried again, then left open for the next
                     run (`CollectionError`); when nobody is answered any more, nothing further is sent
    the answer       refused by the provider, or nothing usable in it: no completion, counted by kind
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig
from tenacity import wait_none

from dossier.errors import CollectionError
from dossier.model import Completion, Request
from evidence_collectors.models.inspect_conduct import (
    INFRASTRUCTURE,
    Failure,
    Redactor,
    Tally,
    failure_of,
    listed,
    plain,
)
from evidence_collectors.models.inspect_replies import IS_ERROR, RAW, Reply, read

_LONGEST_WAIT_S = 120.0  # a longer Retry-After is a matter for the next run
_LONGEST_BACKOFF_S = 60.0
_HOPELESS = 16  # requests refused or answered with nothing usable before any answer came: asking on would be a waste
_SEED_BITS = 31  # some servers take signed 32-bit seeds
_NEVER_ZERO = "hf"  # this provider hands temperature 0 to a sampler that refuses it (inspect_ai issue 3544)


@dataclass(frozen=True)
class Settings:
    """How a model is reached and read; see `inspect.load`. It holds the key's place, never the key."""

    model: str
    base_url: str | None
    api_key_env: str | None
    max_connections: int
    timeout_s: float
    max_retries: int
    backoff_s: float
    price: tuple[float, float] | None
    tags: tuple[str, str]
    already_open: bool
    send_seed: bool
    model_args: Mapping[str, Any]


Opened = tuple[Any, Redactor]  # inspect_ai's model, and what keeps its key out of texts


@dataclass
class _Session:
    """One phase: the provider opened, and what the requests in flight must know of each other."""

    model: Any
    redactor: Redactor
    settings: Settings
    tally: Tally
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    answered: int = 0
    not_before: float = 0.0  # on the loop's clock


_Task = asyncio.Task[Completion | Failure]


def adapt(api: Any) -> None:
    """Make a provider try once only, and its output carry the raw response, which inspect_ai logs but keeps.

    Retries inside a provider's library would be neither counted nor bounded here.
    """
    client: Any = getattr(api, "client", None)
    if isinstance(getattr(client, "max_retries", None), int):
        client.max_retries = 0
    api.retry_wait = wait_none  # inspect_ai's own loop ends after one attempt; its default wait warns with tenacity 9.2
    inner = api.generate

    async def generate(input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:  # noqa: A002 - their name
        found = await inner(input=input, tools=tools, tool_choice=tool_choice, config=config)
        output, call = found if isinstance(found, tuple) else (found, None)
        if call is not None and not isinstance(output, Exception):
            output.metadata = {**(output.metadata or {}), RAW: call.response, IS_ERROR: bool(call.error)}
        return found

    api.generate = generate


def answers(
    opened: Callable[[], Opened], settings: Settings, wanted: Mapping[str, Request], tally: Tally
) -> Iterator[Completion]:
    """Yield completions as they come. ``opened`` opens the provider; its connections live for this phase only.

    Raises:
        CollectionError: the infrastructure left requests open, or no request was answered at all.
    """
    context = contextvars.Context()  # inspect_ai keeps calls in the transcript of a context: each task gets its own
    failures: list[Failure] = []
    waiting = iter(sorted(wanted.items()))  # by digest, so that items a provider refuses do not all come first
    running: set[_Task] = set()
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        session = runner.run(_begin(opened, settings, tally), context=context)
        try:
            while done := runner.run(_step(session, waiting, running), context=context):
                for name, outcome in [(task.get_name(), task.result()) for task in done]:
                    if isinstance(outcome, Completion):
                        yield outcome
                        continue
                    failures.append(outcome)
                    tally.unanswered[outcome.kind] += 1
                    tally.reasons[name] = f"{outcome.kind}: {outcome.detail}"
                    if outcome.fatal or (not session.answered and len(failures) >= _HOPELESS):
                        session.stopped.set()
        finally:
            runner.run(_end(session, running), context=context)
    _report(settings.model, failures, answered=session.answered, unasked=sum(1 for _ in waiting))


async def _begin(opened: Callable[[], Opened], settings: Settings, tally: Tally) -> _Session:
    model, redactor = opened()
    return _Session(model, redactor, settings, tally)


async def _step(session: _Session, waiting: Iterator[tuple[str, Request]], running: set[_Task]) -> set[_Task]:
    """Fill the connections and return the requests that finished; none when all is done."""
    while len(running) < session.settings.max_connections and not session.stopped.is_set():
        pair = next(waiting, None)
        if pair is None:
            break
        running.add(asyncio.create_task(_ask(session, *pair), name=pair[0]))
    if not running:
        return set()
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    running -= done
    return done


async def _end(session: _Session, running: set[_Task]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await session.model.api.aclose()


async def _ask(session: _Session, name: str, request: Request) -> Completion | Failure:
    """Put one request until it is answered or given up.

    A rate limit counts against the request only while nobody else is answered either: behind a strict limit everyone
    waits, and progress is what shows that waiting helps.
    """
    clock = asyncio.get_running_loop().time
    attempts, seen = 0, session.answered
    while True:
        await _sleep(session, session.not_before - clock())
        outcome = await _attempt(session, name, request)
        if isinstance(outcome, Completion):
            session.answered += 1
            return outcome
        alone = session.answered == seen
        if outcome.kind == "rate-limited" and not alone:
            attempts, seen = 0, session.answered
        attempts += 1
        too_long = outcome.retry_after_s > _LONGEST_WAIT_S
        if not outcome.retry or too_long or attempts > session.settings.max_retries or session.stopped.is_set():
            in_vain = not outcome.retry or too_long or alone
            return replace(outcome, fatal=outcome.kind in INFRASTRUCTURE and in_vain)
        session.tally.retried[outcome.kind] += 1
        wait = max(outcome.retry_after_s, _backoff(session.settings.backoff_s, attempts, name))
        if outcome.kind == "rate-limited":
            session.not_before = max(
                session.not_before, clock() + (outcome.retry_after_s or session.settings.backoff_s)
            )
        await _sleep(session, wait)
        if session.stopped.is_set():
            return outcome


def _backoff(first_s: float, attempts: int, name: str) -> float:
    """Return the seconds before another attempt; the request's digest spreads those that failed together."""
    return float(min(first_s * 2 ** (attempts - 1), _LONGEST_BACKOFF_S) * (1.0 + int(name[:4], 16) / 0x1FFFF))


async def _sleep(session: _Session, seconds: float) -> None:
    """Sleep, or wake early when the phase is given up."""
    if seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(session.stopped.wait(), seconds)


async def _attempt(session: _Session, name: str, request: Request) -> Completion | Failure:
    settings = session.settings
    try:
        async with asyncio.timeout(settings.timeout_s):
            output = await session.model.generate(_messages(request), config=_config(settings, request), cache=False)
        reply = read(output, settings.tags, already_open=settings.already_open, max_tokens=request.max_tokens)
    except TimeoutError:
        return Failure("timed out", f"no answer within {settings.timeout_s:g} s", retry=True)
    except Exception as error:  # a provider's library may raise anything
        failure = failure_of(error, session.model.api, others_answered=session.answered > 0)
        return replace(failure, detail=plain(session.redactor(failure.detail)))
    return _completion(session, name, reply)


def _completion(session: _Session, name: str, reply: Reply) -> Completion:
    """Count an answer and return it, without the key: a server may echo its caller's headers."""
    tally, cut = session.tally, session.redactor
    reasoning, answer = reply.split.reasoning, reply.split.answer
    kept = None if reasoning is None else cut(reasoning)
    tally.keys_cut += kept != reasoning or cut(answer) != answer
    tally.reasoning[reply.split.parse] += 1
    tally.served_as.add(plain(cut(reply.served_as)))
    tally.prompt_tokens += reply.prompt_tokens or 0
    tally.generated_tokens += reply.generated_tokens or 0
    tally.uncounted += reply.prompt_tokens is None or reply.generated_tokens is None
    return Completion(
        request_sha256=name,
        reasoning=kept,
        answer=cut(answer),
        parse=reply.split.parse,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens or 0,
        token_ids=(),  # an API gives texts
    )


def _messages(request: Request) -> list[ChatMessage]:
    roles = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    return [roles[message.role](content=message.content) for message in request.messages]


def _config(settings: Settings, request: Request) -> GenerateConfig:
    """Return the request's settings. Only a nucleus below 1 is sent: some providers refuse top_p beside a temperature."""
    config = GenerateConfig(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p if request.top_p < 1.0 else None,
        seed=int(request.seed, 16) >> (64 - _SEED_BITS) if settings.send_seed else None,
    )
    if request.temperature == 0.0 and settings.model.startswith(f"{_NEVER_ZERO}/"):
        return config.model_copy(update={"temperature": None, "top_k": 1})  # the best token alone: greedy decoding
    return config


def _report(model: str, failures: Sequence[Failure], *, answered: int, unasked: int) -> None:
    """Raise CollectionError for what the next run can mend; what the provider will not answer is for the instrument."""
    if not failures or (answered and all(failure.kind not in INFRASTRUCTURE for failure in failures)):
        return
    counts = listed(Counter(failure.kind for failure in failures))
    rest = f"; {unasked} more were not asked" if unasked else ""
    raise CollectionError(
        f"{model}: {answered} requests were answered now and {len(failures)} were not ({counts}){rest}. "
        f"The last failure: {failures[-1].detail}",
        hint="Run again: what was answered is kept and not asked again.",
    )
