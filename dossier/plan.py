"""What will be measured, at what cost, and which thresholds decide? Fixed here, before anything runs.

A plan names every input by digest. Its files (items, certificates, references, catalogue) go into the pack beside it,
so that whoever holds the pack can derive every promised trial again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dossier import canonical, schema
from dossier.collector import Collector, Cost
from dossier.config import BudgetConfig, EvidenceConfig, RunConfig
from dossier.documents import parse_items
from dossier.errors import ConfigError
from dossier.inputs import EvidenceInputs, read_file, read_items
from dossier.language_model import ModelSize
from dossier.model import (
    Calibration,
    FileRef,
    Plan,
    PlannedEvidence,
    Reference,
    Sensitivity,
    Subject,
    Value,
    as_json,
    digest_of,
    parse,
)
from dossier.pack import MEDIA_TYPES, member

ANY_SEED = "0" * 16  # the number of promised trials does not depend on the seed


@dataclass(frozen=True)
class Planned:
    """A plan, what each piece of evidence will cost, and the plan's files by member name in the pack."""

    plan: Plan
    costs: Mapping[str, Cost]
    files: Mapping[str, bytes]


def make_plan(
    config: RunConfig,
    base: Path,
    *,
    subject: Subject,
    size: ModelSize | None,
    collectors: Mapping[str, Collector[Any]],
    inputs: Mapping[str, EvidenceInputs],
    catalogue: bytes,
    now: str,
    demo: bool,
) -> Planned:
    """Return the plan a configuration asks for. Paths in the configuration are relative to ``base``.

    ``inputs`` are the further inputs by evidence id, found and loaded.

    Raises:
        ConfigError: an unknown collector, parameter or quantity, unreadable items, or a cost beyond the budget.
    """
    files: dict[str, bytes] = {"catalogue.json": catalogue}
    costs: dict[str, Cost] = {}
    evidence = []
    for piece in config.evidence:
        collector = _find(piece, collectors)
        params = collector.parse(piece.parameters)
        name, items_bytes = read_items(piece.items, base)
        items_ref = _kept(name, items_bytes, folder="items", files=files)
        items = parse_items(items_bytes, where=piece.items)
        _check_criteria(piece, collector.quantities(params))
        costs[piece.id] = collector.cost(params, items, size)
        evidence.append(
            PlannedEvidence(
                id=piece.id,
                kind=piece.kind,
                protocol_version=collector.protocol_version,
                analysis_version=collector.analysis_version,
                parameters=collector.dump(params),
                items=items_ref,
                item_count=len(items),
                inputs=_inputs(piece, collector, inputs.get(piece.id, EvidenceInputs())),
                promised_trials=sum(1 for _ in collector.expected(params, items, ANY_SEED)),
                expires_after_days=piece.expires_after_days,
                criteria=piece.criteria,
                calibration=_document(base, piece.calibration, Calibration, folder="calibration", files=files),
                sensitivity=_sensitivity(base, piece, subject, collector, files),
                reference=_document(base, piece.reference, Reference, folder="references", files=files),
            )
        )
    _check_budget(config.budget, costs)
    plan = Plan(
        title=config.title,
        created_at=now,
        provider=config.provider,
        scope=config.scope,
        subject=subject,
        regime=config.regime,
        catalogue_sha256=canonical.sha256(catalogue),
        evidence=tuple(evidence),
        approver_functions=config.approver_functions,
        supersedes=config.supersedes,
        demo=demo,
    )
    schema.validate("plan.v1", as_json(plan), where="the plan")
    return Planned(plan, costs, files)


def _find(piece: EvidenceConfig, collectors: Mapping[str, Collector[Any]]) -> Collector[Any]:
    if piece.kind not in collectors:
        raise ConfigError(
            f"evidence {piece.id!r}: collector {piece.kind!r} is unknown.", hint="`dossier collectors` lists the names."
        )
    return collectors[piece.kind]


def _inputs(piece: EvidenceConfig, collector: Collector[Any], given: EvidenceInputs) -> dict[str, FileRef]:
    """Return the further inputs by digest, after comparing them with the roles the instrument knows."""
    kinds = {role.removesuffix("?"): kind for role, kind in collector.roles.items()}
    found: dict[str, str] = {**dict.fromkeys(given.files, "file"), **dict.fromkeys(given.models, "model")}
    for role, kind in found.items():
        if kinds.get(role) != kind:
            raise ConfigError(
                f"evidence {piece.id!r}: {piece.kind} takes no {kind} as {role!r}.",
                hint=f"Its further inputs: {', '.join(sorted(collector.roles)) or 'none'}.",
            )
    for role in collector.roles:
        if not role.endswith("?") and role not in found:
            raise ConfigError(
                f"evidence {piece.id!r}: {piece.kind} needs the input {role!r}, a {collector.roles[role]}."
            )
    return given.references()


def _check_criteria(piece: EvidenceConfig, quantities: Sequence[str]) -> None:
    names = [criterion.id for criterion in piece.criteria]
    if len(set(names)) != len(names):
        raise ConfigError(f"evidence {piece.id!r}: two criteria have the same id; got {names}.")
    for criterion in piece.criteria:
        if criterion.quantity not in quantities:
            raise ConfigError(
                f"evidence {piece.id!r}: criterion {criterion.id!r} is on {criterion.quantity!r}, "
                f"which {piece.kind} does not measure with these parameters.",
                hint=f"It measures: {', '.join(quantities)}.",
            )


def _file(base: Path, name: str, *, folder: str, files: dict[str, bytes]) -> tuple[FileRef, bytes]:
    path = base / name
    data = read_file(path)
    return _kept(path.name, data, folder=folder, files=files), data


def _kept(name: str, data: bytes, *, folder: str, files: dict[str, bytes]) -> FileRef:
    """Keep bytes for the pack, and return them named by digest."""
    media_type = MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream")
    reference = FileRef(name=name, sha256=canonical.sha256(data), size=len(data), media_type=media_type)
    files[member(folder, reference)] = data
    return reference


def _document(
    base: Path, name: str | None, model: type[Value], *, folder: str, files: dict[str, bytes]
) -> FileRef | None:
    if name is None:
        return None
    reference, data = _file(base, name, folder=folder, files=files)
    parse(model, data, where=name)
    return reference


def _sensitivity(
    base: Path, piece: EvidenceConfig, subject: Subject, collector: Collector[Any], files: dict[str, bytes]
) -> FileRef | None:
    reference = _document(base, piece.sensitivity, Sensitivity, folder="calibration", files=files)
    if reference is None:
        return None
    found = parse(Sensitivity, files[member("calibration", reference)], where=piece.sensitivity or "")
    have = (found.kind, found.protocol_version, found.subject_sha256)
    need = (piece.kind, collector.protocol_version, digest_of(subject))
    if have != need:
        raise ConfigError(
            f"evidence {piece.id!r}: {piece.sensitivity} speaks of {have[0]} protocol {have[1]} on subject {have[2][:16]}…; "
            f"expected {need[0]} protocol {need[1]} on subject {need[2][:16]}….",
            hint="`dossier calibrate --on-subject` makes one for this subject.",
        )
    return reference


def _check_budget(budget: BudgetConfig, costs: Mapping[str, Cost]) -> None:
    prompts = sum(cost.prompts for cost in costs.values())
    if budget.prompts is not None and prompts > budget.prompts:
        raise ConfigError(
            f"budget.prompts: the plan asks {prompts} prompts, the budget is {budget.prompts}.",
            hint="Ask fewer items or arms, or raise the budget.",
        )
    flops = [cost.forward_flops for cost in costs.values()]
    known = sum(value for value in flops if value is not None)
    if budget.petaflops is not None and (None in flops or known > budget.petaflops * 1e15):
        raise ConfigError(
            f"budget.petaflops: the plan needs {'an unknown number' if None in flops else f'{known / 1e15:.3g}'} "
            f"of petaflops at most, the budget is {budget.petaflops:g}."
        )
