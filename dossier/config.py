"""What does the operator want? ``dossier.toml``, read strictly: an unknown key is an error that names its neighbour.

Paths in the file are relative to it. Secrets never stand in it: a passphrase comes from a file or the environment.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError

from dossier.errors import ConfigError
from dossier.model import Criterion, Kind, Provider, Scope, Slug, Text, Value


class SubjectConfig(Value):
    """Which model, and how its adapter loads it. ``options`` go to the adapter as they are."""

    adapter: Slug = "hf"
    path: Text
    options: Mapping[str, JsonValue] = {}


class EvidenceConfig(Value):
    """One piece of evidence to promise.

    ``inputs`` by role: a text is a file or folder (or what a plug-in under ``dossier.sources`` can find), a table a model.
    """

    id: Slug
    kind: Kind
    items: Text
    expires_after_days: Annotated[int, Field(ge=1, le=3660)]
    parameters: Mapping[str, JsonValue] = {}
    criteria: tuple[Criterion, ...] = ()
    calibration: Text | None = None
    sensitivity: Text | None = None
    reference: Text | None = None
    inputs: Mapping[Slug, Text | SubjectConfig] = {}


class BudgetConfig(Value):
    """What a run may cost at most; ``plan`` refuses beyond it."""

    prompts: Annotated[int, Field(ge=1)] | None = None
    petaflops: Annotated[float, Field(gt=0)] | None = None


class RunConfig(Value):
    """A whole ``dossier.toml``."""

    title: Text
    regime: Literal["eu_ai_act"] = "eu_ai_act"
    output: Text
    approver_functions: tuple[Text, ...] = ()
    supersedes: tuple[str, ...] = ()
    provider: Provider
    scope: Scope
    subject: SubjectConfig
    evidence: tuple[EvidenceConfig, ...]
    budget: BudgetConfig = BudgetConfig()


def load_config(path: Path) -> RunConfig:
    """Read ``dossier.toml``.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key, a missing or impossible value; names the key.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: the configuration cannot be read: {error.strerror}.",
            hint="`dossier init` writes one to start from.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}.") from error
    for name, value in _moments(document):
        raise ConfigError(
            f"{path}: {name}: expected a text, got a TOML date or time.", hint=f'Put it in quotes: "{value}".'
        )
    try:
        # by way of JSON: strict mode then takes arrays for tuples
        config = RunConfig.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise _config_error(error, path) from error
    ids = [piece.id for piece in config.evidence]
    if len(set(ids)) != len(ids):
        raise ConfigError(f"{path}: two [[evidence]] tables have the same id; got {ids}.")
    return config


def _moments(value: Any, name: str = "") -> Iterator[tuple[str, date | time]]:
    """Yield the places of unquoted dates and times, which JSON cannot say."""
    if isinstance(value, date | time):
        yield name.removeprefix("."), value
    elif isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _moments(member, f"{name}.{key}")


def _config_error(error: ValidationError, path: Path) -> ConfigError:
    faults = error.errors(include_url=False)
    unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
    first = (unknown or faults)[0]  # a misspelt key is also a missing one; the misspelling is the better news
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return ConfigError(
            f"{path}: {where}: this key is missing.",
            hint="`dossier init` leaves keys it cannot know as comments: fill them in.",
        )
    if first["type"] != "extra_forbidden":
        return ConfigError(f"{path}: {where}: {first['msg']}; got {first['input']!r:.120}.")
    *table, key = first["loc"]
    near = difflib.get_close_matches(str(key), _known_keys(table), n=1)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return ConfigError(f"{path}: {where}: unknown key{guess}", hint=f"Known here: {', '.join(_known_keys(table))}.")


def _known_keys(table: list[Any]) -> list[str]:
    models: dict[tuple[str, ...], type[Value]] = {
        (): RunConfig,
        ("provider",): Provider,
        ("scope",): Scope,
        ("subject",): SubjectConfig,
        ("budget",): BudgetConfig,
        ("evidence",): EvidenceConfig,
        ("evidence", "criteria"): Criterion,
    }
    names = tuple(part for part in table if isinstance(part, str))
    return sorted(models[names].model_fields) if names in models else []
