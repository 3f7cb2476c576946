"""What do the numbers look like beside each other? Dot-and-interval charts as SVG text.

Pure functions: the same rows give the same characters. Every mark differs from the others in shape, not in colour alone,
and every number drawn is also written beside its row, so that the chart can be read without seeing it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dossier import wording
from dossier.model import Criterion, Observation, ReferenceValue, Unit
from dossier.svg import (
    CHARACTER,
    FAINT,
    INK,
    LIMIT,
    NULL,
    RULE,
    TRUTH,
    WIDTH,
    digits,
    line,
    picture,
    polygon,
    round_step,
    text,
)

MAX_ROWS = 26  # more do not fit on one page

_WIDTH, _VALUES = WIDTH, 84.0  # points: whole chart, right column
_WIDEST_LABELS = 180.0  # points, limit of the left column
_STEPS = 4  # of an axis
_FLAT = 1e-9  # a span below it is drawn as none
_ROW, _TOP, _BOTTOM = 13.4, 8.0, 34.0
_RIGHT = _WIDTH - _VALUES - 10
_BOUNDS: Mapping[Unit, tuple[float, float]] = {
    "proportion": (0.0, 1.0),
    "auroc": (0.0, 1.0),
    "brier": (0.0, 1.0),
    "ece": (0.0, 1.0),
    "proportion_difference": (-1.0, 1.0),
    "cosine": (-1.0, 1.0),
}


@dataclass(frozen=True)
class Row:
    """One line of a chart: an observation with what it is compared with. All values in the observation's unit."""

    observation: Observation
    threshold: float | None = None
    planted: float | None = None
    exact: float | None = None
    label: str = ""  # the observation's id where empty

    @property
    def name(self) -> str:
        """What stands to the left of the row."""
        return self.label or self.observation.id


def rows(
    observations: Sequence[Observation],
    *,
    criteria: Sequence[Criterion],
    truths: Sequence[ReferenceValue],
    labels: Mapping[str, str] | None = None,
) -> tuple[Row, ...]:
    """Return the rows of one chart: all observations, or the ``MAX_ROWS`` that matter most, in their own order.

    Those that a criterion reads come first, then those with a known truth, then the overall ones, then the rest.
    ``labels`` name observations by id.
    """
    limits = {criterion.quantity: criterion.threshold for criterion in criteria}
    known = {truth.quantity: truth for truth in truths}

    def weight(observation: Observation) -> tuple[bool, bool, bool, int]:
        name = observation.id
        return (name not in limits, name not in known, not name.startswith("overall."), name.count("."))

    kept = {observation.id for observation in sorted(observations, key=weight)[:MAX_ROWS]}
    return tuple(
        Row(
            observation,
            threshold=limits.get(observation.id),
            planted=known[observation.id].planted if observation.id in known else None,
            exact=known[observation.id].exact if observation.id in known else None,
            label=(labels or {}).get(observation.id, ""),
        )
        for observation in observations
        if observation.id in kept
    )


def interval_chart(chart_rows: Sequence[Row], *, title: str) -> str:
    """Return an SVG of observations of one unit: dot, interval, null, threshold and known truth in each row.

    Raises:
        ValueError: no row, or rows of different units.
    """
    units = {row.observation.unit for row in chart_rows}
    if len(units) != 1:
        raise ValueError(f"expected observations of one unit, got {sorted(units)}")
    axis = _Axis.of(chart_rows, unit=units.pop())
    height = _TOP + _ROW * len(chart_rows) + _BOTTOM
    parts = [_grid(axis, bottom=_TOP + _ROW * len(chart_rows))]
    parts += [_row(row, axis, y=_TOP + _ROW * (index + 0.5)) for index, row in enumerate(chart_rows)]
    parts.append(_legend(chart_rows, y=height - 7))
    return picture(parts, height=height, spoken=f"{wording.sentence(title)} {_spoken(chart_rows)}")


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    unit: Unit
    labels: float  # width of the left column
    step: float

    @staticmethod
    def of(chart_rows: Sequence[Row], *, unit: Unit) -> _Axis:
        labels = min(max(len(row.name) for row in chart_rows) * CHARACTER + 4, _WIDEST_LABELS)
        if unit in _BOUNDS:
            low, high = _BOUNDS[unit]
            return _Axis(low, high, unit, labels, (high - low) / _STEPS)
        drawn = [value for row in chart_rows for value in _values(row)]
        low, high = min([0.0, *drawn]), max([0.0, *drawn])
        high = high if high - low > _FLAT else low + 1.0
        step = round_step((high - low) / _STEPS)
        return _Axis(math.floor(low / step) * step, math.ceil(high / step) * step, unit, labels, step)

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        left = self.labels + 8
        return left + min(max(share, 0.0), 1.0) * (_RIGHT - left)

    def ticks(self) -> list[float]:
        return [self.low + self.step * index for index in range(round((self.high - self.low) / self.step) + 1)]


def _values(row: Row) -> list[float]:
    found = row.observation
    ends = (found.interval.low, found.interval.high) if found.interval else (None, None)
    null = found.null.estimate if found.null else None
    return [
        value for value in (found.estimate, *ends, null, row.threshold, row.planted, row.exact) if value is not None
    ]


def _grid(axis: _Axis, *, bottom: float) -> str:
    lines = [line(axis.x(tick), _TOP, axis.x(tick), bottom, colour=RULE, width=0.4) for tick in axis.ticks()]
    labels = [text(axis.x(tick), bottom + 9, wording.number(tick, axis.unit), "middle") for tick in axis.ticks()]
    return "".join((*lines, *labels))


def _row(row: Row, axis: _Axis, *, y: float) -> str:
    found = row.observation
    parts = [
        line(0, y + _ROW / 2, _WIDTH, y + _ROW / 2, colour=FAINT, width=0.5),
        text(axis.labels, y + 2.6, _label(row.name), "end"),
    ]
    if row.threshold is not None:
        x = axis.x(row.threshold)
        parts.append(line(x, y - 6, x, y + 6, colour=LIMIT, width=1.1, dash="2 1.4"))
    if found.null is not None:
        parts.append(_cross(axis.x(found.null.estimate), y))
    if found.estimate is None:
        parts.append(text(_WIDTH, y + 2.6, wording.NOT_ESTIMABLE, "end", colour=NULL, italic=True))
    else:
        if found.interval is not None:
            parts.append(line(axis.x(found.interval.low), y, axis.x(found.interval.high), y, colour=INK, width=1.3))
        parts.append(f'<circle cx="{digits(axis.x(found.estimate))}" cy="{digits(y)}" r="2.5"/>')
        shown = f" {wording.interval(found.interval, found.unit)}" if found.interval else ""
        parts.append(text(_WIDTH, y + 2.6, wording.estimate(found) + shown, "end"))
    if row.planted is not None:
        parts.append(_diamond(axis.x(row.planted), y))
    if row.exact is not None:
        parts.append(_triangle(axis.x(row.exact), y))
    return "".join(parts)


def _label(name: str) -> str:
    """The end of a name that is too long for its column; the ends differ more than the beginnings."""
    most = int(_WIDEST_LABELS / CHARACTER) - 2
    return name if len(name) <= most else f"…{name[-most:]}"


def _legend(chart_rows: Sequence[Row], *, y: float) -> str:
    entries = [(f'<circle cx="4" cy="{digits(y)}" r="2.5"/>', "measured, with interval")]
    if any(row.observation.null for row in chart_rows):
        entries.append((_cross(4, y), "reading where there is nothing to find"))
    if any(row.threshold is not None for row in chart_rows):
        entries.append((line(4, y - 5, 4, y + 5, colour=LIMIT, width=1.1, dash="2 1.4"), "threshold"))
    if any(row.planted is not None for row in chart_rows):
        entries.append((_diamond(4, y), "planted"))
    if any(row.exact is not None for row in chart_rows):
        entries.append((_triangle(4, y - 4.8), "exact"))
    drawn, x = [], 0.0
    for mark, label in entries:
        drawn.append(f'<g transform="translate({digits(x)} 0)">{mark}{text(11, y + 2.6, label, "start")}</g>')
        x += 26 + 3.6 * len(label)
    return "".join(drawn)


def _spoken(chart_rows: Sequence[Row]) -> str:
    said = []
    for row in chart_rows:
        found = row.observation
        text = f"{row.name}: {wording.estimate(found)}"
        if found.estimate is not None and found.interval is not None:
            text += f", interval {wording.interval(found.interval, found.unit)}"
        beside = (
            ("null", None if found.null is None else found.null.estimate),
            ("threshold", row.threshold),
            ("planted", row.planted),
            ("exact", row.exact),
        )
        text += "".join(f", {name} {wording.number(value, found.unit)}" for name, value in beside if value is not None)
        said.append(text)
    return wording.sentence("; ".join(said))


def _cross(x: float, y: float) -> str:
    arms = line(x - 2.4, y - 2.4, x + 2.4, y + 2.4, colour=NULL, width=1), (x - 2.4, y + 2.4, x + 2.4, y - 2.4)
    return arms[0] + line(*arms[1], colour=NULL, width=1)


def _diamond(x: float, y: float) -> str:
    points = ((x, y - 4), (x + 3.2, y), (x, y + 4), (x - 3.2, y))
    return polygon(points, fill="none", width=1)


def _triangle(x: float, y: float) -> str:
    return polygon(((x, y + 2.6), (x + 3, y + 7), (x - 3, y + 7)), fill=TRUTH, width=0.4)
