"""What do the members of a pack say? Read strictly, into values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dossier import canonical, pack, schema
from dossier.errors import ConfigError, IntegrityError, SchemaError
from dossier.model import Calibration, Catalogue, Dossier, Evidence, FileRef, Item, Plan, Reference, Sensitivity, parse
from dossier.obligations import parse_catalogue
from dossier.pack import Pack, member


@dataclass(frozen=True)
class Documents:
    """The parsed documents of a pack."""

    dossier: Dossier
    plan: Plan
    catalogue: Catalogue
    evidence: Mapping[str, Evidence]
    items: Mapping[str, tuple[Item, ...]]
    calibrations: Mapping[str, Calibration]
    sensitivities: Mapping[str, Sensitivity]
    references: Mapping[str, Reference]


def load_documents(contents: Pack, *, validated: bool = False) -> Documents:
    """Return the documents of a pack; with ``validated``, each is first checked against its JSON Schema.

    Raises:
        SchemaError: a document is not what its name says.
        IntegrityError: a cited document is not there.
    """

    def read(name: str, document: str) -> bytes:
        data = contents.get(name)
        if validated:
            schema.validate(document, data, where=name)
        return data

    if validated:
        _validate_lines_and_envelopes(contents)
    plan = parse(Plan, read(pack.PLAN, "plan.v1"), where=pack.PLAN)
    found = parse(Dossier, read(pack.DOSSIER, "dossier.v1"), where=pack.DOSSIER)
    catalogue = parse_catalogue(read(pack.CATALOGUE, "catalogue.v1"), where=pack.CATALOGUE)
    evidence: dict[str, Evidence] = {}
    for name in contents.under("evidence/"):
        piece = parse(Evidence, read(name, "evidence.v1"), where=name)
        if piece.id in evidence:
            raise SchemaError(f"{name}: a second evidence with the id {piece.id}.", pointer="/id")
        evidence[piece.id] = piece
    items = {}
    calibrations = {}
    sensitivities = {}
    references = {}
    for planned in plan.evidence:
        name = member("items", planned.items)
        items[planned.items.sha256] = parse_items(cited(contents, name, planned.items), where=name)
        if planned.calibration is not None:
            name = member("calibration", planned.calibration)
            cited(contents, name, planned.calibration)
            calibrations[planned.calibration.sha256] = parse(Calibration, read(name, "calibration.v1"), where=name)
        if planned.sensitivity is not None:
            name = member("calibration", planned.sensitivity)
            cited(contents, name, planned.sensitivity)
            sensitivities[planned.id] = parse(Sensitivity, read(name, "sensitivity.v1"), where=name)
        if planned.reference is not None:
            name = member("references", planned.reference)
            cited(contents, name, planned.reference)
            references[planned.id] = parse(Reference, read(name, "reference.v1"), where=name)
    return Documents(found, plan, catalogue, evidence, items, calibrations, sensitivities, references)


def cited(contents: Pack, name: str, reference: FileRef) -> bytes:
    """Return a member that a document cites by digest.

    Raises:
        IntegrityError: its bytes are not those, whatever its name says.
    """
    data = contents.get(name)
    if (canonical.sha256(data), len(data)) != (reference.sha256, reference.size):
        raise IntegrityError(f"{name}: not the bytes that are cited by this digest.")
    return data


def _validate_lines_and_envelopes(contents: Pack) -> None:
    schema.validate("manifest.v1", contents.get(pack.MANIFEST), where=pack.MANIFEST)
    for name in contents.under("trials/"):
        schema.validate_lines("trial.v1", contents.get(name), where=name)
    schema.validate_lines("ledger_entry.v1", contents.get(pack.LEDGER), where=pack.LEDGER)
    envelopes = (pack.PLAN_ENVELOPE, pack.ATTESTATION, *contents.under("statements/"), *contents.under(pack.APPROVALS))
    for name in envelopes:
        schema.validate("envelope.v1", contents.get(name), where=name)


def parse_items(data: bytes, *, where: str) -> tuple[Item, ...]:
    """Return the items of a JSON Lines file: objects, each with an ``id`` of its own.

    Raises:
        SchemaError: not strict JSON Lines.
        ConfigError: an item without an id, or an id given twice, or no items.
    """
    items: list[Item] = []
    seen: set[str] = set()
    for number, item in enumerate(canonical.load_lines(data, where=where), start=1):
        name = item.get("id") if isinstance(item, dict) else None
        if not isinstance(name, str) or name in seen:
            problem = "has an id that stands there twice" if isinstance(name, str) else "is no object with a text id"
            raise ConfigError(f"{where}:{number}: the item {problem}.")
        seen.add(name)
        items.append(item)
    if not items:
        raise ConfigError(f"{where}: no items.", hint="Items are JSON Lines, one question a line.")
    return tuple(items)
