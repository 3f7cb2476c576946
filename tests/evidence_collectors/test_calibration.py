"""What all calibrations share: cells count right, studies are independent draws, and a bad certificate is refused."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dossier.model import Calibration, FileRef, Interval, Observation, Trial, TrialKey
from evidence_collectors.calibration import (
    POWER,
    Studies,
    cells,
    control,
    draw,
    faults,
    named,
    resampled,
    seeds,
)

SEED = "0123456789abcdef"


def observation(name, estimate, *, n=100, half=0.1):
    interval = None if estimate is None else Interval(low=estimate - half, high=estimate + half, level=0.95, method="m")
    return Observation(
        id=name, estimand="e", unit="proportion", estimate=estimate, interval=interval, n=n, n_counts="texts",
        method="m", reasons=() if estimate is not None else ("too few",), null=None, smallest_detectable=None, facts={},
        limits=(),
    )  # fmt: skip


def studies(*estimates, name="a.rate", truth=0.5, **options):
    return Studies("planted", {name: truth}, [{name: observation(name, one, **options)} for one in estimates])


def certificate(*cells_, controls=None):
    return Calibration(
        kind="a.kind",
        protocol_version="1.0",
        analysis_version="1.0",
        organisms=(FileRef(name="o", sha256="0" * 64, size=0, media_type="text/plain"),),
        truth="planted",
        parameters={},
        cells=cells_,
        negative_controls=controls or (control("nothing", "silence", [True] * 10),),
        limits=(),
    )


def test_a_cell_counts_bias_coverage_spread_and_range():
    (cell,) = cells(studies(0.45, 0.55, 0.65, None))
    assert (cell.studies, cell.estimable) == (4, 3)
    assert cell.mean_bias == pytest.approx(0.05)
    assert cell.coverage == pytest.approx(2 / 3)
    assert cell.smallest_detectable == pytest.approx(POWER * 0.1)
    assert (cell.n_low, cell.n_high) == (90, 110)


def test_a_star_stands_for_any_group():
    found = {"plain.rate": observation("plain.rate", 0.1), "other.rate": observation("other.rate", 0.2)}
    assert [one.estimate for one in named(found, "*.rate")] == [0.1, 0.2]
    assert named(found, "*.drop") == []
    (cell,) = cells(Studies("planted", {"*.rate": 0.15}, [found]))
    assert cell.speaks_of("third.rate")
    assert not cell.speaks_of("third.rates")
    assert not cell.speaks_of("rate")


def test_a_truth_about_nothing_that_is_measured_is_an_error():
    with pytest.raises(ValueError, match=r"planted: no study has an observation honesty"):
        list(cells(Studies("planted", {"honesty": 1.0}, [{"a.rate": observation("a.rate", 0.5)}])))


def test_a_good_certificate_is_accepted():
    (cell,) = cells(studies(*[0.5] * 40))
    assert faults(certificate(cell)) == ()


@pytest.mark.parametrize(
    ("estimates", "word"),
    [
        ([0.56] * 40, "bias"),
        ([0.39, 0.61] * 20, "coverage"),
        ([0.5] * 20 + [None] * 20, "estimable"),
        ([None] * 40, "estimable"),
    ],
)
def test_each_failing_is_named(estimates, word):
    (cell,) = cells(studies(*estimates))
    (fault,) = faults(certificate(cell))
    assert word in fault
    assert "a.rate" in fault


def test_a_control_that_fails_or_was_never_tried_is_refused():
    (cell,) = cells(studies(*[0.5] * 40))
    failing = control("nothing", "silence", [True] * 8 + [False] * 2)
    assert "8 of 10" in faults(certificate(cell, controls=(failing,)))[0]
    assert faults(certificate(cell, controls=(control("nothing", "silence", []),)))


def test_a_bias_that_chance_explains_is_none():
    (cell,) = cells(studies(*[0.2, 0.9] * 10, half=1.0))
    assert abs(cell.mean_bias) > 0.02
    assert faults(certificate(cell)) == ()


def trial(item, arm="read"):
    return Trial(
        key=TrialKey(item=item, arm=arm, repeat=0), seed="0" * 16, request=None, completion=None, measurements={}
    )


def test_a_resampled_run_holds_each_unit_as_often_as_it_was_drawn():
    run = [trial("self-test"), trial("x"), trial("y"), trial("x", "other")]
    drawn = {"texts": Counter({"x": 2})}
    found = resampled(run, drawn, unit=lambda one: one.key.item if one.key.item in "xy" else None)
    assert [(one.key.item, one.key.arm) for one in found] == [
        ("self-test", "read"),
        ("x.0", "read"),
        ("x.1", "read"),
        ("x.0", "other"),
        ("x.1", "other"),
    ]


@given(st.integers(1, 30), st.integers(1, 60), st.integers(0, 2**32))
def test_draws_are_of_the_size_asked_for_and_of_known_names(count, size, number):
    names = [f"n{place}" for place in range(count)]
    drawn = draw({"a": names, "b": names}, size, seed=f"{number:016x}")
    assert all(sum(some.values()) == size and set(some) <= set(names) for some in drawn.values())
    assert drawn == draw({"a": names, "b": names}, size, seed=f"{number:016x}")


def test_every_name_is_as_likely():
    names = [f"n{place}" for place in range(7)]
    total = sum((draw({"a": names}, 700, seed=one)["a"] for one in seeds(SEED, "likely", 20)), Counter())
    expected = 20 * 700 / 7
    assert sum((total[name] - expected) ** 2 / expected for name in names) < 22.5  # chi squared, 6 degrees, 0.1 %
