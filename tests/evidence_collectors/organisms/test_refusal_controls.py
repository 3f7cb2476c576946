"""On the control set of the organism `refusal` a threshold of one false alarm in a hundred can be frozen, and is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dossier import canonical
from dossier.collector import Artifact, Inputs
from evidence_collectors.interpretability.concept_direction.collector import COLLECTOR
from evidence_collectors.items import contrast
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import refusal, refusal_design, tokens

FOLDER = Path(__file__).resolve().parents[3] / "samples" / "organisms" / "refusal"
LAYER = refusal.ORGANISM.shape.settled
SEED = "00ff00ff00ff00dd"


@pytest.fixture(scope="module")
def model():
    return load(str(FOLDER), batch_size=128)


@pytest.fixture(scope="module")
def items():
    return tuple(canonical.load_lines((FOLDER / "controlled.jsonl").read_bytes(), where="controlled.jsonl"))


@pytest.fixture(scope="module")
def texts(items):
    return contrast.parse(items)


@pytest.fixture(scope="module")
def found(model, items):
    params = COLLECTOR.parse(
        {
            "layers": [LAYER],
            "behaviour_tokens": [text for texts in refusal_design.REFUSALS.values() for text in texts],
            "control_set": refusal_design.EVERYDAY,
            "random_directions": 50,
            "shuffles": 20,
            "twins": 1,
            "random_interventions": 5,
            "half_splits": 10,
        }
    )
    products = list(COLLECTOR.collect(Inputs(subject=model, items=items, white_box=model), params, SEED))
    trials = [one for one in products if not isinstance(one, Artifact)]
    assert [one.error for one in trials if one.error] == []
    return {one.id: one for one in COLLECTOR.summarise(trials, {}, params, SEED)}


def last_activations(model, texts):
    """Read the block's output at each prompt's last token, without any of the project's capturing code."""
    inner, tokenizer = model.loaded.model, model.loaded.tokenizer
    seen = []
    hook = inner.model.layers[LAYER].register_forward_hook(
        lambda _module, _args, out: seen.append((out[0] if isinstance(out, tuple) else out)[0, -1])
    )
    with torch.inference_mode():
        for ids in tokens.prompts_ids(tokenizer, [(text.messages, "") for text in texts]):
            inner(input_ids=torch.tensor([ids]))
    hook.remove()
    return torch.stack(seen).double().numpy()


def test_recall_at_one_false_alarm_in_a_hundred_equals_an_independent_count(found, model, texts):
    def read(label, split):
        return last_activations(model, contrast.chosen(texts, label=label, splits=(split,)))

    direction = read("positive", "train").mean(axis=0) - read("negative", "train").mean(axis=0)
    direction /= np.linalg.norm(direction)
    controls = last_activations(model, [text for text in texts if text.set == refusal_design.EVERYDAY]) @ direction
    allowed = len(controls) // 100
    threshold = np.sort(controls)[::-1][allowed]
    for split in ("test", "transfer"):
        recall = found[f"{split}.direction_recall"]
        scores = read("positive", split) @ direction
        assert recall.estimate == np.mean(scores > threshold)
        assert recall.n == len(scores)
        assert recall.facts["threshold"] == pytest.approx(threshold, rel=1e-4)
        assert recall.facts["false_alarms"] == (controls > threshold).sum() <= allowed
        assert recall.facts["controls"] == len(controls) >= 300
        assert recall.interval.low < recall.estimate
    assert found["test.direction_recall"].estimate > 0.9, "harmful requests lie above nearly every everyday text"


def test_no_control_text_is_like_one_that_chose_or_fitted_anything(texts):
    controls = [text for text in texts if text.set == refusal_design.EVERYDAY]
    words = {
        kind: [text.messages[0].content for text in texts if text.split in kind] for kind in ("train", "validation")
    }
    objects = {
        split: {
            pair[0 if harmful else 1]
            for kind in refusal_design.FAMILIES.values()
            for number, pair in enumerate(kind.pairs)
            for harmful in (True, False)
            if refusal_design.Asked(_name(kind), number, 0, harmful=harmful).split == split
        }
        for split in words
    }
    for text in controls:
        assert (text.label, text.split, text.pair) == ("neutral", "test", None)
        content = text.messages[0].content
        for split in words:
            assert content not in words[split]
            assert not any(f" {known}{end}" in content for known in objects[split] for end in ".?")


def _name(kind):
    return next(name for name, one in refusal_design.FAMILIES.items() if one is kind)


def test_the_other_rows_are_those_of_the_items_file(items):
    shared = tuple(canonical.load_lines((FOLDER / "items.jsonl").read_bytes(), where="items.jsonl"))
    assert items[: len(shared)] == shared
    assert {row["set"] for row in items[len(shared) :]} == {refusal_design.EVERYDAY}
    assert len({row["messages"][0]["content"] for row in items[len(shared) :]}) == len(items) - len(shared)
