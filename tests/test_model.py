"""Values are frozen and strict, and a document names the place of its fault."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dossier import canonical, model, schema
from dossier.errors import SchemaError
from tests.strategies import AS_OF, World, criterion, make_plan, observation, planned, worlds


def every_value() -> set[type[model.Value]]:
    found: set[type[model.Value]] = set()
    todo = [model.Value]
    while todo:
        kind = todo.pop()
        found.add(kind)
        todo += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", sorted(every_value(), key=lambda kind: kind.__name__))
def test_every_value_is_frozen_strict_and_closed(kind: type[model.Value]) -> None:
    assert kind.model_config["frozen"]
    assert kind.model_config["strict"]
    assert kind.model_config["extra"] == "forbid"
    assert kind.__doc__


@given(worlds())
def test_a_document_is_read_back_as_the_same_value(of: World) -> None:
    for value in (of.plan, *of.evidence.values(), *of.calibrations.values()):
        data = model.dump(value)
        assert model.parse(type(value), data, where="x") == value
        assert model.dump(model.parse(type(value), data, where="x")) == data


@given(worlds(min_size=1))
def test_the_digest_of_a_plan_changes_with_every_threshold(of: World) -> None:
    for index, slot in enumerate(of.plan.evidence):
        for place, rule in enumerate(slot.criteria):
            nudged = rule.model_copy(update={"threshold": rule.threshold + 1e-9})
            rules = (*slot.criteria[:place], nudged, *slot.criteria[place + 1 :])
            pieces = list(of.plan.evidence)
            pieces[index] = slot.model_copy(update={"criteria": rules})
            other = of.plan.model_copy(update={"evidence": tuple(pieces)})
            assert model.digest_of(other) != model.digest_of(of.plan)


def test_a_frozen_value_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        criterion().threshold = 0.0


def test_whole_floats_are_written_as_rfc_8785_writes_them() -> None:
    assert b'"threshold":1}' in model.dump(criterion(threshold=1.0))


@given(st.sampled_from(["threshold", "id", "rationale"]), st.sampled_from(["", None, True, [], {}]))
def test_nothing_is_coerced(name: str, wrong: Any) -> None:
    document = {**model.as_json(criterion()), name: wrong}
    with pytest.raises(SchemaError):
        model.parse(model.Criterion, canonical.encode(document), where="x")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"title": 1}, "/title"),
        ({"unknown": 1}, "/unknown"),
        ({"provider": {}}, "/provider/name"),
        ({"evidence": [{**model.as_json(planned()), "kind": "Hint"}]}, "/evidence/0/kind"),
    ],
)
def test_the_place_of_a_fault_is_a_json_pointer(change: dict[str, Any], pointer: str) -> None:
    document = {**model.as_json(plan()), **change}
    with pytest.raises(SchemaError, match=r"plan\.json") as caught:
        model.parse(model.Plan, canonical.encode(document), where="plan.json")
    assert caught.value.pointer == pointer
    assert pointer in caught.value.message


def test_a_member_name_with_a_slash_is_escaped_in_the_pointer() -> None:
    document = model.as_json(plan().evidence[0])
    document["inputs"] = {"a": {**document["items"], "x/y~z": 1}}
    with pytest.raises(SchemaError) as caught:
        model.parse(model.PlannedEvidence, canonical.encode(document), where="x")
    assert caught.value.pointer == "/inputs/a/x~1y~0z"


@pytest.mark.parametrize("text", [b'{"a": NaN}', b'{"a": 1, "a": 2}', b"", b"[]", b"null"])
def test_a_document_is_read_strictly_before_it_is_validated(text: bytes) -> None:
    with pytest.raises(SchemaError, match="mine"):
        model.parse(model.Plan, text, where="mine")


@given(st.integers(0, 100), st.integers(0, 100), st.text("ab", min_size=1, max_size=3))
def test_trials_sort_by_item_then_arm_then_repeat(first: int, second: int, item: str) -> None:
    one = model.TrialKey(item=item, arm="x", repeat=first)
    two = model.TrialKey(item=item, arm="y", repeat=second)
    assert one.order < two.order
    assert one.order < model.TrialKey(item=item + "c", arm="a", repeat=0).order


def test_not_estimable_is_none_and_never_zero() -> None:
    document = model.as_json(observation(estimate=None))
    assert document["estimate"] is None
    assert document["reasons"]


def test_the_units_are_those_the_schema_knows() -> None:
    assert list(get_args(model.Unit)) == schema.shipped()["common.v1"]["$defs"]["unit"]["enum"]


def plan() -> model.Plan:
    return make_plan(planned("a", criterion())).model_copy(update={"created_at": AS_OF})
