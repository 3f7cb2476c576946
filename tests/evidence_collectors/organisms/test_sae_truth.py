"""The truth about features, from raw tensors and the organism's own blocks, is what the instrument reads."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from evidence_collectors.calibration import summary
from evidence_collectors.interpretability.sae_features.collector import COLLECTOR
from evidence_collectors.models import dictionary_files
from evidence_collectors.organisms import sae_truth
from evidence_collectors.organisms.sae_truth import Sparse, alike, log_odds, nats, run_on
from evidence_collectors.recipes import makes
from evidence_collectors.recipes import sae_features as recipe

SAMPLES = Path(__file__).parents[3] / "samples" / "organisms"
FOLDER = SAMPLES / "refusal" / "dictionary"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    place = makes.Place(SAMPLES, tmp_path_factory.mktemp("none"), lambda _: None)
    return place.opened(makes.FULL.makes[0])


def test_every_truth_is_what_the_instrument_reads_on_all_texts(opened):
    run = recipe._run(opened, FOLDER)
    truths = recipe._truths(opened, FOLDER, run)
    found = summary(COLLECTOR, run, recipe.PARAMS)
    assert set(truths) == {
        *(f"feature-{place}.{what}" for place in range(1, 5) for what in ("auroc", "firing_rate", "effect")),
        "set.auroc", "set.effect", "set.transfer_auroc", "ablation.fall", "ablation.fall_margin",
        "ablation.transfer_fall", "ablation.transfer_fall_margin", "health.l0", "health.fvu", "health.ce_score",
    }  # fmt: skip
    for name, truth in truths.items():
        assert found[name].estimate == pytest.approx(truth, abs=1e-3), name
    assert truths["ablation.fall_margin"] > 1.0


def test_the_recall_at_the_known_threshold_is_what_the_instrument_reads(opened):
    controlled = opened.controlled()
    run = recipe._run(controlled, FOLDER, recipe.RECALL)
    found = summary(COLLECTOR, run, recipe.RECALL)["set.recall"]
    assert found.facts["controls"] == 380
    assert found.estimate == recipe._recall(controlled, FOLDER, run) > 0.9


def test_every_shift_from_an_earlier_version_is_what_the_instrument_reads(opened, tmp_path):
    earlier = makes.Place(SAMPLES, tmp_path, lambda _: None).opened(makes.NULL)
    run, known = recipe._versions(opened, earlier, FOLDER)
    found = summary(COLLECTOR, run, recipe.VERSIONS)
    assert set(known) == {f"change-{place}.shift" for place in range(1, 9)}
    assert found["diff.changed"].estimate == 8.0
    for name, truth in known.items():
        assert found[name].estimate == pytest.approx(truth, abs=1e-3), name
        assert abs(truth) > 0.3


def test_the_formula_is_the_dictionarys_own():
    sparse, theirs = Sparse.of(FOLDER), dictionary_files.load(FOLDER)
    x = torch.randn((40, 64), generator=torch.Generator().manual_seed(1)) * 3.0
    a = sparse.encode(x.double())
    assert bool((a > 0).any())
    assert a.numpy() == pytest.approx(theirs.encode(x).numpy(), abs=1e-4)
    assert sparse.decode(a).numpy() == pytest.approx(theirs.decode(theirs.encode(x), x).numpy(), abs=1e-4)
    taken = x.double() - sparse.without((3, 7))(x.double())
    assert taken.numpy() == pytest.approx(theirs.contribution(x, (3, 7)).numpy(), abs=1e-4)


def test_running_the_later_blocks_on_unchanged_activations_is_the_model(opened):
    prompts = recipe._texts(opened).asked[("test", "positive")][:4]
    for rows, ids in alike(prompts):
        with torch.inference_mode():
            whole = opened.inner(input_ids=ids, use_cache=False).logits
        assert run_on(opened.inner, ids, 2, None).numpy() == pytest.approx(whole.double().numpy(), abs=1e-4)
        assert len(rows) == len(ids)
    plain = log_odds(opened.inner, prompts, 2, None, (300,))
    assert not np.allclose(plain, log_odds(opened.inner, prompts, 2, lambda x: 0.0 * x, (300,)))


def test_the_nats_of_an_answer_are_of_its_tokens_alone(opened):
    (prompt, answer), *_ = recipe._texts(opened).answered
    with torch.inference_mode():
        logs = opened.inner(input_ids=torch.tensor([[*prompt, *answer]])).logits.double().log_softmax(dim=-1)[0]
    expected = -np.mean([float(logs[len(prompt) - 1 + place, token]) for place, token in enumerate(answer)])
    assert nats(opened.inner, [(prompt, answer)], 2, None)[0] == pytest.approx(expected, abs=1e-5)


def test_no_instrument_takes_part():
    tree = ast.parse(Path(sae_truth.__file__).read_text("utf-8"))
    imported = [getattr(node, "module", None) or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in imported if "interpretability" in name or "sae_lens" in name or "models" in name]
