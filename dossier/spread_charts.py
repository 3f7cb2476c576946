"""How far apart do two groups lie, and what does a stronger push do? Quantile boxes and dose-response lines as SVG text.

Both are drawn from observations alone. A distribution stands in an observation's facts as quantiles, ``<group>_q05``,
``q25``, ``q50``, ``q75`` and ``q95``, and ``axis`` says what they are of and in which unit; a dose stands there as
``strength``, and ``series`` names the line it belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dossier import wording
from dossier.model import Observation, Unit
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

GROUPS: Mapping[str, str] = {  # in the order drawn
    "positive": "with the concept",
    "negative": "without it",
    "evaluation": "evaluation texts",
    "deployment": "deployment texts",
    "control": "control texts",
    "null": "where there is nothing to find",
}
_QUANTILES = ("q05", "q25", "q50", "q75", "q95")
_TOP, _ROW, _BOTTOM, _LABELS = 8.0, 15.0, 24.0, 150.0
_DOSE_HEIGHT, _DOSE_LEFT, _DOSE_RIGHT, _DOSE_TOP = 132.0, 44.0, 300.0, 10.0
_WHOLE: Mapping[Unit, tuple[float, float]] = {
    "proportion": (0.0, 1.0),
    "proportion_difference": (-1.0, 1.0),
}  # shown whole
_MARKS = ("circle", "square", "triangle", "diamond", "cross", "bar")


@dataclass(frozen=True)
class Box:
    """One group's distribution, as the quantiles 5, 25, 50, 75 and 95 %."""

    label: str
    quantiles: tuple[float, ...]
    null: bool


@dataclass(frozen=True)
class Dose:
    """What was measured at one strength; an observation without an estimate is left out of the line and said so."""

    strength: float
    observation: Observation


def boxes(observation: Observation) -> tuple[Box, ...]:
    """Return the distributions that stand in an observation's facts, in the order of `GROUPS`."""
    found = []
    for group, label in GROUPS.items():
        values = [observation.facts.get(f"{group}_{name}") for name in _QUANTILES]
        numbers = tuple(float(value) for value in values if isinstance(value, (int, float)))
        if len(numbers) == len(_QUANTILES):
            found.append(Box(label, numbers, group == "null"))
    return tuple(found)


def axis(observation: Observation) -> str:
    """Return what an observation's distributions are of, and in which unit."""
    return str(observation.facts.get("axis") or "the score that orders the texts, in its own unit")


def quantile_chart(drawn: Sequence[Box], *, title: str, of: str) -> str:
    """Return an SVG with a box for each group: whiskers 5 to 95 %, box 25 to 75 %, line at the median.

    ``of`` stands below the axis: what is drawn, and in which unit.

    Raises:
        ValueError: nothing to draw.
    """
    if not drawn:
        raise ValueError("no distribution to draw")
    low = min(min(box.quantiles) for box in drawn)
    high = max(max(box.quantiles) for box in drawn)
    flat = high - low <= max(1e-12 * max(abs(low), abs(high)), 1e-200)  # equal but for rounding
    span = max(abs(high), 1.0) if flat else high - low
    low, high = low - 0.04 * span, high + 0.04 * span

    def x(value: float) -> float:
        return _LABELS + 8 + (value - low) / (high - low) * (WIDTH - _LABELS - 20)

    bottom = _TOP + _ROW * len(drawn)
    parts = []
    step = round_step(span / 5.0)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        value = number * step
        parts.append(line(x(value), _TOP, x(value), bottom, colour=RULE, width=0.4))
        parts.append(text(x(value), bottom + 9, f"{value:.10g}".replace("-", wording.MINUS), "middle"))
    parts.append(text((_LABELS + 8 + WIDTH - 12) / 2, bottom + 20, of, "middle", colour=NULL))
    for index, box in enumerate(drawn):
        parts.append(_box(box, x, y=_TOP + _ROW * (index + 0.5)))
    spoken = "; ".join(
        f"{box.label}: " + ", ".join(f"{value:.3g}" for value in box.quantiles) + " at 5, 25, 50, 75 and 95 %"
        for box in drawn
    )
    return picture(parts, height=bottom + _BOTTOM, spoken=f"{title}. {of}. {spoken}.")


def dose_chart(series: Mapping[str, Sequence[Dose]], *, title: str) -> str:
    """Return an SVG of one line a series: estimate and interval against strength, which may have both signs.

    A grey bar beside an estimate reaches from the 5th to the 95th percentile of its null, where that has any.

    Raises:
        ValueError: no dose with an estimate, or observations of different units.
    """
    doses = [dose for found in series.values() for dose in found if dose.observation.estimate is not None]
    units = {dose.observation.unit for dose in doses}
    if len(units) != 1:
        raise ValueError(f"expected estimates of one unit, got {sorted(units)}")
    frame = _Frame.of(doses, units.pop())
    parts = [frame.grid(sorted({dose.strength for dose in doses}))]
    for index, (name, found) in enumerate(series.items()):
        parts.append(_series(sorted(found, key=lambda dose: dose.strength), frame, mark=_MARKS[index % len(_MARKS)]))
        y = _DOSE_TOP + 8 + 12 * index
        parts.append(_mark(_MARKS[index % len(_MARKS)], _DOSE_RIGHT + 18, y))
        parts.append(text(_DOSE_RIGHT + 26, y + 2.6, _cut(name), "start"))
    spoken = "; ".join(
        f"{name}: " + ", ".join(f"{wording.estimate(dose.observation)} at {dose.strength:g}" for dose in found)
        for name, found in series.items()
    )
    return picture(parts, height=_DOSE_TOP + _DOSE_HEIGHT + 30, spoken=f"{title}. {spoken}.")


@dataclass(frozen=True)
class _Frame:
    """The axes of a dose-response chart."""

    left: float
    right: float
    low: float
    high: float
    unit: Unit

    @staticmethod
    def of(doses: Sequence[Dose], unit: Unit) -> _Frame:
        strengths = [dose.strength for dose in doses]
        ends = [dose.observation.interval for dose in doses]
        values = [float(dose.observation.estimate or 0.0) for dose in doses]
        values += [end for interval in ends if interval for end in (interval.low, interval.high)]
        nulls = [dose.observation.null for dose in doses]
        values += [end for null in nulls if null for end in (null.low, null.high) if end is not None]
        low, high = _WHOLE.get(unit) or _rounded(min(*values, 0.0), max(*values, 0.0))
        left, right = min(*strengths, 0.0), max(*strengths, 0.0)
        return _Frame(left, right if right > left else left + 1.0, low, high if high > low else low + 1.0, unit)

    def x(self, strength: float) -> float:
        return _DOSE_LEFT + (strength - self.left) / (self.right - self.left) * (_DOSE_RIGHT - _DOSE_LEFT)

    def y(self, value: float) -> float:
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return _DOSE_TOP + (1.0 - share) * _DOSE_HEIGHT

    def grid(self, strengths: Sequence[float]) -> str:
        parts = []
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            value = self.low + share * (self.high - self.low)
            parts.append(line(_DOSE_LEFT, self.y(value), _DOSE_RIGHT, self.y(value), colour=FAINT, width=0.5))
            parts.append(text(_DOSE_LEFT - 5, self.y(value) + 2.6, wording.number(value, self.unit), "end"))
        base = _DOSE_TOP + _DOSE_HEIGHT
        last = -1e9
        for strength in strengths:
            parts.append(line(self.x(strength), base, self.x(strength), base + 3, colour=RULE, width=0.6))
            if self.x(strength) - last > 20:
                last = self.x(strength)
                parts.append(text(last, base + 11, f"{strength:g}".replace("-", wording.MINUS), "middle"))
        parts.append(line(self.x(0.0), _DOSE_TOP, self.x(0.0), base, colour=RULE, width=0.8))
        middle = (_DOSE_LEFT + _DOSE_RIGHT) / 2
        parts.append(text(middle, base + 22, "strength, multiples of the mean residual norm", "middle", colour=NULL))
        return "".join(parts)


def _rounded(low: float, high: float) -> tuple[float, float]:
    """Return ends at or beyond these whose quarters are short numbers, 0 among them where the ends lie on both sides."""
    size = max(-low, high)
    if not size > 0.0:
        return 0.0, 1.0
    power = 10.0 ** math.floor(math.log10(size))
    end = next(step * power for step in (1.0, 2.0, 4.0, 10.0) if step * power >= size * (1.0 - 1e-9))
    return (-end if low < 0.0 else 0.0), (end if high > 0.0 else 0.0)


def _box(box: Box, x: Callable[[float], float], *, y: float) -> str:
    q05, q25, q50, q75, q95 = map(x, box.quantiles)
    colour = NULL if box.null else INK
    half = 4.2
    return "".join(
        (
            line(0, y + _ROW / 2, WIDTH, y + _ROW / 2, colour=FAINT, width=0.5),
            text(_LABELS, y + 2.6, box.label, "end"),
            line(q05, y, q95, y, colour=colour, width=0.9),
            polygon(
                ((q25, y - half), (q75, y - half), (q75, y + half), (q25, y + half)),
                fill="#ffffff",
                width=0.9,
                colour=colour,
            ),
            line(q50, y - half, q50, y + half, colour=LIMIT if not box.null else NULL, width=1.6),
        )
    )


def _series(found: Sequence[Dose], frame: _Frame, *, mark: str) -> str:
    parts = []
    for pair in pairwise(found):  # no line across a dose that has no estimate
        if all(dose.observation.estimate is not None for dose in pair):
            ends = [(frame.x(dose.strength), frame.y(float(dose.observation.estimate or 0.0))) for dose in pair]
            parts.append(line(*ends[0], *ends[1], colour=NULL, width=0.8))
    for dose in (dose for dose in found if dose.observation.estimate is not None):
        place, null = frame.x(dose.strength), dose.observation.null
        if null is not None and null.low is not None and null.high is not None:
            parts.append(line(place - 5, frame.y(null.low), place - 5, frame.y(null.high), colour=FAINT, width=3.0))
        if dose.observation.interval is not None:
            ends_y = frame.y(dose.observation.interval.low), frame.y(dose.observation.interval.high)
            parts.append(line(place, ends_y[0], place, ends_y[1], colour=INK, width=0.9))
        parts.append(_mark(mark, place, frame.y(float(dose.observation.estimate or 0.0))))
    return "".join(parts)


def _mark(mark: str, x: float, y: float) -> str:
    """Return a mark; each series has another shape, so that colour carries nothing alone."""
    if mark == "circle":
        return f'<circle cx="{digits(x)}" cy="{digits(y)}" r="2.6"/>'
    if mark in ("cross", "bar"):
        arms = line(x - 2.8, y - 2.8 * (mark == "cross"), x + 2.8, y + 2.8 * (mark == "cross"), colour=INK, width=1.1)
        return arms + (line(x - 2.8, y + 2.8, x + 2.8, y - 2.8, colour=INK, width=1.1) if mark == "cross" else "")
    shapes = {
        "square": ((x - 2.5, y - 2.5), (x + 2.5, y - 2.5), (x + 2.5, y + 2.5), (x - 2.5, y + 2.5)),
        "triangle": ((x, y - 3.2), (x + 3, y + 2.4), (x - 3, y + 2.4)),
        "diamond": ((x, y - 3.6), (x + 3, y), (x, y + 3.6), (x - 3, y)),
    }
    return polygon(shapes[mark], fill="#ffffff" if mark != "triangle" else TRUTH, width=1.0, colour=INK)


def _cut(name: str) -> str:
    most = int((WIDTH - _DOSE_RIGHT - 30) / CHARACTER)
    return name if len(name) <= most else f"{name[: most - 1]}…"
