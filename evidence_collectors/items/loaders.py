"""Where do the items of a plan come from, if they are not a file of ours already?

Either from a set we ship, named in `catalog.v1.json`, or from a set the operator has: then a TOML file beside the data
describes it (`formats.Description`), and no code is needed:

    format = "mmlu"
    file = "mmlu_300.jsonl"
    licence = "MIT"

What comes out is a JSON Lines file of items or contrast texts in canonical bytes; it is these that a plan names by digest
and that go into the pack, so that a verifier needs neither the source nor this module. Same data and description, same bytes.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from dossier import canonical
from dossier.errors import ConfigError, IntegrityError
from dossier.model import Count, Digest, Item, Slug, Text, Value
from evidence_collectors.items import rows
from evidence_collectors.items.formats import MMLU_COLUMNS, READERS, Description

FOLDER = Path(__file__).parent
CATALOG = FOLDER / "catalog.v1.json"


class Shipped(Value):
    """A set we ship. ``companions`` are further files that belong to it, by digest: how its answers are derived again."""

    name: Slug
    title: Text
    about: Text
    kind: Literal["questions", "contrasts"]
    file: Text
    licence: Text
    count: Count
    sha256: Digest
    companions: Mapping[str, Digest]


class Catalog(Value):
    """The sets we ship."""

    catalog: Text
    licence: Text
    sets: Annotated[tuple[Shipped, ...], Field(min_length=1)]


@cache
def catalog() -> Mapping[str, Shipped]:
    """Return the shipped sets by name."""
    return {one.name: one for one in Catalog.model_validate_json(CATALOG.read_bytes()).sets}


def shipped(name: str) -> bytes:
    """Return the bytes of a shipped set. Raises KeyError for an unknown name.

    Raises:
        IntegrityError: the installed file is not the one of the catalogue.
    """
    one = catalog()[name]
    data = (FOLDER / one.file).read_bytes()
    if canonical.sha256(data) != one.sha256:
        raise IntegrityError(f"{FOLDER / one.file}: not the bytes of the catalogue; the installed file was changed.")
    return data


def find(text: str, base: Path) -> tuple[str, bytes] | None:
    """Return the file name and bytes of items: of a set described by a TOML file beside ``base``, or of a shipped one.

    None where the text is neither; a file of items is then to be read as it is.

    Raises:
        ConfigError: the description or the data are not what they should be.
    """
    if text.endswith(".toml"):
        return Path(text).with_suffix(".jsonl").name, open_set(base / text)
    if text in catalog() and not (base / text).exists():
        return catalog()[text].file, shipped(text)
    return None


def open_set(path: Path) -> bytes:
    """Return the items that a description beside its data stands for, as canonical JSON Lines.

    Raises:
        ConfigError: names the file, the line, the member, what was expected and what was got.
    """
    about = describe(_read(path), where=str(path))
    data = {str(found.relative_to(path.parent)): _read(found) for found in _files(path, about)}
    items = convert(about, data, where=str(path))
    try:
        return canonical.dump_lines(items)
    except ValueError as error:
        raise ConfigError(f"{path}: expected texts that have UTF-8 bytes, got one without: {error}.") from error


def describe(data: bytes, *, where: str) -> Description:
    """Return a description from the bytes of its TOML file.

    Raises:
        ConfigError: not TOML, an unknown key, a missing or impossible value.
    """
    try:
        about = Description.model_validate_json(json.dumps(tomllib.loads(data.decode("utf-8"))))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ConfigError(f"{where}: expected TOML without dates, got something else: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{where}: {name}: {first['msg']}; got {str(first['input'])[:80]!r}.",
            hint="Keys: " + ", ".join(Description.model_fields) + ".",
        ) from error
    if about.format == "gpqa" and about.sha256 is None:
        raise ConfigError(
            f"{where}: sha256: expected the digest of the file, got nothing.",
            hint="GPQA is not to be published; pin the copy that you were given: `sha256sum FILE`.",
        )
    return about


def convert(about: Description, data: Mapping[str, bytes], *, where: str) -> tuple[Item, ...]:
    """Return the items of a set from its data files by name, in the order of the names and rows. Pure.

    Raises:
        ConfigError: another digest, a row that does not fit, an id twice, an id to select that is not there, no items.
    """
    if about.sha256 is not None and (got := digest_of(data)) != about.sha256:
        raise ConfigError(f"{where}: sha256: expected {about.sha256}, got {got}.", hint="Is it another edition?")
    items: dict[str, Item] = {}
    met: set[str | None] = set()
    chosen, left_out = set(about.select), set(about.leave_out)
    for row in _rows(about, data):
        own = _own(row, about)
        met |= {row.where, own}
        if {row.where, own} & left_out or (chosen and own and own not in chosen):
            continue  # before it is read: a row that is left out may be broken
        own, item = READERS[about.format](row, about)
        met.add(own)
        if own in left_out or (chosen and own not in chosen):
            continue
        name = str(item["id"])
        if name in items and about.duplicates == "drop" and items[name] == item:
            continue
        if name in items:
            raise ConfigError(
                f"{row.where}: id: expected a name of its own, got {name!r} a second time.",
                hint='Rows that say the same are dropped with duplicates = "drop".',
            )
        items[name] = item
    if unknown := sorted((chosen | left_out) - met):
        raise ConfigError(f"{where}: select, leave_out: expected ids of the data, got {unknown[0]!r}, which is none.")
    if not items:
        raise ConfigError(f"{where}: expected at least one item, got none.")
    return tuple(items.values())


def digest_of(data: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of one data file; of several, of their digests, one a line, in the order of their names."""
    digests = [canonical.sha256(data[name]) for name in sorted(data)]
    return digests[0] if len(digests) == 1 else canonical.sha256("".join(f"{one}\n" for one in digests).encode())


def _rows(about: Description, data: Mapping[str, bytes]) -> Iterable[rows.Row]:
    columns = MMLU_COLUMNS if about.format == "mmlu" else ()
    for name in sorted(data):
        yield from rows.parse(
            data[name], where=name, suffix=Path(name).suffix, columns=columns, secret=about.format == "gpqa"
        )


def _own(row: rows.Row, about: Description) -> str | None:
    """Return the id a row has in its source, if it says one."""
    name = {"gpqa": "Record ID", "questions": about.fields.get("id"), "contrasts": about.fields.get("id")}.get(
        about.format, "id"
    )
    value = row.members.get(name) if isinstance(name, str) else None
    return str(value).strip() if isinstance(value, str | int) else None


def _files(path: Path, about: Description) -> list[Path]:
    if not any(sign in about.file for sign in "*?["):
        return [path.parent / name for name in (about.file, about.benign) if name is not None]
    found = sorted(one for one in path.parent.glob(about.file) if one.is_file())
    if not found:
        raise ConfigError(f"{path}: file: expected files that match {about.file!r}, got none.")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "For a data set folder give a pattern, such as data/*.parquet." if path.is_dir() else ""
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.", hint=hint) from error
