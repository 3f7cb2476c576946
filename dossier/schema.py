"""Is this document what its schema says, and if not, where and why?

The handwritten files in ``schemas/`` are the contract. They are read from the installed package and from nowhere else: no
``$ref`` is ever fetched, not over the network and not from a disk. Two validators stand behind the answer: `jsonschema`
gives the reference verdict and the words, `jsonschema-rs` goes through JSON Lines in bulk. Both are imported on first use.

A schema judges JSON values; which JSON texts are refused before that is `dossier.canonical.loads`'s question.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any, NoReturn

from dossier import canonical
from dossier.errors import SchemaError

BASE_URI = "https://schemas.dossier.invalid/"  # an identifier, never an address: RFC 2606 reserves .invalid
EVIDENCE = "evidence.v1"
SHARED = "common.v1"  # definitions only; no document follows it
MAX_SHOWN = 80  # characters of a document's own text in a message; it may be hostile

Schemas = Mapping[str, Any]  # document name, such as "plan.v1", to its schema


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a document. ``pointer`` is an RFC 6901 JSON pointer, "" for the whole document."""

    pointer: str
    message: str


def documents() -> tuple[str, ...]:
    """Return the names of all documents that have a schema, for example ``plan.v1``."""
    return tuple(sorted(set(shipped()) - {SHARED}))


def validate(document: str, content: Any, *, where: str) -> Any:
    """Return the JSON value of a document, checked strictly.

    Args:
        document: the name of its schema; evidence is checked against the schema of its kind, too, where there is one.
        content: the file's bytes, or a value that `dossier.canonical.loads` gave.
        where: names the file in errors.

    Raises:
        SchemaError: not strict JSON, or not such a document; it names the first fault and counts the others.
    """
    value = canonical.loads(content, where=where) if isinstance(content, bytes) else content
    faults = errors(document, value)
    if faults:
        _refuse(document, faults, where=where)
    return value


def errors(document: str, value: Any, *, schemas: Schemas | None = None) -> tuple[Fault, ...]:
    """Return everything wrong with a JSON value as such a document, sorted by pointer; () if nothing is.

    ``schemas`` are the shipped ones unless others are given.

    Raises:
        SchemaError: there is no such document, or its schema cannot be used.
    """
    faults: list[Fault] = []
    for name in _names(document, value, shipped() if schemas is None else schemas):
        validator = _shipped_reference(name) if schemas is None else reference_validator(name, schemas)
        with _usable(name):
            faults += [fault for error in validator.iter_errors(value) for fault in _faults(error)]
    return tuple(sorted(set(faults), key=lambda fault: (fault.pointer, fault.message)))


def validate_lines(document: str, data: bytes, *, where: str) -> int:
    """Check a JSON Lines text in bulk and return how many documents it holds.

    Raises:
        SchemaError: as `validate`, with the number of the first line at fault.
    """
    bulk = _shipped_bulk(document)
    count = 0
    for count, value in enumerate(canonical.load_lines(data, where=where), start=1):
        if not bulk.is_valid(value):
            validate(document, value, where=f"{where}:{count}")
            raise SchemaError(
                f"{where}:{count}: jsonschema-rs refuses this line as {document} and jsonschema accepts it",
                hint="That is a fault of the tool or of its installation; please report it with the line.",
            )
    return count


def read_schemas(folder: Traversable) -> Schemas:
    """Return every schema below a folder by document name.

    Raises:
        SchemaError: a file is not strict JSON, is not a 2020-12 schema, or its ``$id`` is not its name.
    """
    return {name: _read(name, file) for name, file in sorted(_files(folder, ""))}


@functools.cache
def shipped() -> Schemas:
    """Return the schemas that ship with this version of the tool."""
    return read_schemas(importlib.resources.files("dossier.schemas"))


def reference_validator(document: str, schemas: Schemas) -> Any:
    """Return the validator that gives the verdict: jsonschema, with the pattern keyword as ECMA-262 has it.

    Its registry holds ``schemas`` and nothing else, so a ``$ref`` to anything else is an error, not a download.

    Raises:
        SchemaError: ``document`` has no schema there, or the schema breaks its meta-schema.
    """
    import jsonschema
    import referencing
    from jsonschema import validators

    schema = _schema(document, schemas)
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.exceptions.SchemaError as error:
        raise SchemaError(f"schema {document}: not a JSON Schema: {error.message}") from error
    registry: Any = referencing.Registry().with_resources(
        [(content["$id"], referencing.Resource.from_contents(content)) for content in schemas.values()]
    )
    extend: Any = validators.extend  # untyped in the stubs
    strict = extend(jsonschema.Draft202012Validator, {"pattern": _pattern})
    return strict(schema, registry=registry)


def bulk_validator(document: str, schemas: Schemas) -> Any:
    """Return the fast validator, jsonschema-rs, which is told to stay offline.

    Raises:
        SchemaError: ``document`` has no schema there, or it cannot be compiled, for a reference to elsewhere say.
    """
    import jsonschema_rs

    schema = _schema(document, schemas)
    try:
        registry = jsonschema_rs.Registry([(content["$id"], content) for content in schemas.values()])
        return jsonschema_rs.validator_for(schema, registry=registry, offline=True)
    except (ValueError, jsonschema_rs.ReferencingError) as error:  # its ValidationError is a ValueError
        raise SchemaError(f"schema {document}: cannot be used: {error}") from error


@functools.cache
def _shipped_reference(document: str) -> Any:
    return reference_validator(document, shipped())


@functools.cache
def _shipped_bulk(document: str) -> Any:
    return bulk_validator(document, shipped())


def _names(document: str, value: Any, schemas: Schemas) -> tuple[str, ...]:
    """Return the schemas that apply: the document's own and, for evidence, that of its kind."""
    kind = value.get("kind") if isinstance(value, dict) else None
    special = f"evidence/{kind}.v1"
    return (document, special) if document == EVIDENCE and special in schemas else (document,)


def _schema(document: str, schemas: Schemas) -> Any:
    if document not in schemas:
        raise SchemaError(f"there is no schema {document!r}", hint=f"Known: {', '.join(sorted(schemas))}.")
    return schemas[document]


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.name.startswith("_"):
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif re.search(r"\.v[0-9]+\.json$", entry.name):
            yield prefix + entry.name.removesuffix(".json"), entry


def _read(name: str, file: Traversable) -> Any:
    where = f"schema {name}"
    content = canonical.loads(file.read_bytes(), where=where)
    expected = f"{BASE_URI}{name}.json"
    if not isinstance(content, dict) or content.get("$id") != expected:
        raise SchemaError(f"{where}: its $id is not {expected}", pointer="/$id")
    return content


@contextlib.contextmanager
def _usable(document: str) -> Iterator[None]:
    """Turn what a validator raises about its schema, rather than about the document, into a `SchemaError`."""
    import referencing.exceptions

    try:
        yield
    except (referencing.exceptions.Unresolvable, re.error) as error:
        raise SchemaError(f"schema {document}: cannot be used: {error}") from error


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    """Check ``pattern`` as ECMA-262 does: ``$`` is the end of the text, where Python's also stands before a line feed."""
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not re.search(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"does not match {pattern}")


# --- words ---------------------------------------------------------------------------------------------------------


def _refuse(document: str, faults: tuple[Fault, ...], *, where: str) -> NoReturn:
    first = faults[0]
    others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    raise SchemaError(
        f"{where}{first.pointer or '/'}: {first.message}{others}",
        pointer=first.pointer,
        hint=f"schemas/{document}.json says what each member means.",
    )


def _faults(error: Any) -> Iterator[Fault]:
    """Yield a validator's error in our words; where one alternative was meant, what is wrong with that one."""
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error.absolute_path)
    meant = [inner for inner in error.context or () if inner.schema_path[0] == 0]
    if error.validator in {"anyOf", "oneOf"} and meant and error.instance is not None:
        for inner in meant:
            yield from _faults(inner)
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        yield from (Fault(pointer, f"the member {_shown(name)} is missing") for name in missing)
    elif error.validator == "additionalProperties" and error.validator_value is False:
        known = sorted(error.schema.get("properties", {}))
        for name in sorted(set(error.instance) - set(known)):
            yield Fault(pointer, f"the member {_shown(name)} is unknown{_near(name, known)}")
    else:
        yield Fault(pointer, f"expected {_expected(error)}, got {_shown(error.instance)}")


def _expected(error: Any) -> str:
    """Return what a keyword asks for, in words; the schema's own description where it says more."""
    wanted = error.validator_value
    described = str(error.schema.get("description", "")).rstrip(".")
    if error.validator in {"pattern", "anyOf", "oneOf"} and described:
        return f"this: {described}"
    return {
        "type": lambda: " or ".join(wanted) if isinstance(wanted, list) else str(wanted),
        "enum": lambda: f"one of {', '.join(map(_shown, wanted))}",
        "const": lambda: _shown(wanted),
        "minimum": lambda: f"at least {wanted}",
        "maximum": lambda: f"at most {wanted}",
        "exclusiveMinimum": lambda: f"more than {wanted}",
        "exclusiveMaximum": lambda: f"less than {wanted}",
        "minLength": lambda: f"at least {wanted} characters",
        "maxLength": lambda: f"at most {wanted} characters",
        "minItems": lambda: f"at least {wanted} entries",
        "maxItems": lambda: f"at most {wanted} entries",
    }.get(error.validator, lambda: f"{error.validator} {_shown(wanted)}")()


def _near(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name[:MAX_SHOWN], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _shown(value: Any) -> str:
    """Return a value as short ASCII JSON, so that nothing in a document can steer a terminal."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
