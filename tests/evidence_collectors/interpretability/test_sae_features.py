"""The sparse-feature instrument finds the feature that was written in, shows what hangs on it, and says when it cannot tell."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dossier.collector import Inputs
from dossier.errors import CollectionError, ConfigError, IntegrityError
from dossier.language_model import Edit, ModelSize
from dossier.model import Trial
from evidence_collectors.interpretability.sae_features import phases, selection
from evidence_collectors.interpretability.sae_features.collector import COLLECTOR
from evidence_collectors.interpretability.sae_features.simulation import Planted, simulate
from evidence_collectors.interpretability.sparse_statistics import TextFeatures
from evidence_collectors.models.hf import load
from tests.evidence_collectors.interpretability import planted_dictionary as planted

SEED = "00ff00ff00ff00ff"
CHOSEN = {"behaviour_tokens": ["R"], "top_k": 1, "permutations": 500}
SIMULATED = {"behaviour_tokens": ["R"], "top_k": 2, "permutations": 500, "compare": True, "changes": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def model(folder):
    return load(str(planted.model(folder / "model")))


@pytest.fixture(scope="module")
def dictionary(folder):
    return planted.dictionary(folder / "dictionary")


def collected(model, dictionary, parameters, *, items=None, baseline=None, seed=SEED):
    params = COLLECTOR.parse(parameters)
    inputs = Inputs(
        subject=model,
        items=planted.items() if items is None else items,
        white_box=model,
        files={"dictionary": dictionary},
        models={} if baseline is None else {"baseline": baseline},
    )
    return list(COLLECTOR.collect(inputs, params, seed))


def first(model, dictionary, parameters):
    inputs = Inputs(subject=model, items=planted.items(), white_box=model, files={"dictionary": dictionary})
    return next(iter(COLLECTOR.collect(inputs, COLLECTOR.parse(parameters), SEED)))


def observed(parameters, trials, seed=SEED):
    return {one.id: one for one in COLLECTOR.summarise(trials, {}, COLLECTOR.parse(parameters), seed)}


@pytest.fixture(scope="module")
def run(model, dictionary):
    return collected(model, dictionary, CHOSEN)


@pytest.fixture(scope="module")
def found(run):
    return observed(CHOSEN, run)


@pytest.fixture(scope="module")
def simulated():
    return simulate(COLLECTOR.parse(SIMULATED), 15, SEED, Planted())


# --- what is asked -------------------------------------------------------------------------------------------------


def test_parameters_survive_being_written_down():
    params = COLLECTOR.parse({"position": "response_mean", "ridge": 2, "behaviour_tokens": ["I", "No"]})
    assert COLLECTOR.parse(COLLECTOR.dump(params)) == params
    assert COLLECTOR.parse({}) == COLLECTOR.parse(COLLECTOR.dump(COLLECTOR.parse({})))


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"topk": 3}, "topk"),
        ({"top_k": 0}, "top_k"),
        ({"position": "first"}, "position"),
        ({"behaviour_tokens": ["a", "a"]}, "behaviour_tokens"),
        ({"random_sets": 19}, "random_sets"),
        ({"minimum_items": 19}, "minimum_items"),
        ({"minimum_controls": 299}, "minimum_controls"),
        ({"maximum_parity": 0.1}, "maximum_parity"),
        ({"maximum_fvu": 1.5}, "maximum_fvu"),
        ({"ridge": 0}, "ridge"),
        ({"compare": "yes"}, "compare"),
    ],
)
def test_an_impossible_or_loosened_parameter_is_refused_by_name(parameters, named):
    with pytest.raises(ConfigError, match=named):
        COLLECTOR.parse(parameters)


def test_what_is_collected_is_what_was_promised(run):
    promised = {
        (one.key.order, one.seed, one.request_sha256)
        for one in COLLECTOR.expected(COLLECTOR.parse(CHOSEN), planted.items(), SEED)
    }
    assert {(one.key.order, one.seed, None) for one in run} == promised
    assert len(run) == len(promised)
    assert [one.error for one in run if one.error] == []


def test_trials_are_small_plain_json(run):
    for trial in run:
        text = json.dumps(dict(trial.measurements), allow_nan=False)
        assert Trial.model_validate_json(trial.model_dump_json()) == trial
        assert len(text) < 3000


def test_the_cost_counts_every_pass():
    params, items = COLLECTOR.parse(CHOSEN), planted.items()
    cost = COLLECTOR.cost(params, items, ModelSize(active_parameters=100))
    choose, report, positive, negative, neutral = 2 * (24 + 4), 2 * 2 * 24 + 6, 2 * 24, 2 * 24, 6
    assert cost.prompts == 2 * (choose + report) + positive * (2 + 20) + negative + 3 * neutral
    assert cost.generated_tokens == 0
    assert cost.forward_flops == 200 * cost.prompt_tokens


@pytest.mark.parametrize(
    ("keep", "named"),
    [
        (lambda item: item["label"] != "negative", "no negative items in the splits train and validation"),
        (lambda item: item["label"] != "positive" or item["split"] != "test", "only 0 positive items; 20 are needed"),
        (
            lambda item: item["split"] not in ("train", "validation"),
            "no positive items in the splits train and validation",
        ),
    ],
)
def test_a_class_without_items_is_not_estimable_with_the_reason(model, dictionary, keep, named):
    items = [item for item in planted.items() if keep(item)]
    params = COLLECTOR.parse(CHOSEN)
    trials = collected(model, dictionary, CHOSEN, items=items)
    assert {one.key for one in trials} == {one.key for one in COLLECTOR.expected(params, items, SEED)}
    found = observed(CHOSEN, trials)
    for name in ("set.auroc", "set.auroc_margin", "ablation.fall_margin", "feature-1.auroc"):
        assert found[name].estimate is None, name
    assert any(named in reason for reason in found["set.auroc"].reasons)


def test_items_that_do_not_fit_the_parameters_cannot_be_asked():
    items = planted.items()
    for parameters, named in (
        ({"position": "response_max"}, "response"),
        ({"control_set": "other"}, "control set"),
    ):
        with pytest.raises(ConfigError, match=named):
            list(COLLECTOR.expected(COLLECTOR.parse(parameters), items, SEED))
    with pytest.raises(ConfigError, match="twice"):
        list(COLLECTOR.expected(COLLECTOR.parse({}), [*items, items[0]], SEED))


def test_every_quantity_has_words_and_a_place_in_the_schema():
    root = Path(__file__).parents[3]
    words = json.loads((root / f"templates/eu_ai_act/evidence/{COLLECTOR.kind}.words.json").read_text("utf-8"))
    schema = json.loads((root / f"schemas/evidence/{COLLECTOR.kind}.v1.json").read_text("utf-8"))["properties"]
    params = COLLECTOR.parse({**CHOSEN, "compare": True, "top_k": 16, "changes": 32})
    named = [quantity.partition(".")[::2] for quantity in COLLECTOR.quantities(params)]
    assert {group for group, _ in named} == set(words["groups"])
    assert {name for _, name in named} == set(words["quantities"])
    pattern = schema["observations"]["items"]["properties"]["id"]["pattern"]
    assert all(re.fullmatch(pattern, quantity) for quantity in COLLECTOR.quantities(params))
    assert list(schema["parameters"]["properties"]) == list(COLLECTOR.dump(params))


# --- what is found -------------------------------------------------------------------------------------------------


def test_the_written_feature_is_chosen_first_and_names_its_token(found):
    facts = found["feature-1.auroc"].facts
    assert facts["feature"] == 0
    assert json.loads(facts["direct_logit_tokens"])[0] == planted.BEHAVIOUR
    assert len(facts["top_text_1"]) == 64
    assert facts["p_value_of_family"] < 0.01
    assert found["feature-1.firing_rate"].estimate == 1.0
    assert found["feature-1.firing_rate"].null.estimate == 0.0


def test_the_exact_dictionary_is_measured_as_exact(found):
    assert found["health.fvu"].estimate == pytest.approx(0.0, abs=1e-9)
    assert 25 < found["health.l0"].estimate <= planted.WIDTH
    assert found["health.fvu"].facts["self_test_parity"] < 1e-5


def test_taking_the_feature_away_moves_the_behaviour_and_random_features_do_not(found):
    effect, margin = found["ablation.fall"], found["ablation.fall_margin"]
    assert effect.estimate > 5.0
    assert abs(effect.null.estimate) < 0.5
    assert margin.interval.low > 5.0


def test_the_ablation_effect_is_the_one_read_off_the_model_itself(run, model):
    """Without the collector: coordinate 0, held at no more than zero, and the change of the log-odds of the byte R."""
    from evidence_collectors.items import contrast

    texts = {text.id: text for text in contrast.parse(planted.items())}
    behaviour = model.token_ids(planted.BEHAVIOUR)[0]
    without = Edit(planted.POINT, lambda x: torch.cat([x[..., :1].clamp(max=0.0), x[..., 1:]], dim=-1))

    def odds(name, edits):
        (batch,) = model.capture([texts[name].continuation()], [], logits=True, edits=edits)
        p = batch.logits[0].double().softmax(dim=-1)[behaviour]
        return float((p / (1.0 - p)).log())

    for trial in [one for one in run if one.key.arm == "ablate"][:6]:
        before, after = odds(trial.key.item, ()), odds(trial.key.item, (without,))
        assert trial.measurements["before"] == pytest.approx(before, abs=1e-3)
        assert trial.measurements["after"] == pytest.approx(after, abs=1e-3)


def test_words_alone_separate_this_contrast_set_and_the_margin_says_so(found):
    """An exclamation mark shows in random weights too: the AUROC of 1 must not pass for a finding."""
    assert found["set.auroc"].estimate == 1.0
    assert found["twin.auroc"].estimate > 0.9
    assert found["set.auroc_margin"].interval.low <= 0.0


def test_a_model_with_random_weights_shows_nothing(folder, dictionary):
    model = load(str(planted.model(folder / "random", trained=False)))
    found = observed(CHOSEN, collected(model, dictionary, CHOSEN))
    for name in (
        "set.auroc_margin",
        "set.transfer_auroc_margin",
        "ablation.fall_margin",
        "ablation.transfer_fall_margin",
    ):
        assert found[name].interval is None or found[name].interval.low <= 0.0, name


def test_every_observation_is_whole(found):
    params = COLLECTOR.parse(CHOSEN)
    assert tuple(found) == tuple(COLLECTOR.quantities(params))
    for one in found.values():
        assert (one.estimate is None) == bool(one.reasons)
        if one.interval is not None:
            assert one.interval.low <= one.estimate <= one.interval.high
        assert one.n_counts
        assert one.estimand.endswith(".")
    assert found["set.recall"].reasons == ("no control set was planned",)


def test_trials_alone_give_the_same_observations_in_any_order(run, found):
    shuffled = [Trial.model_validate_json(one.model_dump_json()) for one in run]
    random.Random(3).shuffle(shuffled)
    assert observed(CHOSEN, shuffled) == found


def test_other_items_change_no_choice(model, dictionary, run):
    fewer = [item for item in planted.items() if item["split"] != "transfer"]
    again = collected(model, dictionary, CHOSEN, items=fewer)
    chosen = {one.key.item: one.measurements["feature"] for one in run if one.key.arm == "selected"}
    assert {one.key.item: one.measurements["feature"] for one in again if one.key.arm == "selected"} == chosen
    found = observed(CHOSEN, again)
    assert found["set.transfer_auroc"].estimate is None
    assert found["set.auroc"].estimate is not None


# --- two versions --------------------------------------------------------------------------------------------------

COMPARE = {"top_k": 1, "compare": True, "changes": 32, "permutations": 500}


def test_a_version_in_which_the_feature_is_weaker_is_told_from_the_same_one(folder, model, dictionary):
    weaker = load(str(planted.model(folder / "weaker", strength=3.0)))
    found = observed(COMPARE, collected(model, dictionary, COMPARE, baseline=weaker))
    assert found["diff.changed"].estimate >= 1
    assert found["diff.changed"].null.estimate == 0
    shifted = [one for one in found.values() if one.id.endswith(".shift") and one.facts["feature"] == 0]
    assert shifted[0].facts["q_value"] < 0.05
    same = observed(COMPARE, collected(model, dictionary, COMPARE, baseline=model))
    assert same["diff.changed"].estimate == 0
    for place in range(1, 33):
        shift = same[f"change-{place}.shift"]
        assert (shift.estimate, shift.interval) == (0.0, None), "nothing says how rare a change may be"
        assert shift.facts["mean_difference"] == 0.0


def test_a_comparison_without_a_model_to_compare_with_is_refused(model, dictionary):
    with pytest.raises(CollectionError, match="baseline"):
        collected(model, dictionary, COMPARE)


def test_a_changed_feature_is_found_among_unchanged_ones(simulated):
    found = observed(SIMULATED, simulated)
    assert found["diff.changed"].estimate == 1
    assert found["change-1.shift"].interval.low > 0.0
    assert found["change-2.shift"].interval.low < 0.0 < found["change-2.shift"].interval.high


# --- what cannot be told -------------------------------------------------------------------------------------------


def test_a_dictionary_of_another_model_stops_the_run(model, folder):
    for stated in ({"model_name": "google/gemma-2-2b"}, {"subject_weights_sha256": "0" * 64}):
        wrong = planted.dictionary(folder / f"wrong-{next(iter(stated))}", **stated)
        with pytest.raises(CollectionError, match="trained on"):
            collected(model, wrong, CHOSEN)
        assert first(model, wrong, {**CHOSEN, "other_weights": True}).error is None


def test_a_dictionary_of_a_layer_the_model_lacks_stops_the_run(model, folder):
    with pytest.raises(CollectionError, match=r"model\.layers\.9"):
        first(model, planted.dictionary(folder / "deep", point="model.layers.9"), CHOSEN)


def test_a_dictionary_without_a_point_needs_the_parameter(model, folder):
    silent = planted.dictionary(folder / "silent", point=None)
    with pytest.raises(CollectionError, match="do not say"):
        collected(model, silent, CHOSEN)
    assert first(model, silent, {**CHOSEN, "point": planted.POINT}).error is None


def test_activations_that_are_not_numbers_become_failed_trials_and_no_numbers(folder, dictionary):
    broken = load(str(planted.model(folder / "broken")))
    with torch.no_grad():
        broken.loaded.model.get_input_embeddings().weight[broken.token_ids(planted.MARK)[0]] = float("nan")
    items = planted.items()
    trials = collected(broken, dictionary, CHOSEN, items=[items[1], items[0], *items[2:]])
    assert len(trials) == len(list(COLLECTOR.expected(COLLECTOR.parse(CHOSEN), items, SEED)))
    assert all("not finite" in one.error for one in trials)
    found = observed(CHOSEN, trials)
    assert {one.estimate for one in found.values()} == {None}
    assert all(
        any("not finite" in reason for reason in one.reasons) for one in found.values() if one.id != "set.recall"
    )


def test_no_trials_give_no_numbers():
    assert {one.estimate for one in observed(SIMULATED, []).values()} == {None}


@pytest.mark.parametrize(("stated", "warned"), [(None, False), (12.0, False), (8.0, False), (5.9, True), (40.0, True)])
def test_a_dictionary_far_from_as_sparse_as_its_files_state_is_pointed_out(simulated, stated, warned):
    trials = [
        one.model_copy(update={"measurements": {**one.measurements, "stated_l0": stated}})
        if one.key.arm == "subject"
        else one
        for one in simulated
    ]
    assert (
        any("it may have been trained" in limit for limit in observed(SIMULATED, trials)["health.l0"].limits) == warned
    )


def test_too_few_items_give_no_numbers():
    few = simulate(COLLECTOR.parse(SIMULATED), 4, SEED, Planted())  # 8 of a label
    found = observed(SIMULATED, few)
    for name in ("set.auroc", "set.auroc_margin", "ablation.fall", "twin.auroc", "feature-1.auroc", "probe.auroc"):
        assert found[name].estimate is None
        assert "20 are needed" in found[name].reasons[0]


@pytest.mark.parametrize(("lift", "there"), [(0.0, False), (0.3, False), (3.0, True)])
def test_features_carry_nothing_of_a_behaviour_that_positives_show_no_more_of(lift, there):
    params = COLLECTOR.parse(SIMULATED)
    found = observed(SIMULATED, simulate(params, 40, SEED, Planted(lift=lift)))
    assert found["ablation.fall"].estimate == pytest.approx(2.0, abs=0.3)
    assert found["ablation.fall"].facts["lift"] == pytest.approx(lift, abs=0.4)
    margin = found["ablation.fall_margin"]
    assert (margin.estimate is not None) == there
    assert there or "nats higher on positive than on negative items" in margin.reasons[0]


@pytest.mark.parametrize(
    ("arm", "gone"),
    [
        ("read", ("set.auroc", "set.auroc_margin", "probe.auroc", "health.fvu", "health.l0", "diff.changed")),
        ("twin", ("twin.auroc", "set.auroc_margin", "set.transfer_auroc_margin")),
        ("ablate", ("ablation.fall", "ablation.fall_margin")),
        ("behaviour", ("ablation.fall_margin", "ablation.transfer_fall_margin")),
        ("fidelity", ("health.ce_score",)),
        ("baseline", ("diff.changed", "change-1.shift")),
        ("census", ("health.alive", "health.dense_1")),
        ("subject", ("set.auroc", "ablation.fall_margin", "twin.auroc", "diff.changed")),
    ],
)
def test_one_lost_trial_of_a_phase_takes_its_numbers_away(simulated, arm, gone):
    lost = next(index for index, one in enumerate(simulated) if one.key.arm == arm)
    broken = simulated[lost].model_copy(update={"error": "lost", "measurements": {}})
    found = observed(SIMULATED, [*simulated[:lost], broken, *simulated[lost + 1 :]])
    whole = observed(SIMULATED, simulated)
    for name in gone:
        assert whole[name].estimate is not None, name
        assert found[name].estimate is None, name
        assert any("lost" in reason for reason in found[name].reasons)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"parity": 0.5}, "differ from the engine"),
        ({"fvu": 1.2}, "does not describe this model"),
        ({"positives": 3}, "choose features"),
    ],
)
def test_a_failed_self_test_closes_everything_but_the_health(simulated, change, named):
    trials = [
        one.model_copy(update={"measurements": {**one.measurements, **change}}) if one.key.arm == "subject" else one
        for one in simulated
    ]
    found = observed(SIMULATED, trials)
    assert found["health.fvu"].estimate is not None
    rest = [one for one in found.values() if not one.id.startswith("health.")]
    assert all(one.estimate is None for one in rest)
    assert all(any(named in reason for reason in one.reasons) for one in rest)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: one.model_copy(update={"key": one.key.model_copy(update={"arm": "guessed"})}),
        lambda one: one.model_copy(update={"key": one.key.model_copy(update={"repeat": 1})}),
        lambda one: one.model_copy(update={"measurements": {**one.measurements, "label": "bad"}}),
        lambda one: one.model_copy(update={"measurements": {**one.measurements, "set": "high"}}),
        lambda one: one.model_copy(update={"measurements": {**one.measurements, "random": [1.0]}}),
        lambda one: one.model_copy(update={"measurements": {}}),
    ],
)
def test_trials_nobody_can_have_measured_are_refused(simulated, spoil):
    place = next(index for index, one in enumerate(simulated) if one.key.arm == "read")
    with pytest.raises(IntegrityError):
        observed(SIMULATED, [*simulated[:place], spoil(simulated[place]), *simulated[place + 1 :]])
    with pytest.raises(IntegrityError, match="twice"):
        observed(SIMULATED, [*simulated, simulated[place]])


def test_recall_is_read_at_the_threshold_of_the_control_set():
    parameters = {**SIMULATED, "control_set": "ordinary", "minimum_controls": 300}
    trials = simulate(COLLECTOR.parse(parameters), 200, SEED, Planted(separation=3.0))
    trials = [
        one.model_copy(
            update={"measurements": {**one.measurements, "control": one.measurements["label"] == "negative"}}
        )
        if one.key.arm == "read"
        else one
        for one in trials
    ]
    recall = observed(parameters, trials)["set.recall"]
    assert recall.facts["controls"] == 800
    assert recall.facts["false_alarms"] <= 8
    assert recall.estimate > 0.9
    fewer = observed({**parameters, "minimum_controls": 1000}, trials)["set.recall"]
    assert fewer.estimate is None
    assert "only 800 control items" in fewer.reasons[0]


# --- choosing ------------------------------------------------------------------------------------------------------


def test_profiles_of_active_entries_are_those_of_the_dense_table():
    generator = np.random.default_rng(0)
    table = np.where(generator.random((30, 9)) < 0.4, generator.random((30, 9)), 0.0)
    table[:, 8] = 0.0
    positive = np.arange(30) % 2 == 0
    text, feature = np.nonzero(table)
    sparse = TextFeatures(text, feature, table[text, feature])
    found = selection.profile(sparse, positive, ~positive, width=9)
    np.testing.assert_allclose(found.share, (table > 0).mean(axis=0))
    np.testing.assert_allclose(found.mean, table.mean(axis=0))
    np.testing.assert_allclose(found.deviation, table.std(axis=0), atol=1e-9)
    expected = [np.corrcoef(table[:, column], positive)[0, 1] for column in range(8)]
    np.testing.assert_allclose(found.correlation, [*expected, 0.0], atol=1e-9)
    best = selection.chosen(found, 3)
    assert list(best) == sorted(range(8), key=lambda one: -found.correlation[one])[: len(best)]


def test_companions_are_like_the_chosen_and_never_one_of_them():
    features = 200
    share = np.linspace(0.02, 0.98, features)
    ones = np.ones(features)
    found = selection.Profile(share, share, ones, np.zeros(features))
    drawn = selection.companions(found, ones, (50, 150), sets=30, seed=SEED)
    assert drawn.shape == (30, 2)
    assert not {50, 150} & set(drawn.ravel().tolist())
    assert all(len(set(row)) == 2 for row in drawn.tolist())
    assert np.abs(share[drawn] - share[[50, 150]]).max() < 0.06
    assert len(set(drawn[:, 0].tolist())) > 5
    np.testing.assert_array_equal(drawn, selection.companions(found, ones, (50, 150), sets=30, seed=SEED))
    few = selection.Profile(share[:12], share[:12], ones[:12], np.zeros(12))
    assert selection.companions(few, ones[:12], (1, 2), sets=30, seed=SEED) is None


def test_an_ablation_that_takes_random_features_for_the_chosen_is_caught(model, dictionary, monkeypatch):
    """Were the chosen set and a random one exchanged, the margin would vanish: the assertions above can fail."""
    whole = phases._without
    monkeypatch.setattr(
        phases,
        "_without",
        lambda setup, group: whole(setup, group if group.signs.min() < 0 else _other(group)),
    )
    trials = collected(model, dictionary, CHOSEN)
    assert observed(CHOSEN, trials)["ablation.fall_margin"].interval.low <= 1.0


def _other(group):
    from dataclasses import replace

    return replace(group, indices=tuple(index + 7 for index in group.indices))
