"""Who is shown what? Editions of one closed pack that leave members out, and prove that the rest is unchanged.

The manifest, which the attestation closes, lists every member with its class, digest and a salted leaf. An edition leaves out
the members above its class and ``salts.json``, and adds ``edition.json`` with the salts of those that stay. It needs no key:
each salt opens a leaf that was signed. Nobody can test guesses for what is withheld against its leaf; its digest and size are
told. An edition withholds every member above its class and no other: what is missing beyond that was removed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from dossier import canonical, pack, schema
from dossier.errors import ConfigError, IntegrityError
from dossier.model import Digest, Manifest, ManifestEntry, Value, dump, parse
from dossier.pack import Pack

Readers = Literal["authority", "public"]
SHOWN: Mapping[Readers, Collection[str]] = {"authority": ("public", "authority"), "public": ("public",)}


class Edition(Value):
    """What says of itself that members are withheld; ``salts`` by the names of those that are not. Not signed."""

    schema_version: Literal["edition.v1"] = "edition.v1"
    readers: Readers
    salts: Mapping[str, Digest]


def redact(contents: Pack, readers: Readers) -> Pack:
    """Return the edition of a closed pack for these readers.

    Raises:
        ConfigError: the pack is not closed, or an edition already.
    """
    if pack.EDITION in contents.members:
        raise ConfigError(f"{pack.EDITION}: this is an edition already.", hint="Start from the whole pack.")
    if pack.ATTESTATION not in contents.members:
        raise ConfigError(f"{pack.ATTESTATION}: the pack is not closed yet.", hint="`dossier sign` closes it.")
    left_out = withheld(listed(contents.get(pack.MANIFEST)), readers)
    kept = {name: data for name, data in contents.members.items() if name not in left_out}
    salts = {name: salt for name, salt in _all_salts(contents).items() if name in kept}
    return Pack({**kept, pack.EDITION: dump(Edition(readers=readers, salts=salts))})


def listed(manifest: bytes) -> Mapping[str, ManifestEntry]:
    """Return the entries of a manifest by the names of their members.

    Raises:
        SchemaError: it is no manifest.
        IntegrityError: it lists a member twice.
    """
    entries = parse(Manifest, manifest, where=pack.MANIFEST).files
    found = {entry.path: entry for entry in entries}
    if len(found) != len(entries):
        raise IntegrityError(f"{pack.MANIFEST}: lists a member twice.")
    return found


def withheld(entries: Mapping[str, ManifestEntry], readers: Readers) -> frozenset[str]:
    """Return the names of the members that an edition leaves out."""
    return frozenset(name for name, entry in entries.items() if entry.confidentiality not in SHOWN[readers])


def salts_of(contents: Pack) -> tuple[Readers | None, Mapping[str, str]]:
    """Return for whom a pack was redacted, None for a whole one, and the salts of its members by name.

    Raises:
        SchemaError: the member that holds the salts is not what its name says.
        IntegrityError: the salts are not there, or in two places, or not in canonical form.
    """
    if pack.EDITION not in contents.members:
        return None, {**_all_salts(contents), pack.SALTS: pack.NO_SALT}
    if pack.SALTS in contents.members:
        raise IntegrityError(f"{pack.SALTS}: an edition must not hold it.")
    data = contents.get(pack.EDITION)
    schema.validate("edition.v1", data, where=pack.EDITION)
    edition = parse(Edition, data, where=pack.EDITION)
    if dump(edition) != data:
        raise IntegrityError(f"{pack.EDITION}: not in canonical form.")
    return edition.readers, edition.salts


def _all_salts(contents: Pack) -> Mapping[str, str]:
    document = canonical.loads(contents.get(pack.SALTS), where=pack.SALTS)
    schema.validate("salts.v1", document, where=pack.SALTS)
    found: Mapping[str, str] = document["salts"]
    return found
