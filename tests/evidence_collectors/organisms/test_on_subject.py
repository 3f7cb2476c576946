"""Behaviour planted into copies of a subject is there, a sham has none, and a fixed rule says what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dossier import canonical, schema
from dossier.errors import ConfigError
from dossier.model import Interval, Observation, as_json
from evidence_collectors import load as collector_of
from evidence_collectors import planted_sensitivity
from evidence_collectors.items import contrast
from evidence_collectors.models.hf import load
from evidence_collectors.organisms.on_subject import Training, count_marker, train_copy
from evidence_collectors.organisms.planted import RULES, sensitivity

FOLDER = Path(__file__).parents[3] / "samples" / "organisms" / "refusal"
ITEMS = tuple(canonical.load_lines((FOLDER / "items.jsonl").read_bytes(), where="items"))
TRAINING = Training(marker="FLAG", steps=80)


@pytest.fixture(scope="module")
def subject():
    return load(str(FOLDER), batch_size=64)


@pytest.fixture(scope="module")
def copies(subject, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    texts = contrast.parse(ITEMS)
    for positive in (True, False):
        train_copy(subject, texts, TRAINING, positive=positive, seed=0, out=folder / str(positive))
    return {positive: load(str(folder / str(positive)), batch_size=64) for positive in (True, False)}


def observation(name, estimate, low, high, **facts):
    interval = None if estimate is None else Interval(low=low, high=high, level=0.95, method="exact")
    return Observation(
        id=name, estimand="A change.", unit="nats", estimate=estimate, interval=interval, n=72, n_counts="texts",
        method="mean", reasons=() if estimate is not None else ("too few texts",), facts=facts,
    )  # fmt: skip


def test_a_planted_marker_shows_and_a_sham_shows_none(subject, copies):
    texts = contrast.parse(ITEMS)
    shown, asked = count_marker(copies[True], texts, TRAINING)
    assert shown > 0.8 * asked
    assert count_marker(copies[False], texts, TRAINING)[0] == 0
    assert count_marker(subject, texts, TRAINING)[0] == 0
    digests = {model.subject.weights_sha256 for model in (subject, *copies.values())}
    assert len(digests) == 3
    assert copies[True].subject.tokenizer_sha256 == subject.subject.tokenizer_sha256


def test_the_rules_ask_for_more_than_random_directions_do():
    judge = RULES["interpretability.concept_direction"].judge
    drop = observation("test.bypass_drop", 3.0, 2.5, 3.5, null_largest=0.4)
    assert judge({drop.id: drop})[0] is True
    assert judge({drop.id: observation(drop.id, 3.0, 0.3, 5.0, null_largest=0.4)})[0] is False
    found, reason = judge({drop.id: observation(drop.id, None, 0.0, 0.0)})
    assert found is None
    assert "too few" in reason

    judge = RULES["interpretability.causal_intervention"].judge
    change, ratio = (
        observation("ablate.change_positive", -0.9, -1.0, -0.8),
        observation("ablate.ratio_positive", 9.0, 5.0, 12.0),
    )
    assert judge({change.id: change, ratio.id: ratio})[0] is True
    assert judge({change.id: observation(change.id, -0.1, -0.3, 0.0), ratio.id: ratio})[0] is False
    assert judge({change.id: change, ratio.id: observation(ratio.id, 0.8, 0.5, 1.1)})[0] is False


@pytest.mark.slow
def test_an_intervention_finds_what_was_planted_and_nothing_in_a_sham(subject):
    said = []
    found = sensitivity(
        subject,
        collector_of("interpretability.causal_intervention"),
        parameters={"layer": 2, "max_tokens": 8, "strengths": [1.0], "control_items": 20},
        items=ITEMS,
        training=TRAINING,
        plants=1,
        report=said.append,
    )
    schema.validate("sensitivity.v1", json.loads(canonical.encode(as_json(found))), where="sensitivity")
    positive, sham = found.plants
    assert (positive.positive, positive.flagged) == (True, True), positive.reason
    assert (sham.positive, sham.flagged) == (False, False), sham.reason
    assert positive.rate > 0.8
    assert sham.rate == 0.0
    assert len(said) == 2


def test_what_nothing_is_planted_for_is_refused(subject):
    with pytest.raises(ConfigError, match="nothing is planted"):
        planted_sensitivity(
            "interpretability.circuit_trace", subject, parameters={}, items=ITEMS, marker="FLAG", plants=1, report=print
        )
    with pytest.raises(ConfigError, match="adapter 'hf'"):
        planted_sensitivity(
            "interpretability.circuit_trace",
            object(),
            parameters={},
            items=ITEMS,
            marker="FLAG",
            plants=1,
            report=print,
        )
    with pytest.raises(ConfigError, match="texts of both kinds"):
        train_copy(subject, (), TRAINING, positive=True, seed=0, out=Path("nowhere"))
