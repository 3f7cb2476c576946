"""The benchmarks do the work they say, keep to their time, and say of each target whether it was met. Speed is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import generation, gpu, measuring, reading, shapes, targets, variants
from benchmarks.measuring import Place

CPU = Place("cpu", torch.float32, 1)
GPU = Place("cuda", torch.bfloat16, 1)


def case(shape, width, length, dictionaries=1, *, share=0.6, **ratios):
    return {
        "shape": shape,
        "dictionary_width": width,
        "length": length,
        "dictionaries": dictionaries,
        "operations_per_token": shapes.SHAPES[shape].operations(width, dictionaries=dictionaries),
        "variants": {variants.OURS: {"share_of_roofline": share, "tokens_per_second": 1000.0}},
        "ours_over": {getattr(variants, name): ratio for name, ratio in ratios.items()},
        "least_seconds": 1.0,
    }


def states(found):
    return [(one["met"], one["measured"]) for one in found]


def test_a_target_is_met_by_the_slowest_case_and_not_measured_without_one():
    cases = [
        case("llama-tiny", 512, "256", BEST_PEER=1.2, TUTORIAL=2.5),
        case("llama-small", 8192, "256", BEST_PEER=0.9),
        case("llama-small", 8192, "256", 4, BEST_PEER=0.1),
    ]
    assert states(targets.reading(cases, cuda=False)) == [(False, 0.9), (True, 2.5)]
    assert states(targets.reading(cases[:1], cuda=False)) == [(True, 1.2), (True, 2.5)]
    assert states(targets.reading([], cuda=True)) == [(None, None)] * 5


def test_each_target_on_a_gpu_has_its_case():
    cases = [
        case("llama-8b", 65536, "1024", share=0.47, BEST_PEER=1.05),
        case("llama-8b", 262144, "1024", BEST_PEER=1.1),
        case("llama-1b", 262144, "1024", BEST_PEER=1.4),
        case("llama-1b", 65536, "1024", 4, BEST_PEER=1.3, PASS_EACH=2.4),
    ]
    found = targets.reading(cases, cuda=True)
    assert states(found) == [(True, 1.05), (False, 0.47), (False, 1.4), (False, 1.3), (True, 2.4)]
    assert found[2]["case"] == "llama-1b, 262144, 1024"
    assert states(
        targets.generation([_generated("float32", 31.0), _generated("bfloat16", 19.0)], plain="p", cuda=True)
    ) == [(False, 19.0)]
    assert targets.large(cases)["hours"] > 0.0
    assert "reason" in targets.large(cases[1:])


def _generated(dtype, ratio):
    return {"model": "llama-1b", "dtype": dtype, "ours_over": {"p": ratio}}


def test_the_cases_that_the_targets_need_come_first():
    found = [one.key for one in gpu._cases(gpu._options([]), GPU)]
    assert tuple(found[: len(gpu.FIRST_ON_GPU)]) == gpu.FIRST_ON_GPU
    assert len(set(found)) == len(found) == 28
    assert {one.dictionaries for one in gpu._cases(gpu._options([]), CPU)} == {1, 4}
    (only,) = gpu._cases(gpu._options(["--shapes", "llama-125m", "--lengths", "64", "--dictionaries", "3"]), CPU)
    assert only.key == ("llama-125m", 16384, "64", 3)


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told to."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_what_the_time_does_not_allow_is_listed_and_what_was_measured_is_kept(clock, monkeypatch, tmp_path):
    out, seen = tmp_path / "found.json", []

    def measured(one, options, place, *, until):
        seen.append((one.key, until - clock[0]))
        clock[0] += 40.0
        if len(seen) == 2:
            raise RuntimeError("planted")
        return {**case(*one.key, BEST_PEER=1.5, TUTORIAL=3.0), "least_seconds": 30.0}

    monkeypatch.setattr(gpu, "measure", measured)
    assert gpu.main(["--cpu", "--minutes", "2", "--shapes", "llama-tiny", "llama-small", "--out", str(out)]) == 1
    found = json.loads(out.read_text("utf-8"))
    assert [share for _, share in seen] == [30.0, pytest.approx(80 / 3), 20.0]
    assert [(one["shape"], one["length"]) for one in found["cases"]] == [("llama-tiny", "256"), ("llama-small", "256")]
    assert [one["reason"] for one in found["not_run"]] == ["RuntimeError: planted", "0 s were left, and it needs 38 s"]
    assert [one["met"] for one in found["targets"]] == [True, True]


def test_turns_end_before_the_time_is_over_and_one_round_is_always_taken(clock):
    def slow():
        clock[0] += 10.0

    runs = {"one": slow, "other": slow}
    for seconds, rounds in ((0.0, 1), (79.0, 2), (80.0, 3), (1000.0, 7)):  # a round takes 20, one is a warm-up
        found = measuring.take_turns(runs, CPU, warm_up=1, rounds=7, until=clock[0] + seconds)
        assert {len(times) for times in found.seconds.values()} == {rounds}


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    def greedy(texts, rows):
        if rows > 3:
            raise torch.OutOfMemoryError("planted")
        return [(rows, rows)]

    run = reading._Run(greedy, [[1]], 16, CPU)
    assert run() == [(2, 2)]
    assert run.rows == 2
    with pytest.raises(torch.OutOfMemoryError):
        reading._Run(lambda *_: greedy([], 4), [[1]], 1, CPU)()


@pytest.mark.parametrize("width", [512, 8192])
def test_all_variants_count_the_same(width):
    shape = shapes.SHAPES["llama-tiny"]
    model = shapes.build(shape, device="cpu", dtype=torch.float32)
    rows = shapes.texts(shape, "mixed", tokens=300)
    sample = variants.activations(model, shape, rows)
    made = [shapes.dictionary(shape, width, sample=sample, seed=seed) for seed in (1, 2)]
    with torch.inference_mode():
        found = {
            name: variants.make(name, model, made, shape)(rows, 2)
            for name in (variants.OURS, "ours, dense sums", variants.BEST_PEER, variants.PASS_EACH)
        }
    batches, ran = -(-len(rows) // 2), []
    with model.get_submodule(variants.point_of(shape)).register_forward_hook(lambda *_: ran.append(1)):
        for name, passes in ((variants.BEST_PEER, 1), (variants.PASS_EACH, len(made))):
            ran.clear()
            with torch.inference_mode():
                variants.make(name, model, made, shape)(rows, 2)
            assert len(ran) == passes * batches
    ours = found[variants.OURS]
    for dictionary, (counts, sums) in zip(made, ours, strict=True):
        features = dictionary.encode(sample)
        assert float((counts - (features > 0).sum(dim=0)).abs().sum()) <= 2  # rounding at a threshold
        assert sums.sum() == pytest.approx(float(features.sum()), rel=1e-3)
        assert 30 * len(sample) < counts.sum() < 150 * len(sample)
    assert not torch.equal(ours[0][0], ours[1][0])
    for totals in found.values():
        parity = reading._parity(totals, ours)
        assert parity["flip_share"] < 1e-3
        assert parity["sum_difference"] < 1e-3


def test_one_at_a_time_stops_when_its_time_is_over(clock):
    def answers():
        for number in range(10):
            clock[0] += 5.0
            yield str(number), (number,)

    assert len(generation._until(None, answers())) == 10
    assert len(generation._until(clock[0] + 12.0, answers())) == 3
    assert len(generation._until(clock[0] - 1.0, answers())) == 1


def test_a_benchmark_can_be_named_by_its_path(tmp_path):
    script = Path(gpu.__file__)
    done = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--minutes" in done.stdout


def test_a_result_that_is_there_is_not_written_over(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "RESULTS", tmp_path)
    paths = []
    for _ in range(3):
        paths.append(measuring.result_path("cpu"))
        paths[-1].write_text("{}")
    assert [path.stem.removeprefix(f"cpu-{measuring.date()}") for path in paths] == ["", "-2", "-3"]
