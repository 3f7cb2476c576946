"""Criteria are judged at the unfavourable end, and every doubt is indeterminate with a readable reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dossier.assess import assess, judge, obligation_states
from dossier.canonical import sha256
from dossier.model import (
    Calibration,
    Catalogue,
    Criterion,
    CriterionResult,
    Evidence,
    Null,
    Obligation,
    ObligationState,
    Observation,
    Provider,
    StatementRef,
)
from tests.strategies import AS_OF, KIND, certificate, criterion, evidence_for, make_plan, observation, planned

AT_LEAST = criterion(threshold=0.5)
AT_MOST = criterion(comparator="<=", threshold=0.5)
CERTIFICATE = certificate("q")


def judged(
    rule: Criterion, seen: Observation | None, *, calibration: Calibration | None = CERTIFICATE, **changes: object
) -> CriterionResult:
    slot = planned("a", rule)
    found = evidence_for(make_plan(slot), slot, *([] if seen is None else [seen])).model_copy(update=changes)
    return judge(slot, rule, evidence=found, calibration=calibration, as_of=AS_OF)


def test_at_least_is_judged_at_the_low_end() -> None:
    met = judged(AT_LEAST, observation(low=0.5, high=0.9))
    missed = judged(AT_LEAST, observation(low=0.31, high=0.9))
    assert (met.outcome, met.judged_value) == ("met", 0.5)
    assert (missed.outcome, missed.judged_value) == ("not_met", 0.31)
    assert missed.reason == "the low end 0.31 of the 95 % interval of q is not at least 0.5"


def test_at_most_is_judged_at_the_high_end() -> None:
    met = judged(AT_MOST, observation(low=0.1, high=0.5))
    missed = judged(AT_MOST, observation(low=0.1, high=0.61))
    assert (met.outcome, met.judged_value) == ("met", 0.5)
    assert missed.reason == "the high end 0.61 of the 95 % interval of q is not at most 0.5"


def test_a_reason_never_rounds_a_difference_away() -> None:
    assert judged(AT_LEAST, observation(low=0.49999999)).reason.endswith(
        "0.49999999 of the 95 % interval of q is not at least 0.5"
    )


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from([">=", "<="]))
def test_a_wider_interval_never_meets_what_a_narrower_one_did_not(
    low: float, width: float, more: float, threshold: float, comparator: str
) -> None:
    rule = criterion(comparator=comparator, threshold=threshold)
    narrow = judged(rule, observation(low=low, high=low + width))
    wide = judged(rule, observation(low=low - more, high=low + width + more))
    assert not (narrow.outcome == "not_met" and wide.outcome == "met")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from([">=", "<="]))
def test_the_estimate_itself_decides_nothing(estimate: float, low: float, width: float, comparator: str) -> None:
    rule = criterion(comparator=comparator)
    here = judged(rule, observation(low=low, high=low + width, estimate=estimate))
    there = judged(rule, observation(low=low, high=low + width, estimate=1 - estimate))
    assert here == there


TOO_FEW = observation(estimate=None)
NO_INTERVAL = observation().model_copy(update={"interval": None})
INVERTED = observation(low=0.9, high=0.6)

DOUBTS: dict[str, tuple[Observation | None, dict[str, object], str]] = {
    "an unknown quantity": (None, {}, "a has no observation named q"),
    "a quantity named twice": (
        observation(),
        {"observations": (observation(), observation())},
        "a has 2 observations named q",
    ),
    "no estimate": (TOO_FEW, {}, "q is not estimable: too few"),
    "no interval": (NO_INTERVAL, {}, "q has no interval, and its estimate alone decides nothing"),
    "an inverted interval": (INVERTED, {}, "the interval of q has its low end above its high end"),
    "expired evidence": (observation(), {"expires_at": AS_OF}, f"a expired at {AS_OF}"),
    "evidence of the future": (
        observation(),
        {"collected_at": "2027-01-01T00:00:00Z"},
        f"a was collected at 2027-01-01T00:00:00Z, after {AS_OF}",
    ),
    "too small an n": (observation(n=29), {}, "uncalibrated: n is 29, the certificate holds for 30 to 1000"),
    "too large an n": (observation(n=1001), {}, "uncalibrated: n is 1001, the certificate holds for 30 to 1000"),
    "another count": (
        observation().model_copy(update={"n_counts": "questions"}),
        {},
        "uncalibrated: n counts questions, the certificate's n counts switches",
    ),
    "another protocol": (
        observation(),
        {"protocol_version": "2.0"},
        f"uncalibrated: the certificate is for {KIND} 1.0 1.0, the evidence is {KIND} 2.0 1.0",
    ),
    "another analysis": (
        observation(),
        {"analysis_version": "1.1"},
        f"uncalibrated: the certificate is for {KIND} 1.0 1.0, the evidence is {KIND} 1.0 1.1",
    ),
    "other parameters": (
        observation(),
        {"parameters": {"repeats": 2}},
        "uncalibrated: the certificate does not hold for this value of the parameter repeats",
    ),
    "another certificate": (
        observation(),
        {"calibration_sha256": sha256(b"x")},
        "uncalibrated: the evidence names another certificate than the plan",
    ),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_every_doubt_is_indeterminate_with_its_reason(doubt: str) -> None:
    seen, changes, reason = DOUBTS[doubt]
    assert judged(AT_LEAST, seen, **changes) == CriterionResult(
        evidence="a", criterion="c", outcome="indeterminate", judged_value=None, reason=reason
    )


def test_missing_evidence_is_indeterminate() -> None:
    result = judge(planned("a", AT_LEAST), AT_LEAST, evidence=None, calibration=CERTIFICATE, as_of=AS_OF)
    assert (result.outcome, result.reason) == ("indeterminate", "a (cot_faithfulness.hint) is missing")


def test_a_plan_without_a_certificate_or_with_a_lost_one_is_uncalibrated() -> None:
    slot = planned("a", AT_LEAST).model_copy(update={"calibration": None})
    found = evidence_for(make_plan(slot), slot, observation())
    without = judge(slot, AT_LEAST, evidence=found, calibration=None, as_of=AS_OF)
    assert without.reason == "uncalibrated: the plan names no calibration certificate"
    assert judged(AT_LEAST, observation(), calibration=None).reason.endswith("is missing")


def test_a_certificate_that_did_not_study_the_quantity_vouches_for_nothing() -> None:
    result = judged(AT_LEAST, observation(), calibration=certificate("another"))
    assert (result.outcome, result.reason) == ("indeterminate", "uncalibrated: the certificate has no study of q")


def test_a_certificate_whose_own_intervals_cover_too_seldom_vouches_for_nothing() -> None:
    assert judged(AT_LEAST, observation(), calibration=certificate("q", coverage=0.93)).outcome == "met"
    short = judged(AT_LEAST, observation(), calibration=certificate("q", coverage=0.80))
    assert short.outcome == "indeterminate"
    assert "covered in 80.0% of the studies, not in 95%" in short.reason


@pytest.mark.parametrize(
    ("passed", "studies", "outcome"), [(18, 20, "met"), (17, 20, "indeterminate"), (0, 0, "indeterminate")]
)
def test_a_certificate_that_failed_its_negative_control_vouches_for_nothing(
    passed: int, studies: int, outcome: str
) -> None:
    control = CERTIFICATE.negative_controls[0].model_copy(update={"passed": passed, "studies": studies})
    failed = CERTIFICATE.model_copy(update={"negative_controls": (control,)})
    assert judged(AT_LEAST, observation(), calibration=failed).outcome == outcome


def test_an_auroc_decides_only_where_it_lies_above_its_null() -> None:
    def auroc(null: float | None) -> CriterionResult:
        seen = Null(what="random directions", estimate=null, low=None, high=None) if null is not None else None
        return judged(AT_LEAST, observation().model_copy(update={"unit": "auroc", "null": seen}))

    assert auroc(0.01).outcome == "met"
    for without in (auroc(None), auroc(1.0)):
        assert (without.outcome, without.judged_value) == ("indeterminate", None)
        assert "decides nothing" in without.reason


def test_a_cell_for_any_group_covers_each_group_and_no_other_quantity() -> None:
    assert judged(AT_LEAST, observation(), calibration=certificate("*.q")).reason.startswith("uncalibrated")
    grouped = AT_LEAST.model_copy(update={"quantity": "own-1.q"})
    seen = observation().model_copy(update={"id": "own-1.q"})
    assert judged(grouped, seen, calibration=certificate("*.q")).outcome == "met"
    assert judged(grouped, seen, calibration=certificate("*.other")).outcome == "indeterminate"


def test_all_criteria_are_judged_in_plan_order_and_with_their_own_certificate() -> None:
    plan = make_plan(planned("b", criterion("late"), criterion("early")), planned("a", criterion("c")))
    found = {slot.id: evidence_for(plan, slot, observation()) for slot in plan.evidence[:1]}
    reference = plan.evidence[0].calibration
    assert reference is not None
    results = assess(plan, found, calibrations={reference.sha256: CERTIFICATE}, as_of=AS_OF)
    assert [(r.evidence, r.criterion, r.outcome) for r in results] == [
        ("b", "late", "met"),
        ("b", "early", "met"),
        ("a", "c", "indeterminate"),
    ]
    unknown = assess(plan, found, calibrations={sha256(b"x"): CERTIFICATE}, as_of=AS_OF)
    assert {r.outcome for r in unknown} == {"indeterminate"}


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_met_means_the_bound_holds_and_nothing_else(low: float, threshold: float) -> None:
    result = judged(criterion(threshold=threshold), observation(low=low, high=1e9))
    assert (result.outcome == "met") == (low >= threshold)


# --- obligations ---------------------------------------------------------------------------------------------------


def obligation(**changes: object) -> Obligation:
    return Obligation(
        id="AIA-1",
        title="an example",
        legal_ref="Art. 1",
        instrument="ai_act",
        binding="law",
        role="provider",
        classes=("gpai_systemic_risk",),
        applies_from={"gpai_systemic_risk": "2025-08-02"},
        evidence_kinds=(KIND,),
        needs_statement=False,
        how="an example",
        note="",
    ).model_copy(update=changes)


def state_of(rule: Obligation, *found: Evidence, stated: bool = False, as_of: str = AS_OF) -> ObligationState:
    catalogue = Catalogue(regime="eu_ai_act", as_of="2026-11-22", sources=(), obligations=(rule,))
    statements = (StatementRef(obligation=rule.id, sha256=sha256(b"s")),) if stated else ()
    (state,) = obligation_states(
        catalogue, PLAN, evidence={piece.id: piece for piece in found}, statements=statements, as_of=as_of
    )
    return state


PLAN = make_plan(planned("a", AT_LEAST), planned("b"))
FOUND = evidence_for(PLAN, PLAN.evidence[0], observation())
STALE = FOUND.model_copy(update={"expires_at": AS_OF})
STATEMENT_ONLY = {"evidence_kinds": (), "needs_statement": True}


@pytest.mark.parametrize(
    ("changes", "found", "stated", "state"),
    [
        ({}, FOUND, False, "evidence_on_file"),
        ({}, None, False, "missing"),
        ({}, None, True, "missing"),
        ({}, STALE, False, "expired"),
        ({"needs_statement": True}, FOUND, False, "awaiting_statement"),
        ({"needs_statement": True}, FOUND, True, "evidence_on_file"),
        ({"needs_statement": True}, None, True, "missing"),
        ({"needs_statement": True}, STALE, True, "expired"),
        ({"evidence_kinds": ("evaluation_awareness.probe",)}, FOUND, False, "missing"),
        (STATEMENT_ONLY, FOUND, False, "awaiting_statement"),
        (STATEMENT_ONLY, None, True, "evidence_on_file"),
        ({"evidence_kinds": ()}, FOUND, False, "missing"),
        ({"classes": ("high_risk_annex_i",)}, FOUND, True, "not_applicable"),
        ({"applies_from": {"gpai_systemic_risk": "2027-12-02"}}, FOUND, True, "not_yet_applicable"),
    ],
)
def test_the_state_of_an_obligation_says_what_is_on_file(
    changes: dict[str, object], found: Evidence | None, stated: bool, state: str
) -> None:
    assert state_of(obligation(**changes), *([found] if found else []), stated=stated).state == state


def test_evidence_the_plan_does_not_promise_is_not_on_file() -> None:
    assert state_of(obligation(), FOUND.model_copy(update={"id": "unplanned"})).state == "missing"


def test_evidence_that_measured_nothing_is_said_to_have_measured_nothing() -> None:
    empty = FOUND.model_copy(update={"observations": (observation(estimate=None),)})
    state = state_of(obligation(), empty)
    assert state.state == "no_estimate"
    assert state.reason.endswith("only little could be estimated: none of the 1 numbers in a")
    assert state_of(obligation(needs_statement=True), empty).state == "awaiting_statement"


def test_states_name_the_evidence_that_speaks() -> None:
    assert state_of(obligation(), FOUND).evidence == ("a",)
    assert state_of(obligation(), STALE).evidence == ("a",)
    assert state_of(obligation(role="deployer"), FOUND).evidence == ()


def test_a_provider_that_is_also_deployer_has_both_sets_of_duties() -> None:
    both = Provider(name="x", roles=("provider", "deployer"), contact="x")
    plan = PLAN.model_copy(update={"provider": both})
    rules = (obligation(), obligation(id="AIA-2", role="deployer"))
    catalogue = Catalogue(regime="eu_ai_act", as_of="2026-11-22", sources=(), obligations=rules)
    states = obligation_states(catalogue, plan, evidence={"a": FOUND}, statements=(), as_of=AS_OF)
    assert [state.state for state in states] == ["evidence_on_file", "evidence_on_file"]
