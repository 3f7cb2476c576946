"""How are an instrument's parameters read? One reader for all of them, so that each refuses and explains alike."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import ValidationError

from dossier.errors import ConfigError
from dossier.model import Parameters, Value

V = TypeVar("V", bound=Value)


def parse_values(model: type[V], parameters: Parameters, *, kind: str) -> V:
    """Return parameters as a value of a model.

    Raises:
        ConfigError: names the parameter, what was expected and what was got.
    """
    hint = "Known parameters: " + ", ".join(model.model_fields) + "."
    try:
        params = model.model_validate_json(json.dumps(dict(parameters), allow_nan=False))
    except (ValidationError, ValueError) as error:
        raise ConfigError(f"{kind}: {_first(error)}", hint=hint) from error
    for name in model.model_fields:
        members = getattr(params, name)
        if isinstance(members, tuple) and len(set(members)) != len(members):
            raise ConfigError(f"{kind}: {name} lists a member twice: {list(members)}", hint=hint)
    return params


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_context=False)[0]
    where = "/".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}, got {str(first['input'])[:80]}"
