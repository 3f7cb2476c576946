"""Which bytes stand for a value, and what is their digest?

Writing: RFC 8785 (JSON Canonicalization Scheme). Reading: a strict JSON loader that refuses everything on which two
JSON parsers may disagree: duplicate keys, NaN and infinities, integers beyond 2**53 - 1, integral numbers written with a
fraction or an exponent, lone surrogates, nesting deeper than ``MAX_DEPTH``.

Digests are SHA-256, written as 64 lower-case hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import rfc8785

from dossier.errors import SchemaError

MAX_INTEGER = 2**53 - 1  # RFC 7493 section 2.2: beyond it JavaScript rounds
MAX_DEPTH = 64  # our deepest document has 9 levels; parsers in the field stop between 512 and 2000


def encode(value: Any) -> bytes:
    """Return the RFC 8785 bytes of a JSON value.

    Raises:
        ValueError: the value has no canonical form (NaN, an integer beyond 2**53 - 1, a lone surrogate, a foreign type).
    """
    try:
        return _ENCODER.encode(_plain(value)).encode()  # four times as fast, and all that our documents hold
    except (_UnusualError, UnicodeEncodeError):
        pass
    try:
        return rfc8785.dumps(_whole(value))
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"no canonical JSON for this value: {error}") from error


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical bytes of a JSON value."""
    return sha256(encode(value))


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def loads(data: bytes, *, where: str) -> Any:
    """Return the value of one strict JSON text. ``where`` names the file in errors.

    Raises:
        SchemaError: not UTF-8, not JSON, or JSON on which parsers disagree.
    """
    try:
        text = data.decode("utf-8")
        value = _DECODER.decode(text)
        if _may_be_deep(data) or _may_hold_surrogates(data):
            _walk(value, depth=0)
    except (UnicodeDecodeError, json.JSONDecodeError, _RefusedError, RecursionError) as error:
        raise SchemaError(
            f"{where}: not strict JSON: {error}",
            hint="Write it with RFC 8785: no duplicate keys, no NaN, integers within 2**53 - 1, UTF-8.",
        ) from error
    return value


def load_lines(data: bytes, *, where: str) -> Iterator[Any]:
    """Yield the values of a JSON Lines text, one strict JSON value a line; the last line ends with a line feed.

    Raises:
        SchemaError: as `loads`, with the line number; also for an empty line or a missing final line feed.
    """
    if data and not data.endswith(b"\n"):
        raise SchemaError(f"{where}: the last line has no line feed; the file was cut off.")
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        yield loads(line, where=f"{where}:{number}")


def dump_lines(values: Iterable[Any]) -> bytes:
    """Return JSON Lines: the canonical bytes of each value, each followed by a line feed."""
    return b"".join(encode(value) + b"\n" for value in values)


class _UnusualError(Exception):
    """A value whose canonical bytes the standard library's encoder may write in another way than RFC 8785."""


def _plain(value: Any) -> Any:
    """Return the value with whole floats as integers, if `json` writes it as RFC 8785 does.

    It does for texts, integers within 2**53 - 1, and floats that neither it nor ECMAScript writes with an exponent;
    member names sort alike by code point and by UTF-16 code unit if they are ASCII.

    Raises:
        _UnusualError: anything else is in it.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is float and value.is_integer():
        value, kind = int(value), int
    if kind is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return value
    if kind is float and 1e-4 <= abs(value) < 1e16:
        return value
    if kind is dict and all(type(key) is str and key.isascii() for key in value):
        return {key: _plain(member) for key, member in value.items()}
    if kind is list or kind is tuple:
        return [_plain(member) for member in value]
    raise _UnusualError


def _whole(value: Any) -> Any:
    """Return the value with whole floats as integers, so that those beyond 2**53 - 1 are refused as integers are."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(member) for key, member in value.items()}
    return [_whole(member) for member in value] if isinstance(value, list | tuple) else value


class _RefusedError(ValueError):
    """JSON that some parser would read in another way."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _RefusedError(f"duplicate key {twice!r}")
    return value


def _integer(digits: str) -> int:
    if len(digits) < 16 and digits != "-0":
        return int(digits)
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise _RefusedError(f"integer {digits[:24]} is beyond 2**53 - 1")
    if digits == "-0":
        raise _RefusedError("negative zero")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _RefusedError(f"number {digits[:24]} overflows a double")
    if number.is_integer():
        raise _RefusedError(f"number {digits[:24]} is integral: write it without fraction or exponent")
    return number


def _constant(name: str) -> None:
    raise _RefusedError(f"{name} is not JSON")


def _may_be_deep(data: bytes) -> bool:
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH


def _may_hold_surrogates(data: bytes) -> bool:
    """Whether an escape may stand for one: in UTF-8 itself there is none."""
    return b"\\ud" in data or b"\\uD" in data


def _walk(value: Any, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _RefusedError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_text(key)
            _walk(member, depth=depth + 1)
    elif isinstance(value, list):
        for member in value:
            _walk(member, depth=depth + 1)


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _RefusedError("a lone surrogate") from error


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
)
