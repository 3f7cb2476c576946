"""A planted way past the direction is flagged, harmless edits are not, and what could not be read is said."""

from __future__ import annotations

import json
import random
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from dossier.collector import Artifact, Inputs
from dossier.errors import CollectionError, ConfigError, IntegrityError
from dossier.language_model import ModelSize
from dossier.model import Trial, digest_of
from evidence_collectors.interpretability.adversarial_stability import measures as measures
from evidence_collectors.interpretability.adversarial_stability import roles as roles
from evidence_collectors.interpretability.adversarial_stability.collector import COLLECTOR
from evidence_collectors.interpretability.reading import to_safetensors
from evidence_collectors.items import attacks
from evidence_collectors.models import transcoders
from evidence_collectors.models.hf import load
from tests.evidence_collectors.interpretability import planted_dictionary, planted_models
from tests.evidence_collectors.interpretability.attacked_models import FAMILIES, PARAMETERS, POINT, SEED, attacked

ITEMS = planted_models.items(train=18, validation=20, test=12, transfer=12, neutral=2)
ASKED = 24  # positive texts of the reported splits
ERASED, FLIPPED, HARMLESS = "own-1", "own-2", "own-benign-1"


@pytest.fixture(scope="module", params=FAMILIES)
def found(request, tmp_path_factory):
    loaded, params = attacked(tmp_path_factory.mktemp(request.param), request.param), parameters(request.param)
    return summary(trials_of(collected(loaded, params)), params)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return attacked(tmp_path_factory.mktemp("llama"), "llama")


def parameters(family="llama", **changed):
    features = POINT[family].replace("0", "1") + ".mlp"
    return COLLECTOR.parse({**PARAMETERS, "point": POINT[family], "feature_point": features, **changed})


def collected(loaded, params, *, items=ITEMS, files=None):
    inputs = Inputs(subject=loaded, items=items, white_box=loaded, files=files or {})
    return list(COLLECTOR.collect(inputs, params, SEED))


def trials_of(products):
    return [one for one in products if isinstance(one, Trial)]


def summary(trials, params):
    return {one.id: one for one in COLLECTOR.summarise(trials, {}, params, SEED)}


@pytest.fixture(scope="module")
def run(llama):
    params = parameters(
        searches=["gradient", "adaptive", "random"], search_length=3, search_steps=2, search_candidates=6, search_items=2,
        twin=True,
    )  # fmt: skip
    return params, collected(llama, params)


# --- what is found ---------------------------------------------------------------------------------------------------


def test_on_three_architectures_an_attack_that_erases_the_direction_is_flagged_and_harmless_edits_are_not(found):
    erased, harmless = (found[f"{name}.projection_retention"] for name in (ERASED, HARMLESS))
    assert erased.interval.high < 0.0 < 0.5 < harmless.interval.low
    assert found[f"{ERASED}.recall"].interval.high < 0.2 < 0.8 < found[f"{HARMLESS}.recall"].interval.low
    assert found[f"{ERASED}.behaviour_change"].interval.high < -0.6
    assert found[f"{HARMLESS}.behaviour_change"].interval.low > -0.2
    assert found[f"{ERASED}.flagged_when_lost"].interval.high < 0.2
    assert found["worst.projection_retention"].estimate == erased.estimate
    assert found["worst.projection_retention"].facts["attack"] == ERASED
    assert found["benign.projection_retention"].interval.low > 0.5


def test_on_three_architectures_the_inside_is_seen_to_stay_where_only_the_behaviour_flips(found):
    assert found[f"{FLIPPED}.projection_retention"].interval.low > 0.5
    assert found[f"{FLIPPED}.recall"].interval.low > 0.8
    assert found[f"{FLIPPED}.attack_success"].interval.low > 0.8
    assert found[f"{FLIPPED}.flagged_when_lost"].interval.low > 0.8
    assert found[f"{FLIPPED}.shift_cosine"].estimate > 0.99
    assert found[f"{FLIPPED}.log_odds_change"].interval.high < -1.0


def test_every_score_stands_beside_its_null(run):
    found = summary(trials_of(run[1]), run[0])
    for name in ("auroc", "shift_cosine", "refit_cosine", "feature_jaccard", "feature_rank_overlap"):
        null = found[f"{ERASED}.{name}"].null
        assert null is not None, name
        assert 0.0 <= null.estimate < 1.0
    assert "benign edits" in found[f"{ERASED}.projection_retention"].null.what
    assert "random weights" in found["clean.auroc"].null.what
    assert 0.0 < found["clean.first_component_share"].estimate < 1.0
    margin, area = (found[f"{ERASED}.{name}"] for name in ("auroc_margin", "auroc"))
    assert margin.estimate == pytest.approx(area.estimate - area.null.high)


def test_a_searched_suffix_takes_the_behaviour_away_and_its_text_is_only_in_the_artifact(run):
    params, products = run
    found = summary(trials_of(products), params)
    (artifact,) = (one for one in products if isinstance(one, Artifact) and one.name == "suffixes.json")
    texts = json.loads(artifact.data)
    assert set(texts) == {"suffix-gradient", "suffix-adaptive", "suffix-random"}
    change = found["suffix-gradient.log_odds_change"]
    assert change.interval.high < found["suffix-random.log_odds_change"].interval.low
    assert change.facts["search_text_sha256"] != texts["suffix-gradient"]
    assert found["suffix-adaptive.recall"].facts["adaptive"] == "yes"
    assert found["suffix-gradient.recall"].facts["adaptive"] == "no"
    told = "".join(trial.model_dump_json() for trial in trials_of(products))
    assert json.dumps(texts["suffix-gradient"])[1:-1] not in told


def test_whether_an_attack_was_adaptive_is_said(run, llama):
    adaptive = summary(trials_of(run[1]), run[0])["worst.recall"]
    params = parameters(generate=False)
    plain = summary(trials_of(collected(llama, params)), params)["worst.recall"]
    assert (adaptive.facts["adaptive"], plain.facts["adaptive"]) == ("yes", "no")
    assert any(text.startswith("Non-adaptive attacks only") for text in plain.limits)
    assert not any(text.startswith("Non-adaptive") for text in adaptive.limits)


def test_a_control_suffix_counts_neither_as_attack_nor_as_harmless(run):
    found = summary(trials_of(run[1]), run[0])
    assert found["worst.recall"].facts["attacks"] == 4
    assert found["benign.recall"].facts["attacks"] == 2


def test_a_core_of_a_circuit_is_seen_to_go_with_the_direction(llama, tmp_path):
    writes = llama.parameter("model.layers.0.self_attn.o_proj.weight")[:, 0].abs()
    node = int(writes.argmax())
    core = tmp_path / "core.json"
    core.write_text(json.dumps({"nodes": [{"point": "model.layers.0.self_attn", "index": node}]}))
    params = parameters(use_core=True, generate=False)
    found = summary(trials_of(collected(llama, params, files={"core": core})), params)
    assert found[f"{HARMLESS}.core_survival"].estimate == 1.0
    assert found[f"{ERASED}.core_survival"].estimate == 0.0


def test_features_of_transcoders_are_read_as_nodes_of_a_core(llama, tmp_path):
    """One feature that reads what the MLP's input shares on all texts, and one that only fires along the direction."""
    folder = tmp_path / "transcoders"
    layers, d = llama.layout.residual, llama.layout.d_model
    writes = llama.parameter("model.layers.0.self_attn.o_proj.weight")[:, 0].double().numpy()
    encoder = np.zeros((2, d), dtype=np.float32)
    encoder[1] = writes / np.linalg.norm(writes)
    one = transcoders.Layer(
        encoder, np.zeros((2, d), np.float32), np.array([1.0, 0.0], np.float32), np.zeros(d, np.float32), None
    )
    settings = transcoders.Settings(
        activation=transcoders.Activation(name="relu", k=None), input_hook="hook_resid_mid", output_hook="mlp.hook_out",
        d_model=d, width=2, sha256=(), l0=(1.0,) * len(layers), fvu=(1.0,) * len(layers), trained_on="nothing", tokens=0,
    )  # fmt: skip
    transcoders.save(folder, [one] * len(layers), settings)
    core = tmp_path / "core.json"
    core.write_text(json.dumps({"nodes": [{"layer": 0, "feature": 0}, {"layer": 0, "feature": 1}]}))
    params = parameters(use_core=True, generate=False)
    found = summary(trials_of(collected(llama, params, files={"core": core, "transcoders": folder})), params)
    assert found[f"{HARMLESS}.core_survival"].estimate == 1.0
    assert found[f"{ERASED}.core_survival"].estimate == 0.5, "the feature along the direction goes with it"
    assert found[f"{ERASED}.core_survival"].n == 2
    assert found[f"{ERASED}.core_survival"].facts["silent_on_clean_texts"] == 0

    for nodes, files, said in (
        ([{"layer": 0, "feature": 0}], {}, "'transcoders' is missing"),
        ([{"point": "model.layers.0.mlp", "index": 0}], {"transcoders": folder}, "'transcoders' is given"),
        ([{"layer": 0, "feature": 2}], {"transcoders": folder}, "no feature 2 in layer 0"),
        ([{"layer": len(layers), "feature": 0}], {"transcoders": folder}, "no feature 0"),
        ([], {}, "not the core of a circuit"),
    ):
        core.write_text(json.dumps({"nodes": nodes}))
        with pytest.raises(CollectionError, match=said):
            collected(llama, params, files={"core": core, **files})

    traced = {
        "schema_version": "circuit.v1",
        "tokens": ["a"],
        "nodes": [{"kind": "feature", "layer": 0, "position": 0, "feature": 0, "core": True}],
        "core_features": 1,
        "weights_sha256": llama.subject.weights_sha256,
    }
    core.write_text(json.dumps({**traced, "transcoders_sha256": ["b" * 64]}))
    with pytest.raises(CollectionError, match="traced through other transcoders"):
        collected(llama, params, files={"core": core, "transcoders": folder})
    with pytest.raises(CollectionError, match="nothing would read it"):
        collected(llama, parameters(generate=False), files={"transcoders": folder})


def test_of_a_traced_circuit_the_features_that_every_pruning_kept_are_read_where_the_direction_is(tmp_path):
    def node(feature, position, *, core, kind="feature"):
        return {"kind": kind, "layer": 1, "position": position, "feature": feature, "core": core}

    circuit = tmp_path / "circuit.json"
    nodes = [
        node(3, 2, core=True),
        node(4, 2, core=False),
        node(5, 1, core=True),
        node(None, 2, core=True, kind="error"),
    ]
    traced = {
        "schema_version": "circuit.v1",
        "tokens": ["a", "b", "c"],
        "nodes": nodes,
        "core_features": 2,
        "weights_sha256": "a" * 64,
        "transcoders_sha256": ["b" * 64],
    }
    model = SimpleNamespace(subject=SimpleNamespace(weights_sha256="a" * 64, name="m"))

    def kept(position, **changed):
        circuit.write_text(json.dumps({**traced, **changed}))
        found, through = roles._nodes(circuit, position, model)
        assert through == ["b" * 64]
        return [(one.layer, one.feature) for one in found]

    assert kept("last_prompt") == [(1, 3)]
    assert kept("last_prompt-1") == [(1, 5)]
    assert kept("response_mean") == [(1, 3), (1, 5)]
    for position, changed, said in (
        ("last_prompt-2", {}, "no feature of its core stands at last_prompt-2"),
        ("last_prompt", {"weights_sha256": "c" * 64}, "traced in other weights"),
        ("last_prompt", {"core_features": 3}, "2 of the 3 features of its core are drawn"),
        ("last_prompt", {"tokens": None}, "not the core of a circuit"),
    ):
        with pytest.raises(CollectionError, match=said):
            kept(position, **changed)


def test_a_dictionary_that_does_not_describe_the_model_gives_no_overlap_of_features(tmp_path):
    """Reconstruction that is worse than the mean: the dictionary belongs to another model or another point."""
    loaded = load(str(planted_dictionary.model(tmp_path / "model")))
    items = planted_dictionary.items()
    told = {
        **PARAMETERS, "point": planted_dictionary.POINT, "feature_point": "", "use_dictionary": True, "generate": False,
        "markers": [planted_dictionary.BEHAVIOUR],
    }  # fmt: skip
    params = COLLECTOR.parse(told)
    good = planted_dictionary.dictionary(tmp_path / "good")
    wrong = tmp_path / "wrong"
    shutil.copytree(good, wrong)
    (weights,) = wrong.glob("*.safetensors")
    tensors = load_file(weights)
    (decoder,) = (name for name in tensors if name.lower() == "w_dec")
    save_file({**tensors, decoder: -tensors[decoder]}, weights)
    for folder, right in ((good, True), (wrong, False)):
        found = summary(trials_of(collected(loaded, params, items=items, files={"dictionary": folder})), params)
        overlap = found[f"{HARMLESS}.feature_jaccard"]
        assert (overlap.estimate is not None) == right, overlap
        assert right or "does not describe this model" in overlap.reasons[0]
        assert found[f"{HARMLESS}.auroc"].estimate is not None


def test_a_given_direction_is_used_and_a_wrong_one_refused(llama, tmp_path):
    direction = llama.parameter("model.layers.0.self_attn.o_proj.weight")[:, 0].double().numpy()
    good, flipped, short = (tmp_path / f"{name}.safetensors" for name in ("good", "flipped", "short"))
    for path, vector in ((good, direction), (flipped, -direction), (short, direction[:5])):
        path.write_bytes(to_safetensors({"direction": vector}))
    params = parameters(generate=False)
    found = summary(trials_of(collected(llama, params, files={"direction": good})), params)
    assert found[f"{ERASED}.projection_retention"].interval.high < 0.0
    for path, what in ((flipped, "no higher"), (short, "width")):
        reasons = summary(trials_of(collected(llama, params, files={"direction": path})), params)
        assert what in reasons["worst.recall"].reasons[0]


# --- the contract ----------------------------------------------------------------------------------------------------


def test_what_is_collected_is_what_was_promised(run):
    params, products = run
    promised = {one.key.order: one for one in COLLECTOR.expected(params, ITEMS, SEED)}
    trials = {one.key.order: one for one in trials_of(products)}
    assert trials.keys() == promised.keys()
    assert len(trials_of(products)) == len(trials)
    for order, trial in trials.items():
        promise = promised[order]
        asked = None if trial.request is None else digest_of(trial.request)
        assert trial.seed == promise.seed
        assert asked == promise.request_sha256
        answered = trial.completion is not None if promise.request_sha256 else bool(trial.measurements)
        assert answered != (trial.error is not None)
        if trial.completion is not None:
            assert trial.completion.request_sha256 == asked


def test_the_observations_are_those_announced_and_any_order_gives_the_same(run):
    params, products = run
    trials = trials_of(products)
    found = COLLECTOR.summarise(trials, {}, params, SEED)
    assert tuple(one.id for one in found) == tuple(COLLECTOR.quantities(params))
    random.Random(3).shuffle(trials)
    assert COLLECTOR.summarise(trials, {}, params, SEED) == found


def test_the_same_seed_gives_the_same_trials(llama):
    search = {"search_length": 2, "search_steps": 1, "search_candidates": 4, "search_items": 1}
    params = parameters(searches=["gradient"], generate=False, extra_attacks=[], **search)
    assert collected(llama, params) == collected(llama, params)


def test_parameters_survive_being_written_down():
    params = parameters(searches=["random"], temperature=1, extra_benign=[])
    assert COLLECTOR.parse(COLLECTOR.dump(params)) == params
    assert params.suite_sha256 == attacks.digest()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"strength": 1}, "strength"),
        ({"markers": []}, "markers"),
        ({"attacks": ["prefix-magic"]}, "prefix-magic"),
        ({"attacks": ["benign-typo", "benign-typo"]}, "attacks"),
        ({"attacks": [], "extra_benign": []}, "benign"),
        ({"attacks": [], "extra_attacks": []}, "only controls"),
        ({"minimum_items": 19}, "minimum_items"),
        ({"minimum_train": 7}, "minimum_train"),
        ({"random_directions": 19}, "random_directions"),
        ({"position": "somewhere"}, "position"),
        ({"suite_sha256": "0" * 64}, "not the one shipped"),
        ({"searches": ["adaptive"], "position": "response_mean"}, "adaptive"),
    ],
)
def test_an_impossible_or_loosened_parameter_is_refused_by_name(changed, named):
    with pytest.raises(ConfigError, match=named):
        parameters(**changed)


def test_an_item_given_twice_or_named_like_a_step_cannot_be_asked():
    with pytest.raises(ConfigError, match="twice"):
        list(COLLECTOR.expected(parameters(), [*ITEMS, ITEMS[0]], SEED))
    with pytest.raises(ConfigError, match="uses itself"):
        list(COLLECTOR.expected(parameters(), [{**ITEMS[0], "id": "step-shift"}], SEED))


def test_the_cost_counts_every_answer_and_more_arms_cost_more():
    few, more = parameters(), parameters(searches=["gradient"])
    cost = COLLECTOR.cost(few, ITEMS, ModelSize(active_parameters=10))
    assert cost.generated_tokens == ASKED * 5 * few.max_tokens
    assert cost.forward_flops == 20 * (cost.prompt_tokens + cost.generated_tokens)
    assert COLLECTOR.cost(more, ITEMS, None).prompt_tokens > cost.prompt_tokens
    assert COLLECTOR.cost(few, ITEMS, None).forward_flops is None


def test_trials_of_another_protocol_are_refused(run):
    params, products = run
    trial = next(one for one in trials_of(products) if one.key.arm == ERASED and one.key.item.startswith("test"))
    other = trial.model_copy(update={"key": trial.key.model_copy(update={"arm": "prefix-magic"})})
    with pytest.raises(IntegrityError, match="prefix-magic"):
        COLLECTOR.summarise([other], {}, params, SEED)
    empty = trial.model_copy(update={"measurements": {"positive": True}})
    with pytest.raises(IntegrityError, match="missing"):
        COLLECTOR.summarise([empty], {}, params, SEED)


# --- what cannot be said ---------------------------------------------------------------------------------------------


def unestimable(items, llama, **changed):
    params = parameters(generate=False, **changed)
    products = collected(llama, params, items=items)
    trials = trials_of(products)
    assert {one.key.order for one in trials} == {one.key.order for one in COLLECTOR.expected(params, items, SEED)}
    return trials, summary(trials, params)


@pytest.mark.parametrize("label", ["positive", "negative"])
def test_with_an_empty_class_nothing_is_estimable_and_the_reason_is_kept(llama, label):
    trials, found = unestimable([one for one in ITEMS if one["label"] != label], llama)
    assert all(one.estimate is None and one.reasons for one in found.values())
    assert any(trial.error and "difference of means" in trial.error for trial in trials)


def test_with_too_few_texts_nothing_is_estimable_and_the_data_are_kept(llama):
    few = [one for one in ITEMS if one["split"] != "transfer"]
    trials, found = unestimable(few, llama)
    assert found["worst.recall"].estimate is None
    assert "12 positive texts" in found[f"{ERASED}.recall"].reasons[0]
    assert all(trial.error is None for trial in trials)


def test_without_validation_texts_there_is_no_threshold_and_the_rest_is_there(llama):
    _, found = unestimable([one for one in ITEMS if one["split"] != "validation"], llama)
    assert found["worst.recall"].estimate is None
    assert "no threshold" in found[f"{ERASED}.recall"].reasons[0]
    assert found["worst.projection_retention"].estimate is not None


def test_activations_that_are_not_finite_leave_reasons_and_the_answers(llama, monkeypatch):
    real = type(llama).capture

    def broken(self, continuations, points, **options):
        texts = list(continuations)
        if any("~" in text.request.messages[-1].content for text in texts):
            raise CollectionError("activations at model.layers.0 that are not finite")
        return real(self, texts, points, **options)

    monkeypatch.setattr(type(llama), "capture", broken)
    params = parameters()
    trials = trials_of(collected(llama, params))
    found = summary(trials, params)
    assert {one.key.order for one in trials} == {one.key.order for one in COLLECTOR.expected(params, ITEMS, SEED)}
    assert "not finite" in found[f"{ERASED}.recall"].reasons[0]
    assert found[f"{ERASED}.behaviour_rate"].estimate is not None
    assert found[f"{FLIPPED}.recall"].estimate is not None
    assert found["worst.recall"].estimate is None, "losing a bad part must not raise the worst"
    assert found["worst.behaviour_rate"].estimate is not None


def test_where_nothing_can_be_read_every_trial_says_so(llama, monkeypatch):
    def broken(*_, **__):
        raise CollectionError("activations that are not finite")
        yield

    monkeypatch.setattr(type(llama), "capture", broken)
    trials, found = unestimable(ITEMS, llama, searches=["gradient"], twin=True)
    assert all(trial.error for trial in trials if trial.key.arm != "parity")
    assert all(one.estimate is None for one in found.values())


def test_a_missing_or_surplus_input_is_refused(llama, tmp_path):
    core = tmp_path / "core.json"
    core.write_text('{"nodes": []}')
    for changed, files in (({"use_core": True}, {}), ({}, {"core": core}), ({"use_core": True}, {"core": core})):
        with pytest.raises(CollectionError, match="core"):
            collected(llama, parameters(**changed), files=files)
    bad = tmp_path / "direction.bin"
    bad.write_bytes(b"\x80\x04pickle")
    with pytest.raises(CollectionError, match="safetensors"):
        collected(llama, parameters(), files={"direction": bad})


def test_a_failed_self_test_says_nothing_else(run):
    params, products = run
    trials = [
        one.model_copy(update={"measurements": {"parity": 0.5}}) if one.key.arm == "parity" else one
        for one in trials_of(products)
    ]
    found = summary(trials, params)
    assert "self-test" in found["clean.auroc"].reasons[0]
    assert found["clean.behaviour_rate"].estimate is not None


def test_a_measure_without_the_frozen_origin_is_caught_by_the_planted_truth(llama, monkeypatch):
    """Retention of raw projections depends on where the activations happen to lie; the planted case shows it."""
    params = parameters(generate=False)
    honest = summary(trials_of(collected(llama, params)), params)[f"{ERASED}.projection_retention"].estimate
    monkeypatch.setattr(
        measures.Direction, "projections", lambda self, values: np.abs(values @ self.unit - self.origin) / self.gap
    )
    mutant = summary(trials_of(collected(llama, params)), params)[f"{ERASED}.projection_retention"].estimate
    assert honest < 0.0 < mutant
