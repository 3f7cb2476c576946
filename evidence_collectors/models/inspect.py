"""How does a model behind an API answer? The adapter behind the name ``inspect``: any provider of inspect_ai, as a black box.

Whatever the address, only answers come back, so the subject's identity is asserted and nothing is claimed about equal
completions. The key comes from the environment and goes to the provider alone: it is cut out of every text that leaves
this module. `inspect_calls` says how requests are put, retried and given up; `inspect_replies` what is read from an answer.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, ClassVar, NoReturn
from urllib.parse import urlsplit, urlunsplit

from inspect_ai.model import GenerateConfig, get_model

from dossier import canonical
from dossier.errors import CollectionError, ConfigError
from dossier.language_model import Capability, Continuation, ModelSize
from dossier.model import Completion, Environment, Request, Subject, digest_of
from evidence_collectors.models import inspect_calls
from evidence_collectors.models.inspect_calls import Settings, adapt
from evidence_collectors.models.inspect_conduct import Redactor, Tally, cost, plain

_UNKNOWN = "unknown, behind an endpoint"
_NOT_PROMISED = (
    "Not claimed: behind an API the provider draws, batches, routes and replaces as it likes. "
    "Each request carries a seed of its own where the provider takes one."
)
_NO_LIMIT = (
    10_000  # inspect_ai keeps one limit a process for a model, set by whoever asks first; ours is in `inspect_calls`
)
_SECRET_WORDS = frozenset(  # parts of the names of model_args
    ("key", "apikey", "token", "secret", "password", "credential", "credentials", "authorization", "headers")
)


@dataclass(frozen=True)
class InspectModel:
    """A `dossier.language_model.LanguageModel` over a provider of inspect_ai; see `load`.

    ``tally`` is the one part that changes: what was given up, retried and paid in this process. The environment says so.
    """

    settings: Settings
    subject: Subject
    loaded_environment: Environment
    tally: Tally = field(default_factory=Tally)
    takes_prefill: ClassVar[bool] = False

    @property
    def environment(self) -> Environment:
        """How the model was reached, and what happened on the way so far."""
        versions = {**self.loaded_environment.versions, **self.tally.facts(self.settings.price)}
        return self.loaded_environment.model_copy(update={"versions": versions})

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this adapter can do: ask."""
        return frozenset({"generate"})

    @property
    def size(self) -> ModelSize | None:
        """Unknown behind an endpoint."""
        return None

    @property
    def unanswered(self) -> Mapping[str, str]:
        """Why requests of this process got no completion, by digest; without the key."""
        return self.tally.reasons

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield one completion per distinct request as soon as it is there, with at most ``max_connections`` in flight.

        A request that the provider refused or answered with no usable text gets no completion: ``tally`` counts it by
        kind, and the instrument records a failed trial. All requests are looked at before the first is asked.
        No prefill is sent: servers' templates may cut the reasoning out of a given message, and nothing says so.

        Raises:
            CollectionError: a request no API can take, or requests left open by the infrastructure (rate limit, time-out,
                no connection, server error, no access), after everything that could be answered was yielded. What was
                answered before can be kept; the rest can be asked again.
        """
        wanted = {digest_of(request): request for request in requests}
        if any(request.prefill for request in wanted.values()):
            raise CollectionError(
                "an API takes no prefill, the opening of the model's own turn",
                hint="Ask without it (perturbation: hand_back = \"turns\"), or load the weights through the adapter 'hf'.",
            )
        if wanted:
            yield from inspect_calls.answers(lambda: _open(self.settings), self.settings, wanted, self.tally)

    def logprobs(self, continuations: Iterable[Continuation]) -> Iterator[tuple[float, ...]]:
        """Raise CollectionError: an API gives no log-probabilities of a text of ours."""
        said = f"{self.settings.model}: an API gives no log-probabilities of a given text"
        raise CollectionError(said, hint="Load the weights through the adapter 'hf'.")

    def price_of(self, prompt_tokens: int, generated_tokens: int) -> float | None:
        """Return what so many tokens cost, in the currency of the prices; None where no prices were given."""
        return cost(self.settings.price, prompt_tokens, generated_tokens)


def load(
    path_or_id: str,
    *,
    base_url: str | None = None,
    api_key_env: str | None = None,
    max_connections: int = 10,
    timeout_s: float = 300.0,
    max_retries: int = 6,
    backoff_s: float = 2.0,
    price_per_million_tokens: tuple[float, float] | None = None,
    reasoning_tags: tuple[str, str] = ("<think>", "</think>"),
    reasoning_opened: bool = False,
    send_seed: bool = True,
    model_args: Mapping[str, Any] | None = None,
) -> InspectModel:
    """Return the model of an inspect_ai name, ``provider/model`` or ``openai-api/service/model``. Nothing is asked yet.

    Args:
        path_or_id: the name, as ``inspect eval --model`` takes it.
        base_url: the endpoint, without credentials or query; None for the provider's own.
        api_key_env: the environment variable that holds the key; None for the provider's own variable.
        max_connections: requests in flight at a time.
        timeout_s: seconds for one attempt.
        max_retries: how often one request is tried again while nobody else is answered.
        backoff_s: seconds before the first repetition; doubled for each further one. A longer ``Retry-After`` counts.
        price_per_million_tokens: of prompt and of generated tokens, in any one currency.
        reasoning_tags: what opens and closes the reasoning where the provider leaves it in the text.
        reasoning_opened: the endpoint's chat template opens the block itself, so that only the closing tag comes back.
        send_seed: send each request's seed (31 bits of it).
        model_args: further arguments of the provider, as ``inspect eval -M`` takes them; no secrets.

    Raises:
        ConfigError: an impossible argument, an unknown provider, or a key that is not in the environment.
    """
    _check_numbers(
        path_or_id,
        {"max_connections": max_connections, "max_retries": max_retries},
        {"timeout_s": timeout_s, "backoff_s": backoff_s},
    )
    _check_texts(path_or_id, base_url, api_key_env, reasoning_tags)
    _check_rest(path_or_id, {"reasoning_opened": reasoning_opened, "send_seed": send_seed}, price_per_million_tokens)
    settings = Settings(
        model=path_or_id,
        base_url=base_url,
        api_key_env=api_key_env,
        max_connections=max_connections,
        timeout_s=float(timeout_s),
        max_retries=max_retries,
        backoff_s=float(backoff_s),
        price=price_per_million_tokens,
        tags=reasoning_tags,
        already_open=reasoning_opened,
        send_seed=send_seed,
        model_args=_checked_args(path_or_id, model_args or {}),
    )
    version = metadata.version("inspect_ai")
    address = _visited(settings)
    return InspectModel(settings, _subject(settings, address, version), _environment(settings, version))


def _subject(settings: Settings, address: str, version: str) -> Subject:
    reading = {
        "model_args": dict(settings.model_args),
        "reasoning_opened": settings.already_open,
        "reasoning_tags": list(settings.tags),
        "seed_sent": settings.send_seed,
    }
    return Subject(
        name=settings.model,
        identity="asserted",
        weights_sha256=None,
        tokenizer_sha256=None,
        chat_template_sha256=None,
        config_sha256=None,
        generation_sha256=canonical.digest(reading),
        endpoint=f"{settings.model} at {address}, through inspect_ai {version}",
        parameter_count=None,
    )


def _environment(settings: Settings, version: str) -> Environment:
    return Environment(
        engine=f"inspect_ai {version}",
        versions={"inspect_ai": version, "python": platform.python_version()},
        platform=_UNKNOWN,
        device=_UNKNOWN,
        dtype=_UNKNOWN,
        quantisation=None,
        batch_size=settings.max_connections,
        same_completion=_NOT_PROMISED,
    )


def _visited(settings: Settings) -> str:
    """Open the provider once, which checks name, key and arguments, and return its address without credentials."""

    async def visit() -> str:
        model, _ = _open(settings)
        address = settings.base_url or getattr(model.api, "base_url", None) or ""
        await model.api.aclose()
        return str(address)

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        parts = urlsplit(runner.run(visit()))
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", "")) or "the provider's own address"


def _open(settings: Settings) -> tuple[Any, Redactor]:
    """Return the provider's model with its own hidden retries off, and what keeps its key out of texts."""
    key = None if settings.api_key_env is None else os.environ.get(settings.api_key_env)
    if settings.api_key_env is not None and not key:
        raise ConfigError(
            f"{settings.model}: the environment variable {settings.api_key_env} is not set, so there is no key",
            hint="Export it in the shell that runs this; a key never stands in a configuration file.",
        )
    redactor = Redactor.of([key])
    try:
        model = get_model(
            settings.model,
            config=GenerateConfig(max_connections=_NO_LIMIT, max_retries=0, cache=False),
            base_url=settings.base_url,
            api_key=key,
            memoize=False,
            **settings.model_args,
        )
    except Exception as error:  # a provider's constructor may raise anything, its package may be missing
        _cannot_open(settings.model, error, redactor)
    names = (*getattr(model.api, "api_key_vars", ()), settings.api_key_env or "")
    redactor = Redactor.of([key, getattr(model.api, "api_key", None), *(os.environ.get(name) for name in names)])
    adapt(model.api)
    return model, redactor


def _cannot_open(name: str, error: Exception, redactor: Redactor) -> NoReturn:
    raise ConfigError(
        f"{name}: inspect_ai cannot open this model: {plain(redactor(str(error)))}",
        hint="Names are provider/model, for example openai-api/local/my-model with base_url and api_key_env.",
    ) from None  # the cause may hold the key


def _check_numbers(name: str, whole: Mapping[str, object], seconds: Mapping[str, object]) -> None:
    """Refuse impossible values of any type: they come from a configuration file."""
    for option, value in whole.items():
        least = 0 if option == "max_retries" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{name}: {option} must be a whole number, {least} or more, got {value!r}")
    for option, value in seconds.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
            raise ConfigError(f"{name}: {option} must be a number of seconds above 0, got {value!r}")


def _check_texts(name: str, base_url: object, api_key_env: object, reasoning_tags: object) -> None:
    for option, value in (("base_url", base_url), ("api_key_env", api_key_env)):
        if value is not None and (not isinstance(value, str) or not value):
            raise ConfigError(f"{name}: {option} must be a text, got {type(value).__name__}")
    parts = urlsplit(base_url) if isinstance(base_url, str) else None
    if parts is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ConfigError(f"{name}: base_url must be an address that starts with http:// or https://")
    if parts is not None and ("@" in parts.netloc or parts.query or parts.fragment):
        raise ConfigError(  # the value is not repeated: what is too much in it may be a key
            f"{name}: base_url must hold no credentials, query or fragment",
            hint="A key belongs into an environment variable; name it under api_key_env.",
        )
    tags = reasoning_tags if isinstance(reasoning_tags, tuple) else ()
    if len(tags) != 2 or not all(isinstance(tag, str) and tag for tag in tags) or tags[0] == tags[1]:
        raise ConfigError(f"{name}: reasoning_tags must be two different texts, got {reasoning_tags!r}")


def _check_rest(name: str, switches: Mapping[str, object], price: object) -> None:
    for option, value in switches.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{name}: {option} must be true or false, got {value!r}")
    pair = price if isinstance(price, tuple) else ()
    numbers = [one for one in pair if isinstance(one, int | float) and not isinstance(one, bool) and one >= 0]
    if price is not None and (len(pair) != 2 or len(numbers) != 2):
        raise ConfigError(
            f"{name}: price_per_million_tokens must be two numbers, of prompt and of generated tokens, got {price!r}"
        )


def _checked_args(name: str, model_args: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a provider's further arguments; those that look like secrets are refused, and their values not repeated."""
    if not isinstance(model_args, Mapping):
        raise ConfigError(f"{name}: model_args must be a table, got {type(model_args).__name__}")
    for option in model_args:
        if _SECRET_WORDS & set(option.lower().replace("-", "_").split("_")):
            raise ConfigError(
                f"{name}: model_args.{option} looks like a secret, which has no place in a configuration file",
                hint="A key comes from an environment variable; name it under api_key_env.",
            )
        if option == "trust_remote_code":
            raise ConfigError(f"{name}: model_args.trust_remote_code would run code from the model's folder")
    return dict(model_args)
