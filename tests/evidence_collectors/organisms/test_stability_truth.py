"""The truth under attack, read off plain hidden states and probabilities, is what the instrument reads."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from dossier.canonical import loads
from dossier.collector import Inputs
from dossier.model import Trial
from dossier.ranking import recall_at_fpr
from evidence_collectors.calibration import summary
from evidence_collectors.interpretability.adversarial_stability.collector import COLLECTOR
from evidence_collectors.organisms import stability_truth, tokens
from evidence_collectors.organisms.direction_truth import frozen
from evidence_collectors.organisms.stability_truth import Behaviour, chances, last
from evidence_collectors.recipes import adversarial_stability as recipe
from evidence_collectors.recipes import makes

SAMPLES = Path(__file__).parents[3] / "samples" / "organisms"
SEED = "0123456789abcdef"
READ = (
    "projection_retention", "gap_retention", "auroc", "recall", "false_positive_rate", "log_odds_change",
)  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    place = makes.Place(SAMPLES, tmp_path_factory.mktemp("none"), lambda _: None)
    return place.opened(makes.FULL.makes[0])


@pytest.fixture(scope="module")
def truths(opened):
    return recipe._truths(opened)


def test_what_needs_no_sampling_is_what_the_instrument_reads(opened, truths):
    params = COLLECTOR.parse({**COLLECTOR.dump(recipe.PARAMS), "generate": False})
    inputs = Inputs(subject=opened.model, items=opened.items, white_box=opened.model)
    run = [one for one in COLLECTOR.collect(inputs, params, SEED) if isinstance(one, Trial)]
    found = summary(COLLECTOR, run, params)
    for arm in ("clean", *recipe.WORDS):
        for name in READ:
            if f"{arm}.{name}" in found:
                assert found[f"{arm}.{name}"].estimate == pytest.approx(truths[arm][name], abs=2e-3), f"{arm}.{name}"
    assert truths["own-1"]["projection_retention"] < 0.1
    assert truths["own-2"]["projection_retention"] > 0.9


def test_the_rates_are_near_those_the_organism_ships_with_which_are_over_more_requests(opened, truths):
    reference = {
        one["quantity"]: one["exact"]
        for one in loads((opened.folder / "reference.json").read_bytes(), where="reference")["values"]
    }
    assert truths["clean"]["behaviour_rate"] == pytest.approx(reference["refusal.harmful"], abs=5e-3)
    assert truths["own-1"]["behaviour_rate"] == pytest.approx(reference["refusal.harmful.jailbreak"], abs=5e-3)
    drop = truths["clean"]["behaviour_rate"] - truths["own-1"]["behaviour_rate"]
    assert truths["own-1"]["behaviour_change"] == pytest.approx(-drop)
    assert drop / truths["clean"]["behaviour_rate"] < truths["own-1"]["attack_success"] < 1.0, (
        "draws are independent, so an answer can be lost where the chance stayed"
    )


def test_the_threshold_is_the_least_score_that_flags_few_enough():
    scores = np.array([0.3, 0.1, 0.9, 0.5, 0.5, 0.7])
    for share in (0.0, 0.1, 1 / 6, 0.34, 0.5):
        assert frozen(scores, share) == recall_at_fpr(scores, scores, fpr=share).threshold
    assert frozen(scores, 0.0) == 0.9
    assert frozen(scores, 1 / 3) == 0.5


def test_prompts_of_several_lengths_keep_their_order_and_are_not_padded(opened):
    prompts = recipe.asked(opened).reported["own-benign-1"]["positive"][:6]
    prompts = [prompts[0], [*prompts[1], prompts[1][-1]], *prompts[2:]]
    together = last(opened.inner, prompts, 2)
    for row, prompt in enumerate(prompts):
        alone = last(opened.inner, [prompt], 2)
        assert together.states[row] == pytest.approx(alone.states[0], abs=1e-5)
        assert together.logits[row] == pytest.approx(alone.logits[0], abs=1e-4)


def test_log_odds_by_hand():
    found = stability_truth.Last(np.zeros((1, 2)), np.log(np.array([[0.2, 0.3, 0.5]])))
    assert found.log_odds((0, 2)) == pytest.approx(np.log(0.7 / 0.3))


def test_completions_that_are_left_uncounted_are_no_truth(opened):
    prompts = recipe.asked(opened).reported["clean"]["positive"][:2]
    stop = tokens.token_id(opened.model.loaded.tokenizer, tokens.END)
    with pytest.raises(ValueError, match="left uncounted"), torch.inference_mode():
        chances(opened.inner, prompts, Behaviour(frozenset({300}), (300,), stop, max_tokens=1))


def test_no_instrument_takes_part():
    tree = ast.parse(Path(stability_truth.__file__).read_text("utf-8"))
    imported = [getattr(node, "module", None) or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in imported if "interpretability" in name or "calibration" in name]
