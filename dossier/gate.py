"""May a named person be asked to release? "Open", or "shut, because ...".

A pure function, keyed by the plan: what the plan promises must be there, be the thing that was promised, be fresh and
meet every criterion. Nothing outside the plan opens or shuts anything, and nothing that is missing counts as good. The
answer informs a person's decision; it is not evidence and not a legal conclusion.

The caller has parsed and digested the evidence; that the criterion results follow from it is for `dossier.assess` (when
making a dossier) and for the verifier's recomputation (when checking one).
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from dossier import canonical, model
from dossier.model import CriterionResult, Decision, Evidence, Plan, PlannedEvidence

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def decide(
    plan: Plan, evidence: Mapping[str, Evidence], *, criteria: Iterable[CriterionResult], as_of: str
) -> Decision:
    """Return the gate's answer. Pure.

    Args:
        plan: the plan; its digest and its subject's digest are computed here.
        evidence: by the id under which the plan promises it; further ids are ignored.
        criteria: the judged criteria, in any order; results for anything the plan does not ask are ignored.
        as_of: the UTC time stamp at which freshness is looked at.
    """
    results = list(criteria)
    plan_sha256, subject_sha256 = model.digest_of(plan), model.digest_of(plan.subject)
    blocked = list(_plan_faults(plan))
    for planned in plan.evidence:
        found = evidence.get(planned.id)
        if found is None:
            blocked.append(f"{planned.id} ({planned.kind}) was promised and is missing")
        else:
            bindings = _binding_faults(planned, found, plan_sha256=plan_sha256, subject_sha256=subject_sha256)
            blocked += [f"{planned.id}: {fault}" for fault in (*bindings, *_freshness_faults(planned, found, as_of))]
        blocked += _criterion_faults(planned, results)
    unique = tuple(dict.fromkeys(blocked))
    return Decision(state="shut" if unique else "open", blocked_by=unique)


def _plan_faults(plan: Plan) -> Iterator[str]:
    if not any(planned.criteria for planned in plan.evidence):
        yield "the plan promises no evidence with a criterion"
    for slot, times in Counter(planned.id for planned in plan.evidence).items():
        if times > 1:
            yield f"the plan promises {slot} {times} times under one id"
    for planned in plan.evidence:
        for criterion, times in Counter(criterion.id for criterion in planned.criteria).items():
            if times > 1:
                yield f"the plan names the criterion {criterion} of {planned.id} {times} times"


def _binding_faults(
    planned: PlannedEvidence, found: Evidence, *, plan_sha256: str, subject_sha256: str
) -> Iterator[str]:
    """Yield where the evidence is not the thing that was promised."""
    certificate = None if planned.calibration is None else planned.calibration.sha256
    promised_and_got = (
        ("id", planned.id, found.id),
        ("plan", plan_sha256, found.plan_sha256),
        ("subject", subject_sha256, found.subject_sha256),
        ("kind", planned.kind, found.kind),
        ("protocol version", planned.protocol_version, found.protocol_version),
        ("analysis version", planned.analysis_version, found.analysis_version),
        ("items", planned.items.sha256, found.items_sha256),
        ("calibration certificate", certificate, found.calibration_sha256),
        ("number of trials", planned.promised_trials, found.trials.count),
    )
    for what, promised, got in promised_and_got:
        if promised != got:
            yield f"its {what} is {got or 'none'}, the plan says {promised or 'none'}"
    if canonical.encode(dict(planned.parameters)) != canonical.encode(dict(found.parameters)):
        yield "its parameters are not those of the plan"


def _freshness_faults(planned: PlannedEvidence, found: Evidence, as_of: str) -> Iterator[str]:
    """Yield why the evidence is not fresh. Time stamps have a fixed width, so their text sorts as time does."""
    if as_of < found.collected_at:
        yield f"it was collected at {found.collected_at}, after {as_of}"
    if as_of >= found.expires_at:
        yield f"it expired at {found.expires_at}"
    latest = _days_after(found.collected_at, planned.expires_after_days)
    if latest is None:
        yield f"{found.collected_at} is not a time"
    elif found.expires_at > latest:
        yield f"it claims to hold until {found.expires_at}, the plan allows {planned.expires_after_days} days: {latest}"


def _days_after(start: str, days: int) -> str | None:
    try:
        moment = datetime.datetime.strptime(start, _FORMAT).replace(tzinfo=datetime.UTC)
        return (moment + datetime.timedelta(days=days)).strftime(_FORMAT)
    except (ValueError, OverflowError):
        return None


def _criterion_faults(planned: PlannedEvidence, results: list[CriterionResult]) -> Iterator[str]:
    for criterion in planned.criteria:
        name = f"{planned.id}/{criterion.id}"
        found = [result for result in results if (result.evidence, result.criterion) == (planned.id, criterion.id)]
        if not found:
            yield f"{name} was not judged"
        elif len(found) > 1:
            yield f"{name} was judged {len(found)} times"
        elif found[0].outcome != "met":
            yield f"{name} is {found[0].outcome.replace('_', ' ')}: {found[0].reason}"
