"""The truth, read off changed weights, is what the instruments read off changed activations."""

from __future__ import annotations

import numpy as np
import pytest

from evidence_collectors.interpretability.directions import ablated, added, next_token, next_token_logs
from evidence_collectors.interpretability.reading import mean_token_nats, residuals
from evidence_collectors.items import contrast
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import direction_truth as truth
from tests.evidence_collectors.interpretability.planted_models import items, plant


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def model(planted):
    return load(str(planted.folder))


@pytest.fixture(scope="module")
def texts():
    return [one.continuation() for one in contrast.parse(items(train=3, validation=0, test=0, transfer=0, neutral=0))]


def prompts(model, texts):
    tokenizer = model.loaded.tokenizer
    return [
        tokenizer.apply_chat_template(
            [turn.model_dump() for turn in text.request.messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        for text in texts
    ]


def test_log_odds_under_ablation_and_addition_agree(planted, model, texts):
    inner, ids, asked = model.loaded.model, model.token_ids("R"), prompts(model, texts)
    vector = planted.direction * 5.0
    cut, put = truth.orthogonalised(inner, vector), truth.pushed(inner, 0, vector)
    for changed, edits in ((cut, ablated(model, vector)), (put, added(model.layout.residual[0], vector))):
        expected = truth.log_odds(changed, asked, ids)
        found = next_token(model, texts, ids, edits=edits, reference=next_token_logs(model, texts))
        assert found.log_odds == pytest.approx(expected, abs=1e-3)
        assert found.divergence == pytest.approx(truth.divergence(inner, changed, asked), abs=1e-3)
    assert np.abs(truth.log_odds(cut, asked, ids) - truth.log_odds(inner, asked, ids)).max() > 1.0


def test_nats_of_answers_agree_under_ablation_and_addition(planted, model):
    rows = contrast.parse(items(train=0, validation=0, test=0, transfer=0, neutral=6))
    said = [one.continuation() for one in rows]
    answers = [model.token_ids(one.response) for one in rows]
    answered = list(zip(prompts(model, said), answers, strict=True))
    inner, vector = model.loaded.model, planted.direction * 25.0
    found = {}
    for name, changed, edits in (
        ("plain", inner, ()),
        ("ablate", truth.orthogonalised(inner, vector), ablated(model, vector)),
        ("add_plus_1", truth.pushed(inner, 0, vector), added(model.layout.residual[0], vector)),
    ):
        found[name] = truth.nats(changed, answered)
        assert found[name] == pytest.approx(mean_token_nats(model, said, edits=edits), abs=1e-3)
    truths = truth.intervention_truths(
        inner, {}, answered, layer=0, vector=vector, pushes={"add_plus_1": 25.0}, token_ids=model.token_ids("R")
    )
    assert truths == pytest.approx(
        {f"{arm}.capability": (found[arm] - found["plain"]).mean() for arm in ("ablate", "add_plus_1")}, abs=1e-6
    )
    assert truths["add_plus_1.capability"] > 0.5


def test_a_threshold_flags_at_most_its_share():
    scores = np.arange(100.0)
    assert truth.frozen(scores, 0.01) == 98.0
    assert truth.frozen(scores, 0.0) == 99.0


def test_projections_agree_and_areas_count_pairs(planted, model, texts):
    point = model.layout.residual[1]
    read = residuals(model, texts, [point], position="last_prompt")[point] @ planted.direction
    assert read == pytest.approx(
        truth.projections(model.loaded.model, prompts(model, texts), 1, planted.direction), abs=1e-4
    )
    assert truth.area(np.array([1.0, 2.0]), np.array([0.0, 1.0])) == 0.875


def test_the_truths_of_both_instruments_are_those_of_the_changed_weights(planted, model):
    rows = contrast.parse(items(train=0, validation=0, test=4, transfer=4, neutral=0))
    asked = {
        (split, label): prompts(
            model, [one.continuation() for one in contrast.chosen(rows, label=label, splits=(split,))]
        )
        for split in ("test", "transfer")
        for label in ("positive", "negative")
    }
    ids, vector = model.token_ids("R"), planted.direction * 25.0
    found = truth.direction_truths(
        model.loaded.model,
        asked,
        asked[("test", "negative")],
        layer=0,
        vector=vector,
        token_ids=ids,
        share=0.25,
    )
    assert found["test.direction_auroc"] == found["transfer.direction_auroc"] == 1.0
    assert found["test.direction_recall"] == found["transfer.direction_recall"] == 1.0
    assert found["test.bypass"] < -4.0 < 0.0 < found["test.induce"]
    by_label = {label: asked[("test", label)] for label in ("positive", "negative")}
    answered = [(asked[("test", "negative")][0], ids)]
    rates = truth.intervention_truths(
        model.loaded.model, by_label, answered, layer=0, vector=vector, pushes={"add_plus_1": 25.0}, token_ids=ids
    )
    assert rates["baseline.rate_positive"] > 0.9
    assert rates["ablate.change_positive"] == pytest.approx(
        rates["ablate.rate_positive"] - rates["baseline.rate_positive"]
    )
    assert rates["add_plus_1.rate_negative"] > 0.9
    assert rates["ablate.log_odds_positive"] < -4.0
