"""How is a pack laid out, written, and read when its sender is hostile?

A pack is a zip or a folder with the members of ``docs/pack-format.md``. Nothing is ever extracted: members are read one
by one, within limits, under names that cannot leave the pack or collide on any file system.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dossier import canonical
from dossier.errors import ConfigError, IntegrityError
from dossier.files import replacing
from dossier.model import FileRef, Manifest, ManifestEntry, dump

MAX_MEMBERS = 10_000
MAX_MEMBER_BYTES = 512 * 2**20
MAX_TOTAL_BYTES = 4 * 2**30
MAX_RATIO = 200  # deflate reaches 1032 at best; JSON of ours stays under 40
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,199}(/[a-z0-9][a-z0-9_.-]{0,199}){0,3}")
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same members give the same zip

DOSSIER, PLAN, PLAN_ENVELOPE = "dossier.json", "plan.json", "plan.dsse.json"
CATALOGUE, LEDGER, MANIFEST = "catalogue.json", "ledger.jsonl", "manifest.json"
PDF, ATTESTATION = "dossier.pdf", "attestation.dsse.json"
SALTS, EDITION = "salts.json", "edition.json"
APPROVALS = "approvals/"
NO_SALT = "0" * 64
MARKS = (DOSSIER, PLAN, MANIFEST, ATTESTATION)  # what holds none of these is no pack at all
OUTSIDE_MANIFEST = (MANIFEST, PDF, ATTESTATION, EDITION)  # and everything under approvals/

MEDIA_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".pdf": "application/pdf",
    ".safetensors": "application/vnd.safetensors",
}


@dataclass(frozen=True)
class Pack:
    """The members of a pack, by name. Read-only."""

    members: Mapping[str, bytes]

    def get(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises:
            IntegrityError: it is not there.
        """
        try:
            return self.members[name]
        except KeyError:
            held = " It is an edition: ask for the whole pack." if EDITION in self.members else ""
            raise IntegrityError(f"{name}: the pack has no such member.{held}") from None

    def under(self, folder: str) -> tuple[str, ...]:
        """Return the names under a folder (with its slash), sorted."""
        return tuple(sorted(name for name in self.members if name.startswith(folder)))


def read(path: Path) -> Pack:
    """Read a pack, a zip or a folder.

    Raises:
        ConfigError: there is nothing to read, or it is no zip: the caller named the wrong file.
        IntegrityError: a hostile or damaged container.
    """
    if path.is_dir():
        return Pack(_read_folder(path))
    with _opened(path) as archive:
        return Pack(_read_zip(archive, path=path))


def require_pack(path: Path) -> None:
    """Refuse a zip or folder that holds none of the members every pack has: another kind of file, no damaged pack.

    Raises:
        ConfigError: so it is, or there is nothing to read: the caller named the wrong file.
    """
    if path.is_dir():
        found = {name for name in MARKS if (path / name).exists()}
    else:
        with _opened(path) as archive:
            found = set(MARKS) & set(archive.namelist())
    if not found:
        raise ConfigError(
            f"{path}: expected a pack, and none of {', '.join(MARKS)} is in it.",
            hint="`dossier sign` writes pack.zip.",
        )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except OSError as error:
        raise ConfigError(f"{path}: the pack cannot be read: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
        raise ConfigError(
            f"{path}: expected a pack (a zip file or a folder), got something else: {error}.",
            hint="`dossier sign` writes pack.zip; was the download cut off?",
        ) from error


def write(members: Mapping[str, bytes], path: Path) -> None:
    """Write a pack as a zip: sorted members, fixed times, so that the same members give the same bytes.

    Raises:
        StoreError: the disk is full; what was at ``path`` before is still there.
    """
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
    ):
        for name in sorted(members):
            _check_name(name)
            info = zipfile.ZipInfo(name, date_time=ZIP_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])


def build_manifest(members: Mapping[str, bytes], *, confidentiality: Mapping[str, str]) -> dict[str, bytes]:
    """Return the members with ``salts.json`` and ``manifest.json`` added.

    Members outside the manifest (`covered`) must not be among them. Every trials file has a Merkle root over its salted
    lines, every file a salted leaf; the salts are a confidential member, so that a redacted edition that drops them can
    show single lines with their salts without letting anyone test guesses for the rest.
    """
    salts = {name: secrets.token_hex(32) for name in sorted(members)}
    complete = {**members, SALTS: canonical.encode({"schema_version": "salts.v1", "salts": salts})}
    salts[SALTS] = NO_SALT  # its own salt would hide nothing: the file is random
    files = tuple(
        entry_of(name, data, salt=salts[name], confidentiality=confidentiality)
        for name, data in sorted(complete.items())
    )
    return {**complete, MANIFEST: dump(Manifest(files=files))}


def entry_of(name: str, data: bytes, *, salt: str, confidentiality: Mapping[str, str]) -> ManifestEntry:
    """Return the manifest entry of one member. ``confidentiality`` maps a folder or name to a class; default public."""
    folder = name.split("/")[0]
    default = "confidential" if name == SALTS else "public"
    label = confidentiality.get(name, confidentiality.get(folder, default))
    return ManifestEntry(
        path=name,
        sha256=canonical.sha256(data),
        size=len(data),
        media_type=MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream"),
        confidentiality=label,  # type: ignore[arg-type]
        leaf=_leaf(salt, data),
        merkle_root=merkle_root(data, salt=salt) if name.startswith("trials/") else None,
    )


def merkle_root(data: bytes, *, salt: str) -> str:
    """Return the Merkle tree hash (RFC 6962 section 2.1, SHA-256) over the salted lines of a JSON Lines file.

    The salt of line i is HMAC-SHA256(file salt, i), so one line can be opened without its neighbours.
    """
    lines = data.splitlines(keepends=True)
    key = bytes.fromhex(salt)
    leaves = [
        hashlib.sha256(b"\0" + hmac.digest(key, str(number).encode(), "sha256") + line).digest()
        for number, line in enumerate(lines)
    ]
    return _tree(leaves).hex()


def covered(name: str) -> bool:
    """Return whether the manifest must list a member."""
    return name not in OUTSIDE_MANIFEST and not name.startswith(APPROVALS)


def member(folder: str, reference: FileRef) -> str:
    """Return the name in the pack of one of the plan's files."""
    suffix = next((suffix for suffix, kind in MEDIA_TYPES.items() if kind == reference.media_type), "")
    return f"{folder}/{reference.sha256}{suffix}"


def _tree(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:  # an odd last node moves up unhashed, which is RFC 6962's split at the largest power of two
        pairs = [hashlib.sha256(b"\1" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def _leaf(salt: str, data: bytes) -> str:
    return hashlib.sha256(b"\0" + bytes.fromhex(salt) + data).hexdigest()


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or ".." in name:
        raise IntegrityError(
            f"{name!r:.200}: not a member name; expected a-z, 0-9, '.', '_', '-' and three folders at most."
        )


def _read_zip(archive: zipfile.ZipFile, *, path: Path) -> dict[str, bytes]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise IntegrityError(f"{path}: {len(infos)} members; a pack has at most {MAX_MEMBERS}.")
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise IntegrityError(f"{path}: its members overlap or claim more bytes than the file has; refused as a bomb.")
    if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise IntegrityError(f"{path}: more than {MAX_TOTAL_BYTES} bytes unpacked.")
    members: dict[str, bytes] = {}
    for info in infos:
        _check_name(info.filename)
        if info.filename in members:  # names are lower-case ASCII, so equal up to case and NFC means equal
            raise IntegrityError(f"{info.filename}: the zip has this member twice.")
        if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise IntegrityError(f"{info.filename}: encrypted, or compressed with a method we do not read.")
        if info.file_size > MAX_MEMBER_BYTES or info.file_size > MAX_RATIO * max(info.compress_size, 1024):
            raise IntegrityError(
                f"{info.filename}: {info.file_size} bytes from {info.compress_size}; refused as a bomb."
            )
        members[info.filename] = _read_member(archive, info)
    return members


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as stream:
            data = stream.read(info.file_size + 1)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, zlib.error) as error:
        raise IntegrityError(f"{info.filename}: the zip is damaged here: {error}.") from error
    if len(data) != info.file_size:
        raise IntegrityError(f"{info.filename}: {len(data)} bytes, the zip's directory says {info.file_size}.")
    return data


def _read_folder(path: Path) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    total = 0
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            raise IntegrityError(f"{name!r:.200}: a link or special file; a pack holds plain files.")
        if file.is_dir():
            continue
        _check_name(name)
        total += file.stat().st_size
        if len(members) >= MAX_MEMBERS or total > MAX_TOTAL_BYTES or file.stat().st_size > MAX_MEMBER_BYTES:
            raise IntegrityError(f"{path}: too many or too large members for a pack.")
        members[name] = file.read_bytes()
    return members
