"""Every instrument is run on every organism: what it says is kept, and what cannot run is kept with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dossier.collector import Inputs
from dossier.model import Interval, Null, Observation
from evidence_collectors import COLLECTORS
from evidence_collectors import load as load_collector
from evidence_collectors.items import contrast
from evidence_collectors.models import dictionary_files, transcoders
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import everywhere, goal_design, pressure_design, random_model
from evidence_collectors.organisms import everywhere_plan as plan_
from evidence_collectors.organisms.everywhere_headlines import HEADLINES, Headline
from evidence_collectors.organisms.everywhere_page import page
from evidence_collectors.organisms.everywhere_plan import Plan
from evidence_collectors.organisms.everywhere_subject import DRAWN, SHIPPED, Subject

pytest.importorskip("circuit_tracer")  # the page names its version

KINDS = (plan_.DIRECTION, plan_.FEATURES)
TINY = {
    **random_model.LLAMA_125M,
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def _plan(name):
    return next(plan for plan in plan_.PLANS if plan.name == name)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    plans = (replace(_plan("goal"), pairs=20), _plan("hint-mcq"), Plan("no-such-organism", ("A",)))
    lines = []
    work = tmp_path_factory.mktemp("work")
    found = list(everywhere.everything(everywhere.SAMPLES, work, plans=plans, kinds=KINDS, report=lines.append))
    assert len(lines) == 4
    return everywhere.record(found)


def test_every_model_and_instrument_has_an_entry(made):
    asked = [(name, kind) for name in ("goal", "hint-mcq", "no-such-organism") for kind in KINDS]
    assert sorted((run["model"], run["kind"]) for run in made["runs"]) == sorted(asked)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    for run in made["runs"]:
        collector = load_collector(run["kind"])
        assert run["protocol_version"] == collector.protocol_version
        assert run["analysis_version"] == collector.analysis_version
        assert ("error" in run) == (run["model"] != "goal")
        assert run["cpu_seconds"] >= 0.0


def test_what_an_instrument_says_is_kept_with_interval_and_count_or_with_the_reason(made):
    for run in made["runs"][:2]:
        assert [one["id"] for one in run["observations"]] == [one.id for one in HEADLINES[run["kind"]]]
        assert run["trials"]["promised"] > 0
        assert (run["trials"]["failed"] == 0) == (not run["trials"]["errors"])
        assert run["estimable"] + run["not_estimable"] == len(
            load_collector(run["kind"]).quantities(load_collector(run["kind"]).parse(run["parameters"]))
        )
        for one in run["observations"]:
            assert (one["estimate"] is None) == bool(one["reasons"])
            assert one["n_counts"]
    health = {one["id"]: one for one in made["runs"][1]["observations"]}["health.fvu"]
    assert health["interval"][0] <= health["estimate"] <= health["interval"][1] < 0.5
    assert made["runs"][1]["inputs"] == {"dictionary": SHIPPED}


def test_items_that_are_no_contrast_set_are_refused_in_words(made):
    for run in (run for run in made["runs"] if run["model"] == "hint-mcq"):
        assert run["error"]["type"] == "ConfigError"
        assert "schemas/contrast.v1.json" in run["error"]["hint"]
    for run in (run for run in made["runs"] if run["model"] == "no-such-organism"):
        assert "no-such-organism" in run["error"]["message"]


def test_the_page_names_all_of_it(made):
    text = page(made)
    for run in made["runs"]:
        assert f"| {run['model']} | {run['kind'].partition('.')[2]}" in text
    assert text.count("not run: ConfigError") == 4
    assert all(len(line.split("|")) in (1, 7, 8) for line in text.splitlines() if line.startswith("|"))
    drawn = {**made["runs"][1], "model": plan_.RANDOM, "found": ["set.auroc_margin"]}
    assert "a false alarm" in page({**made, "runs": [drawn]})
    assert "none of the 1 that ran found anything" in page({**made, "runs": [{**drawn, "found": []}]})


def test_a_run_goes_on_where_it_was_left(made, tmp_path, monkeypatch):
    out = tmp_path / "found.json"
    out.write_text(json.dumps(made))
    monkeypatch.setattr(everywhere, "PLANS", ())
    monkeypatch.setattr(plan_, "PLANS", ())
    assert (
        everywhere.main(["--out", str(out), "--resume", "--samples", str(tmp_path), "--page", str(tmp_path / "p")]) == 0
    )
    assert "goal" in (tmp_path / "p").read_text()


def test_every_white_box_instrument_and_every_organism_is_planned_or_said_not_to_be():
    assert set(everywhere.white_box()) >= {kind for kind in COLLECTORS if kind.startswith("interpretability.")}
    assert set(HEADLINES) <= set(everywhere.white_box())
    for kind in HEADLINES:
        for plan in plan_.PLANS:
            parameters = {**plan.parameters(kind), **({"use_core": True} if kind == plan_.STABILITY else {})}
            params = load_collector(kind).parse(parameters)
            assert {one.id for one in HEADLINES[kind]} <= set(load_collector(kind).quantities(params)), kind
    unknown = plan_.planned(["goal", "newcomer"])[-1]
    assert unknown.name == "newcomer"
    assert unknown.parameters(plan_.DIRECTION) is None


def test_fewer_items_keep_pairs_whole_and_every_split():
    rows = plan_.fewer(goal_design.items(), 4)
    texts = contrast.parse(rows)
    for split in ("train", "validation", "test", "transfer"):
        for label in ("positive", "negative"):
            assert sum((text.split, text.label) == (split, label) for text in texts) == 4
    assert plan_.fewer(goal_design.items(), None) == goal_design.items()


def test_an_organism_is_read_on_items_in_which_its_behaviour_differs_between_the_classes():
    """Of offers whose dearer option is A as often as B, conflict makes B no likelier than agreement does."""
    goal = _plan("goal")
    rows = goal.kept(plan_.DIRECTION, goal_design.items())
    offers = [row["messages"][0]["content"] for row in rows if row["label"] != "neutral"]
    assert len(offers) == 190
    for text in offers:
        first, second = (int(part.partition(" euros")[0]) for part in text.split(" costs ")[1:])
        assert first < second
    conflict = [row["messages"][0]["content"] for row in rows if row["label"] == "positive"]
    assert all("seal is on option B" in text for text in conflict)

    pressure = _plan("pressure")
    asked = pressure.kept(plan_.DIRECTION, pressure_design.items())
    believed = {f"{one.family}-{one.number + 1:02d}": one.belief for one in pressure_design.statements()}
    assert asked
    assert not any(believed["-".join(row["id"].split("-")[:2])] for row in asked if row["label"] != "neutral")
    assert len(pressure.kept(plan_.FEATURES, pressure_design.items())) == len(pressure_design.items())


def test_the_traced_circuit_that_reaches_deepest_is_kept_for_the_attacks(tmp_path):
    def circuit(*nodes):
        told = [
            {"kind": "feature", "layer": layer, "position": position, "core": core} for layer, position, core in nodes
        ]
        return json.dumps({"tokens": ["a", "b"], "nodes": told}).encode()

    subject = Subject(_plan("refusal"), tmp_path, tmp_path, None)
    assert subject.traced(()) == {}
    subject.keep_circuits({"circuit-none.json": circuit((3, 0, True), (3, 1, False)), "circuits.safetensors": b""})
    assert subject.traced(()) == {}
    (tmp_path / "transcoders").mkdir()
    deep = circuit((2, 1, True))
    subject.keep_circuits({"circuit-a.json": circuit((1, 1, True)), "circuit-b.json": deep, "circuit-c.json": deep})
    kept = subject.traced(())
    assert kept["core"][0].read_bytes() == deep
    assert set(kept) == {"core", "transcoders"}
    assert everywhere.white_box()[-1] == plan_.STABILITY, "so that circuits are there"


def _observed(low, high, null=None):
    return Observation(
        id="a.b",
        estimand="any",
        unit="nats",
        estimate=(low + high) / 2,
        interval=Interval(low=low, high=high, level=0.95, method="any"),
        n=20,
        n_counts="texts",
        method="any",
        null=null,
    )


def test_only_an_interval_beyond_zero_or_beyond_the_null_says_that_something_was_found():
    null = Null(what="random", estimate=0.1, low=0.0, high=0.5)
    cases = [
        ("above zero", _observed(0.1, 0.3), True),
        ("above zero", _observed(-0.1, 0.3), False),
        ("away from zero", _observed(-0.3, -0.1), True),
        ("above its null", _observed(0.4, 0.9, null), False),
        ("above its null", _observed(0.6, 0.9, null), True),
        (None, _observed(0.6, 0.9), False),
    ]
    for test, observed, expected in cases:
        assert everywhere.shows(observed, Headline("a.b", test)) is expected
    unknown = Observation(
        id="a.b", estimand="any", unit="nats", estimate=None, interval=None, n=0, n_counts="texts", method="any"
    )
    assert not everywhere.shows(unknown, Headline("a.b", "above zero"))


def test_a_random_model_gets_a_dictionary_and_transcoders_of_its_own(tmp_path):
    folder = tmp_path / "random"
    random_model.write_model(folder, goal_design.phrases(), settings=TINY)
    subject = Subject(replace(_plan("goal"), blocks=(0,)), folder, tmp_path, load(str(folder)))
    items = plan_.fewer(goal_design.items(), 6)
    path, origin = subject.file("dictionary", items)
    assert origin == DRAWN
    held = dictionary_files.load(path)
    assert held.stated.weights_sha256 == subject.model.subject.weights_sha256
    assert held.stated.point == "model.layers.0"
    path, _ = subject.file("transcoders", items)
    own = transcoders.load(Path(path)).settings
    assert own.weights_sha256 == subject.model.subject.weights_sha256
    assert own.l0 == (16.0, 16.0)
    assert min(own.fvu) > 0.9, "random features explain nothing"
    given = Inputs(subject=subject.model, items=items, white_box=subject.model)
    assert given.opened() is subject.model


def test_the_random_model_is_of_a_real_size():
    shape = random_model.LLAMA_125M
    attention = (
        2 * shape["hidden_size"] * shape["head_dim"] * (shape["num_attention_heads"] + shape["num_key_value_heads"])
    )
    block = attention + 3 * shape["hidden_size"] * shape["intermediate_size"]
    assert shape["num_hidden_layers"] * block + 2 * shape["vocab_size"] * shape["hidden_size"] > 100_000_000
