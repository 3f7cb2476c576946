"""How do plan and evidence become the one document? A pure function, so that a verifier makes the same one again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dossier import __version__, canonical
from dossier.assess import assess, obligation_states
from dossier.collector import Collector
from dossier.gate import decide
from dossier.model import (
    Calibration,
    Catalogue,
    Dossier,
    Evidence,
    EvidenceRef,
    NotCollected,
    NotMeasured,
    Plan,
    StatementRef,
    digest_of,
)

ALWAYS_NOT_MEASURED = (
    "Whether the model behaves in use as it did under these questions: every number holds for the questions asked.",
    "Whether an obligation is fulfilled: the table of obligations says what is on file, and nothing more.",
)


def make_dossier(
    plan: Plan,
    *,
    catalogue: Catalogue,
    evidence: Mapping[str, Evidence],
    not_collected: Sequence[NotCollected],
    statements: Sequence[StatementRef],
    calibrations: Mapping[str, Calibration],
    ledger: bytes,
    nonce: str | None,
    not_measured: Sequence[NotMeasured],
    as_of: str,
) -> Dossier:
    """Return the dossier of a plan at ``as_of``.

    ``evidence`` is by the id the plan gives it; a promised piece that is neither there nor in ``not_collected`` is added
    to the latter. ``calibrations`` are by digest of their stored bytes.
    """
    criteria = assess(plan, evidence, calibrations=calibrations, as_of=as_of)
    said = {missing.id for missing in not_collected}
    silent = tuple(
        NotCollected(id=planned.id, kind=planned.kind, reason="promised by the plan and not run")
        for planned in plan.evidence
        if planned.id not in evidence and planned.id not in said
    )
    return Dossier(
        title=plan.title,
        as_of=as_of,
        tool_version=f"dossier {__version__}",
        plan_sha256=digest_of(plan),
        nonce=nonce,
        catalogue_sha256=plan.catalogue_sha256,
        ledger_sha256=canonical.sha256(ledger),
        provider=plan.provider,
        scope=plan.scope,
        subject=plan.subject,
        evidence=tuple(
            EvidenceRef(id=planned.id, kind=planned.kind, sha256=digest_of(evidence[planned.id]))
            for planned in plan.evidence
            if planned.id in evidence
        ),
        not_collected=(*not_collected, *silent),
        statements=tuple(statements),
        criteria=criteria,
        obligations=obligation_states(catalogue, plan, evidence=evidence, statements=statements, as_of=as_of),
        gate=decide(plan, evidence, criteria=criteria, as_of=as_of),
        not_measured=tuple(not_measured),
        approver_functions=plan.approver_functions,
        demo=plan.demo,
    )


def not_measured(
    plan: Plan, catalogue: Catalogue, *, collectors: Iterable[Collector[object]], nonce: str | None
) -> tuple[NotMeasured, ...]:
    """Return what a reader might think was measured and was not: the verdict page prints it beside what was.

    ``collectors`` are those of the plan.
    """
    planned_kinds = {planned.kind for planned in plan.evidence}
    limits = [
        NotMeasured(kind=collector.kind, says=sentence)
        for collector in collectors
        for sentence in collector.not_measured
    ]
    sentences = []
    kinds = {kind for obligation in catalogue.obligations for kind in obligation.evidence_kinds} - planned_kinds
    if kinds:
        sentences.append(f"What these instruments would measure; none of them was planned: {', '.join(sorted(kinds))}.")
    unknown = [planned.id for planned in plan.evidence if planned.sensitivity is None]
    if unknown:
        sentences.append(f"Sensitivity on this model unknown, since nothing was planted into it: {', '.join(unknown)}.")
    if nonce is None:
        sentences.append("Whether other seeds were tried first: self-chosen seed; reruns not excluded.")
    if plan.subject.identity == "asserted":
        sentences.append("Which weights answered: the endpoint's identity is asserted.")
    whole = [NotMeasured(kind=None, says=sentence) for sentence in (*sentences, *ALWAYS_NOT_MEASURED)]
    return tuple({digest_of(one): one for one in (*limits, *whole)}.values())
