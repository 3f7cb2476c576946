"""How is a chart drawn? SVG text from numbers: lines, words, shapes, and the picture around them.

Lengths are points. Every text is escaped; the same numbers give the same characters on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

FONT = "Dossier Sans, Dossier Mono"
WIDTH = 470.0  # of every chart
SIZE, CHARACTER = 7.6, 3.75  # of the type, and the mean width of a character in it
INK, RULE, FAINT, NULL, LIMIT, TRUTH = "#1b2a41", "#c9ced6", "#eceef2", "#7b8494", "#9b2226", "#a3650b"


def picture(parts: Iterable[str], *, height: float, spoken: str) -> str:
    """Return a whole SVG. ``spoken`` says in words what it shows, for whoever does not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{digits(WIDTH)}pt" height="{digits(height)}pt" '
        f'viewBox="0 0 {digits(WIDTH)} {digits(height)}" font-family="{FONT}" font-size="{digits(SIZE)}" fill="{INK}">'
        f"<title>{escape(spoken)}</title>{''.join(parts)}</svg>"
    )


def line(x1: float, y1: float, x2: float, y2: float, *, colour: str, width: float, dash: str = "") -> str:
    """Return a line from (x1, y1) to (x2, y2)."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{digits(x1)}" y1="{digits(y1)}" x2="{digits(x2)}" y2="{digits(y2)}" stroke="{colour}" '
        f'stroke-width="{digits(width)}"{dashes}/>'
    )


def polygon(points: Sequence[tuple[float, float]], *, fill: str, width: float, colour: str = TRUTH) -> str:
    """Return a closed shape."""
    path = " ".join(f"{digits(x)},{digits(y)}" for x, y in points)
    return f'<polygon points="{path}" fill="{fill}" stroke="{colour}" stroke-width="{digits(width)}"/>'


def text(x: float, y: float, words: str, anchor: str, *, colour: str = INK, italic: bool = False) -> str:
    """Return a line of text; ``anchor`` is start, middle or end."""
    style = ' font-style="italic"' if italic else ""
    return f'<text x="{digits(x)}" y="{digits(y)}" text-anchor="{anchor}" fill="{colour}"{style}>{escape(words)}</text>'


def digits(value: float) -> str:
    """Two decimals at most, the same on every machine."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def round_step(least: float) -> float:
    """Return the distance of an axis's ticks: the next of 1, 2, 2.5, 5 and 10 times a power of ten, at least this large."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0) if factor * power >= least)
