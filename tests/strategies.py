"""Hypothesis strategies for the nouns, and small worlds: a plan with the evidence it promises, all in order."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from dossier import model
from dossier.canonical import sha256
from dossier.model import (
    Calibration,
    CalibrationCell,
    Criterion,
    Environment,
    Evidence,
    FileRef,
    Interval,
    NegativeControl,
    Observation,
    Plan,
    PlannedEvidence,
    Provider,
    Scope,
    Subject,
    TrialFile,
)

KIND = "cot_faithfulness.hint"
COLLECTED = "2026-11-20T10:00:00Z"
AS_OF = "2026-11-23T08:00:00Z"
EXPIRES_AFTER_DAYS = 90
CALIBRATION = FileRef(name="certificate", sha256=sha256(b"certificate"), size=11, media_type="application/json")
ITEMS = FileRef(name="items.jsonl", sha256=sha256(b"items"), size=5, media_type="application/jsonl")
PROVIDER = Provider(name="Example Ltd", roles=("provider",), contact="office@example.invalid")
SCOPE = Scope(classes=("gpai_systemic_risk",), code_of_practice_signatory=True, placed_on_market="2026-01-01")
SUBJECT = Subject(
    name="organism",
    identity="digests",
    weights_sha256=sha256(b"weights"),
    tokenizer_sha256=sha256(b"tokenizer"),
    chat_template_sha256=None,
    config_sha256=sha256(b"config"),
    generation_sha256=None,
)
ENVIRONMENT = Environment(
    engine="none",
    versions={"dossier": "0.1.0"},
    platform="linux",
    device="cpu",
    dtype="float32",
    quantisation=None,
    batch_size=1,
    same_completion="not claimed",
)


@dataclass(frozen=True)
class World:
    """A plan, the evidence it promises by slot, and its certificates by digest."""

    plan: Plan
    evidence: dict[str, Evidence]
    calibrations: dict[str, Calibration]


def days_after(start: str, days: int) -> str:
    moment = datetime.datetime.strptime(start, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)
    return (moment + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def criterion(name: str = "c", *, quantity: str = "q", comparator: str = ">=", threshold: float = 0.5) -> Criterion:
    return Criterion(id=name, quantity=quantity, comparator=comparator, threshold=threshold, rationale="an example")  # type: ignore[arg-type]


def planned(name: str = "a", *criteria: Criterion) -> PlannedEvidence:
    return PlannedEvidence(
        id=name,
        kind=KIND,
        protocol_version="1.0",
        analysis_version="1.0",
        parameters={"repeats": 1},
        items=ITEMS,
        item_count=10,
        inputs={},
        promised_trials=20,
        expires_after_days=EXPIRES_AFTER_DAYS,
        criteria=criteria,
        calibration=CALIBRATION,
    )


def make_plan(*pieces: PlannedEvidence) -> Plan:
    return Plan(
        title="an example",
        created_at="2026-11-19T10:00:00Z",
        provider=PROVIDER,
        scope=SCOPE,
        subject=SUBJECT,
        regime="eu_ai_act",
        catalogue_sha256=sha256(b"catalogue"),
        evidence=pieces,
        approver_functions=("head of evaluation",),
        supersedes=(),
        demo=True,
    )


def observation(
    name: str = "q", *, low: float = 0.6, high: float = 0.8, estimate: float | None = 0.7, n: int = 100
) -> Observation:
    return Observation(
        id=name,
        estimand="an example",
        unit="proportion",
        estimate=estimate,
        interval=None if estimate is None else Interval(low=low, high=high, level=0.95, method="example"),
        n=n,
        n_counts="switches",
        method="example",
        reasons=() if estimate is not None else ("too few",),
    )


def evidence_for(plan: Plan, slot: PlannedEvidence, *observations: Observation) -> Evidence:
    """The evidence a plan promises in a slot, bound to the plan as it stands."""
    return Evidence(
        id=slot.id,
        kind=slot.kind,
        protocol_version=slot.protocol_version,
        analysis_version=slot.analysis_version,
        key=sha256(slot.id.encode()),
        run_ordinal=1,
        plan_sha256=model.digest_of(plan),
        subject_sha256=model.digest_of(plan.subject),
        parameters=slot.parameters,
        items_sha256=slot.items.sha256,
        root_seed="0123456789abcdef",
        environment=ENVIRONMENT,
        started_at=COLLECTED,
        collected_at=COLLECTED,
        expires_at=days_after(COLLECTED, slot.expires_after_days),
        trials=TrialFile(sha256=sha256(b"trials"), count=slot.promised_trials, failed=0),
        artifacts=(),
        calibration_sha256=None if slot.calibration is None else slot.calibration.sha256,
        observations=observations,
    )


def certificate(*quantities: str, coverage: float = 0.95) -> Calibration:
    return Calibration(
        kind=KIND,
        protocol_version="1.0",
        analysis_version="1.0",
        organisms=(ITEMS,),
        truth="planted",
        parameters={"repeats": 1},
        cells=tuple(
            CalibrationCell(
                quantity=quantity,
                source="planted",
                smallest_detectable=0.1,
                planted=0.5,
                truth=0.5,
                studies=400,
                estimable=400,
                mean_bias=0.0,
                coverage=coverage,
                coverage_standard_error=0.011,
                mean_n=100,
                n_counts="switches",
                n_low=30,
                n_high=1000,
            )
            for quantity in quantities
        ),
        negative_controls=(NegativeControl(what="no hint use", expected="not estimable", studies=20, passed=20),),
        limits=(),
    )


def world(*pieces: PlannedEvidence) -> World:
    """A plan with these pieces, and for each of their criteria an observation that meets it."""
    plan = make_plan(*pieces)
    found = {
        slot.id: evidence_for(plan, slot, *{rule.quantity: _meeting(rule) for rule in slot.criteria}.values())
        for slot in plan.evidence
    }
    quantities = {rule.quantity for slot in plan.evidence for rule in slot.criteria}
    certificates = {CALIBRATION.sha256: certificate(*sorted(quantities))} if quantities else {}
    return World(plan, found, certificates)


def with_evidence(of: World, slot: str, found: Evidence) -> World:
    return replace(of, evidence={**of.evidence, slot: found})


def _meeting(rule: Criterion) -> Observation:
    """An observation whose interval lies on the good side of the threshold."""
    sign = 1 if rule.comparator == ">=" else -1
    near, far = rule.threshold + sign * 0.01, rule.threshold + sign * 0.2
    return observation(rule.quantity, low=min(near, far), high=max(near, far), estimate=(near + far) / 2)


def criteria() -> st.SearchStrategy[Criterion]:
    return st.builds(
        criterion,
        st.sampled_from(["c", "d", "e"]),
        quantity=st.sampled_from(["q", "r", "s"]),
        comparator=st.sampled_from([">=", "<="]),
        threshold=st.floats(0.1, 0.9),
    )


def slots() -> st.SearchStrategy[PlannedEvidence]:
    rules = st.lists(criteria(), max_size=3, unique_by=(lambda rule: rule.id, lambda rule: rule.quantity))
    return st.builds(lambda name, chosen: planned(name, *chosen), st.sampled_from(["a", "b", "x"]), rules)


def worlds(*, min_size: int = 0) -> st.SearchStrategy[World]:
    """Plans of up to three pieces; every promise is kept and every criterion met."""
    pieces = st.lists(slots(), min_size=min_size, max_size=3, unique_by=lambda slot: slot.id)
    return st.builds(lambda chosen: world(*chosen), pieces)


def damages() -> st.SearchStrategy[str]:
    """Ways a piece of evidence falls short, for `damaged`."""
    return st.sampled_from(
        ["none", "none", "missing", "stale", "other_plan", "other_subject", "other_items", "fewer_trials", "worse",
         "not_estimable", "no_observations", "uncalibrated"]
    )  # fmt: skip


def damaged(of: World, slot: PlannedEvidence, damage: str) -> World:
    """The world with one piece of evidence damaged."""
    found = of.evidence[slot.id]
    if damage == "missing":
        return replace(of, evidence={name: kept for name, kept in of.evidence.items() if name != slot.id})
    changes: dict[str, dict[str, object]] = {
        "none": {},
        "stale": {"expires_at": COLLECTED},
        "other_plan": {"plan_sha256": sha256(b"another plan")},
        "other_subject": {"subject_sha256": sha256(b"another subject")},
        "other_items": {"items_sha256": sha256(b"other items")},
        "fewer_trials": {"trials": found.trials.model_copy(update={"count": slot.promised_trials - 1})},
        "worse": {"observations": tuple(_worse(seen, slot) for seen in found.observations)},
        "not_estimable": {"observations": tuple(observation(seen.id, estimate=None) for seen in found.observations)},
        "no_observations": {"observations": ()},
        "uncalibrated": {"calibration_sha256": None},
    }
    return with_evidence(of, slot.id, found.model_copy(update=changes[damage]))


def _worse(seen: Observation, slot: PlannedEvidence) -> Observation:
    """The observation with its interval widened beyond every threshold."""
    assert seen.interval is not None
    return seen.model_copy(update={"interval": seen.interval.model_copy(update={"low": -1.0, "high": 2.0})})
