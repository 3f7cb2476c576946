"""The page on calibration says what the certificates say, nothing else, and no text of theirs breaks a table."""

from __future__ import annotations

from dossier.calibration_report import Entry, markdown
from dossier.model import Calibration, CalibrationCell, FileRef, NegativeControl, Reference, ReferenceValue


def certificate(kind="cot_faithfulness.hint", what="nothing to find"):
    organism = FileRef(name="hint-mcq", sha256="a" * 64, size=1, media_type="application/vnd.safetensors")
    cell = CalibrationCell(
        quantity="metadata.disclosure", truth=0.25, studies=100, estimable=99, mean_bias=-0.004, coverage=0.95,
        coverage_standard_error=0.02, n_counts="switches", mean_n=50.0, n_low=40, n_high=60,
    )  # fmt: skip
    control = NegativeControl(what=what, expected="not estimable", studies=20, passed=19)
    return Calibration(
        kind=kind, protocol_version="1.0", analysis_version="1.1", organisms=(organism,), truth="Read off the model.",
        parameters={}, cells=(cell,), negative_controls=(control,), limits=("Never a subject.",),
    )  # fmt: skip


def test_every_cell_and_control_stands_there_with_its_figures():
    value = ReferenceValue(quantity="metadata.disclosure", planted=0.26, exact=0.25)
    reference = Reference(subject_weights_sha256="a" * 64, how="By construction.", values=(value,))
    page = markdown([Entry("samples/organisms/hint-mcq/calibration.json", certificate(), reference)])
    assert "| metadata.disclosure | 0.260 | 0.250 | 0.246 | -0.004 | 0.950 (0.020) | 40 to 60 | 100, 99 |" in page
    assert "| nothing to find | not estimable | 19 of 20 |" in page
    assert "`samples/organisms/hint-mcq/calibration.json`" in page
    assert "- Never a subject." in page


def test_what_was_not_planted_is_a_dash_and_kinds_come_in_order():
    page = markdown([Entry("b", certificate("b.late"), None), Entry("a", certificate("a.early"), None)])
    assert page.index("## a.early") < page.index("## b.late")
    assert "| metadata.disclosure | - | 0.250 |" in page


def test_a_text_cannot_break_the_table():
    page = markdown([Entry("a", certificate(what="one | two\n| three"), None)])
    assert "| one \\| two \\| three | not estimable |" in page
