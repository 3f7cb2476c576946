"""The page on calibration says what the certificates say, nothing else, and no text of theirs breaks a table."""

from __future__ import annotations

import pytest

from dossier.calibration_report import by_quantity, markdown, planted_counts
from dossier.model import Calibration, CalibrationCell, FileRef, NegativeControl, Plant, Sensitivity


def certificate(kind="cot_faithfulness.hint", what="nothing to find"):
    organism = FileRef(name="hint-mcq", sha256="a" * 64, size=1, media_type="application/vnd.safetensors")
    cell = CalibrationCell(
        quantity="metadata.disclosure", source="hint-mcq", smallest_detectable=0.12, planted=0.26,
        truth=0.25, studies=100, estimable=99, mean_bias=-0.004, coverage=0.95,
        coverage_standard_error=0.02, n_counts="switches", mean_n=50.0, n_low=40, n_high=60,
    )  # fmt: skip
    control = NegativeControl(what=what, expected="not estimable", studies=20, passed=19)
    return Calibration(
        kind=kind, protocol_version="1.0", analysis_version="1.1", organisms=(organism,), truth="Read off the model.",
        parameters={}, cells=(cell,), negative_controls=(control,), limits=("Never a subject.",),
    )  # fmt: skip


def test_every_cell_and_control_stands_there_with_its_figures():
    page = markdown({"samples/calibration/cot_faithfulness.hint.json": certificate()})
    assert (
        "| metadata.disclosure | hint-mcq | 0.260 | 0.250 | 0.246 | -0.004 | 0.950 (0.020) | 0.120 | 40 to 60 | 100, 99 |"
        in page
    )
    assert "| nothing to find | not estimable | 19 of 20 |" in page
    assert "`samples/calibration/cot_faithfulness.hint.json`" in page
    assert "- Never a subject." in page


def test_what_was_not_planted_is_a_dash_and_kinds_come_in_order():
    read_off = certificate("a.early")
    cell = read_off.cells[0].model_copy(update={"planted": None})
    page = markdown({"b": certificate("b.late"), "a": read_off.model_copy(update={"cells": (cell,)})})
    assert page.index("## a.early") < page.index("## b.late")
    assert "| metadata.disclosure | hint-mcq | - | 0.250 |" in page


def test_a_text_cannot_break_the_table():
    page = markdown({"a": certificate(what="one | two\n| three")})
    assert "| one \\| two \\| three | not estimable |" in page


def test_cells_of_one_quantity_are_one_row_with_the_worst_of_them():
    whole = certificate()
    worse = whole.cells[0].model_copy(update={"truth": 0.6, "mean_bias": 0.01, "coverage": 0.93, "n_high": 90})
    (row,) = by_quantity(whole.model_copy(update={"cells": (*whole.cells, worse)}))
    assert (row.truths, row.n, row.studies, row.bias, row.coverage) == ((0.25, 0.6), (40, 90), 200, 0.01, (0.93, 0.95))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ((True, True), (False, False)),
            "in 1 of 1 copies that were to show it and raised a false alarm on 0 of 1 shams",
        ),
        (
            ((True, None), (False, True)),
            "in 0 of 1 copies that were to show it (1 of the others not estimable) and raised",
        ),
        (((True, True), (False, None)), "on 0 of 0 shams that it could judge, and could judge 1 of 1 shams not at all"),
    ],
)
def test_a_copy_that_cannot_be_judged_is_missed_and_such_a_sham_is_counted_by_itself(flags, said):
    plants = tuple(
        Plant(what="it", positive=positive, weights_sha256="a" * 64, rate=0.5, flagged=flagged, reason="why")
        for positive, flagged in flags
    )
    found = Sensitivity(
        kind="a.b", protocol_version="1.0", analysis_version="1.0", subject_sha256="a" * 64, parameters={}, rule="it falls",
        plants=plants, limits=(),
    )  # fmt: skip
    assert said in planted_counts(found)
