"""What do the numbers look like beside each other? Dot-and-interval charts as SVG text.

Pure functions: the same rows give the same characters. Every mark differs from the others in shape, not in colour alone,
and every number drawn is also written beside its row, so that the chart can be read without seeing it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from dossier import wording
from dossier.model import Criterion, Observation, ReferenceValue, Unit

MAX_ROWS = 26  # more do not fit on one page
FONT = "Dossier Sans, Dossier Mono"

_WIDTH, _VALUES = 470.0, 84.0  # points: whole chart, right column
_CHARACTER, _WIDEST_LABELS = 3.75, 180.0  # points: mean width of a character at 7.6 pt, limit of the left column
_STEPS = 4  # of an axis
_FLAT = 1e-9  # a span below it is drawn as none
_ROW, _TOP, _BOTTOM = 13.4, 8.0, 34.0
_RIGHT = _WIDTH - _VALUES - 10
_INK, _RULE, _FAINT, _NULL, _LIMIT, _TRUTH = "#1b2a41", "#c9ced6", "#eceef2", "#7b8494", "#9b2226", "#a3650b"
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
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(_WIDTH)}pt" height="{_n(height)}pt" '
        f'viewBox="0 0 {_n(_WIDTH)} {_n(height)}" font-family="{FONT}" font-size="7.6" fill="{_INK}">'
        f"<title>{escape(f'{title}. {_spoken(chart_rows)}')}</title>{''.join(parts)}</svg>"
    )


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    unit: Unit
    labels: float  # width of the left column
    step: float

    @staticmethod
    def of(chart_rows: Sequence[Row], *, unit: Unit) -> _Axis:
        labels = min(max(len(row.name) for row in chart_rows) * _CHARACTER + 4, _WIDEST_LABELS)
        if unit in _BOUNDS:
            low, high = _BOUNDS[unit]
            return _Axis(low, high, unit, labels, (high - low) / _STEPS)
        drawn = [value for row in chart_rows for value in _values(row)]
        low, high = min([0.0, *drawn]), max([0.0, *drawn])
        high = high if high - low > _FLAT else low + 1.0
        step = _round_up((high - low) / _STEPS)
        return _Axis(math.floor(low / step) * step, math.ceil(high / step) * step, unit, labels, step)

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        left = self.labels + 8
        return left + min(max(share, 0.0), 1.0) * (_RIGHT - left)

    def ticks(self) -> list[float]:
        return [self.low + self.step * index for index in range(round((self.high - self.low) / self.step) + 1)]


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 2.5, 5 and 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0) if factor * power >= value)


def _values(row: Row) -> list[float]:
    found = row.observation
    ends = (found.interval.low, found.interval.high) if found.interval else (None, None)
    null = found.null.estimate if found.null else None
    return [
        value for value in (found.estimate, *ends, null, row.threshold, row.planted, row.exact) if value is not None
    ]


def _grid(axis: _Axis, *, bottom: float) -> str:
    lines = [_line(axis.x(tick), _TOP, axis.x(tick), bottom, colour=_RULE, width=0.4) for tick in axis.ticks()]
    labels = [_text(axis.x(tick), bottom + 9, wording.number(tick, axis.unit), "middle") for tick in axis.ticks()]
    return "".join((*lines, *labels))


def _row(row: Row, axis: _Axis, *, y: float) -> str:
    found = row.observation
    parts = [
        _line(0, y + _ROW / 2, _WIDTH, y + _ROW / 2, colour=_FAINT, width=0.5),
        _text(axis.labels, y + 2.6, _label(row.name), "end"),
    ]
    if row.threshold is not None:
        x = axis.x(row.threshold)
        parts.append(_line(x, y - 6, x, y + 6, colour=_LIMIT, width=1.1, dash="2 1.4"))
    if found.null is not None:
        parts.append(_cross(axis.x(found.null.estimate), y))
    if found.estimate is None:
        parts.append(_text(_WIDTH, y + 2.6, wording.NOT_ESTIMABLE, "end", colour=_NULL, italic=True))
    else:
        if found.interval is not None:
            parts.append(_line(axis.x(found.interval.low), y, axis.x(found.interval.high), y, colour=_INK, width=1.3))
        parts.append(f'<circle cx="{_n(axis.x(found.estimate))}" cy="{_n(y)}" r="2.5"/>')
        shown = f" {wording.interval(found.interval, found.unit)}" if found.interval else ""
        parts.append(_text(_WIDTH, y + 2.6, wording.estimate(found) + shown, "end"))
    if row.planted is not None:
        parts.append(_diamond(axis.x(row.planted), y))
    if row.exact is not None:
        parts.append(_triangle(axis.x(row.exact), y))
    return "".join(parts)


def _label(name: str) -> str:
    """The end of a name that is too long for its column; the ends differ more than the beginnings."""
    most = int(_WIDEST_LABELS / _CHARACTER) - 2
    return name if len(name) <= most else f"…{name[-most:]}"


def _legend(chart_rows: Sequence[Row], *, y: float) -> str:
    entries = [(f'<circle cx="4" cy="{_n(y)}" r="2.5"/>', "measured, with interval")]
    if any(row.observation.null for row in chart_rows):
        entries.append((_cross(4, y), "reading where there is nothing to find"))
    if any(row.threshold is not None for row in chart_rows):
        entries.append((_line(4, y - 5, 4, y + 5, colour=_LIMIT, width=1.1, dash="2 1.4"), "threshold"))
    if any(row.planted is not None for row in chart_rows):
        entries.append((_diamond(4, y), "planted"))
    if any(row.exact is not None for row in chart_rows):
        entries.append((_triangle(4, y - 4.8), "exact"))
    drawn, x = [], 0.0
    for mark, label in entries:
        drawn.append(f'<g transform="translate({_n(x)} 0)">{mark}{_text(11, y + 2.6, label, "start")}</g>')
        x += 26 + 3.6 * len(label)
    return "".join(drawn)


def _spoken(chart_rows: Sequence[Row]) -> str:
    said = []
    for row in chart_rows:
        found = row.observation
        text = f"{row.name}: {wording.estimate(found)}"
        if found.estimate is not None and found.interval is not None:
            text += f", interval {wording.interval(found.interval, found.unit)}"
        if row.threshold is not None:
            text += f", threshold {wording.number(row.threshold, found.unit)}"
        said.append(text)
    return "; ".join(said) + "."


def _line(x1: float, y1: float, x2: float, y2: float, *, colour: str, width: float, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" stroke="{colour}" '
        f'stroke-width="{_n(width)}"{dashes}/>'
    )


def _cross(x: float, y: float) -> str:
    arms = _line(x - 2.4, y - 2.4, x + 2.4, y + 2.4, colour=_NULL, width=1), (x - 2.4, y + 2.4, x + 2.4, y - 2.4)
    return arms[0] + _line(*arms[1], colour=_NULL, width=1)


def _diamond(x: float, y: float) -> str:
    points = ((x, y - 4), (x + 3.2, y), (x, y + 4), (x - 3.2, y))
    return _polygon(points, fill="none", width=1)


def _triangle(x: float, y: float) -> str:
    return _polygon(((x, y + 2.6), (x + 3, y + 7), (x - 3, y + 7)), fill=_TRUTH, width=0.4)


def _polygon(points: Sequence[tuple[float, float]], *, fill: str, width: float) -> str:
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    return f'<polygon points="{path}" fill="{fill}" stroke="{_TRUTH}" stroke-width="{_n(width)}"/>'


def _text(x: float, y: float, text: str, anchor: str, *, colour: str = _INK, italic: bool = False) -> str:
    style = ' font-style="italic"' if italic else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" fill="{colour}"{style}>{escape(text)}</text>'


def _n(value: float) -> str:
    """Two decimals at most, the same on every machine."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"
