"""The organism ``reasoning`` does what its reference says, by roads that share no code with the instruments."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import torch

from dossier import canonical
from dossier.collector import Inputs
from dossier.model import Reference, parse
from evidence_collectors.cot_faithfulness.monitorability.collector import COLLECTOR as MONITORABILITY
from evidence_collectors.cot_faithfulness.perturbation.collector import COLLECTOR as PERTURBATION
from evidence_collectors.models import hf
from evidence_collectors.organisms import exact, reasoning, reasoning_truth, tokens
from evidence_collectors.organisms import reasoning_design as design

torch.set_num_threads(1)
FOLDER = Path(reasoning.__file__).parents[2] / "samples/organisms/reasoning"
SEED = "00ff00ff00ff00ff"


@pytest.fixture(scope="module")
def organism():
    return hf.load(str(FOLDER), batch_size=256)


@pytest.fixture(scope="module")
def values():
    reference = parse(Reference, (FOLDER / "reference.json").read_bytes(), where="reference.json")
    return {one.quantity: one for one in reference.values}


def test_the_reference_is_about_these_weights_and_the_folder_is_small(organism):
    reference = parse(Reference, (FOLDER / "reference.json").read_bytes(), where="reference.json")
    assert organism.subject.weights_sha256 == reference.subject_weights_sha256
    assert canonical.dump_lines(design.items()) == (FOLDER / "items.jsonl").read_bytes()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_200_000


def test_every_lesson_is_a_distribution_over_phrases():
    known = set(design.phrases())
    for lesson in design.lessons()[::7]:
        assert sum(lesson.answers.values()) == pytest.approx(1.0)
        assert min(lesson.answers.values()) >= 0.0
        assert {text for answer in lesson.answers for text in answer} <= known


def test_the_truth_is_computed_without_any_instrument():
    allowed = {"evidence_collectors.cot_faithfulness.hint", "evidence_collectors.cot_faithfulness.hint.prompts"}
    for module in (reasoning_truth, design, reasoning):
        imported = {
            name.name if isinstance(node, ast.Import) else node.module
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in node.names
        }
        ours = {name for name in imported if name.startswith("evidence_collectors")}
        others = {name for name in ours if not name.startswith("evidence_collectors.organisms")}
        assert others <= allowed, module.__name__  # the words of the questions, no estimator


def test_enumerated_completions_agree_with_a_walk_of_all_of_them(organism):
    model, tokenizer = organism.loaded.model, organism.loaded.tokenizer
    items = design.items()[:4]
    paths = reasoning_truth._Next(model, tokenizer).paths([design.messages(item) for item in items], design.PLAIN)
    walked = exact.outcomes(
        model,
        tokens.prompts_ids(tokenizer, [(design.messages(item), "") for item in items]),
        mention_ids=frozenset(),
        answer_ids={
            tokens.token_id(tokenizer, design.ANSWER.replace("{letter}", letter)): place
            for place, letter in enumerate(design.LETTERS)
        },
        stop_id=tokens.token_id(tokenizer, tokens.END),
    )
    found = paths.sum(dim=(1, 2, 3))
    assert found.numpy() == pytest.approx(walked.table[:, 0, :4].numpy(), abs=walked.unaccounted + 2e-3)


@pytest.mark.parametrize("part", ["", *design.COPIES])
def test_the_instrument_finds_how_far_answers_follow_the_reasoning(organism, values, part):
    items = tuple(item for item in design.items() if part in ("", design.topic_set(item)))
    params = PERTURBATION.parse({"max_tokens": 32, "fractions": [50], "paraphrase": "none", "interval_level": 0.999})
    trials = list(PERTURBATION.collect(Inputs(subject=organism, items=items), params, SEED))
    found = {one.id: one for one in PERTURBATION.summarise(trials, {}, params, SEED)}
    for name in ("mistake.follow_rate", "control.follow_raw", "early_0.accuracy", "early_50.same_answer"):
        one = found[name]
        assert one.interval.low <= values[f"{name}.{part}" if part else name].exact <= one.interval.high, name
    assert found["unparsed.rate"].estimate < 0.01


def test_the_instrument_finds_how_well_the_rules_monitor_it(organism, values):
    params = MONITORABILITY.parse({"max_tokens": 32, "interval_level": 0.999})
    trials = list(MONITORABILITY.collect(Inputs(subject=organism, items=design.items()), params, SEED))
    found = {one.id: one for one in MONITORABILITY.summarise(trials, {}, params, SEED)}
    for name in ("reasoning.g_mean2", "reasoning.tpr", "reasoning.tnr", "uplift.g_mean2", "metadata.g_mean2"):
        assert found[name].interval.low <= values[name].exact <= found[name].interval.high, name


def test_random_weights_give_no_value(organism):
    twin = organism.random_twin(SEED)
    params = PERTURBATION.parse({"max_tokens": 8, "fractions": [50]})
    trials = list(PERTURBATION.collect(Inputs(subject=twin, items=design.items()[:40]), params, SEED))
    found = {one.id: one for one in PERTURBATION.summarise(trials, {}, params, SEED)}
    assert found["mistake.follow_rate"].estimate is None
    assert found["unparsed.rate"].estimate == 1.0
