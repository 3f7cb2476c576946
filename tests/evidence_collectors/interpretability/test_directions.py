"""Directions are fitted, turned, taken out and put in as their formulas say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dossier.errors import CollectionError
from dossier.language_model import Continuation, Edit
from dossier.model import Message, Request
from evidence_collectors.interpretability.directions import (
    ablated,
    added,
    difference_of_means,
    first_tokens,
    next_token,
    next_token_logs,
    number,
    oriented,
)
from evidence_collectors.interpretability.quantities import mean_value, upper_quantile
from evidence_collectors.models.hf import load
from tests.evidence_collectors.models.folders import save

TEXTS = [
    Continuation(
        Request(messages=(Message(role="user", content=text),), max_tokens=1, temperature=0, seed="0" * 16), ""
    )
    for text in ("alpha", "beta gamma delta", "numbers 1 2 3")
]


@pytest.fixture(scope="module", params=("llama", "qwen2", "gpt_neox"))
def model(request, tmp_path_factory):
    return load(str(save(tmp_path_factory.mktemp(request.param), request.param, layers=3)))


def direction(width: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=width)


def test_ablating_by_edits_is_ablating_in_the_weights(model, tmp_path):
    """x - u u^T x at all that writes equals W - u u^T W of all that writes (Arditi et al. 2024, section 4.1)."""
    vector = direction(model.layout.d_model)
    by_edits = next_token_logs(model, TEXTS)
    by_edits = [
        batch.logits[row].double().log_softmax(dim=-1)
        for batch in model.capture(TEXTS, [], edits=ablated(model, vector), logits=True)
        for row in np.argsort(batch.index)
    ]
    unit = torch.tensor(vector / np.linalg.norm(vector), dtype=torch.float64)
    inner = model.loaded.model
    changed = {name: value.clone() for name, value in inner.state_dict().items()}
    layout = model.layout
    writers = [name for part in (*layout.attention, *layout.mlp) for name in _outputs(inner, part)]
    for name in (f"{layout.embedding}.weight", *writers):
        value = changed[name].double()
        if name == f"{layout.embedding}.weight":
            value = value - (value @ unit)[:, None] * unit
        else:
            value = value - torch.outer(unit, unit @ value) if value.dim() == 2 else value - unit * (unit @ value)
        changed[name] = value.float()
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    inner.load_state_dict(changed)
    try:
        by_weights = next_token_logs(model, TEXTS)
    finally:
        inner.load_state_dict(before)
    for left, right in zip(by_edits, by_weights, strict=True):
        torch.testing.assert_close(left, right.double(), rtol=1e-4, atol=1e-4)
    assert float((next_token_logs(model, TEXTS)[0].double() - by_edits[0]).abs().max()) > 1e-2


def _outputs(inner, part: str) -> list[str]:
    """The parameters of the last linear map of an attention or an MLP."""
    module = inner.get_submodule(part)
    last = [name for name, child in module.named_modules() if isinstance(child, torch.nn.Linear)]
    name = next(one for one in last if one in ("o_proj", "dense", "down_proj", "dense_4h_to_h"))
    return [f"{part}.{name}.{own}" for own, _ in module.get_submodule(name).named_parameters()]


def test_an_ablated_direction_is_in_no_part_of_the_residual_stream(tmp_path):
    for family in ("gemma2", "llama"):
        model = load(str(save(tmp_path / family, family, layers=3)))
        vector = direction(model.layout.d_model)
        unit = torch.tensor(vector / np.linalg.norm(vector), dtype=torch.float32)
        for batch in model.capture(TEXTS, model.layout.residual, edits=ablated(model, vector)):
            for value in batch.at.values():
                assert float((value @ unit).abs().max()) < 1e-5 * float(value.norm(dim=-1).max())


def test_log_odds_and_divergence_are_those_of_the_definition(model):
    ids = (5, 7)
    vector = direction(model.layout.d_model)
    point = model.layout.residual[0]
    plain = next_token_logs(model, TEXTS)
    found = next_token(model, TEXTS, ids, edits=added(point, vector), reference=plain)
    for place, text in enumerate(TEXTS):
        (batch,) = model.capture([text], [], edits=[Edit(point, added(point, vector)[0].change)], logits=True)
        chances = batch.logits[0].double().softmax(dim=-1)
        inside = float(chances[list(ids)].sum())
        assert found.log_odds[place] == pytest.approx(np.log(inside / (1 - inside)), abs=1e-4)
        before = plain[place].double().exp()
        assert found.divergence[place] == pytest.approx(float((before * (before / chances).log()).sum()), abs=1e-4)
    same = next_token(model, TEXTS, ids, reference=plain)
    assert np.abs(same.divergence).max() < 1e-5
    assert np.isnan(next_token(model, TEXTS, ids).divergence).all()


def test_first_tokens_come_once_and_a_text_without_any_is_refused(model):
    ids = first_tokens(model, ["Rx", "Ry", "S"])
    assert [model.token_text([one]) for one in ids] == ["R", "S"]
    with pytest.raises(CollectionError, match="no token"):
        first_tokens(model, [""])


def test_an_empty_class_or_equal_means_have_no_direction():
    some = np.ones((3, 2))
    for positive, negative in ((some, some[:0]), (some[:0], some), (some, some), (some * np.nan, some)):
        with pytest.raises(CollectionError):
            difference_of_means(positive, negative)
    assert difference_of_means(some * 2, some).tolist() == [1.0, 1.0]


def test_null_directions_are_turned_towards_the_positive_texts():
    positive, negative = np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]])
    assert oriented(np.array([[-2.0, 0.0], [3.0, 0.0]]), positive, negative).tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_recorded_numbers_have_the_digits_of_the_activations():
    assert number(0.123456789) == 0.1234568
    assert str(number(-0.0)) == "0.0"


def test_the_interval_of_a_mean_is_students_and_one_number_has_none():
    found = mean_value(np.array([1.0, 2.0, 3.0, 4.0]), 0.95)
    assert found.estimate == 2.5
    assert found.limits == pytest.approx((2.5 - 2.0542, 2.5 + 2.0542), abs=1e-3)
    assert mean_value(np.array([1.0]), 0.95).estimate is None


def test_the_upper_quantile_is_one_of_the_values():
    values = [0.1 * place for place in range(20)]
    assert upper_quantile(values) == 18
    assert upper_quantile([0.3, 0.9, 0.1], 1.0) == 1
