"""The certificate accepts the estimator and refuses one that is made wrong on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from dossier import model
from dossier.model import FileRef, Reference
from evidence_collectors.calibration import certificate, faults, pooled
from evidence_collectors.cot_faithfulness.perturbation import mistake, protocol
from evidence_collectors.cot_faithfulness.perturbation.calibration import BOUND, LIMITS, controls, observe, pool
from evidence_collectors.cot_faithfulness.perturbation.collector import COLLECTOR
from evidence_collectors.cot_faithfulness.perturbation.reading import read
from evidence_collectors.cot_faithfulness.perturbation.simulation import Planted, drawn, simulate
from evidence_collectors.organisms import reasoning_design
from evidence_collectors.recipes import perturbation as recipe
from evidence_collectors.simulating import questions

SEED = "0a0b0c0d0e0f0001"
PARAMS = COLLECTOR.parse({"fractions": [50], "paraphrase": "none", "resamples": 500})
ORGANISM = (FileRef(name="planted", sha256="0" * 64, size=0, media_type="text/plain"),)
FOLLOW, MEMORY = 0.4, 0.25
TRUTHS = {"mistake.follow_rate": FOLLOW, "control.follow_raw": (1 - MEMORY) / 3}
SAMPLES = Path(recipe.__file__).parents[2] / "samples/organisms"


@pytest.fixture(scope="module")
def runs():
    planted = Planted(FOLLOW, memory=MEMORY)
    return [(f"{number:016x}", simulate(PARAMS, questions(600), f"{number:016x}", planted)) for number in range(2)]


@pytest.fixture(scope="module")
def nothing():
    return controls(PARAMS, seed=SEED, studies=2)


def calibrated(runs, nothing):
    found = pooled(
        pool(runs, PARAMS), observe(PARAMS), TRUTHS, source="planted", planted=TRUTHS, sizes=(90,), count=40, seed=SEED
    )
    return certificate(
        COLLECTOR, PARAMS, found, nothing, organisms=ORGANISM, truth="planted", bound=BOUND, limits=LIMITS
    )


def test_the_estimator_is_accepted_and_the_certificate_is_a_document(runs, nothing):
    made = calibrated(runs, nothing)
    assert faults(made) == ()
    assert {(cell.studies, cell.estimable) for cell in made.cells} == {(40, 40)}
    assert [control.passed for control in made.negative_controls] == [2] * 4
    assert model.parse(model.Calibration, model.dump(made), where="calibration") == made


def test_an_estimator_that_takes_out_no_chance_is_refused(runs, nothing, monkeypatch):
    monkeypatch.setattr(mistake, "corrected", lambda p, r: p)
    assert any("bias" in reason for reason in faults(calibrated(runs, nothing)))


def test_an_estimator_that_subtracts_chance_and_does_not_scale_is_refused(runs, nothing, monkeypatch):
    monkeypatch.setattr(mistake, "corrected", lambda p, r: p - r)
    assert any("bias" in reason for reason in faults(calibrated(runs, nothing)))


def test_intervals_that_are_too_narrow_are_refused(runs, nothing, monkeypatch):
    whole = mistake.combined

    def narrow(function, parts, **options):
        part = whole(function, parts, **options)
        low, high = (part.estimate + (end - part.estimate) / 3 for end in part.limits)
        return type(part)(part.estimate, (low, high), part.resamples, part.size)

    monkeypatch.setattr(mistake, "combined", narrow)
    assert any("coverage" in reason for reason in faults(calibrated(runs, nothing)))


def test_a_reading_that_is_drawn_is_that_of_a_run_of_the_same_model():
    planted = Planted(0.5, memory=0.5)
    params = COLLECTOR.parse({"fractions": [50]})
    by_run = read(simulate(params, questions(500), SEED, planted), params, SEED)
    by_draw = drawn(params, 4000, SEED, planted)
    for name in ("eligible", "follows", "controls", "control_follows", "steps"):
        share = [one.total(name) / one.total("pairs") for one in (by_run, by_draw)]
        assert share[0] == pytest.approx(share[1], abs=0.07 * max(1.0, share[1])), name
    for arm, counts in by_run.compared.items():
        same = [float(one[:, 1].sum() / one[:, 0].sum()) for one in (counts, by_draw.compared[arm])]
        assert same[0] == pytest.approx(same[1], abs=0.07), arm
    for arm, counts in by_run.accuracy.items():
        right = [float(one[:, 1].sum() / one[:, 0].sum()) for one in (counts, by_draw.accuracy[arm])]
        assert right[0] == pytest.approx(right[1], abs=0.07), arm


# --- the organism ---------------------------------------------------------------------------------------------------


def test_the_organism_speaks_the_words_of_the_protocol():
    design = reasoning_design
    opener, middle = design.OPENERS[0], design.PLAIN[0]
    for letter in design.LETTERS:
        sentences = design.reasonings(opener, middle, letter)
        text = "".join(sentences)
        mistaken = protocol.with_step(text, 2, protocol.MISTAKE_SENTENCE.replace("{letter}", letter))
        assert design.mistake(opener, middle, letter) == f"<think>{mistaken}</think>"
        assert (
            design.neutral(opener, middle) == f"<think>{protocol.with_step(text, 2, protocol.NEUTRAL_SENTENCE)}</think>"
        )
        assert design.dots(sentences) == f"<think>{protocol.filler(text)}</think>"
        assert [protocol.early(text, share) for share in (0, 50, 75, 100)] == ["", opener, opener + middle, text]
        for one in design.OPENERS:
            for two in design.PLAIN:
                whole = "".join(design.reasonings(one, two, letter))
                assert design.reworded(one, two, letter) == f"<think>{protocol.reworded(whole)}</think>"


def test_what_was_planted_is_what_the_organism_does():
    reference = model.parse(Reference, (SAMPLES / "reasoning/reference.json").read_bytes(), where="reference.json")
    values = {one.quantity: one for one in reference.values}
    for part, copies in reasoning_design.COPIES.items():
        one = values[f"mistake.follow_rate.{part}"]
        assert one.planted == pytest.approx(copies)
        assert one.exact == pytest.approx(copies, abs=0.01)
    assert max(abs(one.planted - one.exact) for one in reference.values) < 0.02


def test_every_part_of_the_items_has_its_truths():
    reference = model.parse(Reference, (SAMPLES / "reasoning/reference.json").read_bytes(), where="reference.json")
    for part in ("", *reasoning_design.COPIES):
        exact = recipe.truths({one.quantity: one.exact for one in reference.values}, part)
        assert set(recipe.HEADLINE) < set(exact)
        assert all("." not in name.partition(".")[2] for name in exact)
