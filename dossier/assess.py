"""What do the measurements say about the plan's criteria, and what is on file for each obligation?

A criterion is judged at the unfavourable end of the interval: ``>=`` at its low end, ``<=`` at its high end. Whatever
keeps that end from being read, or the estimator from being trusted at this n, gives `indeterminate` with the reason;
nothing is assumed. All functions are pure: the day comes in as ``as_of``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from dossier import canonical
from dossier.model import (
    Calibration,
    Catalogue,
    Criterion,
    CriterionResult,
    Evidence,
    Interval,
    Obligation,
    ObligationState,
    Observation,
    Plan,
    PlannedEvidence,
    StatementRef,
)
from dossier.obligations import applies

FileState = Literal["evidence_on_file", "no_estimate", "missing", "expired", "awaiting_statement"]

# The coverage of a certificate is itself an estimate: three standard errors below the level is no accident (1 in 740).
COVERAGE_STANDARD_ERRORS = 3.0
# Below it, three standard errors of a coverage of 95 % reach down to 86 % and would excuse almost anything.
MIN_STUDIES = 50
# A control decided at 95 % fails one study in twenty by chance; below nine in ten the control failed.
MIN_CONTROL_PASS_RATE = 0.9


def assess(
    plan: Plan, evidence: Mapping[str, Evidence], *, calibrations: Mapping[str, Calibration], as_of: str
) -> tuple[CriterionResult, ...]:
    """Return every criterion of the plan, judged, in plan order.

    Args:
        plan: the plan.
        evidence: by the id under which the plan promises it.
        calibrations: certificates by the SHA-256 of their stored bytes, which the caller has checked.
        as_of: the UTC time stamp at which freshness is looked at.
    """
    results = []
    for planned in plan.evidence:
        certificate = None if planned.calibration is None else calibrations.get(planned.calibration.sha256)
        for criterion in planned.criteria:
            found = evidence.get(planned.id)
            results.append(judge(planned, criterion, evidence=found, calibration=certificate, as_of=as_of))
    return tuple(results)


def judge(
    planned: PlannedEvidence,
    criterion: Criterion,
    *,
    evidence: Evidence | None,
    calibration: Calibration | None,
    as_of: str,
) -> CriterionResult:
    """Return one criterion, judged at ``as_of``. ``calibration`` is the certificate that the plan names."""
    observation, doubt = _readable(planned, criterion, evidence, calibration, as_of)
    if observation is None or observation.interval is None:
        return CriterionResult(
            evidence=planned.id, criterion=criterion.id, outcome="indeterminate", judged_value=None, reason=doubt
        )
    end, value = _unfavourable_end(criterion, observation.interval)
    met = value >= criterion.threshold if criterion.comparator == ">=" else value <= criterion.threshold
    shown, limit = _shown(value, criterion.threshold)
    wording = "at least" if criterion.comparator == ">=" else "at most"
    return CriterionResult(
        evidence=planned.id,
        criterion=criterion.id,
        outcome="met" if met else "not_met",
        judged_value=value,
        reason=f"the {end} end {shown} of the {100 * observation.interval.level:g} % interval of {criterion.quantity} "
        f"is {'' if met else 'not '}{wording} {limit}",
    )


def obligation_states(
    catalogue: Catalogue,
    plan: Plan,
    *,
    evidence: Mapping[str, Evidence],
    statements: Iterable[StatementRef],
    as_of: str,
) -> tuple[ObligationState, ...]:
    """Return what is on file for each obligation, in catalogue order.

    Only evidence the plan promises counts. The state says what lies on file, never whether the obligation is fulfilled.
    """
    planned = {slot.id: evidence[slot.id] for slot in plan.evidence if slot.id in evidence}
    stated = {statement.obligation for statement in statements}
    return tuple(
        _state(obligation, plan, planned, stated=obligation.id in stated, as_of=as_of)
        for obligation in catalogue.obligations
    )


def calibration_doubt(
    planned: PlannedEvidence, evidence: Evidence, observation: Observation, calibration: Calibration | None
) -> str:
    """Return why the estimator counts as unchecked for this observation, "" where the certificate covers it.

    ``calibration`` is the certificate that the plan names, None if it is not there.
    """
    if planned.calibration is None:
        return "uncalibrated: the plan names no calibration certificate"
    if calibration is None:
        return f"uncalibrated: the certificate {planned.calibration.sha256[:12]} is missing"
    if evidence.calibration_sha256 != planned.calibration.sha256:
        return "uncalibrated: the evidence names another certificate than the plan"
    versions = (evidence.kind, evidence.protocol_version, evidence.analysis_version)
    checked = (calibration.kind, calibration.protocol_version, calibration.analysis_version)
    if versions != checked:
        return f"uncalibrated: the certificate is for {' '.join(checked)}, the evidence is {' '.join(versions)}"
    for name, value in sorted(calibration.parameters.items()):
        if name not in evidence.parameters or not _same(evidence.parameters[name], value):
            return f"uncalibrated: the certificate does not hold for this value of the parameter {name}"
    return _certificate_doubt(calibration, observation)


def _readable(
    planned: PlannedEvidence,
    criterion: Criterion,
    evidence: Evidence | None,
    calibration: Calibration | None,
    as_of: str,
) -> tuple[Observation | None, str]:
    """Return the observation a criterion may be judged on, or None and why not."""
    if evidence is None:
        return None, f"{planned.id} ({planned.kind}) is missing"
    if as_of >= evidence.expires_at:
        return None, f"{planned.id} expired at {evidence.expires_at}"
    if as_of < evidence.collected_at:
        return None, f"{planned.id} was collected at {evidence.collected_at}, after {as_of}"
    named = [observation for observation in evidence.observations if observation.id == criterion.quantity]
    if len(named) != 1:
        count = "no observation" if not named else f"{len(named)} observations"
        return None, f"{planned.id} has {count} named {criterion.quantity}"
    observation = named[0]
    doubt = (
        _observation_doubt(observation)
        or _null_doubt(criterion, observation)
        or calibration_doubt(planned, evidence, observation, calibration)
    )
    return (None, doubt) if doubt else (observation, "")


def _observation_doubt(observation: Observation) -> str:
    """Return why an observation cannot be judged, "" where it can."""
    if observation.estimate is None:
        return f"{observation.id} is not estimable: {'; '.join(observation.reasons) or 'the instrument gave no reason'}"
    if observation.interval is None:
        return f"{observation.id} has no interval, and its estimate alone decides nothing"
    if observation.interval.low > observation.interval.high:
        return f"the interval of {observation.id} has its low end above its high end"
    return ""


def _null_doubt(criterion: Criterion, observation: Observation) -> str:
    """Return why an AUROC carries no information: on some models any direction separates the classes, "" where it does.

    A criterion that wants it high is judged only where the interval lies above what there is without anything to find.
    """
    if observation.unit != "auroc" or criterion.comparator != ">=" or observation.interval is None:
        return ""
    if observation.null is None:
        return f"{observation.id} is an AUROC without a null beside it, and alone it decides nothing"
    if observation.interval.low <= observation.null.estimate:
        return (
            f"{observation.id} is an AUROC of {observation.interval.low:.3g} at the low end, and where there is nothing to "
            f"find it is {observation.null.estimate:.3g}: alone it decides nothing"
        )
    return ""


def _certificate_doubt(calibration: Calibration, observation: Observation) -> str:
    """Return why the certificate, by its own figures, vouches for nothing here."""
    cells = [cell for cell in calibration.cells if cell.speaks_of(observation.id)]
    if not cells:
        return f"uncalibrated: the certificate has no study of {observation.id}"
    counted = {cell.n_counts for cell in cells}
    if counted != {observation.n_counts}:
        return (
            f"uncalibrated: n counts {observation.n_counts}, the certificate's n counts {' or '.join(sorted(counted))}"
        )
    low, high = min(cell.n_low for cell in cells), max(cell.n_high for cell in cells)
    if not low <= observation.n <= high:
        return f"uncalibrated: n is {observation.n}, the certificate holds for {low} to {high}"
    level = observation.interval.level if observation.interval is not None else 0.0
    for cell in cells:
        if cell.estimable < MIN_STUDIES:
            return f"uncalibrated: only {cell.estimable} studies of {observation.id} were estimable, {MIN_STUDIES} are needed"
        if cell.coverage + COVERAGE_STANDARD_ERRORS * math.sqrt(level * (1.0 - level) / cell.estimable) < level:
            return (
                f"uncalibrated: at truth {cell.truth:.4g} the interval of {observation.id} covered in "
                f"{cell.coverage:.1%} of the studies, not in {level:.0%}"
            )
    for control in calibration.negative_controls:
        if control.passed < MIN_CONTROL_PASS_RATE * control.studies or control.studies == 0:
            return (
                f"uncalibrated: the negative control passed in {control.passed} of {control.studies} ({control.what})"
            )
    return ""


def _shown(value: float, threshold: float) -> tuple[str, str]:
    """Return both numbers to four digits, or in full where they differ and four digits would hide it."""
    short = f"{value:.4g}", f"{threshold:.4g}"
    return short if value == threshold or short[0] != short[1] else (repr(value), repr(threshold))


def _same(left: object, right: object) -> bool:
    """Compare as JSON does: 1 and true are two values, and the order of members does not count."""
    return canonical.encode(left) == canonical.encode(right)


def _unfavourable_end(criterion: Criterion, interval: Interval) -> tuple[str, float]:
    return ("low", interval.low) if criterion.comparator == ">=" else ("high", interval.high)


def _state(
    obligation: Obligation, plan: Plan, evidence: Mapping[str, Evidence], *, stated: bool, as_of: str
) -> ObligationState:
    applicability = applies(obligation, plan.scope, provider=plan.provider, as_of=as_of)
    if applicability.state != "applies":
        return ObligationState(
            obligation=obligation.id, state=applicability.state, evidence=(), reason=applicability.reason
        )
    speaking = sorted(slot for slot, found in evidence.items() if found.kind in obligation.evidence_kinds)
    fresh = [slot for slot in speaking if evidence[slot].collected_at <= as_of < evidence[slot].expires_at]
    state, reason = _on_file(obligation, speaking, fresh, stated=stated)
    whole = {slot: len(evidence[slot].observations) for slot in fresh}
    known = {slot: sum(found.estimate is not None for found in evidence[slot].observations) for slot in fresh}
    scarce = [slot for slot in fresh if 2 * known[slot] < whole[slot]]
    if scarce:  # being on file must not read as having an answer
        told = [f"{known[slot] or 'none'} of the {whole[slot]} numbers in {slot}" for slot in scarce]
        reason += f", but of what was to be measured only little could be estimated: {', '.join(told)}"
    if fresh and not any(known.values()) and state == "evidence_on_file":
        state = "no_estimate"
    return ObligationState(obligation=obligation.id, state=state, evidence=tuple(fresh or speaking), reason=reason)


def _on_file(
    obligation: Obligation, speaking: Sequence[str], fresh: Sequence[str], *, stated: bool
) -> tuple[FileState, str]:
    """Return the state of an obligation that applies, and its reason."""
    waiting = obligation.needs_statement and not stated
    if fresh and waiting:
        return "awaiting_statement", f"{_pieces(fresh)} on file; a named person has not yet stated on it"
    if fresh:
        return "evidence_on_file", f"{_pieces(fresh)} on file"
    if speaking:
        return "expired", f"{_pieces(speaking)} on file, none of it fresh at the day looked at"
    if obligation.evidence_kinds:
        return "missing", f"none of {', '.join(obligation.evidence_kinds)} is on file"
    if waiting:
        return "awaiting_statement", "no instrument speaks to this; a named person has not yet stated on it"
    if stated:
        return "evidence_on_file", "a named person's statement is on file; no instrument speaks to this"
    return "missing", "the catalogue names neither an instrument nor a statement for this"


def _pieces(slots: Sequence[str]) -> str:
    return "1 piece of evidence is" if len(slots) == 1 else f"{len(slots)} pieces of evidence are"
