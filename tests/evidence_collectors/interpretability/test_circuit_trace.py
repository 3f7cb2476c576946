"""The circuit instrument promises what it collects, reads only that, and says when it cannot tell."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dossier import canonical, schema
from dossier.collector import Artifact, Inputs
from dossier.errors import CollectionError, ConfigError, IntegrityError
from dossier.language_model import ModelSize
from dossier.model import Trial, TrialKey, as_json
from evidence_collectors.interpretability.circuit_trace import reading
from evidence_collectors.interpretability.circuit_trace.collector import COLLECTOR, prompts, references
from evidence_collectors.interpretability.circuit_trace.observations import QUANTITIES

ROOT = Path(__file__).parents[3]
KIND = "evidence/interpretability.circuit_trace.v1"
SEED = "00ff00ff00ff00ff"


def item(index, **changes):
    known = {
        "id": f"text-{index}",
        "messages": [{"role": "user", "content": f"word {index}"}],
        "label": "positive" if index % 2 else "negative",
        "family": f"family-{index // 4 % 3}",
        "split": "train" if index % 5 == 0 else "test",
        "licence": "Apache-2.0",
        "response": "",
        "pair": f"pair-{index // 2}",
        "set": None,
    }
    return {**known, **changes}


ITEMS = [item(index) for index in range(60)]


def measured(index, *, effect=4.0, noise=0.0, correlation=True, **changes):
    """What one prompt gives, drawn from its number; the graph finds what is there unless said otherwise."""
    rng = np.random.Generator(np.random.PCG64(index))
    replacement = 0.7 + 0.2 * rng.random()
    predicted = rng.standard_normal(12)
    observed = predicted + 0.3 * rng.standard_normal(12) if correlation else rng.standard_normal(12)
    family = index % 3
    known = {
        "label": "positive" if index % 2 else "negative",
        "family": f"family-{family}",
        "pair": f"pair-{index // 2}",
        "tokens": 9,
        "active_features": 100,
        "graph_features": 90,
        "target_share": 0.96,
        "scores": {"replacement": replacement, "completeness": 0.9, "error_share": 0.1},
        "shuffled": {"replacement": replacement - 0.3, "completeness": 0.6, "error_share": 0.4},
        "cross_check": 1e-7,
        "nodes": 30,
        "edges": 80,
        "core_nodes": 5,
        "edge_scores": [10, 0, 6, 0, 0, 4],
        "circuit": sorted({*range(100 * family, 100 * family + 8), int(rng.integers(1000, 2000))}),
        "core": [100 * family],
        "patched": {
            "whole": 10.0,
            "empty": 10.0 - effect,
            "empty_halves": [10.0 - effect - noise / 2, 10.0 - effect + noise / 2],
            "circuit": 10.0 - 0.1 * effect,
            "circuit_without_errors": 10.0 - 0.2 * effect,
            "complement": 10.0 - 0.85 * effect,
            "random": 10.0 - 0.97 * effect,
        },
        "predicted": list(map(float, predicted)),
        "observed": list(map(float, observed)),
    }
    return {**known, **changes}


TESTED = {
    "parity": 0.0,
    "logits": 1e-7,
    "unexplained": 1e-7,
    "embedding_scale": 1.0,
    "fvu": [0.1, 0.2],
    "l0": [16.0, 15.0],
    "tokens": 300,
}


def trial(name, arm, measurements=None, error=None):
    key = TrialKey(item=name, arm=arm, repeat=0)
    return Trial(key=key, seed=SEED, request=None, completion=None, measurements=measurements or {}, error=error)


def run(count=24, **changes):
    return [
        trial("self-test", "self-test", TESTED),
        *(trial(f"text-{index}", "trace", measured(index, **changes)) for index in range(count)),
    ]


def observed(trials, parameters=None, seed=SEED):
    params = COLLECTOR.parse({"grid_nodes": [0.5, 0.8, 0.9], "grid_edges": [0.9, 0.98], **(parameters or {})})
    return {found.id: found for found in COLLECTOR.summarise(trials, {}, params, seed)}


# --- what is asked -------------------------------------------------------------------------------------------------


def test_parameters_survive_being_written_down():
    params = COLLECTOR.parse({"prompts": 30, "traced": ["test"], "minimum_effect": 1})
    assert COLLECTOR.parse(COLLECTOR.dump(params)) == params


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"prompt": 3}, "prompt"),
        ({"minimum_effect": 0.4}, "minimum_effect"),
        ({"noise_multiple": 2.9}, "noise_multiple"),
        ({"maximum_refused": 0.21}, "maximum_refused"),
        ({"minimum_prompts": 9}, "minimum_prompts"),
        ({"traced": ["train"]}, "traced and reference"),
        ({"traced": ["test", "test"]}, "traced"),
        ({"traced": ["dev"]}, "traced"),
        ({"grid_nodes": [0.5]}, "grid_nodes"),
        ({"grid_nodes": [0.5, 0.5]}, "grid_nodes"),
        ({"node_share": 1.0}, "node_share"),
        ({"left_out": 0}, "left_out"),
        ({"prompts": "24"}, "prompts"),
    ],
)
def test_an_impossible_or_loosened_parameter_is_refused_by_name(parameters, named):
    with pytest.raises(ConfigError, match=named):
        COLLECTOR.parse(parameters)


def test_what_is_traced_is_fixed_by_the_seed_keeps_pairs_together_and_leaves_out_the_reference():
    params = COLLECTOR.parse({"prompts": 11})
    chosen = prompts(params, ITEMS, SEED)
    assert [text.id for text in chosen] == [text.id for text in prompts(params, ITEMS[::-1], SEED)]
    assert [text.id for text in chosen] != [text.id for text in prompts(params, ITEMS, "1" * 16)]
    assert all(text.split == "test" for text in chosen)
    whole = [text.pair for text in chosen if sum(other.pair == text.pair for other in chosen) == 2]
    assert len(whole) >= 6
    assert {text.split for text in references(params, ITEMS, SEED)} == {"train"}
    promised = list(COLLECTOR.expected(params, ITEMS, SEED))
    assert len(promised) == 12
    assert all(one.request_sha256 is None for one in promised)
    assert len({one.seed for one in promised}) == 12


@pytest.mark.parametrize(
    ("items", "named"),
    [
        ([item(1)], "0 items have a split"),
        ([item(0), item(5)], "no item has a split"),
        ([item(1), item(1)], "an id of its own"),
        ([item(1, id="self-test")], "self-test"),
        ([item(1, label="maybe")], "label"),
    ],
)
def test_items_that_cannot_be_traced_are_refused_in_words(items, named):
    params = COLLECTOR.parse({})
    ask = COLLECTOR.cost if "0 items" in named else COLLECTOR.expected
    with pytest.raises(ConfigError, match=named):
        list(ask(params, items, SEED if ask is COLLECTOR.expected else None) or ())


def test_the_cost_grows_with_prompts_and_nodes_and_needs_no_model():
    few, many = (COLLECTOR.parse({"prompts": count}) for count in (5, 10))
    one, other = (COLLECTOR.cost(params, ITEMS, ModelSize(active_parameters=10)) for params in (few, many))
    assert 0 < one.forward_flops < other.forward_flops
    assert COLLECTOR.cost(few, ITEMS, None).forward_flops is None
    wide = COLLECTOR.parse({"prompts": 5, "feature_nodes": 800})
    assert COLLECTOR.cost(wide, ITEMS, None).prompt_tokens > one.prompt_tokens


# --- what is read --------------------------------------------------------------------------------------------------


def test_the_observations_are_those_announced_and_have_words_and_a_schema():
    params = COLLECTOR.parse({})
    assert tuple(observed(run())) == tuple(COLLECTOR.quantities(params)) == QUANTITIES
    words = json.loads((ROOT / "templates/eu_ai_act/evidence/interpretability.circuit_trace.words.json").read_text())
    assert {name.partition(".")[0] for name in QUANTITIES} == set(words["groups"])
    assert {name.partition(".")[2] for name in QUANTITIES} == set(words["quantities"])
    properties = schema.shipped()[KIND]["properties"]
    assert list(properties["parameters"]["properties"]) == list(COLLECTOR.dump(params))
    pattern = properties["observations"]["items"]["properties"]["id"]["pattern"]
    assert all(re.fullmatch(pattern, name) for name in QUANTITIES)


@pytest.mark.parametrize("path", sorted((ROOT / "tests/corpus" / KIND).glob("*/*.json")), ids=lambda path: path.stem)
def test_evidence_of_this_kind_is_checked_against_its_schema(path):
    value = canonical.loads(path.read_bytes(), where="x")
    assert (schema.errors(KIND, value) == ()) == (path.parent.name == "good")


def test_the_order_of_trials_changes_nothing():
    trials = run()
    before = observed(trials)
    random.Random(3).shuffle(trials)
    assert observed(trials) == before


def test_estimates_are_medians_over_prompts_with_an_interval_that_holds_them_and_a_null_beside_them():
    trials = run()
    found = observed(trials)
    values = [one.measurements["scores"]["replacement"] for one in trials[1:]]
    replacement = found["scores.replacement"]
    assert replacement.estimate == pytest.approx(float(np.median(values)))
    assert replacement.interval.low < replacement.estimate < replacement.interval.high
    assert replacement.null.estimate == pytest.approx(float(np.median(values)) - 0.3)
    assert found["scores.replacement_margin"].estimate == pytest.approx(0.3)
    assert found["scores.completeness_margin"].estimate == pytest.approx(0.3)
    assert found["patching.faithfulness"].estimate == pytest.approx(0.9)
    assert found["patching.faithfulness"].null.estimate == pytest.approx(0.03)
    assert found["patching.faithfulness_margin"].estimate == pytest.approx(0.87)
    assert found["patching.faithfulness_without_errors"].estimate == pytest.approx(0.8)
    assert found["patching.complement"].estimate == pytest.approx(0.15)
    assert found["core.edge_share"].estimate == pytest.approx(4 / 20)
    assert found["core.edge_stability"].estimate == pytest.approx((10 + 18 + 24) / 20 / 6)
    assert found["stability.family_overlap"].estimate == pytest.approx(8 / 10, abs=0.02)
    assert found["stability.family_overlap"].null.estimate == pytest.approx(0.0, abs=0.02)
    assert found["stability.pair_overlap"].n == 12
    assert found["self_test.fvu"].estimate == 0.2
    assert found["self_test.cross_check"].estimate == 1e-7


def test_predictions_are_held_against_permuted_observations():
    right, wrong = observed(run()), observed(run(correlation=False))
    agreed, none = right["interventions.rank_correlation"], wrong["interventions.rank_correlation"]
    assert agreed.estimate > 0.8 > agreed.null.high
    assert agreed.facts["permutation_p"] < 0.01
    assert agreed.facts["interventions"] == 24 * 12
    assert none.null.low <= none.estimate <= none.null.high
    assert none.facts["permutation_p"] > 0.05


def test_a_share_of_next_to_nothing_is_refused_rather_than_printed():
    small = observed(run(effect=0.4))
    noisy = observed(run(effect=4.0, noise=3.0))
    for found in (small, noisy):
        for name in ("faithfulness", "complement", "faithfulness_margin", "faithfulness_without_errors"):
            assert found[f"patching.{name}"].estimate is None
            assert "are needed" in found[f"patching.{name}"].reasons[0]
        assert found["patching.effect"].estimate is not None
        assert found["scores.replacement"].estimate is not None


def test_losing_prompts_to_the_noise_floor_beyond_the_limit_is_not_estimable():
    weak = [trial(f"weak-{index}", "trace", measured(index, effect=0.1)) for index in range(7)]
    assert observed([*run(), *weak[:6]])["patching.faithfulness"].estimate is not None
    found = observed([*run(), *weak])["patching.faithfulness"]
    assert found.estimate is None
    assert "may not stand for the rest" in found.reasons[0]


def test_failed_prompts_are_counted_and_beyond_the_limit_nothing_is_estimable():
    failed = [trial(f"lost-{index}", "trace", error="no feature is active") for index in range(7)]
    some = observed([*run(), *failed[:6]])["scores.replacement"]
    assert some.estimate is not None
    assert some.facts["failed"] == 6
    assert observed([*run(), *failed])["scores.replacement"].estimate is None


def test_too_few_prompts_and_a_failed_self_test_are_not_estimable():
    assert "10 are needed" in observed(run(9))["scores.replacement"].reasons[0]
    trials = [trial("self-test", "self-test", error="does not add up"), *run()[1:]]
    found = observed(trials)
    assert all(found[name].estimate is None for name in QUANTITIES if name != "self_test.cross_check")
    assert "self-test failed" in found["scores.replacement"].reasons[0]
    assert observed([])["scores.replacement"].estimate is None


def test_prompts_without_a_family_mate_have_no_overlap():
    trials = [
        trial(one.key.item, one.key.arm, {**one.measurements, "family": f"own-{place}", "pair": None})
        if one.key.arm == "trace"
        else one
        for place, one in enumerate(run())
    ]
    found = observed(trials)
    assert found["stability.family_overlap"].estimate is None
    assert found["stability.pair_overlap"].n == 0


@pytest.mark.parametrize(
    "bad",
    [
        trial("text-0", "other", measured(0)),
        trial("text-0", "trace", {**measured(0), "label": "maybe"}),
        trial("text-0", "trace", {**measured(0), "extra": 1}),
        trial("text-0", "trace", {**measured(0), "observed": [1.0]}),
        trial("text-0", "trace", {**measured(0), "edge_scores": [1, 2]}),
        trial("text-0", "trace", {**measured(0), "scores": {"replacement": 1.5, "completeness": 1, "error_share": 0}}),
        trial("text-0", "trace"),
        trial("self-test", "self-test", {"fvu": []}),
    ],
)
def test_a_trial_this_protocol_cannot_have_made_stops_the_analysis(bad):
    with pytest.raises(IntegrityError, match="circuit_trace"):
        observed([bad])


def test_a_prompt_that_is_there_twice_stops_the_analysis():
    with pytest.raises(IntegrityError):
        observed([*run(), run()[1]])


def test_importing_the_instrument_imports_neither_torch_nor_the_library():
    code = (
        "import sys, evidence_collectors.interpretability.circuit_trace, "
        "evidence_collectors.interpretability.circuit_trace.run;"
        "print([m for m in ('torch', 'transformers', 'circuit_tracer', 'nnsight') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


# --- a run on a real model -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def block(tmp_path_factory):
    pytest.importorskip("circuit_tracer")
    from evidence_collectors.models.hf import load
    from evidence_collectors.organisms import circuit_block

    folder = tmp_path_factory.mktemp("block")
    made = circuit_block.make(folder, words=60, missing=8)
    items = tuple(canonical.load_lines((folder / "model" / "items.jsonl").read_bytes(), where="x"))
    subject = load(str(folder / "model"))
    return made, Inputs(subject=subject, items=items, white_box=subject, files={"transcoders": folder / "transcoders"})


@pytest.fixture(scope="module")
def collected(block):
    params = COLLECTOR.parse({"prompts": 14, "interventions": 8})
    return params, list(COLLECTOR.collect(block[1], params, SEED))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_collected_is_what_was_promised_and_can_be_read(block, collected):
    params, found = collected
    trials = [one for one in found if isinstance(one, Trial)]
    promised = {(one.key.order, one.seed) for one in COLLECTOR.expected(params, block[1].items, SEED)}
    assert {(one.key.order, one.seed) for one in trials} == promised
    assert not [one.error for one in trials if one.error]
    held = reading.read(trials, settings=params.settings)
    assert len(held.prompts) == 14
    assert held.self_test.unexplained < 1e-5
    assert observed_real(params, trials)["scores.replacement"].estimate is not None


def observed_real(params, trials):
    return {one.id: one for one in COLLECTOR.summarise(trials, {}, params, SEED)}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_score_is_the_one_worked_by_hand(block, collected):
    from evidence_collectors.organisms import circuit_block_truth as truth

    setting = truth.Setting(missing=8)
    held = reading.read([one for one in collected[1] if isinstance(one, Trial)], settings=20)
    for name, prompt in held.prompts:
        one = truth.traced(block[0], int(name.removeprefix("word-")), setting)
        for score, value in truth.scores(one).items():
            assert getattr(prompt.scores, score) == pytest.approx(value, abs=1e-5)
        kept, _ = truth.circuit(one, setting)
        assert set(prompt.circuit) == set(np.flatnonzero(kept))
        predicted, seen = truth.effects(block[0], one)
        for effect, fall in zip(prompt.predicted, prompt.observed, strict=True):
            if effect:
                place = int(np.argmin(np.abs(predicted - effect)))
                assert predicted[place] == pytest.approx(effect, abs=1e-5)
                assert fall == pytest.approx(seen[place], abs=1e-5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_faithfulness_and_complement_are_those_worked_by_hand(block, collected):
    from evidence_collectors.organisms import circuit_block_truth as truth

    setting = truth.Setting(missing=8)
    texts = references(collected[0], block[1].items, SEED)
    means = truth.means(block[0], [int(text.id.removeprefix("word-")) for text in texts], setting)
    held = reading.read([one for one in collected[1] if isinstance(one, Trial)], settings=20)
    for name, prompt in held.prompts:
        one = truth.traced(block[0], int(name.removeprefix("word-")), setting)
        effect, shares = truth.faithfulness(block[0], one, setting, means)
        patched = prompt.patched
        assert patched.whole - patched.empty == pytest.approx(effect, abs=1e-4)
        kept = {
            "faithfulness": patched.circuit,
            "faithfulness_without_errors": patched.circuit_without_errors,
            "complement": patched.complement,
        }
        for share, value in kept.items():
            assert value - patched.empty == pytest.approx(shares[share] * effect, abs=1e-4)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_graphs_leave_as_small_json_and_circuits_as_safetensors(collected):
    from safetensors.numpy import load as from_bytes

    from dossier.circuit_chart import circuit_chart

    artifacts = {one.name: one for one in collected[1] if isinstance(one, Artifact)}
    assert len(artifacts) == 15
    for name, one in artifacts.items():
        if name.endswith(".json"):
            document = canonical.loads(one.data, where=name)
            assert len(one.data) < 200_000
            assert circuit_chart(document).startswith("<svg")
    arrays = from_bytes(artifacts["circuits.safetensors"].data)
    name = next(iter(arrays)).rpartition(".")[0]
    edges = arrays[f"{name}.edges"]
    assert edges.max() < len(arrays[f"{name}.nodes"])
    assert len(edges) == len(arrays[f"{name}.weights"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_self_test_that_fails_leaves_failed_trials_and_no_number(block, monkeypatch):
    from evidence_collectors.interpretability.circuit_trace.engine import Engine

    monkeypatch.setattr(Engine, "unexplained", lambda *_: 0.2)
    params = COLLECTOR.parse({"prompts": 12})
    found = list(COLLECTOR.collect(block[1], params, SEED))
    assert len(found) == 13
    assert all("unexplained is 0.2" in one.error for one in found)
    assert observed_real(params, found)["scores.replacement"].estimate is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_prompt_that_cannot_be_traced_is_one_failed_trial(block, monkeypatch):
    from evidence_collectors.interpretability.circuit_trace.engine import Engine

    real, calls = Engine.trace, []

    def trace(self, *given):
        calls.append(1)
        if len(calls) == 1:
            raise CollectionError("no feature is active on this prompt")
        return real(self, *given)

    monkeypatch.setattr(Engine, "trace", trace)
    params = COLLECTOR.parse({"prompts": 2, "interventions": 8})
    trials = [one for one in COLLECTOR.collect(block[1], params, SEED) if isinstance(one, Trial)]
    assert [one.error for one in trials] == [None, "no feature is active on this prompt", None]


def test_a_bad_folder_of_transcoders_and_an_adapter_that_only_answers_are_collection_errors(block, tmp_path):
    params = COLLECTOR.parse({"prompts": 2})
    given = block[1]
    (tmp_path / "w.pt").write_bytes(b"x")
    with pytest.raises(CollectionError, match="only safetensors"):
        list(
            COLLECTOR.collect(
                Inputs(given.subject, given.items, given.white_box, files={"transcoders": tmp_path}), params, SEED
            )
        )
    with pytest.raises(CollectionError, match="only answers"):
        list(COLLECTOR.collect(Inputs(given.subject, given.items, files=given.files), params, SEED))


def test_transcoders_of_other_weights_are_refused(block, tmp_path):
    given, folder = block[1], tmp_path / "transcoders"
    shutil.copytree(given.files["transcoders"], folder)
    settings = json.loads((folder / "transcoders.json").read_text())
    (folder / "transcoders.json").write_bytes(canonical.encode({**settings, "weights_sha256": "a" * 64}))
    stale = Inputs(given.subject, given.items, given.white_box, files={"transcoders": folder})
    with pytest.raises(CollectionError, match=r"trained on weights aaaaaaaaaaaaaaaa…, and .* has [0-9a-f]{16}"):
        list(COLLECTOR.collect(stale, COLLECTOR.parse({"prompts": 2}), SEED))


def test_trials_are_plain_json():
    for one in run(2):
        canonical.loads(canonical.encode(as_json(one)), where="x")
