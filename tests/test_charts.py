"""What a chart shows, and that hostile names stay text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dossier import charts, wording
from dossier.charts import Row
from dossier.model import Interval, Observation
from tests import fixtures_dossier as fixtures

SVG = "{http://www.w3.org/2000/svg}"


def observation(value: float | None, *, unit: str = "proportion", name: str = "a.rate") -> Observation:
    interval = None if value is None else Interval(low=value, high=value, level=0.95, method="none")
    return Observation(
        id=name, estimand="a", unit=unit, estimate=value, interval=interval, n=9, n_counts="x", method="m"
    )  # fmt: skip


def hint_rows() -> tuple[Row, ...]:
    view = fixtures.view()
    return charts.rows(
        view.evidence["hint"].observations,
        criteria=view.plan.evidence[0].criteria,
        truths=view.references["hint"].values,
    )


def test_every_value_drawn_is_also_written_and_spoken():
    svg = charts.interval_chart(hint_rows(), title="Hints.")
    root = ElementTree.fromstring(svg)
    written = [text.text for text in root.iter(f"{SVG}text")]
    assert "0.31 [0.27, 0.35]" in written
    assert "not estimable" in written
    assert {"planted", "exact", "threshold"} <= set(written)
    title = root.find(f"{SVG}title").text
    assert title.startswith("Hints. ")
    assert "overall.disclosure: 0.31, interval [0.27, 0.35], null 0.004, threshold 0.20" in title
    assert "metadata.disclosure: not estimable, null 0.01, threshold 0.10, planted 0.10, exact 0.11" in title
    assert ".." not in title


def test_a_row_that_is_not_estimable_has_no_dot():
    estimable = charts.interval_chart([Row(observation(0.4))], title="t").count("<circle")
    assert charts.interval_chart([Row(observation(None))], title="t").count("<circle") == estimable - 1


def test_position_follows_value():
    def dots(value: float) -> list[float]:
        root = ElementTree.fromstring(charts.interval_chart([Row(observation(value))], title="t"))
        return [float(dot.get("cx")) for dot in root.iter(f"{SVG}circle")]

    assert dots(0.1)[0] < dots(0.2)[0] < dots(0.9)[0]


def test_the_same_rows_give_the_same_characters():
    assert charts.interval_chart(hint_rows(), title="t") == charts.interval_chart(hint_rows(), title="t")


def test_text_in_a_title_is_escaped():
    svg = charts.interval_chart([Row(observation(0.4))], title="</title><script>alert(1)</script>")
    assert "<script>" not in svg
    assert ElementTree.fromstring(svg).find(f"{SVG}title").text.startswith("</title><script>")


def test_a_name_too_long_for_its_column_keeps_its_end():
    svg = charts.interval_chart([Row(observation(0.4, name=f"{'a' * 100}.disclosure"))], title="t")
    (label,) = [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text") if "disclosure" in text.text]
    assert label.startswith("…a")
    assert label.endswith(".disclosure")
    assert len(label) < 50


def test_units_are_not_mixed_and_nothing_is_no_chart():
    with pytest.raises(ValueError, match="one unit"):
        charts.interval_chart([Row(observation(0.4)), Row(observation(2.0, unit="nats"))], title="t")
    with pytest.raises(ValueError, match="one unit"):
        charts.interval_chart([], title="t")


def test_what_a_criterion_reads_is_never_left_out():
    many = [observation(0.5, name=f"family{index:02d}.rate") for index in range(60)]
    plan = fixtures.view().plan
    criterion = plan.evidence[0].criteria[0].model_copy(update={"quantity": "family59.rate"})
    kept = charts.rows(many, criteria=[criterion], truths=[])
    assert len(kept) == charts.MAX_ROWS
    assert kept[-1].observation.id == "family59.rate"
    assert kept[-1].threshold == criterion.threshold


@example([5e-324])
@example([-1e-12, 1e-12])
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5))
def test_any_finite_values_of_an_open_unit_stay_inside_the_chart(values):
    rows = [Row(observation(value, unit="nats")) for value in values]
    root = ElementTree.fromstring(charts.interval_chart(rows, title="t"))
    width = float(root.get("viewBox").split()[2])
    assert all(0 <= float(dot.get("cx")) <= width for dot in root.iter(f"{SVG}circle"))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.39, "proportion", "0.39"),
        (0.0, "proportion", "0.00"),
        (0.004, "proportion", "0.004"),
        (0.9996, "proportion", "0.9996"),
        (1.0, "proportion", "1.00"),
        (-0.04, "proportion_difference", "\N{MINUS SIGN}0.04"),
        (-0.0, "proportion", "0.00"),
        (1204.0, "count", "1,204"),
        (0.0123, "nats", "0.012"),
    ],
)
def test_a_number_never_reads_as_a_bound_it_does_not_have(value, unit, text):
    assert wording.number(value, unit) == text


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.96, 0.998), ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        ((-0.3, 1.7), ["\N{MINUS SIGN}0.50", "0.00", "0.50", "1.00", "1.50", "2.00"]),
        ((0.0, 0.0), ["0.00", "0.25", "0.50", "0.75", "1.00"]),
    ],
)
def test_an_open_axis_has_round_ticks_and_begins_at_zero_or_below(values, ticks):
    rows = [Row(observation(value, unit="ratio")) for value in values]
    root = ElementTree.fromstring(charts.interval_chart(rows, title="t"))
    assert [text.text for text in root.iter(f"{SVG}text") if text.get("text-anchor") == "middle"] == ticks


def test_parameters_and_facts_are_written_as_words():
    assert wording.parameters({"b": ["x", "y"], "a": None, "c": True, "d": []}) == "a: none; b: x, y; c: yes; d: none"
    assert wording.fact(0.0318442622950819) == "0.0318443"
    assert wording.sentence("No more..") == "No more."


def test_names_of_instruments_and_days_are_said_in_words_and_paths_are_left_alone():
    said = wording.plain(
        "none of cot_faithfulness.monitorability, evaluation_awareness.probe is on file since 2025-08-02"
    )
    assert said == (
        "none of \N{LEFT DOUBLE QUOTATION MARK}what a reader of the reasoning can catch\N{RIGHT DOUBLE QUOTATION MARK}, "
        "\N{LEFT DOUBLE QUOTATION MARK}internal signal of being tested\N{RIGHT DOUBLE QUOTATION MARK} is on file "
        "since 2 August 2025"
    )
    for text in (
        "evidence/cot_faithfulness.hint/00.json",
        "x.cot_faithfulness.hint",
        "cot_faithfulness.hint.v1",
        "2025-13-02",
    ):
        assert wording.plain(text) == text


def test_a_row_may_have_a_label_in_words():
    found = observation(0.4)
    (row,) = charts.rows([found], criteria=[], truths=[], labels={found.id: "In words"})
    assert "In words: 0.40" in charts.interval_chart([row], title="t")
    assert found.id not in charts.interval_chart([row], title="t")


def test_dates_and_lists_are_written_as_words():
    assert wording.moment("2026-11-20T10:00:00Z") == "20 November 2026, 10:00 UTC"
    assert wording.listing(["a", "b", "c"], empty="") == "a, b and c"
    assert wording.listing([], empty="nobody") == "nobody"
