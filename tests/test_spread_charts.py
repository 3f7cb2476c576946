"""Boxes and dose-response lines show what the observations hold, say it in words, and escape what they are given."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dossier import spread_charts, wording
from dossier.model import Interval, Null, Observation
from dossier.spread_charts import Box, Dose, boxes, dose_chart, quantile_chart
from dossier.svg import NULL

SVG = "{http://www.w3.org/2000/svg}"


def observation(estimate, *, low=None, high=None, facts=None, unit="proportion"):
    interval = None if low is None else Interval(low=low, high=high, level=0.95, method="exact")
    return Observation(
        id="a.b", estimand="Rate.", unit=unit, estimate=estimate, interval=interval, n=10, n_counts="texts",
        method="count", reasons=() if estimate is not None else ("too few",), facts=facts or {},
    )  # fmt: skip


def quantiles(group, values):
    return {f"{group}_{name}": value for name, value in zip(("q05", "q25", "q50", "q75", "q95"), values, strict=True)}


def texts(svg):
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_boxes_are_read_from_facts_in_their_order_and_half_a_group_is_none():
    facts = {**quantiles("null", range(5)), **quantiles("positive", range(1, 6)), "negative_q05": 1.0}
    found = boxes(observation(0.5, low=0.4, high=0.6, facts=facts))
    assert [box.label for box in found] == ["with the concept", "where there is nothing to find"]
    assert [box.null for box in found] == [False, True]
    assert found[0].quantiles == (1.0, 2.0, 3.0, 4.0, 5.0)


def test_the_axis_says_what_is_drawn_and_in_which_unit():
    facts = {**quantiles("positive", range(5)), "axis": "fall of the log-odds, in nats"}
    said = spread_charts.axis(observation(0.5, facts=facts))
    svg = quantile_chart(boxes(observation(0.5, facts=facts)), title="T", of=said)
    assert "fall of the log-odds, in nats" in texts(svg)
    assert "fall of the log-odds, in nats" in ElementTree.fromstring(svg).find(f"{SVG}title").text
    assert "unit" in spread_charts.axis(observation(0.5))


def test_a_box_stands_where_its_quantiles_are():
    svg = quantile_chart(
        [Box("a", (0.0, 1.0, 2.0, 3.0, 4.0), False), Box("b", (-4.0, -3.0, -2.0, -1.0, 0.0), True)],
        title="T",
        of="nats",
    )
    tree = ElementTree.fromstring(svg)
    spans = []
    for shape in tree.iter(f"{SVG}polygon"):
        xs = [float(point.split(",")[0]) for point in shape.get("points").split()]
        spans.append((min(xs), max(xs)))
    assert spans[0][0] - spans[1][0] == pytest.approx(spans[0][1] - spans[1][1], abs=0.1)
    assert spans[1][1] < spans[0][0]
    assert "0, 1, 2, 3, 4 at 5, 25, 50, 75 and 95 %" in tree.find(f"{SVG}title").text


def test_the_ticks_of_a_distribution_stand_at_round_numbers():
    svg = quantile_chart([Box("a", (-0.345, 0.1, 2.05, 3.2, 4.44), False)], title="T", of="nats")
    assert [one for one in texts(svg) if one not in ("a", "nats")] == ["0", "1", "2", "3", "4"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5))
@example([0.0, 0.0, 0.0, 0.0, 5e-324])
@example([1e6, 1e6, 1e6, 1e6, 1e6 + 1e-9])
def test_any_five_numbers_are_drawn(values):
    ElementTree.fromstring(quantile_chart([Box("x", tuple(sorted(values)), False)], title="T", of="nats"))


def test_no_line_crosses_a_dose_without_an_estimate():
    whole, broken = (
        dose_chart({"add": [Dose(s, observation(e)) for s, e in zip((-1.0, 1.0, 2.0), values, strict=True)]}, title="T")
        for values in ((0.1, 0.2, 0.3), (0.1, None, 0.3))
    )
    segments = [
        [one for one in ElementTree.fromstring(svg).iter(f"{SVG}line") if one.get("stroke") == NULL]
        for svg in (whole, broken)
    ]
    assert [len(found) for found in segments] == [2, 0]


def test_a_dose_is_drawn_at_its_strength_and_height():
    doses = [Dose(s, observation(e, low=e - 0.1, high=e + 0.1)) for s, e in ((-1.0, 0.9), (0.0, 0.5), (1.0, 0.1))]
    tree = ElementTree.fromstring(dose_chart({"direction": doses}, title="T"))
    marks = [(float(c.get("cx")), float(c.get("cy"))) for c in tree.iter(f"{SVG}circle")][:3]
    assert marks[0][0] < marks[1][0] < marks[2][0]
    assert marks[0][1] < marks[1][1] < marks[2][1]
    assert marks[1][0] - marks[0][0] == pytest.approx(marks[2][0] - marks[1][0], abs=0.02)
    assert "0.90 at -1; 0.50" not in tree.find(f"{SVG}title").text
    assert "0.90 at -1, 0.50 at 0, 0.10 at 1" in tree.find(f"{SVG}title").text


def test_what_was_not_estimable_is_not_drawn_and_is_said():
    doses = [Dose(0.0, observation(0.5, low=0.4, high=0.6)), Dose(1.0, observation(None))]
    tree = ElementTree.fromstring(dose_chart({"direction": doses}, title="T"))
    assert len(list(tree.iter(f"{SVG}circle"))) == 2  # the dose and the legend
    assert "not estimable at 1" in tree.find(f"{SVG}title").text


def test_nothing_to_draw_and_mixed_units_are_refused():
    with pytest.raises(ValueError, match="no distribution"):
        quantile_chart([], title="T", of="nats")
    with pytest.raises(ValueError, match="one unit"):
        dose_chart({"a": [Dose(1.0, observation(None))]}, title="T")
    mixed = [Dose(0.0, observation(0.5)), Dose(1.0, observation(0.5, unit="nats"))]
    with pytest.raises(ValueError, match="one unit"):
        dose_chart({"a": mixed}, title="T")


def test_names_are_escaped_and_the_same_values_give_the_same_characters():
    evil = "<script>alert(1)</script>&"
    doses = [Dose(0.0, observation(0.5)), Dose(1.0, observation(0.7))]
    svg = dose_chart({evil: doses}, title=evil)
    assert "<script" not in svg
    assert svg == dose_chart({evil: doses}, title=evil)
    assert "<script" not in quantile_chart([Box(evil, (0.0, 1.0, 2.0, 3.0, 4.0), False)], title=evil, of=evil)
    assert any("<script>" in text for text in texts(svg))


@given(st.floats(-1e5, 1e5), st.floats(1e-6, 1e5))
def test_axes_hold_all_values_and_zero_and_end_at_short_numbers(low, span):
    high = low + span
    first, last = spread_charts._rounded(min(low, 0.0), max(high, 0.0))
    slack = 1e-6 * max(abs(low), abs(high))
    assert first <= min(low, 0.0) + slack
    assert last >= max(high, 0.0) - slack
    for end in (first, last):
        assert float(f"{end:.0e}") == pytest.approx(end)


def test_a_change_of_a_rate_is_shown_on_the_whole_scale_and_its_null_as_a_grey_bar():
    null = Null(what="random directions", estimate=0.0, low=-0.1, high=0.1)
    one = observation(0.02, low=0.0, high=0.04, unit="proportion_difference").model_copy(update={"null": null})
    svg = dose_chart({"direction": [Dose(0.0, one), Dose(1.0, one)]}, title="T")
    assert {f"{wording.MINUS}1.00", "1.00"} <= set(texts(svg))
    assert svg.count('stroke-width="3"') == 2
