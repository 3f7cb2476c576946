"""The catalogue loads, says only what it may, and its dates are those after the omnibus."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dossier import schema
from dossier.errors import ConfigError, SchemaError
from dossier.model import Provider, Scope
from dossier.obligations import applies, catalogue_bytes, load_catalogue, parse_catalogue

CATALOGUE = load_catalogue("eu_ai_act")
BY_ID = {obligation.id: obligation for obligation in CATALOGUE.obligations}
PROVIDER = Provider(name="x", roles=("provider",), contact="x")
DEPLOYER = Provider(name="x", roles=("deployer",), contact="x")
KINDS = {
    "interpretability": {
        "sae_features",
        "concept_direction",
        "causal_intervention",
        "circuit_trace",
        "adversarial_stability",
    },
    "cot_faithfulness": {"hint", "perturbation", "monitorability"},
    "evaluation_awareness": {"discrimination", "verbalised", "behaviour_shift", "probe", "sandbagging"},
}


def scope(*classes: str, signatory: bool = False, placed: str | None = "2026-01-01") -> Scope:
    return Scope(classes=classes, code_of_practice_signatory=signatory, placed_on_market=placed)  # type: ignore[arg-type]


def state(name: str, where: Scope, as_of: str, provider: Provider = PROVIDER) -> str:
    return applies(BY_ID[name], where, provider=provider, as_of=as_of).state


def document() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(catalogue_bytes("eu_ai_act"))
    return value


# --- the shipped catalogue -----------------------------------------------------------------------------------------


def test_the_shipped_catalogue_follows_its_schema() -> None:
    assert schema.validate("catalogue.v1", catalogue_bytes("eu_ai_act"), where="obligations.json") == document()


def test_every_kind_in_the_catalogue_is_an_instrument_of_the_design() -> None:
    named = {kind for obligation in CATALOGUE.obligations for kind in obligation.evidence_kinds}
    assert named <= {f"{family}.{name}" for family, names in KINDS.items() for name in names}
    assert "cot_faithfulness.hint" in named


def test_every_obligation_says_how_evidence_supports_it_and_where_that_stops() -> None:
    for obligation in CATALOGUE.obligations:
        assert re.search(r"\b[Ss]upports\b|No instrument speaks to this", obligation.how), obligation.id
        assert re.search(r"\b(not|[Nn]o|only|outside|human|people|provider's|replaces)\b", obligation.how), (
            obligation.id
        )


@pytest.mark.parametrize("word", ["compliant", "certified", "ensures", "guarantee", "[U]", "[S]"])
def test_the_catalogue_promises_nothing(word: str) -> None:
    assert word.lower() not in catalogue_bytes("eu_ai_act").decode().lower()


@pytest.mark.parametrize("article", ["9", "13", "14", "15", "53", "55"])
def test_the_articles_of_the_spine_are_there(article: str) -> None:
    assert any(name.startswith(f"AIA-{article}-") for name in BY_ID)


def test_annexes_and_code_rows_are_there() -> None:
    references = " ".join(obligation.legal_ref for obligation in CATALOGUE.obligations)
    assert "Annex IV" in references
    assert "Annex XI" in references
    assert BY_ID["COP-SS-A3.2"].evidence_kinds
    assert BY_ID["COP-SS-3.5-11"].evidence_kinds


def test_only_the_record_that_an_evaluation_ran_needs_no_person() -> None:
    """Everything else leaves a judgement to a named person, as ``how`` says; evidence alone must not look like enough."""
    assert {obligation.id for obligation in CATALOGUE.obligations if not obligation.needs_statement} == {
        "COP-SS-1.2-1-a"
    }


def test_an_automated_run_is_not_passed_off_as_an_evaluation_under_appendix_3() -> None:
    for name in ("COP-SS-A3.1", "COP-SS-A3.2", "COP-SS-7.3-1-e"):
        assert "outside Appendix 3" in BY_ID[name].note


def test_evidence_on_a_model_is_not_passed_off_as_evidence_on_a_system() -> None:
    for obligation in CATALOGUE.obligations:
        if any(name.startswith("high_risk") for name in obligation.classes):
            assert "The duty is about the system" in obligation.note, obligation.id


def test_the_catalogue_says_that_it_is_a_selection_and_no_advice() -> None:
    assert "does not list all duties" in CATALOGUE.sources[-1]
    assert "not legal advice" in CATALOGUE.sources[-1]


def test_rows_of_the_code_bind_its_signatories_and_rows_of_the_act_bind_everyone() -> None:
    for obligation in CATALOGUE.obligations:
        assert (obligation.binding == "code_signatories") == obligation.id.startswith("COP-")
        assert (obligation.instrument == "ai_act") == obligation.id.startswith("AIA-")


def test_high_risk_dates_are_those_after_the_omnibus() -> None:
    for obligation in CATALOGUE.obligations:
        dates = obligation.applies_from
        assert dates.get("high_risk_annex_iii", "2027-12-02") == "2027-12-02"
        assert dates.get("high_risk_annex_i", "2028-08-02") == "2028-08-02"
        assert dates.get("gpai", "2025-08-02") == dates.get("gpai_systemic_risk", "2025-08-02") == "2025-08-02"
        assert set(dates) == set(obligation.classes)


# --- what applies --------------------------------------------------------------------------------------------------


def test_high_risk_duties_start_per_annex() -> None:
    annex_iii, annex_i = scope("high_risk_annex_iii", placed=None), scope("high_risk_annex_i", placed=None)
    assert state("AIA-13-1", annex_iii, "2027-12-01T23:59:59Z") == "not_yet_applicable"
    assert state("AIA-13-1", annex_iii, "2027-12-02T00:00:00Z") == "applies"
    assert state("AIA-13-1", annex_i, "2027-12-02T00:00:00Z") == "not_yet_applicable"
    assert state("AIA-13-1", annex_i, "2028-08-02T00:00:00Z") == "applies"


def test_the_earlier_of_two_classes_decides() -> None:
    both = scope("high_risk_annex_i", "high_risk_annex_iii", placed=None)
    turned = BY_ID["AIA-13-1"].model_copy(update={"classes": ("high_risk_annex_i", "high_risk_annex_iii")})
    for obligation in (BY_ID["AIA-13-1"], turned):
        assert applies(obligation, both, provider=PROVIDER, as_of="2027-12-02").state == "applies"


def test_an_older_model_has_until_august_2027_for_the_act_but_not_for_the_code() -> None:
    old = scope("gpai_systemic_risk", signatory=True, placed="2025-08-01")
    new = scope("gpai_systemic_risk", signatory=True, placed="2025-08-02")
    assert state("AIA-55-1-a", old, "2027-08-01T00:00:00Z") == "not_yet_applicable"
    assert state("AIA-55-1-a", old, "2027-08-02T00:00:00Z") == "applies"
    assert state("AIA-55-1-a", new, "2026-11-23T00:00:00Z") == "applies"
    assert state("COP-SS-A3.2", old, "2026-11-23T00:00:00Z") == "applies"
    assert "Art. 111(3)" in applies(BY_ID["AIA-55-1-a"], old, provider=PROVIDER, as_of="2026-11-23").reason


def test_role_class_and_signature_decide_what_concerns_a_provider() -> None:
    model = scope("gpai_systemic_risk")
    assert state("AIA-55-1-a", model, "2026-11-23", DEPLOYER) == "not_applicable"
    assert state("AIA-55-1-a", scope("gpai"), "2026-11-23") == "not_applicable"
    assert state("AIA-53-1-a", scope("gpai"), "2026-11-23") == "applies"
    assert state("AIA-53-1-a", model, "2026-11-23") == "applies"
    assert state("COP-SS-A3.2", model, "2026-11-23") == "not_applicable"
    assert state("COP-SS-A3.2", scope("gpai_systemic_risk", signatory=True), "2026-11-23") == "applies"


def test_a_high_risk_system_placed_earlier_is_told_of_article_111_2_and_not_excused() -> None:
    answer = applies(
        BY_ID["AIA-13-1"], scope("high_risk_annex_iii", placed="2027-01-01"), provider=PROVIDER, as_of="2028-01-01"
    )
    assert answer.state == "applies"
    assert "Art. 111(2) may except" in answer.reason


def test_a_disputed_date_removes_no_obligation() -> None:
    disputed = BY_ID["AIA-55-1-a"].model_copy(update={"applies_from": {}})
    answer = applies(disputed, scope("gpai_systemic_risk"), provider=PROVIDER, as_of="2020-01-01")
    assert (answer.state, "disputed" in answer.reason) == ("applies", True)


@given(st.sampled_from(sorted(BY_ID)), st.dates(), st.dates())
def test_what_applies_once_applies_for_ever(name: str, one: Any, other: Any) -> None:
    first, later = sorted((one.isoformat(), other.isoformat()))
    every = scope("gpai", "gpai_systemic_risk", "high_risk_annex_iii", "high_risk_annex_i", signatory=True)
    assert not (state(name, every, first) == "applies" and state(name, every, later) != "applies")


# --- bad catalogues ------------------------------------------------------------------------------------------------


def test_an_unknown_regime_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(ConfigError, match="'us_law'") as caught:
        load_catalogue("us_law")
    assert "eu_ai_act" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schema_version": "catalogue.v1"}', b'{"a": NaN}'])
def test_a_catalogue_that_does_not_parse_is_named(data: bytes) -> None:
    with pytest.raises(SchemaError, match=r"mine\.json"):
        parse_catalogue(data, where="mine.json")


def test_an_obligation_listed_twice_is_refused_with_its_pointer() -> None:
    broken = document()
    broken["obligations"].append(broken["obligations"][0])
    with pytest.raises(SchemaError, match="twice") as caught:
        parse_catalogue(json.dumps(broken).encode(), where="mine.json")
    assert caught.value.pointer == f"/obligations/{len(broken['obligations']) - 1}/id"


def test_a_date_for_a_class_the_obligation_does_not_have_is_refused() -> None:
    broken = document()
    broken["obligations"][0]["applies_from"]["gpai"] = "2025-08-02"
    with pytest.raises(SchemaError, match="none of its classes") as caught:
        parse_catalogue(json.dumps(broken).encode(), where="mine.json")
    assert caught.value.pointer == "/obligations/0/applies_from"
