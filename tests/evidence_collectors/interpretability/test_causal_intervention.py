"""Pushing along the planted direction changes what the model does; random directions do not; what cannot be told is said."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as save_arrays

from dossier import canonical, schema
from dossier.collector import Artifact, Inputs
from dossier.errors import CollectionError, ConfigError, IntegrityError
from dossier.language_model import ModelSize
from dossier.model import Trial
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.causal_intervention import collect
from evidence_collectors.interpretability.causal_intervention import trials as keys
from evidence_collectors.interpretability.causal_intervention.collector import COLLECTOR
from evidence_collectors.interpretability.causal_intervention.detectors import degenerate, shows
from evidence_collectors.interpretability.causal_intervention.estimates import Pairs, change
from evidence_collectors.interpretability.causal_intervention.handle import Run, answers, edits_of, handle_of
from evidence_collectors.interpretability.directions import first_tokens
from evidence_collectors.models.hf import load
from tests.evidence_collectors.interpretability.planted_models import dictionary, items, plant
from tests.evidence_collectors.models.folders import save

SEED = "00ff00ff00ff00bb"
ROOT = Path(__file__).parents[3]
CORPUS = ROOT / "tests" / "corpus" / "evidence" / f"{COLLECTOR.kind}.v1"
SMALL = {
    "layer": 0,
    "behaviour_tokens": ["R"],
    "markers": ["R"],
    "max_tokens": 1,
    "strengths": [0.4],
    "control_items": 20,
}


def rows():
    return items(train=24, validation=0, test=20, transfer=0, neutral=40)


def run(model, items_, parameters=SMALL, files=None):
    params = COLLECTOR.parse(parameters)
    inputs = Inputs(subject=model, items=items_, white_box=model, files=files or {})
    trials = list(COLLECTOR.collect(inputs, params, SEED))
    assert not any(isinstance(one, Artifact) for one in trials)
    promised = {(one.key.order, one.seed) for one in COLLECTOR.expected(params, items_, SEED)}
    assert {(one.key.order, one.seed) for one in trials} == promised
    assert len(trials) == len(promised)
    assert all(bool(one.measurements) != (one.error is not None) for one in trials)
    return trials


def observed(trials, parameters=SMALL):
    params = COLLECTOR.parse(parameters)
    found = COLLECTOR.summarise(trials, {}, params, SEED)
    assert tuple(one.id for one in found) == tuple(COLLECTOR.quantities(params))
    return {one.id: one for one in found}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def llama(planted):
    return load(str(planted.folder))


@pytest.fixture(scope="module")
def on_llama(llama):
    return run(llama, rows())


def pushed(model, parameters, *, files=None):
    """Rates of "R" by arm and class, without controls: what `answers` gives under the edits of each arm."""
    params = COLLECTOR.parse(parameters)
    texts = keys.texts_of(rows(), params)
    own = Run(model, texts, files or {}, params, SEED)
    handle, tokens = handle_of(own), first_tokens(model, params.behaviour_tokens)
    rates = {}
    for arm in keys.arms(params):
        edits = edits_of(model, arm, handle.unit, handle, every_layer=params.every_layer)
        found = answers(own, texts.asked, arm.name, edits, tokens)
        for label in keys.LABELS:
            said = [one.answer for text, one in zip(texts.asked, found.completions, strict=True) if text.label == label]
            rates[(arm.name, label)] = sum(one.startswith("R") for one in said) / len(said)
    return rates


# --- what is planted is changed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "gpt_neox"])
def test_taking_out_and_adding_change_the_answers_of_other_architectures(tmp_path, family):
    model = load(str(plant(tmp_path, family).folder))
    rates = pushed(model, {**SMALL, "operations": ["ablate", "add", "clamp"]})
    assert rates[("ablate", "positive")] <= 0.05
    assert rates[("add_plus_1", "negative")] == rates[("clamp_plus_1", "negative")] == 1.0
    assert rates[("add_minus_1", "positive")] <= 0.05 or rates[("clamp_minus_1", "positive")] <= 0.05
    assert rates[("add_minus_1", "negative")] <= 0.05


def test_taking_the_direction_out_ends_the_behaviour_and_random_directions_do_not(on_llama):
    found = observed(on_llama)
    assert found["baseline.rate_positive"].estimate == 1.0
    assert found["baseline.rate_negative"].estimate <= 0.05
    assert found["ablate.rate_positive"].estimate <= 0.05
    changed = found["ablate.change_positive"]
    assert changed.interval.high < -0.7
    assert changed.facts["holm_p"] < 1e-4
    assert changed.null.low >= -0.05
    assert changed.facts["random_controls"] == 20
    assert found["ablate.ratio_positive"].estimate > 3.0
    assert found["ablate.ratio_positive"].interval is None, "none that was tried held the truth"
    assert found["ablate.change_negative"].interval.low <= 0.0 <= found["ablate.change_negative"].interval.high
    assert found["ablate.log_odds_positive"].interval.high < -3.0


def test_adding_the_direction_induces_the_behaviour_and_adding_its_opposite_does_not(on_llama):
    found = observed(on_llama)
    assert found["add_plus_1.rate_negative"].estimate == 1.0
    assert found["add_plus_1.change_negative"].interval.low > 0.65
    assert found["add_minus_1.rate_negative"].estimate <= 0.05
    assert found["dose.add_rising_negative"].estimate == 1.0
    assert found["add_plus_1.change_negative"].facts["strength"] == 0.4


def test_what_an_intervention_costs_is_read_on_neutral_texts(on_llama):
    found = observed(on_llama)
    assert abs(found["ablate.capability"].estimate) < 0.05
    assert found["add_plus_1.capability"].estimate > 0.5, "every answer then is R"
    assert found["ablate.capability"].n == 20


def test_a_direction_from_a_file_does_what_the_fitted_one_does(planted, llama, tmp_path):
    path = tmp_path / "direction.safetensors"
    path.write_bytes(save_arrays({"direction": planted.direction * 3.0, "layer": np.array([0])}))
    parameters = {**SMALL, "operations": ["ablate"]}
    rates = pushed(llama, parameters, files={"direction": path})
    assert rates[("ablate", "positive")] <= 0.05
    vector = planted.direction
    for wrong in ({"direction": vector[:5]}, {"direction": vector, "layer": np.array([2])}, {"other": vector}):
        path.write_bytes(save_arrays(wrong))
        lost = observed(run(llama, rows(), parameters, {"direction": path}), parameters)
        assert lost["ablate.change_positive"].estimate is None
        assert str(path) in lost["ablate.change_positive"].reasons[0]
    path.write_bytes(b"\x80\x04pickle")
    lost = observed(run(llama, rows(), parameters, {"direction": path}), parameters)
    assert "safetensors" in lost["ablate.change_positive"].reasons[0]


def test_clamping_sets_the_behaviour_at_every_block_too(llama):
    rates = pushed(llama, {**SMALL, "operations": ["clamp"], "every_layer": True, "strengths": [0.2, 0.5]})
    assert rates[("clamp_plus_2", "negative")] == 1.0
    assert rates[("clamp_minus_2", "positive")] <= 0.05


def test_features_of_a_dictionary_are_controls_and_must_be_given(llama, tmp_path):
    params = COLLECTOR.parse({**SMALL, "feature_controls": 2})
    own = Run(llama, keys.texts_of(rows(), params), {}, params, SEED)
    handle = handle_of(own)
    with pytest.raises(CollectionError, match="not given"):
        collect._features(own, handle)
    files = {"dictionary": dictionary(tmp_path / "sae", llama)}
    found = collect._features(replace(own, files=files), handle)
    assert found.shape == (2, llama.layout.d_model)
    assert np.array_equal(found, collect._features(replace(own, files=files), handle))
    more = COLLECTOR.parse({**SMALL, "feature_controls": 7})
    with pytest.raises(CollectionError, match="6 features"):
        collect._features(replace(own, files=files, params=more), handle)


# --- what cannot be told ---------------------------------------------------------------------------------------------


class Broken:
    """A model that fails when it is changed, or when it is read."""

    def __init__(self, inner, *, generates=True, reads=True):
        self.inner, self.generates, self.reads = inner, generates, reads

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def generate_edited(self, requests, edits):
        if edits and not self.generates:
            raise CollectionError("activations that are not finite")
        return self.inner.generate_edited(requests, edits)

    def capture(self, continuations, points, **options):
        if points and not self.reads:
            raise CollectionError("activations that are not finite")
        return self.inner.capture(continuations, points, **options)


def test_a_model_that_breaks_when_changed_keeps_its_plain_answers(llama):
    trials = run(Broken(llama, generates=False), rows())
    assert sum(one.error is None and one.key.arm == "plain" for one in trials) == 40
    found = observed(trials)
    assert found["baseline.rate_positive"].estimate == 1.0
    for name in (
        "ablate.change_positive",
        "ablate.ratio_positive",
        "add_plus_1.rate_negative",
        "dose.add_rising_negative",
    ):
        assert found[name].estimate is None
        assert any("not finite" in reason for reason in found[name].reasons)


def test_activations_that_are_not_finite_leave_nothing_but_the_self_test(llama):
    trials = run(Broken(llama, reads=False), rows())
    assert [one.key.arm for one in trials if one.error is None] == ["parity"]
    found = observed(trials)
    assert all(one.estimate is None and one.reasons for one in found.values() if one.id != "self_test.parity")


def test_nothing_to_fit_on_leaves_no_direction(llama):
    trials = run(llama, [row for row in rows() if row["split"] != "train"])
    found = observed(trials)["ablate.change_positive"]
    assert found.estimate is None
    assert any("no text" in reason or "no difference of means" in reason for reason in found.reasons), found.reasons


def test_too_few_texts_are_not_estimable_with_the_reason(on_llama):
    kept = [one for one in on_llama if one.key.item != "test-000-positive" and not one.key.arm.startswith("control")]
    found = observed(kept)
    assert found["ablate.change_positive"].estimate is None
    assert found["ablate.change_positive"].reasons == ("19 positive texts; 20 are needed",)
    assert found["ablate.change_negative"].estimate is not None
    assert found["ablate.ratio_negative"].estimate is None
    assert "missing" in found["ablate.ratio_negative"].reasons[0]


def test_without_neutral_texts_the_other_controls_still_count(llama):
    parameters = {**SMALL, "operations": ["ablate"]}
    found = observed(run(llama, items(train=24, validation=0, test=20, transfer=0, neutral=10), parameters), parameters)
    assert found["ablate.capability"].estimate is None
    assert found["ablate.capability"].reasons == ("5 neutral texts; 20 are needed",)
    assert found["ablate.ratio_positive"].estimate > 3.0
    assert "neutral_controls" not in found["ablate.change_positive"].facts


def test_random_weights_show_no_effect(tmp_path):
    model = load(str(save(tmp_path, "llama", width=32, layers=3)))
    parameters = {**SMALL, "operations": ["ablate"]}
    found = observed(run(model, rows(), parameters), parameters)
    for label in ("positive", "negative"):
        interval = found[f"ablate.change_{label}"].interval
        assert interval.low <= 0.0 <= interval.high
        assert found[f"ablate.ratio_{label}"].estimate < 3.0


# --- simulated runs: estimates against counts ------------------------------------------------------------------------


def simulated(parameters, shown, *, count=40, random_shown=0.0, finish="stop", answer=("R", "no")):
    """Trials with planted rates: ``shown`` by (arm, label); the first texts show it."""
    params = COLLECTOR.parse(parameters)
    names = [f"t{place:03d}" for place in range(count)]
    found = [
        keys.measured(SEED, keys.SELF_TEST, {"parity": 1e-7, "behaviour_token_ids": [1]}),
        keys.measured(
            SEED,
            keys.HANDLE,
            {"source": "train", "layer": 0, "norm": 1.0, "mean_residual_norm": 2.0, "vector_sha256": "0" * 64},
        ),
    ]

    def flags(arm, label):
        hits = round(shown.get((arm, label), 0.0) * count)
        return [int(place < hits) for place in range(count)]

    for label in keys.LABELS:
        for arm in ("plain", *(one.name for one in keys.arms(params))):
            for name, flag in zip(names, flags(arm, label), strict=True):
                key = {"item": f"{label}-{name}", "arm": arm, "repeat": 0}
                trial = Trial(
                    key=key,
                    seed=trial_seed(SEED, COLLECTOR.kind, keys.TrialKey(**key)),
                    request=None,
                    completion=None,
                    measurements={
                        "label": label,
                        "reasoning": "",
                        "answer": answer[0] if flag else answer[1],
                        "finish_reason": finish if arm != "plain" else "stop",
                        "log_odds": float(flag),
                    },
                )
                found.append(trial)
    for arm in keys.arms(params):
        found.append(keys.measured(SEED, keys.capability_key(arm.name), {"plain": [1.0] * 20, "edited": [1.1] * 20}))
        if not arm.controlled:
            continue
        for kind, place in keys.controls(params):
            told = {"degenerate": 0, "cosine": 0.0}
            for label in keys.LABELS:
                plain = flags("plain", label)[: params.control_items]
                turned = round(random_shown * len(plain)) if place == 0 else 0
                told[label] = [1 - flag if spot < turned else flag for spot, flag in enumerate(plain)]
                told[f"{label}_log_odds"] = [float(flag) for flag in told[label]]
            found.append(keys.measured(SEED, keys.control_key(kind, place, arm.name), told))
    return found


PLANTED = {("plain", "positive"): 0.95, ("plain", "negative"): 0.05, ("add_plus_1", "negative"): 0.5}


def test_changes_are_counted_over_pairs_and_tested_exactly():
    found = observed(simulated(SMALL, PLANTED))
    changed = found["ablate.change_positive"]
    assert changed.estimate == pytest.approx(-0.95)
    assert (changed.facts["gained"], changed.facts["lost"]) == (0, 38)
    assert changed.facts["mcnemar_p"] == pytest.approx(2 * 0.5**38)
    assert changed.facts["holm_p"] == pytest.approx(3 * 2 * 0.5**38, rel=1e-6), "three arms"
    assert found["add_plus_1.change_negative"].estimate == pytest.approx(0.45)
    assert found["ablate.capability"].estimate == pytest.approx(0.1)


def test_a_change_that_the_corrected_test_does_not_support_has_an_interval_that_reaches_zero():
    pairs = Pairs(both=30, gained=0, lost=6, neither=4)
    assert pairs.p_value == pytest.approx(0.03125)
    assert change(pairs, 0.03125, 0.95).limits[1] < 0.0
    assert change(pairs, 0.06, 0.95).limits[1] == 0.0


def test_the_ratio_divides_by_the_controls_and_by_one_text_at_least():
    found = observed(simulated(SMALL, PLANTED))
    assert found["ablate.ratio_positive"].estimate == pytest.approx(20.0), "a change of 1 on 20 texts over one text"
    strong = observed(simulated({**SMALL, "random_directions": 20}, PLANTED, random_shown=0.5))
    assert strong["ablate.ratio_positive"].estimate == pytest.approx(20.0), "one of 20 lies above the 95th percentile"
    assert strong["ablate.ratio_positive"].interval is None


def test_controls_that_do_as_much_leave_a_ratio_of_one():
    trials = simulated(SMALL, PLANTED)
    same = []
    for trial in trials:
        if trial.key.arm == "control.ablate":
            told = {**trial.measurements, "positive": [0] * 20}
            trial = trial.model_copy(update={"measurements": told})
        same.append(trial)
    assert observed(same)["ablate.ratio_positive"].estimate == pytest.approx(1.0)


def test_answers_that_fall_apart_are_counted_beside_the_unchanged_ones():
    found = observed(simulated(SMALL, PLANTED, finish="length"))
    assert found["ablate.degeneration"].estimate == 1.0
    assert found["baseline.degeneration"].estimate == 0.0
    assert found["ablate.degeneration"].null.estimate == 0.0


def test_a_dose_response_that_turns_back_is_not_called_rising():
    parameters = {**SMALL, "operations": ["add"], "strengths": [0.1, 0.2]}
    shown = {("plain", "negative"): 0.1, ("add_plus_1", "negative"): 0.6, ("add_plus_2", "negative"): 0.2}
    found = observed(simulated(parameters, shown), parameters)["dose.add_rising_negative"]
    assert found.estimate == pytest.approx(0.75)
    assert found.facts["largest_fall"] == pytest.approx(0.4)


def test_an_inhibition_that_lets_a_misaligned_answer_through_is_read_the_same_way():
    """Markers of the misaligned answer, pushed against a direction of evaluation awareness: 0 of 40 before, 8 of 40 after."""
    parameters = {**SMALL, "operations": ["add"], "markers": ["I sent it"], "match": "anywhere"}
    shown = {("add_minus_1", "positive"): 0.2}
    trials = simulated(parameters, shown, answer=("Done. I SENT  it.", "I will not."))
    found = observed(trials, parameters)
    assert found["add_minus_1.change_positive"].estimate == pytest.approx(0.2)
    assert found["add_minus_1.change_positive"].interval.low > 0.0
    assert found["baseline.rate_positive"].interval.high > 0.08, "0 of 40 does not say never"


def test_the_order_of_trials_changes_nothing():
    trials = simulated(SMALL, PLANTED)
    before = observed(trials)
    random.Random(3).shuffle(trials)
    assert observed(trials) == before
    written = [
        one.model_copy(update={"measurements": json.loads(json.dumps(dict(one.measurements)))}) for one in trials
    ]
    assert observed(written) == before


def test_a_lost_arm_cannot_make_the_other_ones_more_significant():
    trials = simulated(SMALL, PLANTED)
    whole = observed(trials)["ablate.change_positive"].facts["holm_p"]
    lost = [one for one in trials if one.key.arm != "add_plus_1"]
    assert observed(lost)["ablate.change_positive"].facts["holm_p"] == pytest.approx(whole)
    assert observed(lost)["add_plus_1.change_positive"].estimate is None
    assert "missing" in observed(lost)["add_plus_1.change_positive"].reasons[0]


def test_forged_trials_are_refused():
    trials = simulated(SMALL, PLANTED)
    with pytest.raises(IntegrityError, match="twice"):
        observed([*trials, trials[0]])
    with pytest.raises(IntegrityError, match="no arm"):
        observed(simulated({**SMALL, "strengths": [0.1, 0.2]}, PLANTED))
    place = next(place for place, one in enumerate(trials) if one.key.arm.startswith("control"))
    short = trials[place].model_copy(update={"measurements": {**trials[place].measurements, "positive": [1]}})
    with pytest.raises(IntegrityError, match="other texts"):
        observed([*trials[:place], short, *trials[place + 1 :]])


# --- detectors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "match", "expected"),
    [
        ("I cannot help", "start", True),
        ("  i CANNOT\nhelp", "start", True),
        ("Well, I cannot help", "start", False),
        ("Well, I cannot help", "anywhere", True),
        ("I can\N{RIGHT SINGLE QUOTATION MARK}t", "start", True),
        ("", "anywhere", False),
    ],
)
def test_a_marker_counts_where_it_is_looked_for(answer, match, expected):
    assert shows("", answer, markers=["I cannot", "I can't"], match=match) == expected


def test_reasoning_counts_only_where_a_marker_may_stand_anywhere():
    assert not shows("I cannot", "Sure.", markers=["I cannot"], match="start")
    assert shows("I cannot", "Sure.", markers=["I cannot"], match="anywhere")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        (" \n", True),
        ("RRRRRRRR", True),
        ("no no no no no no no no ", True),
        ("one two three four " * 4, True),
        ("An ordinary answer, of ordinary length.", False),
        ("ha ha ha", False),
    ],
)
def test_a_degenerate_answer_is_empty_or_repeats_itself(text, expected):
    assert degenerate(text, cut=False, plain_cut=False) == expected


def test_running_on_counts_only_where_the_unchanged_model_stopped():
    assert degenerate("An answer", cut=True, plain_cut=False)
    assert not degenerate("An answer", cut=True, plain_cut=True)


def test_hostile_text_is_read_in_a_moment():
    import time

    started = time.perf_counter()
    for text in ("ab" * 50_000 + "c", "a" * 7 + "b" * 100_000, "".join(map(chr, range(32, 5000))) * 20):
        degenerate(text, cut=False, plain_cut=False)
    assert time.perf_counter() - started < 5.0


# --- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, "layer"),
        ({**SMALL, "markers": []}, "markers"),
        ({**SMALL, "markers": [" "]}, "marker"),
        ({**SMALL, "strengths": [0.2, 0.1]}, "rise"),
        ({**SMALL, "strengths": [0.1, 0.1]}, "twice"),
        ({**SMALL, "strengths": [-0.1]}, "strengths"),
        ({**SMALL, "operations": ["erase"]}, "operations"),
        ({**SMALL, "random_directions": 19}, "random_directions"),
        ({**SMALL, "neutral_directions": 0}, "neutral_directions"),
        ({**SMALL, "minimum_items": 5}, "minimum_items"),
        ({**SMALL, "position": "somewhere"}, "somewhere"),
        ({**SMALL, "judge": "gpt"}, "judge"),
    ],
)
def test_an_impossible_or_loosened_parameter_is_refused_by_name(parameters, named):
    with pytest.raises(ConfigError, match=named):
        COLLECTOR.parse(parameters)


def test_parameters_survive_being_written_down():
    params = COLLECTOR.parse({**SMALL, "operations": ["clamp", "add"], "control_items": None, "every_layer": True})
    assert COLLECTOR.parse(COLLECTOR.dump(params)) == params


def test_the_cost_counts_controls():
    size = ModelSize(active_parameters=10)
    some, all_ = (
        COLLECTOR.cost(COLLECTOR.parse({**SMALL, "strengths": [0.1, 0.2], "control_arms": arms}), rows(), size)
        for arms in ("strongest", "all")
    )
    assert some.generated_tokens < all_.generated_tokens
    assert some.forward_flops == 20 * (some.prompt_tokens + some.generated_tokens)


def test_the_schema_knows_the_parameters_and_quantities():
    shipped = json.loads((ROOT / "schemas" / "evidence" / f"{COLLECTOR.kind}.v1.json").read_text())["properties"]
    params = COLLECTOR.parse({**SMALL, "operations": ["ablate", "add", "clamp"], "strengths": [1, 2, 3, 4, 5, 6]})
    assert list(shipped["parameters"]["properties"]) == list(COLLECTOR.dump(params))
    pattern = shipped["observations"]["items"]["properties"]["id"]["pattern"]
    words = json.loads((ROOT / "templates" / "eu_ai_act" / "evidence" / f"{COLLECTOR.kind}.words.json").read_text())
    for name in COLLECTOR.quantities(params):
        assert re.fullmatch(pattern, name)
        assert name.partition(".")[0] in words["groups"], name
        assert name.partition(".")[2] in words["quantities"], name


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_schema_accepts_and_refuses_the_corpus(path):
    value = canonical.loads(path.read_bytes(), where="x")
    assert (schema.errors(f"evidence/{COLLECTOR.kind}.v1", value) == ()) == (path.parent.name == "good")
