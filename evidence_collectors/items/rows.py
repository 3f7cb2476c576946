"""Which rows does a data file hold, and where in it does each one stand?

The suffix of a file says how it is written: ``.jsonl`` (JSON Lines), ``.csv``, ``.parquet``, ``.arrow`` (as the library
`datasets` saves it). Nothing is guessed from the content. A row knows its place, so that an error can name the line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dossier.errors import ConfigError

SUFFIXES = (".jsonl", ".csv", ".parquet", ".arrow")
SHOWN = 40  # characters of a short value that an error may show


@dataclass(frozen=True)
class Row:
    """One row of ``file``. ``where`` is "file:line", in tables "file, row n" (from 1); ``secret`` hides contents."""

    file: str
    where: str
    members: Mapping[str, Any]
    secret: bool = False

    def get(self, name: str) -> Any:
        """Return a member; a dotted name such as ``question.stem`` goes inside, unless a member has that very name.

        Raises:
            ConfigError: it is not there.
        """
        if name in self.members:
            return self.members[name]
        found: Any = self.members
        for part in name.split("."):
            if not isinstance(found, Mapping) or part not in found:
                raise ConfigError(
                    f"{self.where}: {name}: expected this member, got a row without it.",
                    hint=f"It has: {', '.join(map(str, self.members))}.",
                )
            found = found[part]
        return found

    def text(self, name: str) -> str:
        """Return a member that is a text with something in it, without white space around it."""
        value = self.get(name)
        if not isinstance(value, str) or not value.strip():
            raise self.fault(name, "a text that is not empty", value)
        return value.strip()

    def line(self, name: str) -> str:
        """Return a text as one line: every run of white space is one space."""
        return " ".join(self.text(name).split())

    def fault(self, name: str, expected: str, got: object) -> ConfigError:
        """Return the error for a member; a long text is told by its length alone, and any text of a secret set."""
        if isinstance(got, str) and (self.secret or len(got) > SHOWN):
            shown = f"a text of {len(got)} characters"
        elif self.secret and not isinstance(got, int | float | None):
            shown = f"a {type(got).__name__}"
        else:
            shown = repr(got)[:SHOWN]
        return ConfigError(f"{self.where}: {name}: expected {expected}, got {shown}.")


def parse(data: bytes, *, where: str, suffix: str, columns: Sequence[str] = (), secret: bool = False) -> Iterator[Row]:
    """Yield the rows of one file.

    Args:
        data: its bytes.
        where: its name, for errors.
        suffix: one of `SUFFIXES`.
        columns: the names of the columns of a CSV file without a heading; empty if its first line is one.
        secret: keep the contents out of every error.

    Raises:
        ConfigError: another suffix, bytes that are not what it says, or `pyarrow` is needed and not installed.
    """
    if suffix == ".jsonl":
        found = _json_lines(data, where)
    elif suffix == ".csv":
        found = _csv(data, where, columns)
    elif suffix in SUFFIXES:
        found = _table(data, where, suffix)
    else:
        raise ConfigError(f"{where}: expected a file named {', '.join(SUFFIXES)}, got {suffix or 'no suffix'!r}.")
    return (Row(where, place, members, secret) for place, members in found)


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: expected UTF-8, got another byte at {error.start}.") from error


def _json_lines(data: bytes, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(_text(data, where).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{where}:{number}"
        try:
            value = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "a member given twice, or too deep")
            raise ConfigError(f"{place}: expected one JSON value a line, got something else: {reason}.") from error
        if not isinstance(value, dict):
            raise ConfigError(f"{place}: expected a JSON object, got a {type(value).__name__}.")
        yield place, value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member is given twice")
    return value


def _csv(data: bytes, where: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(_text(data, where), newline=""), strict=True)
    names, before = list(columns), 0
    try:
        for cells in reader:
            place, before = f"{where}:{before + 1}", reader.line_num  # a row may span lines: its first one is named
            if not cells:
                continue
            if not names:
                names = cells
                if len(set(names)) != len(names):
                    raise ConfigError(f"{place}: expected a heading with different names, got one twice.")
                continue
            if len(cells) != len(names):
                raise ConfigError(f"{place}: expected {len(names)} cells, got {len(cells)}.")
            yield place, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise ConfigError(f"{where}:{before + 1}: expected CSV, got something else: {error}.") from error


def _table(data: bytes, where: str, suffix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        arrow = import_module("pyarrow")
    except ImportError as error:
        raise ConfigError(
            f"{where}: {suffix} files need pyarrow, which is not installed.",
            hint="pip install pyarrow, or export the set as JSON Lines.",
        ) from error
    source = arrow.BufferReader(data)
    try:
        if suffix == ".parquet":
            table = import_module("pyarrow.parquet").read_table(source)
        else:
            table = import_module("pyarrow.ipc").open_stream(source).read_all()
    except (arrow.ArrowException, OSError) as error:
        raise ConfigError(f"{where}: expected a {suffix[1:]} file, got other bytes.") from error
    for number, members in enumerate(table.to_pylist(), start=1):
        yield f"{where}, row {number}", members
