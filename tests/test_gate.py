"""The laws of the gate, over plans and evidence of every shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dossier import model
from dossier.assess import assess
from dossier.canonical import sha256
from dossier.gate import decide
from dossier.model import Calibration, CriterionResult, Decision, Evidence, Plan, TrialFile
from tests.strategies import (
    AS_OF,
    COLLECTED,
    EXPIRES_AFTER_DAYS,
    World,
    criterion,
    damaged,
    damages,
    days_after,
    evidence_for,
    observation,
    planned,
    with_evidence,
    world,
    worlds,
)


def gate(of: World, *, as_of: str = AS_OF) -> Decision:
    results = assess(of.plan, of.evidence, calibrations=of.calibrations, as_of=as_of)
    return decide(of.plan, of.evidence, criteria=results, as_of=as_of)


def naive_gate(of: World, *, as_of: str = AS_OF) -> Decision:
    """What one would write first: open if nothing that is there speaks against it."""
    results = assess(of.plan, of.evidence, calibrations=of.calibrations, as_of=as_of)
    bad = tuple(result.reason for result in results if result.evidence in of.evidence and result.outcome != "met")
    return Decision(state="shut" if bad else "open", blocked_by=bad)


@st.composite
def damaged_worlds(draw: st.DrawFn) -> World:
    of = draw(worlds(min_size=1))
    for slot in of.plan.evidence:
        of = damaged(of, slot, draw(damages()))
    return of


def subsets(evidence: Mapping[str, Evidence]) -> Iterable[dict[str, Evidence]]:
    for size in range(len(evidence) + 1):
        for kept in combinations(sorted(evidence), size):
            yield {name: evidence[name] for name in kept}


def opened_by_losing_evidence(of: World, law_under: object) -> bool:
    """Whether a gate that is shut with all the evidence opens on a part of it."""
    if law_under(of).state == "open":  # type: ignore[operator]
        return False
    return any(
        law_under(World(of.plan, part, of.calibrations)).state == "open"  # type: ignore[operator]
        for part in subsets(of.evidence)
    )


@given(worlds())
def test_the_gate_opens_exactly_when_every_promise_is_kept_and_one_criterion_stands_in_the_plan(of: World) -> None:
    promised = any(slot.criteria for slot in of.plan.evidence)
    assert gate(of).state == ("open" if promised else "shut")
    assert (gate(of).state == "open") == (gate(of).blocked_by == ())


@given(damaged_worlds())
def test_a_shut_gate_stays_shut_on_any_part_of_the_evidence(of: World) -> None:
    assert not opened_by_losing_evidence(of, gate)


def test_the_same_law_refutes_a_gate_that_looks_only_at_what_is_there() -> None:
    of = world(planned("a", criterion()), planned("b", criterion()))
    of = damaged(of, of.plan.evidence[0], "worse")
    assert opened_by_losing_evidence(of, naive_gate)
    assert not opened_by_losing_evidence(of, gate)


@given(damaged_worlds(), st.sampled_from(["none", "worse", "other_plan", "missing"]))
def test_evidence_the_plan_does_not_promise_changes_nothing(of: World, damage: str) -> None:
    stranger = planned("unplanned", criterion())
    extra = damaged(world(stranger), stranger, damage)
    with_extra = World(of.plan, {**of.evidence, **extra.evidence}, {**extra.calibrations, **of.calibrations})
    results = assess(of.plan, of.evidence, calibrations=of.calibrations, as_of=AS_OF)
    foreign = CriterionResult(
        evidence="unplanned", criterion="c", outcome="not_met", judged_value=None, reason="of another plan"
    )
    assert gate(with_extra) == gate(of)
    assert decide(of.plan, of.evidence, criteria=(*results, foreign), as_of=AS_OF) == gate(of)


@given(st.lists(st.sampled_from(["a", "b"]), unique=True))
def test_a_plan_without_a_criterion_is_shut_whatever_is_collected(slots: list[str]) -> None:
    of = world(*(planned(name) for name in slots))
    assert gate(of).state == "shut"
    assert "the plan promises no evidence with a criterion" in gate(of).blocked_by


@given(damaged_worlds(), st.integers(0, 400), st.integers(0, 400))
def test_a_later_day_never_opens_the_gate(of: World, first: int, later: int) -> None:
    before = gate(of, as_of=days_after(COLLECTED, first))
    after = gate(of, as_of=days_after(COLLECTED, first + later))
    assert not (before.state == "shut" and after.state == "open")


def test_the_gate_shuts_at_the_second_of_expiry() -> None:
    of = world(planned("a", criterion()))
    expiry = days_after(COLLECTED, EXPIRES_AFTER_DAYS)
    assert gate(of, as_of=COLLECTED).state == "open"
    assert gate(of, as_of=expiry[:-3] + "00Z").state == "shut"
    last_second = days_after(COLLECTED, EXPIRES_AFTER_DAYS - 1)[:11] + "23:59:59Z"
    assert gate(of, as_of=last_second).state == "open"


def test_a_day_before_the_collection_keeps_the_gate_shut() -> None:
    of = world(planned("a", criterion()))
    assert gate(of, as_of="2026-01-01T00:00:00Z").state == "shut"


@given(worlds(min_size=1), st.data())
def test_worsening_an_interval_never_opens_the_gate(of: World, data: st.DataObject) -> None:
    for slot in of.plan.evidence:
        of = damaged(of, slot, data.draw(st.sampled_from(["none", "none", "worse", "not_estimable"])))
    before = gate(of)
    for slot in of.plan.evidence:
        found = of.evidence[slot.id]
        wider = []
        for seen in found.observations:
            down, up = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
            ends = seen.interval and {"low": seen.interval.low - down, "high": seen.interval.high + up}
            interval = seen.interval and seen.interval.model_copy(update=ends)
            wider.append(seen.model_copy(update={"interval": interval}))
        of = with_evidence(of, slot.id, found.model_copy(update={"observations": tuple(wider)}))
    assert not (before.state == "shut" and gate(of).state == "open")


@given(damaged_worlds(), st.data())
def test_losing_observations_never_opens_the_gate(of: World, data: st.DataObject) -> None:
    before = gate(of)
    for name, found in of.evidence.items():
        kept = tuple(seen for seen in found.observations if data.draw(st.booleans()))
        of = with_evidence(of, name, found.model_copy(update={"observations": kept}))
    assert not (before.state == "shut" and gate(of).state == "open")


@given(worlds(min_size=1), st.floats(0.01, 1.0))
def test_loosening_a_criterion_after_the_run_shuts_the_gate_because_the_plan_is_another(of: World, by: float) -> None:
    for slot in of.plan.evidence:
        of = damaged(of, slot, "worse")
    loosened = []
    for slot in of.plan.evidence:
        rules = tuple(
            rule.model_copy(update={"threshold": -9.0 if rule.comparator == ">=" else 9.0 + by})
            for rule in slot.criteria
        )
        loosened.append(slot.model_copy(update={"criteria": rules}))
    plan = of.plan.model_copy(update={"evidence": tuple(loosened)})
    decision = gate(World(plan, of.evidence, of.calibrations))
    assert decision.state == "shut"
    if plan != of.plan:
        assert model.digest_of(plan) != model.digest_of(of.plan)
        assert any("its plan is" in reason for reason in decision.blocked_by)


@given(damaged_worlds(), st.randoms(use_true_random=False))
def test_the_order_of_evidence_and_results_does_not_matter(of: World, random: object) -> None:
    results = list(assess(of.plan, of.evidence, calibrations=of.calibrations, as_of=AS_OF))
    pairs = list(of.evidence.items())
    random.shuffle(results)  # type: ignore[attr-defined]
    random.shuffle(pairs)  # type: ignore[attr-defined]
    assert decide(of.plan, dict(pairs), criteria=results, as_of=AS_OF) == gate(of)


BINDINGS: dict[str, dict[str, object]] = {
    "id": {"id": "z"},
    "plan": {"plan_sha256": sha256(b"x")},
    "subject": {"subject_sha256": sha256(b"x")},
    "kind": {"kind": "cot_faithfulness.perturbation"},
    "protocol version": {"protocol_version": "1.1"},
    "analysis version": {"analysis_version": "1.1"},
    "items": {"items_sha256": sha256(b"x")},
    "calibration certificate": {"calibration_sha256": sha256(b"x")},
    "parameters": {"parameters": {"repeats": True}},
    "number of trials": {"trials": TrialFile(sha256=sha256(b"trials"), count=19, failed=0)},
}


@pytest.mark.parametrize("what", BINDINGS)
def test_evidence_that_is_not_the_promised_one_keeps_the_gate_shut_and_says_in_what(what: str) -> None:
    of = world(planned("a", criterion()))
    found = of.evidence["a"].model_copy(update=BINDINGS[what])
    results = assess(of.plan, of.evidence, calibrations=of.calibrations, as_of=AS_OF)
    decision = decide(of.plan, {"a": found}, criteria=results, as_of=AS_OF)
    assert decision.state == "shut"
    assert any(what in reason for reason in decision.blocked_by)


@pytest.mark.parametrize(
    ("as_of", "reason"),
    [
        (days_after(COLLECTED, EXPIRES_AFTER_DAYS), f"a: it expired at {days_after(COLLECTED, EXPIRES_AFTER_DAYS)}"),
        ("2026-11-20T09:59:59Z", f"a: it was collected at {COLLECTED}, after 2026-11-20T09:59:59Z"),
    ],
)
def test_the_gate_looks_at_freshness_itself_even_where_the_results_say_met(as_of: str, reason: str) -> None:
    of = world(planned("a", criterion()))
    results = assess(of.plan, of.evidence, calibrations=of.calibrations, as_of=AS_OF)
    assert {result.outcome for result in results} == {"met"}
    assert decide(of.plan, of.evidence, criteria=results, as_of=as_of).blocked_by == (reason,)


def test_evidence_cannot_prolong_its_own_life_beyond_the_plan() -> None:
    of = world(planned("a", criterion()))
    prolonged = of.evidence["a"].model_copy(update={"expires_at": "2099-01-01T00:00:00Z"})
    decision = gate(with_evidence(of, "a", prolonged))
    assert decision.state == "shut"
    assert "the plan allows 90 days" in decision.blocked_by[0]


def test_a_collection_time_that_is_no_time_keeps_the_gate_shut() -> None:
    of = world(planned("a", criterion()))
    nowhen = of.evidence["a"].model_copy(update={"collected_at": "2026-11-20T99:00:00Z"})
    assert gate(with_evidence(of, "a", nowhen)).state == "shut"


def test_two_promises_under_one_id_keep_the_gate_shut() -> None:
    twice = make_twice()
    assert gate(twice).state == "shut"
    assert any("2 times under one id" in reason for reason in gate(twice).blocked_by)


def test_two_criteria_under_one_id_keep_the_gate_shut() -> None:
    of = world(planned("a", criterion("c"), criterion("c", threshold=0.4)))
    assert any("names the criterion c of a 2 times" in reason for reason in gate(of).blocked_by)


def test_a_criterion_judged_twice_or_never_keeps_the_gate_shut() -> None:
    of = world(planned("a", criterion()))
    results = assess(of.plan, of.evidence, calibrations=of.calibrations, as_of=AS_OF)
    twice = decide(of.plan, of.evidence, criteria=(*results, *results), as_of=AS_OF)
    never = decide(of.plan, of.evidence, criteria=(), as_of=AS_OF)
    assert twice.blocked_by == ("a/c was judged 2 times",)
    assert never.blocked_by == ("a/c was not judged",)


def test_a_piece_without_criteria_must_still_be_there() -> None:
    of = world(planned("a", criterion()), planned("b"))
    assert gate(of).state == "open"
    assert gate(damaged(of, of.plan.evidence[1], "missing")).blocked_by == (
        "b (cot_faithfulness.hint) was promised and is missing",
    )


def test_a_shut_gate_says_everything_that_blocks_in_plan_order() -> None:
    of = world(planned("a", criterion()), planned("b", criterion(threshold=0.3)))
    of = damaged(damaged(of, of.plan.evidence[0], "missing"), of.plan.evidence[1], "worse")
    assert gate(of).blocked_by == (
        "a (cot_faithfulness.hint) was promised and is missing",
        "a/c is indeterminate: a (cot_faithfulness.hint) is missing",
        "b/c is not met: the low end -1 of the 95 % interval of q is not at least 0.3",
    )


def make_twice() -> World:
    of = world(planned("a", criterion()))
    slot = of.plan.evidence[0]
    plan: Plan = of.plan.model_copy(update={"evidence": (slot, slot)})
    certificates: dict[str, Calibration] = of.calibrations
    return World(plan, {"a": evidence_for(plan, slot, observation())}, certificates)
