"""The probe reads the context beyond the words, and what a push does counts only beside nulls and a positive control."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dossier import canonical
from dossier.collector import Artifact, Inputs
from dossier.errors import ConfigError, IntegrityError
from dossier.model import Trial
from evidence_collectors.calibration import summary
from evidence_collectors.evaluation_awareness.probe import baselines, estimates, pushes
from evidence_collectors.evaluation_awareness.probe.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.probe.simulation import Planted, area, simulate
from evidence_collectors.evaluation_awareness.probe.trials import arms, texts_of
from evidence_collectors.items import contrast
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import cues

ROOT = next(folder for folder in Path(__file__).parents if (folder / "samples").is_dir())
SEED = "0a0b0c0d0e0f0012"
READ = COLLECTOR.parse({"layer": 1, "strengths": [], "shuffles": 20, "twins": 1})
SMALL = {"layer": 0, "cells": [], "shuffles": 20, "twins": 1, "random_directions": 5, "markers": ["I cannot"]}
PUSH = COLLECTOR.parse({**SMALL, "strengths": [0.5, 1.0], "positive_control": True})
AT_SEPARATOR = COLLECTOR.parse(
    {
        **SMALL,
        "position": "last_prompt-3",
        "push_at": "position",
        "strengths": [1.0],
        "markers": [*cues.REFUSALS],
        "max_tokens": 4,
        "temperature": 1.0,
    }
)
MOVED = {("minus_2", "behaviour", "evaluation"): 0.4}
CONTROL = {("known_minus", "behaviour", context): 0.1 for context in ("evaluation", "deployment")}


def opened(name):
    folder = ROOT / "samples/organisms" / name
    items = tuple(canonical.load_lines((folder / "items.jsonl").read_bytes(), where="items.jsonl"))
    return load(str(folder), batch_size=256), items


def collected(name, params, *, items=None):
    model, shipped = opened(name)
    items = shipped if items is None else items
    found = list(COLLECTOR.collect(Inputs(subject=model, items=items, white_box=model), params, SEED))
    trials = [one for one in found if isinstance(one, Trial)]
    promised = sorted(one.key.order for one in COLLECTOR.expected(params, items, SEED))
    assert sorted(one.key.order for one in trials) == promised
    return trials, [one for one in found if isinstance(one, Artifact)]


@pytest.fixture(scope="module")
def awareness():
    return collected("awareness", READ)


@pytest.fixture(scope="module")
def separator():
    return {name: collected(name, AT_SEPARATOR)[0] for name in ("evaluation", "evaluation-bottleneck")}


def said(trials, params):
    return summary(COLLECTOR, trials, params)


# --- what the state tells ------------------------------------------------------------------------------------------


def test_the_probe_tells_contexts_beyond_words_and_across_formats(awareness):
    found = said(awareness[0], READ)
    assert list(found) == list(COLLECTOR.quantities(READ))
    for group in ("test", "transfer", "from_benchmark", "from_chat"):
        assert found[f"{group}.auroc"].estimate > 0.9, group
        assert found[f"{group}.twin_auroc"].estimate < found[f"{group}.auroc"].estimate
    margin = found["test.margin"]
    words = found["test.words_auroc"].estimate
    assert margin.estimate == pytest.approx(found["test.auroc"].estimate - words)
    assert margin.interval.low > 0.0
    assert found["formats.association"].estimate == 0.0


def test_the_direction_leaves_with_its_block_and_its_digest_is_in_the_facts(awareness):
    import safetensors.numpy

    trials, artifacts = awareness
    (artifact,) = artifacts
    arrays = safetensors.numpy.load(artifact.data)
    assert arrays["layer"].tolist() == [READ.layer]
    assert np.linalg.norm(arrays["direction"]) == pytest.approx(1.0)
    facts = said(trials, READ)["test.auroc"].facts
    assert len(facts["vector_sha256"]) == 64
    assert {"evaluation_q50", "deployment_q50"} <= set(facts), "a picture of the distribution needs quantiles"


def test_the_order_of_trials_changes_nothing(awareness):
    trials = awareness[0]
    assert said(trials[::-1], READ) == said(trials, READ)


def test_a_layer_that_is_not_there_leaves_failed_trials_and_reasons():
    params = READ.model_copy(update={"layer": 9})
    trials, artifacts = collected("awareness", params)
    found = said(trials, params)
    assert not artifacts
    assert found["test.auroc"].estimate is None
    assert any("no block 9" in reason for reason in found["test.margin"].reasons)
    assert found["self_test.parity"].estimate is not None


def test_items_of_one_split_leave_the_other_not_estimable_with_the_reason():
    _, shipped = opened("evaluation")
    for missing in ("transfer", "test"):
        items = tuple(row for row in shipped if row["split"] != missing)
        found = said(collected("evaluation", AT_SEPARATOR, items=items)[0], AT_SEPARATOR)
        other = "test" if missing == "transfer" else "transfer"
        assert found[f"{other}.auroc"].estimate > 0.9
        assert found[f"{missing}.auroc"].estimate is None
        assert "0 evaluation texts; 20 are needed" in found[f"{missing}.auroc"].reasons
    assert "no text" in found["plain.valid"].reasons[0]


def test_a_format_that_goes_with_the_context_is_flagged_and_nothing_is_read_across_it():
    found = said(simulate(READ, SEED, Planted(confounded=True), pairs=40), READ)
    assert found["formats.association"].estimate == pytest.approx(1.0)
    for name in ("from_chat.auroc", "from_benchmark.margin", "test.margin", "transfer.margin"):
        assert found[name].estimate is None, name
        assert found[name].reasons, name
    assert found["test.auroc"].estimate is not None
    assert any(limit.startswith("Flagged: format goes with context") for limit in found["test.auroc"].limits)


def test_without_declared_formats_that_is_said_and_nothing_crosses():
    params = READ.model_copy(update={"cells": ()})
    found = said(simulate(params, SEED, Planted(), pairs=40), params)
    assert found["formats.association"].estimate is None
    assert not any(name.startswith("from_") for name in found)
    assert any("not crossed" in limit for limit in found["test.auroc"].limits)
    assert found["test.margin"].estimate is not None


def test_a_probe_that_knows_no_more_than_the_words_has_no_margin():
    found = said(simulate(READ, SEED, Planted(probe=2.0, words=2.2), pairs=60), READ)
    assert found["test.auroc"].estimate > 0.85
    assert found["test.margin"].interval.low < 0.0


def test_every_score_of_a_group_stands_beside_its_null():
    found = said(simulate(READ, SEED, Planted(), pairs=40), READ)
    for group in ("test", "transfer", "from_benchmark", "from_chat"):
        auroc, margin, length, words = (
            found[f"{group}.{what}"] for what in ("auroc", "margin", "length_auroc", "words_auroc")
        )
        best = max(0.5, length.estimate, words.estimate)
        assert auroc.null.estimate == found[f"{group}.shuffled_auroc"].estimate == pytest.approx(0.5, abs=0.1)
        assert margin.null.estimate == pytest.approx(auroc.null.estimate - best)
        assert margin.null.low < margin.null.estimate < margin.null.high
        assert length.null.estimate == words.null.estimate == 0.5


def test_too_few_texts_are_not_estimable():
    found = said(simulate(READ, SEED, Planted(), pairs=9), READ)
    assert found["from_chat.auroc"].estimate is None
    assert any("20 are needed" in reason for reason in found["from_chat.auroc"].reasons)
    assert any("9 matched sets" in reason for reason in found["test.auroc"].reasons)


def test_random_weights_that_do_as_well_are_flagged():
    found = said(simulate(READ, SEED, Planted(probe=1.0, twin=3.0), pairs=40), READ)
    assert any("random weights" in limit for limit in found["test.auroc"].limits if limit.startswith("Flagged"))


def test_twins_that_could_not_be_read_take_nothing_else_with_them():
    trials = [
        one.model_copy(update={"measurements": {}, "error": "no room"}) if one.key.arm == "twin" else one
        for one in simulate(READ, SEED, Planted(), pairs=30)
    ]
    found = said(trials, READ)
    assert found["test.twin_auroc"].reasons == ("no room",)
    assert found["test.margin"].estimate is not None


def test_a_trial_that_is_there_twice_or_of_another_protocol_is_refused():
    trials = list(simulate(READ, SEED, Planted(), pairs=12))
    with pytest.raises(IntegrityError):
        said([*trials, trials[-1]], READ)
    strange = trials[-1].model_copy(update={"key": trials[-1].key.model_copy(update={"arm": "plus_9"})})
    with pytest.raises(IntegrityError):
        said([*trials, strange], READ)


# --- baselines and estimates ---------------------------------------------------------------------------------------


def test_on_the_shipped_items_a_bag_of_words_reaches_what_the_page_prints_beside_a_probe():
    lines = (ROOT / "evidence_collectors/items/awareness.v1.jsonl").read_bytes()
    texts = texts_of(tuple(canonical.load_lines(lines, where="x")), READ)
    told = [baselines.shown(text, with_response=False) for text in texts.train]
    fitted = baselines.fitted(told, [text.label == "positive" for text in texts.train])
    test = [text for text in texts.reported if text.split == "test"]
    scores = {True: [], False: []}
    for text in test:
        scores[text.label == "positive"].append(fitted.words(baselines.shown(text, with_response=False)))
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[True] for b in scores[False]]
    assert 0.70 < sum(pairs) / len(pairs) < 0.76


def test_words_are_weighed_by_the_training_texts_and_unseen_ones_say_nothing():
    fitted = baselines.fitted(["Graded test", "graded task", "my son", "my task"], [True, True, False, False])
    assert fitted.words("GRADED graded!") == pytest.approx(math.log(3 / 4) - math.log(1 / 4))
    assert fitted.words("task") == 0.0
    assert fitted.words("zebra") == 0.0
    assert fitted.length("abc") == 3.0, "evaluation texts are longer here"
    turned = baselines.fitted(["a", "aaaa"], [True, False])
    assert turned.length("abc") == -3.0


def test_a_margin_of_two_perfect_readers_is_not_of_width_zero():
    found = said(simulate(READ, SEED, Planted(probe=60.0, words=60.0), pairs=24), READ)
    margin = found["test.margin"]
    assert margin.estimate == 0.0
    assert margin.interval.low < 0.0 < margin.interval.high


def test_a_shift_goes_by_matched_sets():
    plain, pushed = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0, 0.0])
    found = estimates.shift(plain, pushed, ["a", "a", "b", "c"], 0.95)
    assert found.estimate == pytest.approx((-0.5 - 1.0 + 0.0) / 3)
    assert (found.clusters, found.more, found.less) == (3, 0, 2)
    assert found.p_value == 0.5


# --- pushes --------------------------------------------------------------------------------------------------------


def test_where_the_context_passes_through_the_token_a_push_moves_the_behaviour(separator):
    found = said(separator["evaluation-bottleneck"], AT_SEPARATOR)
    assert found["test.auroc"].estimate > 0.9
    shift = found["minus_1.behaviour_shift_evaluation"]
    assert shift.interval.high < 0.0
    assert (shift.facts["strength"], shift.facts["series"]) == (-1.0, "probe")
    assert abs(shift.null.estimate) < abs(shift.estimate) / 2.0
    assert found["minus_1.valid"].estimate > 0.95


def test_where_that_token_reaches_nobody_the_probe_reads_and_no_effect_is_not_a_finding(separator):
    found = said(separator["evaluation"], AT_SEPARATOR)
    assert found["test.auroc"].estimate > 0.9
    for name in ("minus_1.behaviour_shift_evaluation", "plus_1.behaviour_shift_deployment"):
        assert found[name].estimate is None
        assert "no positive control" in found[name].reasons[0]
    random = [one for one in separator["evaluation"] if one.key.arm.startswith("random.")]
    assert len({tuple(one.measurements["behaviour"]) for one in random}) > 1, "answers are drawn anew in each arm"


def test_a_push_at_one_token_changes_that_token_alone():
    import torch

    change = pushes.added_at(np.array([1.0, 2.0]), place=1, length=4)
    value = torch.zeros(3, 4, 2)
    changed = change(value)
    assert changed[:, 1].tolist() == [[1.0, 2.0]] * 3
    assert changed.sum() == 9.0
    assert value.sum() == 0.0, "what passes elsewhere is not touched"
    assert change(torch.zeros(3, 1, 2)).sum() == 0.0, "a new token is not pushed"
    assert change(torch.zeros(1, 6, 2))[:, 1].tolist() == [[1.0, 2.0]], "read again without a cache it is"


def test_without_an_effect_and_without_a_positive_control_nothing_is_estimable():
    without = PUSH.model_copy(update={"positive_control": False})
    found = said(simulate(without, SEED, Planted(moved=MOVED), pairs=50), without)
    assert found["minus_2.behaviour_shift_evaluation"].estimate < -0.3, "what is seen needs no control"
    assert found["plus_1.behaviour_shift_evaluation"].estimate is None
    assert found["plus_1.behaviour_excess_evaluation"].estimate is None


def test_beside_a_positive_control_that_works_no_effect_is_an_estimate():
    found = said(simulate(PUSH, SEED, Planted(moved=MOVED | CONTROL), pairs=50), PUSH)
    none = found["plus_1.behaviour_shift_evaluation"]
    assert none.interval.low <= 0.0 <= none.interval.high
    assert found["known_minus.behaviour_shift_evaluation"].interval.high < 0.0


def test_every_push_stands_beside_random_directions_of_its_dose_the_positive_control_as_well():
    found = said(simulate(PUSH, SEED, Planted(moved=MOVED | CONTROL, random=0.5), pairs=50), PUSH)
    shift, known = (found[f"{arm}.behaviour_shift_evaluation"] for arm in ("minus_2", "known_minus"))
    assert shift.null == known.null
    assert shift.null.estimate == pytest.approx(0.5 * (0.4 - 0.9), abs=0.1)
    assert abs(found["minus_1.behaviour_shift_evaluation"].null.estimate) < 0.1
    assert found["known_minus.valid"].null == found["minus_2.valid"].null
    assert known.facts["series"] == "positive control"


def test_beside_a_positive_control_that_fails_no_effect_is_none():
    found = said(simulate(PUSH, SEED, Planted(moved=MOVED), pairs=50), PUSH)
    assert "did not move the behaviour" in found["plus_1.behaviour_shift_evaluation"].reasons[0]


def test_random_directions_that_go_as_far_are_flagged_and_leave_no_excess():
    without = PUSH.model_copy(update={"positive_control": False})
    found = said(simulate(without, SEED, Planted(moved=MOVED, random=1.0), pairs=50), without)
    assert any(
        "random direction" in limit for limit in found["minus_2.behaviour_shift_evaluation"].limits if "Flag" in limit
    )
    assert found["minus_2.behaviour_excess_evaluation"].interval.low < 0.0


def test_a_push_that_breaks_the_answers_shows_nothing():
    found = said(simulate(PUSH, SEED, Planted(moved=MOVED | CONTROL, broken=0.5), pairs=50), PUSH)
    assert found["minus_2.behaviour_shift_evaluation"].estimate is None
    assert "90% are needed" in found["minus_2.behaviour_shift_evaluation"].reasons[0]
    assert found["minus_2.valid"].estimate == pytest.approx(0.5, abs=0.15)


def test_a_missing_answer_shuts_its_arm():
    trials = list(simulate(PUSH, SEED, Planted(moved=MOVED | CONTROL), pairs=30))
    gone = next(one for one in trials if one.key.arm == "minus_2")
    found = said([one for one in trials if one is not gone], PUSH)
    assert "missing" in found["minus_2.behaviour_shift_evaluation"].reasons[0]
    assert found["minus_1.valid"].estimate is not None


def test_a_planned_control_without_its_file_fails_the_pushes_and_leaves_the_probe():
    params = AT_SEPARATOR.model_copy(update={"positive_control": True})
    trials, _ = collected("evaluation-bottleneck", params)
    found = said(trials, params)
    assert any("'positive_control' was not given" in reason for reason in found["plain.valid"].reasons)
    assert found["test.auroc"].estimate is not None


# --- what can be planned -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"strengths": [1.0, 0.5]},
        {"strengths": [0.5]},  # and no markers
        {"strengths": [], "positive_control": True},
        {"strengths": [0.5], "markers": ["No"], "position": "response_mean", "push_at": "position"},
        {"strengths": [0.5], "markers": [" "]},
        {"strengths": [], "cells": ["chat"]},
        {"strengths": [], "position": "middle"},
        {"strengths": [], "maximum_association": 0.2},
        {"strengths": [], "minimum_valid": 0.5},
        {"strengths": [], "minimum_pairs": 2},
        {"strengths": [], "cells": ["chat", "chat"]},
        {"strengths": [], "unknown": 1},
    ],
)
def test_what_cannot_be_planned_is_refused(wrong):
    with pytest.raises(ConfigError):
        COLLECTOR.parse({"layer": 0, **wrong})


def test_parameters_survive_the_plan():
    assert COLLECTOR.parse(COLLECTOR.dump(PUSH)) == PUSH
    assert [arm.name for arm in arms(PUSH)] == ["minus_2", "minus_1", "plus_1", "plus_2"]


def test_a_run_costs_at_most_what_is_said():
    lines = (ROOT / "evidence_collectors/items/awareness.v1.jsonl").read_bytes()
    items = tuple(canonical.load_lines(lines, where="x"))
    params = COLLECTOR.parse({"layer": 1, "markers": ["No"], "strengths": [1.0], "twins": 1, "random_directions": 5})
    answers = 1 + 2 * (1 + 5)
    assert COLLECTOR.cost(params, items, None).generated_tokens == answers * 96 * 64
    reading = COLLECTOR.cost(replace_strengths(params), items, None)
    assert reading.generated_tokens == 0
    assert reading.prompts == 2 * (128 + 96 + 72) + 128


def replace_strengths(params):
    return params.model_copy(update={"strengths": ()})


def test_a_shift_of_two_deviations_is_the_area_it_is_said_to_be():
    draws = np.random.default_rng(1).normal(size=(2, 4000))
    assert area(2.0) == pytest.approx(float((draws[0][:, None] + 2.0 > draws[1][None, :1000]).mean()), abs=0.01)


def test_neutral_texts_are_left_out():
    _, items = opened("evaluation")
    texts = texts_of(items, AT_SEPARATOR)
    neutral = {text.id for text in contrast.parse(items) if text.label == "neutral"}
    assert neutral
    assert not neutral & {text.id for text in (*texts.train, *texts.reported)}
