"""On the organism that was trained to refuse, the features that bear on refusing are found and shown to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dossier import canonical
from dossier.collector import Inputs
from evidence_collectors.interpretability.sae_features.collector import COLLECTOR
from evidence_collectors.models.hf import load
from evidence_collectors.organisms.refusal_design import REFUSALS

ORGANISM = Path(__file__).parents[3] / "samples" / "organisms" / "refusal"
REFUSING = [text for texts in REFUSALS.values() for text in texts]
SEED = "00ff00ff00ff00ff"


@pytest.fixture(scope="module")
def found():
    items = tuple(canonical.load_lines((ORGANISM / "items.jsonl").read_bytes(), where="items.jsonl"))
    params = COLLECTOR.parse({"behaviour_tokens": REFUSING, "permutations": 500})
    model = load(str(ORGANISM))
    inputs = Inputs(subject=model, items=items, white_box=model, files={"dictionary": ORGANISM / "dictionary"})
    trials = list(COLLECTOR.collect(inputs, params, SEED))
    assert [one.error for one in trials if one.error] == []
    return {one.id: one for one in COLLECTOR.summarise(trials, {}, params, SEED)}


def test_the_dictionary_describes_the_organism(found):
    assert found["health.fvu"].interval.high < 0.3
    assert found["health.ce_score"].interval.low > 0.95
    assert found["health.alive"].estimate > 0.5
    assert 2.0 < found["health.l0"].estimate < 20.0


def test_chosen_features_raise_refusals_directly_and_hold_in_new_families(found):
    features = [found[f"feature-{place}.auroc"].facts for place in (1, 2, 3, 4)]
    refusing = [json.loads(facts["direct_logit_tokens"])[0] in REFUSING for facts in features]
    assert any(refusing)
    assert found["feature-1.auroc"].facts["p_value_of_family"] < 0.01
    assert found["set.transfer_auroc"].interval.low > 0.9


def test_the_behaviour_hangs_on_them_and_not_on_random_ones(found):
    for name in ("ablation.fall_margin", "ablation.transfer_fall_margin"):
        assert found[name].interval.low > 1.0, name
    fall = found["ablation.fall"]
    assert fall.null.high < 0.5  # random features lower the log-odds of refusing by next to nothing, or raise it
    assert fall.interval.low > fall.null.high + 1.0


def test_random_features_tell_the_classes_apart_too_and_the_margin_says_so(found):
    """One component holds most of the variance at the last token, so that an AUROC near 1 shows nothing by itself."""
    assert found["set.auroc"].facts["first_component_share"] > 0.5
    assert found["set.auroc_margin"].interval.low <= 0.05


def test_the_words_alone_give_nothing_away(found):
    assert 0.3 < found["twin.auroc"].estimate < 0.7
