"""What does an instrument take beside the subject and its items? Files and models by role, each named by digest.

A plan records the digest; a run compares it before the instrument sees the input. The inputs themselves (a dictionary of
gigabytes, a second model) do not travel in the pack.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from dossier import canonical
from dossier.errors import CollectionError, ConfigError
from dossier.language_model import LanguageModel
from dossier.model import FileRef, PlannedEvidence, digest_of

FOLDER = "application/vnd.dossier.folder"
SUBJECT = "application/vnd.dossier.subject+json"
_CHUNK = 1 << 24


def read_items(given: str, base: Path) -> tuple[str, bytes]:
    """Return the items that a configuration in ``base`` names: a file's name and its bytes.

    Sources of the entry-point group ``dossier.items`` are asked first: ``find(given, base)`` returns a name and canonical
    bytes, or None if it knows no such set. What none of them knows is a file. The plan and the pack hold the bytes, so that
    a verifier needs no source.

    Raises:
        ConfigError: the file cannot be read, or a source refuses it.
    """
    for entry in metadata.entry_points(group="dossier.items"):
        found: tuple[str, bytes] | None = entry.load()(given, base)
        if found is not None:
            return found
    return Path(given).name, read_file(base / given)


def read_file(path: Path) -> bytes:
    """Return a file's bytes. Raises ConfigError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class EvidenceInputs:
    """The further inputs of one piece of evidence, by role."""

    files: Mapping[str, Path] = field(default_factory=dict)
    models: Mapping[str, LanguageModel] = field(default_factory=dict)

    def references(self) -> dict[str, FileRef]:
        """Return every input named by digest. Raises ConfigError for a file that cannot be read."""
        named = {role: reference_of(path) for role, path in self.files.items()}
        for role, model in self.models.items():
            subject = model.subject
            named[role] = FileRef(
                name=subject.name, sha256=digest_of(subject), size=subject.parameter_count or 0, media_type=SUBJECT
            )
        return named


def reference_of(path: Path) -> FileRef:
    """Return a file or folder by digest; a folder's is over the RFC 8785 JSON of ``{"files": {name: sha256}}``.

    Hidden files do not count. Of an instrument's own formats only safetensors, npz and JSON are ever read.

    Raises:
        ConfigError: it cannot be read, or the folder is empty.
    """
    try:
        if path.is_file():
            size, sha256 = path.stat().st_size, _sha256(path)
            return FileRef(name=path.name, sha256=sha256, size=size, media_type="application/octet-stream")
        found = sorted(one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
        files = {one.relative_to(path).as_posix(): _sha256(one) for one in found}
        size = sum(one.stat().st_size for one in found)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    if not files:
        raise ConfigError(f"{path}: no such file, or a folder without files.")
    return FileRef(name=path.name, sha256=canonical.digest({"files": files}), size=size, media_type=FOLDER)


def check_inputs(planned: PlannedEvidence, given: EvidenceInputs) -> None:
    """Compare what is given with what the plan names.

    Raises:
        CollectionError: an input is missing or not the planned one.
    """
    have = given.references()
    for role, expected in planned.inputs.items():
        found = have.get(role)
        if found is None or found.sha256 != expected.sha256:
            got = "nothing" if found is None else f"{found.name} with digest {found.sha256[:16]}…"
            raise CollectionError(
                f"{planned.id}: input {role!r} is not the planned one: expected {expected.name} with digest "
                f"{expected.sha256[:16]}…, got {got}.",
                hint="Plan again, or bring the input that was planned.",
            )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(_CHUNK):
            digest.update(part)
    return digest.hexdigest()
