"""Through which nodes did a prompt reach its answer? An attribution graph as SVG text.

Rows are layers, tokens at the bottom and next tokens at the top; columns are positions of the prompt. A line is a direct
effect, the wider the stronger, dashed where it is negative. A node with a heavy border is in the consensus core. Kinds of
nodes differ in shape, not in colour alone. The graph's texts come from a model and are escaped, what cannot be printed
included.

The document is ``circuit-<item>.json`` of the instrument ``interpretability.circuit_trace``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dossier import wording
from dossier.svg import FAINT, INK, LIMIT, NULL, RULE, WIDTH, digits, line, picture, text

FORMAT = "circuit.v1"
MOST_NODES, MOST_EDGES = 400, 2000
_LEFT, _RIGHT, _TOP = 48.0, 4.0, 8.0  # points: margins
_SLOT, _LINE, _GAP = 26.0, 13.0, 20.0  # a node's place at the least, its line's height, between rows
_WIDEST = 62.0  # a node
_SIZE, _CHARACTER = 6.4, 3.1  # of the type in a node
_SLOTS = int((WIDTH - _LEFT - _RIGHT) / _SLOT)
_THIN, _THICK = 0.3, 2.4
_SPOKEN_EDGES = 8
_DRAWN_EDGES = 60  # the strongest; more lie on each other and nobody can follow one


@dataclass(frozen=True)
class _Node:
    """A node as drawn. ``row`` counts from the bottom, 0 for tokens; ``label`` is printable."""

    name: str
    kind: str
    row: int
    position: int
    label: str
    influence: float
    core: bool
    extra: str


@dataclass(frozen=True)
class _Edge:
    source: _Node
    target: _Node
    weight: float


@dataclass(frozen=True)
class _Plan:
    """Where everything lies: the centre of each node by name, of each row by number, and of each column."""

    nodes: Mapping[str, tuple[float, float]]
    rows: Mapping[int, float]
    columns: Mapping[int, tuple[float, float]]
    box: float  # width of a node
    height: float


def circuit_chart(document: Mapping[str, Any]) -> str:
    """Return an SVG of a graph document.

    Positions that do not fit beside each other are left out, those with least influence first, and so are all but the
    strongest edges; the picture says how many.

    Raises:
        ValueError: no graph document, or one larger than an instrument makes.
    """
    nodes, edges = _read(document)
    columns = _columns(nodes)
    shown = [node for node in nodes if node.position in columns]
    kept = {node.name for node in shown}
    between = [edge for edge in edges if edge.source.name in kept and edge.target.name in kept]
    drawn = sorted(between, key=lambda edge: -abs(edge.weight))[:_DRAWN_EDGES]
    plan = _placed(shown, columns)
    most = max((abs(edge.weight) for edge in drawn), default=1.0)
    parts = [_frame(plan, document)]
    parts += [_edge(edge, plan, most) for edge in sorted(drawn, key=lambda edge: abs(edge.weight))]
    parts += [_box(node, *plan.nodes[node.name], width=plan.box) for node in shown]
    parts.append(_legend(plan.height - 7))
    left_out = (
        (len(nodes) - len(shown), "nodes at other positions"),
        (len(between) - len(drawn), "weaker effects"),
    )
    told = " and ".join(f"{count} {what}" for count, what in left_out if count)
    if told:
        parts.append(text(0, plan.height + 4, f"{told} are not drawn", "start", colour=NULL))
    return picture(
        [f'<g font-size="{digits(_SIZE)}">', *parts, "</g>"],
        height=plan.height + (8 if told else 0),
        spoken=_spoken(document, shown, drawn),
    )


def in_full(document: Mapping[str, Any]) -> str:
    """Return the texts of tokens that the picture has to shorten, by position; nothing where all of them fit.

    Raises:
        ValueError: no graph document, or one larger than an instrument makes.
    """
    nodes, _ = _read(document)
    columns = _columns(nodes)
    shown = [node for node in nodes if node.position in columns]
    long = [node for node in shown if len(node.label) > _characters(_placed(shown, columns).box)]
    tokens = [f"{node.label} (position {node.position})" for node in long if node.kind == "token"]
    answers = [f"{node.label}{node.extra}" for node in long if node.kind == "logit"]
    parts = (("Tokens in full", tokens), ("Next tokens, with their probability", answers))
    return " ".join(f"{head}: {'; '.join(found)}." for head, found in parts if found)


def printable(words: str) -> str:
    """Return a text in which nothing is invisible: spaces as a middle dot, what cannot be printed as its code point."""
    return "".join("\N{MIDDLE DOT}" if c == " " else c if c.isprintable() else f"\\u{ord(c):04x}" for c in words)


def _read(document: Mapping[str, Any]) -> tuple[list[_Node], list[_Edge]]:
    if document.get("schema_version") != FORMAT:
        raise ValueError(f"expected a document {FORMAT!r}, got {str(document.get('schema_version'))[:40]!r}")
    try:
        rows = _row_numbers(document["nodes"])
        nodes = [_node(one, rows) for one in document["nodes"]]
        by_name = {node.name: node for node in nodes}
        edges = [
            _Edge(by_name[one["source"]], by_name[one["target"]], _finite(one["weight"])) for one in document["edges"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a graph document: {type(error).__name__}: {str(error)[:80]}") from error
    if not nodes or len(nodes) > MOST_NODES or len(edges) > MOST_EDGES or len(by_name) != len(nodes):
        raise ValueError(f"a graph of {len(nodes)} nodes and {len(edges)} edges, or with a node twice, is not drawn")
    if any(edge.source.row >= edge.target.row for edge in edges):
        raise ValueError("an edge does not lead to a later layer")
    return nodes, edges


def _row_numbers(nodes: Sequence[Mapping[str, Any]]) -> dict[int | str, int]:
    layers = sorted({int(one["layer"]) for one in nodes if one["kind"] in ("feature", "error")})
    return {"token": 0, **{layer: row for row, layer in enumerate(layers, 1)}, "logit": len(layers) + 1}


def _node(one: Mapping[str, Any], rows: Mapping[int | str, int]) -> _Node:
    kind = str(one["kind"])
    labels = {"feature": f"f{one['feature']}", "error": "error"}
    if kind not in labels and kind not in ("token", "logit"):
        raise ValueError(f"unknown kind of node {kind[:40]!r}")
    probability = f" {_finite(one['probability']):.2f}" if kind == "logit" else ""
    return _Node(
        name=str(one["id"]),
        kind=kind,
        row=rows[int(one["layer"])] if kind in labels else rows[kind],
        position=int(one["position"]),
        label=labels.get(kind) or printable(str(one["text"])),
        influence=_finite(one["influence"]),
        core=bool(one["core"]),
        extra=probability,
    )


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a graph document holds a number that is not finite")
    return number


def _columns(nodes: Sequence[_Node]) -> dict[int, int]:
    """Return the positions that are drawn, in order, and how many nodes lie side by side in each."""
    weight: dict[int, float] = {}
    cells: dict[tuple[int, int], int] = {}
    for node in nodes:
        own = math.inf if node.kind == "logit" else node.influence
        weight[node.position] = weight.get(node.position, 0.0) + own
        cells[node.position, node.row] = cells.get((node.position, node.row), 0) + 1
    kept = sorted(sorted(weight, key=lambda place: (-weight[place], place))[:_SLOTS])
    slots = dict.fromkeys(kept, 1)
    fullest = {place: max(count for (other, _), count in cells.items() if other == place) for place in kept}
    for _ in range(_SLOTS - len(kept)):
        place = max(kept, key=lambda one: (fullest[one] / slots[one], -one))
        if fullest[place] <= slots[place]:
            break
        slots[place] += 1
    return slots


def _placed(nodes: Sequence[_Node], columns: Mapping[int, int]) -> _Plan:
    cells: dict[tuple[int, int], list[_Node]] = {}
    for node in sorted(nodes, key=lambda one: (-one.influence, one.name)):
        cells.setdefault((node.row, node.position), []).append(node)
    slot = (WIDTH - _LEFT - _RIGHT) / sum(columns.values())
    left, spans = _LEFT, {}
    for place, width in columns.items():
        spans[place] = (left, left + width * slot)
        left += width * slot
    centres, rows, y = {}, {}, _TOP
    for row in sorted({node.row for node in nodes}, reverse=True):
        lines = max(math.ceil(len(found) / columns[place]) for (other, place), found in cells.items() if other == row)
        for (other, place), found in cells.items():
            if other == row:
                for index, node in enumerate(found):
                    level, across = divmod(index, columns[place])
                    in_line = min(columns[place], len(found) - level * columns[place])
                    start = (spans[place][0] + spans[place][1]) / 2 - (in_line - 1) / 2 * slot
                    centres[node.name] = (start + across * slot, y + _LINE * (level + 0.5))
        rows[row] = y + _LINE * lines / 2
        y += _LINE * lines + _GAP
    return _Plan(centres, rows, spans, min(slot - 3.5, _WIDEST), y + 6)


def _frame(plan: _Plan, document: Mapping[str, Any]) -> str:
    layers = sorted({int(one["layer"]) for one in document["nodes"] if one["kind"] in ("feature", "error")})
    names = {0: "tokens", **{row: f"layer {layer}" for row, layer in enumerate(layers, 1)}}
    bottom = plan.height - 24
    parts = [line(left, _TOP - 4, left, bottom, colour=FAINT, width=0.6) for left, _ in plan.columns.values()]
    for row, y in plan.rows.items():
        parts.append(text(_LEFT - 6, y + 2.2, names.get(row, "next token"), "end", colour=NULL))
    for place, (left, right) in plan.columns.items():
        parts.append(text((left + right) / 2, bottom + 4, str(place), "middle", colour=NULL))
    parts.append(text(_LEFT - 6, bottom + 4, "position", "end", colour=NULL))
    return "".join(parts)


def _edge(edge: _Edge, plan: _Plan, most: float) -> str:
    (x1, y1), (x2, y2) = plan.nodes[edge.source.name], plan.nodes[edge.target.name]
    share = abs(edge.weight) / most if most > 0.0 else 0.0
    return line(
        x1,
        y1 - _LINE / 2 + 1.4,
        x2,
        y2 + _LINE / 2 - 1.4,
        colour=LIMIT if edge.weight < 0.0 else NULL,
        width=_THIN + (_THICK - _THIN) * share,
        dash="2 1.4" if edge.weight < 0.0 else "",
    )


def _box(node: _Node, x: float, y: float, *, width: float) -> str:
    """Return a node: features square, errors pointed, tokens on grey, next tokens round."""
    half, high = width / 2, _LINE / 2 - 1.4
    style = f'stroke="{INK}" stroke-width="{"1.4" if node.core else "0.5"}"'
    if node.kind == "error":
        upper = ((x - half, y), (x - half + 4, y - high), (x + half - 4, y - high))
        corners = (*upper, *((2 * x - a, 2 * y - b) for a, b in upper))
        shape = f'<polygon points="{" ".join(f"{digits(a)},{digits(b)}" for a, b in corners)}" fill="#ffffff" {style}/>'
    else:
        round_ = {"logit": "5", "token": "0", "feature": "1.5"}[node.kind]
        fill = FAINT if node.kind == "token" else "#ffffff"
        shape = (
            f'<rect x="{digits(x - half)}" y="{digits(y - high)}" width="{digits(width)}" height="{digits(2 * high)}" '
            f'rx="{round_}" fill="{fill}" {style}/>'
        )
    return shape + text(x, y + 2.2, _cut(node.label, _characters(width)), "middle")


def _characters(width: float) -> int:
    return int((width - 3) / _CHARACTER)


def _cut(label: str, most: int) -> str:
    """Return a label of at most so many characters, shortened in the middle: texts of one kind often begin alike."""
    if len(label) <= most:
        return label
    end = (most - 1) // 2
    return f"{label[: most - 1 - end]}…{label[len(label) - end :] if end else ''}"


def _legend(y: float) -> str:
    entries = [
        (line(0, y, 12, y, colour=NULL, width=1.6), "raises"),
        (line(0, y, 12, y, colour=LIMIT, width=1.6, dash="2 1.4"), "lowers"),
        (f'<rect x="0" y="{digits(y - 4)}" width="12" height="8" rx="1.5" fill="#ffffff" stroke="{INK}"/>', "feature"),
        (f'<rect x="0" y="{digits(y - 4)}" width="12" height="8" fill="{FAINT}" stroke="{RULE}"/>', "token"),
        (
            f'<rect x="0" y="{digits(y - 4)}" width="12" height="8" rx="1.5" fill="#ffffff" stroke="{INK}" '
            'stroke-width="1.4"/>',
            "in the core of all pruning settings",
        ),
    ]
    drawn, x = [], 0.0
    for mark, label in entries:
        drawn.append(f'<g transform="translate({digits(x)} 0)">{mark}{text(16, y + 2.2, label, "start")}</g>')
        x += 26 + _CHARACTER * len(label)
    return "".join(drawn)


def _spoken(document: Mapping[str, Any], nodes: Sequence[_Node], edges: Sequence[_Edge]) -> str:
    answers = ", ".join(f"{node.label}{node.extra}" for node in nodes if node.kind == "logit")
    strongest = sorted(edges, key=lambda edge: -abs(edge.weight))[:_SPOKEN_EDGES]
    effects = "; ".join(
        f"{edge.source.name} to {edge.target.name} {edge.weight:.3g}".replace("-", wording.MINUS) for edge in strongest
    )
    item = printable(str(document.get("item", "")))[:80]
    return (
        f"Attribution graph of {item}: {len(nodes)} nodes and {len(edges)} edges drawn. Next tokens: {answers}. "
        f"Strongest effects: {effects}."
    )
