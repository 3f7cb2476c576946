"""The direction that was written into the weights is found, does what it must, and is not believed where nothing shows it."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays

from dossier import canonical, schema
from dossier.collector import Artifact, Inputs
from dossier.errors import CollectionError, ConfigError, IntegrityError
from dossier.language_model import ModelSize
from evidence_collectors.interpretability.concept_direction import separation
from evidence_collectors.interpretability.concept_direction.collector import COLLECTOR
from evidence_collectors.models.hf import load
from tests.evidence_collectors.interpretability.planted_models import item, items, plant
from tests.evidence_collectors.models.folders import save

SEED = "00ff00ff00ff00aa"
FEW = {
    "layers": [0, 1, 2],
    "behaviour_tokens": ["R"],
    "random_directions": 50,
    "shuffles": 20,
    "twins": 1,
    "random_interventions": 5,
    "half_splits": 10,
}
ROOT = Path(__file__).parents[3]
CORPUS = ROOT / "tests" / "corpus" / "evidence" / f"{COLLECTOR.kind}.v1"


ONE = {**FEW, "layers": [0]}


def run(model, rows, parameters=ONE):
    """Return trials and the artifact of a run, after comparing with what was promised."""
    params = COLLECTOR.parse(parameters)
    products = list(COLLECTOR.collect(Inputs(subject=model, items=rows, white_box=model), params, SEED))
    trials = [one for one in products if not isinstance(one, Artifact)]
    promised = {(one.key.order, one.seed) for one in COLLECTOR.expected(params, rows, SEED)}
    assert {(one.key.order, one.seed) for one in trials} == promised
    assert len(trials) == len(promised)
    assert all(bool(one.measurements) != (one.error is not None) for one in trials)
    return trials, next((one for one in products if isinstance(one, Artifact)), None)


def observed(trials, parameters=ONE):
    params = COLLECTOR.parse(parameters)
    found = COLLECTOR.summarise(trials, {}, params, SEED)
    assert tuple(one.id for one in found) == tuple(COLLECTOR.quantities(params))
    return {one.id: one for one in found}


@pytest.fixture(scope="module", params=("llama", "qwen2", "gemma2", "gpt_neox"))
def planted(request, tmp_path_factory):
    return plant(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def on_planted(planted):
    return planted, *run(load(str(planted.folder)), items(), FEW)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return load(str(plant(tmp_path_factory.mktemp("llama"), "llama").folder))


@pytest.fixture(scope="module")
def on_llama(llama):
    return run(llama, items())


# --- what is planted is found ----------------------------------------------------------------------------------------


def test_the_planted_direction_is_recovered(on_planted):
    planted, trials, artifact = on_planted
    vector = load_arrays(artifact.data)["direction"]
    assert vector @ planted.direction / np.linalg.norm(vector) > 0.95
    found = observed(trials, FEW)
    assert found["selection.qualified"].facts["vector_sha256"] == canonical.sha256(artifact.data)
    assert found["selection.half_cosine"].estimate > found["selection.half_cosine"].null.estimate + 0.2


def test_taking_it_out_and_adding_it_change_what_they_must(on_planted):
    found = observed(on_planted[1], FEW)
    assert found["test.bypass"].facts["plain"] > 2.0, "positive texts are answered with R"
    assert found["test.bypass"].interval.high < -4.0, "without the direction they are not"
    assert found["test.bypass_drop"].interval.low > 3.0 * max(abs(found["test.bypass_drop"].facts["null_largest"]), 0.1)
    assert found["test.induce"].facts["plain"] < -4.0
    assert found["test.induce"].interval.low > 0.0
    assert found["test.divergence"].interval.high < 0.1
    assert found["self_test.parity"].estimate < 1e-5


def test_the_last_fifth_of_the_blocks_gives_no_candidate(on_planted):
    facts = observed(on_planted[1], FEW)["selection.qualified"].facts
    assert facts["chosen_layer"] in (0, 1)
    assert "layer_2_last_prompt_bypass" in facts, "its numbers are kept all the same"


def test_separation_beyond_the_nulls_has_a_margin_above_zero(llama):
    found = observed(run(llama, items(train=30, test=40, transfer=40))[0])
    for split in ("test", "transfer"):
        margin = found[f"{split}.direction_margin"]
        assert margin.interval.low > 0.0
        assert found[f"{split}.direction_auroc"].estimate == 1.0
        assert found[f"{split}.direction_auroc"].interval.low < 0.95, "40 texts of a class do not say more"
        nulls = [margin.facts[name] for name in separation.NULL_WORDS]
        assert margin.estimate == pytest.approx(1.0 - max(nulls))
    assert found["test.first_component_share"].estimate < 0.6


def test_directions_that_all_separate_are_flagged_and_pass_no_margin(tmp_path):
    model = load(str(plant(tmp_path, "llama", noise=0.0).folder))
    found = observed(run(model, items())[0])
    assert found["test.first_component_share"].estimate > 0.95
    for reader in ("direction", "probe"):
        area, margin = found[f"test.{reader}_auroc"], found[f"test.{reader}_margin"]
        assert area.estimate == 1.0
        assert area.null.estimate == 1.0
        assert margin.estimate <= 0.0
        assert margin.interval.low < 0.0
        assert separation.NO_INFORMATION in area.limits
        assert separation.NO_INFORMATION in margin.limits


def test_a_probe_reads_the_mean_over_responses_where_all_texts_have_one(llama):
    rows = [{**row, "response": "bcd" if row["label"] != "neutral" else row["response"]} for row in items()]
    parameters = {**ONE, "positions": ["response_mean", "last_prompt"]}
    trials, _ = run(llama, rows, parameters)
    facts = observed(trials, parameters)["selection.qualified"].facts
    assert facts["probe_position"] == "response_mean"
    assert {name for name in facts if name.startswith("layer_0")} >= {
        "layer_0_response_mean_kl",
        "layer_0_last_prompt_kl",
    }


# --- controls --------------------------------------------------------------------------------------------------------


def controls(count):
    words = np.random.default_rng(5)
    spelled = ("".join(words.choice(list("bcdfghjkl"), 12)) for _ in range(count))
    return [
        item(f"control-{number:04d}", text, label="neutral", family="chat", split="test", control="chat")
        for number, text in enumerate(spelled)
    ]


def test_recall_is_at_a_threshold_frozen_on_the_named_controls_and_needs_enough_of_them(llama):
    parameters = {**ONE, "control_set": "chat"}
    trials, _ = run(llama, items() + controls(300), parameters)
    found = observed(trials, parameters)
    recall = found["test.direction_recall"]
    assert recall.estimate == 1.0
    assert recall.n == 22
    assert recall.facts["controls"] == 300
    assert recall.facts["false_alarms"] <= 3
    assert recall.facts["false_alarm_rate_high"] > 0.01, "300 controls cannot promise 1 % on new ones"
    assert "threshold" in found["transfer.probe_recall"].facts
    fewer = observed([one for one in trials if one.key.item != "control-0000"], parameters)
    assert fewer["test.direction_recall"].estimate is None
    assert "299 controls" in fewer["test.direction_recall"].reasons[0]
    assert "300" in fewer["test.direction_recall"].reasons[0]
    assert fewer["test.direction_auroc"] == found["test.direction_auroc"]


def test_positive_or_fitted_texts_are_no_controls(llama):
    parameters = {**FEW, "control_set": "chat", "layers": [0]}
    rows = [{**row, "set": "chat"} for row in items()]
    found = observed(run(llama, rows, parameters)[0], parameters)
    inside = [row for row in rows if row["label"] != "positive" and row["split"] in ("test", "transfer")]
    assert found["test.direction_recall"].facts["controls"] == len(inside)


# --- what cannot be told ---------------------------------------------------------------------------------------------


def without(rows, *, label, split):
    return [row for row in rows if (row["label"], row["split"]) != (label, split)]


@pytest.mark.parametrize(
    ("label", "split", "named"),
    [("positive", "train", "0 positive"), ("negative", "validation", "0 negative validation")],
)
def test_an_empty_class_is_not_estimable_with_the_reason(llama, label, split, named):
    found = observed(run(llama, without(items(), label=label, split=split))[0])
    for name in ("test.direction_auroc", "test.direction_margin", "transfer.probe_auroc", "test.bypass", "test.induce"):
        assert found[name].estimate is None
        assert any(named in reason for reason in found[name].reasons), found[name].reasons
    assert found["self_test.parity"].estimate is not None


@pytest.mark.parametrize("label", ["positive", "negative"])
def test_a_split_without_one_class_says_so_and_leaves_the_other_split_alone(on_llama, label):
    kept = [one for one in on_llama[0] if not (one.key.item.startswith("test-") and one.key.item.endswith(label))]
    found = observed(kept)
    assert found["test.direction_auroc"].estimate is None
    assert found["test.direction_auroc"].reasons == (f"0 {label} texts in the split 'test'; 20 are needed",)
    assert found["test.bypass" if label == "positive" else "test.induce"].estimate is None
    assert found["transfer.direction_auroc"].estimate == 1.0


def test_no_out_of_family_texts_leave_the_test_split_as_it_is(llama):
    rows = [row for row in items() if row["split"] != "transfer"]
    found = observed(run(llama, rows)[0])
    assert found["transfer.direction_auroc"].estimate is None
    assert found["test.direction_auroc"].estimate == 1.0


def test_too_few_texts_are_not_estimable_and_their_data_are_kept(llama):
    trials, artifact = run(llama, items(train=19, test=19, transfer=19))
    assert artifact is not None
    assert sum(one.key.arm == "projection" and one.error is None for one in trials) == 2 * (19 + 19)
    found = observed(trials)
    for name in ("test.direction_auroc", "transfer.probe_margin", "test.bypass"):
        assert found[name].estimate is None
        assert "19 train positive texts; 20 are needed" in found[name].reasons
    assert "19 positive texts in the split 'test'; 20 are needed" in found["test.direction_auroc"].reasons
    assert found["selection.qualified"].estimate > 0


class Broken:
    """A model whose activations are not finite at some points, or whose random twins fail."""

    def __init__(self, inner, *, points=(), twins=False):
        self.inner, self.points, self.twins = inner, points, twins

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def capture(self, continuations, points, **options):
        if set(points) & set(self.points):
            raise CollectionError("activations that are not finite")
        return self.inner.capture(continuations, points, **options)

    def random_twin(self, seed):
        if self.twins:
            raise CollectionError("no memory for a second model")
        return self.inner.random_twin(seed)


def test_activations_that_are_not_finite_leave_failed_trials_and_no_direction(llama):
    trials, artifact = run(Broken(llama, points=llama.layout.residual), items())
    assert artifact is None
    assert sum(one.error is None for one in trials) == 1, "the self-test"
    for found in observed(trials).values():
        if found.id != "self_test.parity":
            assert found.estimate is None
            assert any(
                "not finite" in reason or "were not read" in reason or "control set" in reason
                for reason in found.reasons
            )


def test_without_a_twin_there_is_an_auroc_and_no_margin(llama):
    found = observed(run(Broken(llama, twins=True), items())[0])
    assert found["test.direction_auroc"].estimate == 1.0
    assert found["test.direction_margin"].estimate is None
    assert "no memory" in found["test.direction_margin"].reasons[0]


def test_a_block_that_is_not_there_is_a_failed_candidate(llama):
    parameters = {**FEW, "layers": [0, 7]}
    trials, _ = run(llama, items(), parameters)
    failed = [one for one in trials if one.error is not None]
    assert [one.key.item for one in failed] == ["layer-7.last_prompt"]
    assert "no block 7" in failed[0].error
    assert observed(trials, parameters)["selection.qualified"].facts["candidates_failed"] == 1


def test_random_weights_end_without_a_direction_and_keep_every_candidates_numbers(tmp_path):
    model = load(str(save(tmp_path, "llama", width=32, layers=3)))
    trials, artifact = run(model, items(), FEW)
    assert artifact is None
    found = observed(trials, FEW)
    assert found["test.direction_margin"].estimate is None
    assert sum("adding it brings" in reason for reason in found["test.direction_margin"].reasons) >= 1
    assert found["selection.qualified"].estimate == 0.0
    assert sum(one.key.arm == "candidate" and one.error is None for one in trials) == 3


@pytest.mark.slow
def test_a_hundred_million_random_parameters_end_without_a_direction(tmp_path):
    model = load(str(save(tmp_path, "llama", width=768, layers=3, vocabulary=60_000)))
    assert model.loaded.model.num_parameters() >= 100_000_000
    rows = items(train=20, validation=20, test=20, transfer=0, neutral=0)
    parameters = {**FEW, "layers": [1]}
    found = observed(run(model, rows, parameters)[0], parameters)
    for name in ("test.direction_margin", "test.probe_margin", "test.bypass_drop", "test.induce_rise"):
        assert found[name].estimate is None
        assert found[name].reasons


# --- the contract ----------------------------------------------------------------------------------------------------


def test_the_order_of_trials_changes_nothing_and_the_vector_is_not_needed(on_llama):
    trials, artifact = on_llama
    params = COLLECTOR.parse(ONE)
    before = COLLECTOR.summarise(trials, {artifact.name: artifact.data}, params, SEED)
    shuffled = list(trials)
    random.Random(1).shuffle(shuffled)
    assert COLLECTOR.summarise(shuffled, {}, params, "f" * 16) == before


def test_what_is_recorded_survives_being_written_as_json(on_llama):
    again = [
        one.model_copy(update={"measurements": json.loads(json.dumps(dict(one.measurements)))}) for one in on_llama[0]
    ]
    assert observed(again) == observed(on_llama[0])


def test_a_run_with_the_same_seed_measures_the_same(llama, on_llama):
    again, artifact = run(llama, items())
    assert again == on_llama[0]
    assert artifact == on_llama[1]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, "layers"),
        ({"layers": [0]}, "behaviour_tokens"),
        ({**FEW, "layer": 1}, "layer"),
        ({**FEW, "layers": [1, 1]}, "twice"),
        ({**FEW, "positions": ["first"]}, "first"),
        ({**FEW, "positions": ["last_prompt-0"]}, "last_prompt-0"),
        ({**FEW, "kl_max": 0.2}, "kl_max"),
        ({**FEW, "random_directions": 49}, "random_directions"),
        ({**FEW, "minimum_items": 19}, "minimum_items"),
        ({**FEW, "twins": 0}, "twins"),
    ],
)
def test_an_impossible_or_loosened_parameter_is_refused_by_name(parameters, named):
    with pytest.raises(ConfigError, match=named):
        COLLECTOR.parse(parameters)


def test_parameters_survive_being_written_down():
    params = COLLECTOR.parse({**FEW, "kl_max": 0.05, "control_set": "chat"})
    assert COLLECTOR.parse(COLLECTOR.dump(params)) == params


def test_an_item_given_twice_or_a_leaking_family_is_refused():
    params = COLLECTOR.parse(FEW)
    with pytest.raises(ConfigError, match="twice"):
        list(COLLECTOR.expected(params, [*items(), items()[0]], SEED))
    with pytest.raises(ConfigError, match="alpha"):
        list(COLLECTOR.expected(params, [*items(), {**items()[0], "id": "x", "split": "transfer"}], SEED))


def test_the_cost_rises_with_candidates_and_controls():
    size = ModelSize(active_parameters=10)
    small, more = (COLLECTOR.cost(COLLECTOR.parse({**FEW, **extra}), items(), size) for extra in ({}, {"twins": 5}))
    assert 0 < small.prompts < more.prompts
    assert small.generated_tokens == 0
    assert small.forward_flops == 20 * small.prompt_tokens


def test_forged_trials_are_refused(on_llama):
    trials = on_llama[0]
    with pytest.raises(IntegrityError, match="twice"):
        observed([*trials, trials[0]])
    other = trials[0].model_copy(update={"key": trials[0].key.model_copy(update={"arm": "opinion"})})
    with pytest.raises(IntegrityError, match="no arm"):
        observed([other, *trials[1:]])
    place = next(place for place, one in enumerate(trials) if one.key.arm == "direction")
    forged = trials[place].model_copy(update={"measurements": {**trials[place].measurements, "layer": 2}})
    with pytest.raises(IntegrityError, match="choice"):
        observed([*trials[:place], forged, *trials[place + 1 :]])


def test_an_adapter_that_only_answers_is_refused(llama):
    with pytest.raises(CollectionError, match="only answers"):
        list(COLLECTOR.collect(Inputs(subject=llama, items=items()), COLLECTOR.parse(ONE), SEED))


def test_reading_and_summarising_need_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None; "
        "from evidence_collectors.interpretability.causal_intervention import collector as one; "
        "from evidence_collectors.interpretability.concept_direction import collector as other"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_schema_knows_the_parameters_and_quantities():
    shipped = json.loads((ROOT / "schemas" / "evidence" / f"{COLLECTOR.kind}.v1.json").read_text())["properties"]
    params = COLLECTOR.parse(FEW)
    assert list(shipped["parameters"]["properties"]) == list(COLLECTOR.dump(params))
    pattern = shipped["observations"]["items"]["properties"]["id"]["pattern"]
    assert all(re.fullmatch(pattern, name) for name in COLLECTOR.quantities(params))


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_schema_accepts_and_refuses_the_corpus(path):
    value = canonical.loads(path.read_bytes(), where="x")
    assert (schema.errors(f"evidence/{COLLECTOR.kind}.v1", value) == ()) == (path.parent.name == "good")


def test_every_quantity_has_words():
    words = json.loads((ROOT / "templates" / "eu_ai_act" / "evidence" / f"{COLLECTOR.kind}.words.json").read_text())
    for name in COLLECTOR.quantities(COLLECTOR.parse(FEW)):
        group, _, rest = name.partition(".")
        assert group in words["groups"], name
        assert rest in words["quantities"], name


def test_observations_are_marked_recomputable_and_bounded(on_llama):
    for found in observed(on_llama[0]).values():
        assert found.recomputable
        if found.interval is not None:
            assert found.interval.low <= found.estimate <= found.interval.high
        if found.unit in ("auroc", "proportion") and found.interval is not None:
            assert found.interval.low >= 0.0
            assert found.interval.high <= 1.0


def test_the_margin_would_notice_a_null_that_is_left_out(on_llama, monkeypatch):
    """The mutation: only random weights count. Then harder nulls are lost, and the margin rises."""
    real = separation._nulls

    def only_twins(*arguments):
        found, reason = real(*arguments)
        return {"null_twin_largest": found["null_twin_largest"]}, reason

    before = observed(on_llama[0])["test.direction_margin"].estimate
    monkeypatch.setattr(separation, "_nulls", only_twins)
    assert observed(on_llama[0])["test.direction_margin"].estimate > before
