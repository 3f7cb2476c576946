"""A graph is drawn legibly, read by those who do not see it, and nothing a model wrote gets into the picture as markup."""

from __future__ import annotations

import copy
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from dossier.circuit_chart import circuit_chart, in_full, printable
from dossier.svg import WIDTH

SVG = "{http://www.w3.org/2000/svg}"


def node(name, kind, position, *, layer=None, feature=None, influence=0.1, core=False, **more):
    return {
        "id": name,
        "kind": kind,
        "layer": layer,
        "position": position,
        "feature": feature,
        "influence": influence,
        "core": core,
        **more,
    }


def document(nodes=None, edges=None):
    return {
        "schema_version": "circuit.v1",
        "item": "weapons-01",
        "layers": 2,
        "tokens": ["How", "<script>alert(1)</script>"],
        "nodes": nodes
        or [
            node("token.p0", "token", 0, text="How"),
            node("token.p1", "token", 1, text="<script>alert(1)</script>"),
            node("L0.p1.f7", "feature", 1, layer=0, feature=7, core=True, activation=1.5),
            node("L1.p1.error", "error", 1, layer=1),
            node("logit.0", "logit", 1, influence=0.0, text=" no", probability=0.75),
        ],
        "edges": edges
        or [
            {"source": "token.p1", "target": "L0.p1.f7", "weight": 2.0, "settings_share": 1},
            {"source": "L0.p1.f7", "target": "logit.0", "weight": -1.0, "settings_share": 0.5},
            {"source": "L1.p1.error", "target": "logit.0", "weight": 0.5, "settings_share": 0.5},
        ],
        "scores": {"replacement": 0.7, "completeness": 0.9, "error_share": 0.1},
        "circuit_nodes": 5,
        "circuit_edges": 3,
        "left_out_positions": 1,
        "frozen": ["attention patterns", "norm scales"],
    }


def drawn(value=None):
    return ElementTree.fromstring(circuit_chart(value or document()))


def texts(root):
    return [found.text for found in root.iter(f"{SVG}text")]


def test_rows_are_layers_and_columns_positions():
    root = drawn()
    places = {found.text: (float(found.get("x")), float(found.get("y"))) for found in root.iter(f"{SVG}text")}
    assert places["How"][0] < places["f7"][0]
    assert places["f7"][1] < places["How"][1]
    assert places["error"][1] < places["f7"][1]
    assert places["\N{MIDDLE DOT}no"][1] < places["error"][1]
    assert {"tokens", "layer 0", "layer 1", "next token"} <= set(places)


def test_a_stronger_effect_is_a_wider_line_and_a_negative_one_is_dashed():
    lines = [line for line in drawn().iter(f"{SVG}line") if line.get("stroke") != "#eceef2"]
    edges = lines[:3]
    widths = [float(line.get("stroke-width")) for line in edges]
    assert widths == sorted(widths)
    assert widths[-1] > 2 * widths[0]
    assert [line.get("stroke-dasharray") is not None for line in edges] == [False, True, False]


def test_core_nodes_have_a_heavier_border():
    rects = list(drawn().iter(f"{SVG}rect"))
    assert sorted({rect.get("stroke-width") for rect in rects if rect.get("stroke-width")}) == ["0.5", "1.4"]


def test_what_is_drawn_is_said_in_the_title():
    title = drawn().find(f"{SVG}title").text
    assert "weapons-01" in title
    assert "5 nodes and 3 edges" in title
    assert "no 0.75" in title
    assert "token.p1 to L0.p1.f7 2" in title


def test_hostile_text_is_text():
    value = document()
    value["item"] = "</title><script>"
    for position, text in enumerate(('"><script>', "\x00\x1b[31m\u202eabc\ud800")):
        value["nodes"][position]["text"] = text
    svg = circuit_chart(value)
    assert "<script" not in svg
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202e]", svg)
    svg.encode()
    assert any((found or "").startswith("\\u00") for found in texts(ElementTree.fromstring(svg)))


def test_nothing_is_invisible_in_a_token():
    assert printable("a b\n") == "a\N{MIDDLE DOT}b\\u000a"
    assert printable("ünï") == "ünï"


def test_labels_stay_inside_their_boxes_and_the_picture_inside_the_page():
    nodes = [node(f"token.p{p}", "token", p, text="a rather long token text") for p in range(40)]
    nodes += [node(f"L0.p39.f{f}", "feature", 39, layer=0, feature=16000 + f, influence=f) for f in range(30)]
    nodes.append(node("logit.0", "logit", 39, text="x", probability=0.5, influence=0.0))
    edges = [{"source": f"token.p{p}", "target": "logit.0", "weight": 1.0} for p in range(40)]
    root = drawn(document(nodes, edges))
    assert root.get("width") == f"{WIDTH:.0f}pt"
    rects = [rect for rect in root.iter(f"{SVG}rect") if float(rect.get("width")) > 12]
    assert max(float(rect.get("x")) + float(rect.get("width")) for rect in rects) <= WIDTH
    assert min(float(rect.get("width")) for rect in rects) >= 18  # points: five characters of 6.4 pt
    rows = {}
    for rect in rects:
        rows.setdefault(rect.get("y"), []).append(float(rect.get("x")))
    width = float(rects[0].get("width"))
    for lefts in rows.values():
        ordered = sorted(lefts)
        assert all(b - a >= width for a, b in pairwise(ordered))
    assert any("not drawn" in (found or "") for found in texts(root))


def test_the_same_document_gives_the_same_characters():
    assert circuit_chart(document()) == circuit_chart(copy.deepcopy(document()))


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(schema_version="circuit.v2"),
        lambda value: value.update(nodes=[]),
        lambda value: value.pop("nodes"),
        lambda value: value["nodes"][0].update(kind="neuron"),
        lambda value: value["nodes"][0].pop("text"),
        lambda value: value["nodes"][2].update(layer="first"),
        lambda value: value["nodes"][2].update(influence=float("nan")),
        lambda value: value["nodes"].append(value["nodes"][0]),
        lambda value: value["nodes"].extend(node(f"token.p{p}", "token", p, text="a") for p in range(2, 500)),
        lambda value: value["edges"].append({"source": "nowhere", "target": "logit.0", "weight": 1.0}),
        lambda value: value["edges"].append({"source": "logit.0", "target": "token.p0", "weight": 1.0}),
        lambda value: value["edges"][0].update(weight=float("inf")),
    ],
)
def test_what_is_no_graph_document_is_refused(change):
    value = document()
    change(value)
    with pytest.raises(ValueError, match=r".+"):
        circuit_chart(value)


def test_only_the_strongest_effects_are_drawn_and_the_others_counted():
    nodes = document()["nodes"]
    token, logit = (next(one for one in nodes if one["kind"] == kind) for kind in ("token", "logit"))
    many = [{**token, "id": f"token.p{place}", "position": 0} for place in range(70)]
    edges = [{"source": one["id"], "target": logit["id"], "weight": 1.0 + place} for place, one in enumerate(many)]
    svg = circuit_chart(document([*many, logit], edges))
    assert "10 weaker effects are not drawn" in svg
    assert "not drawn" not in circuit_chart(document())


def test_a_long_token_keeps_its_beginning_and_its_end_and_stands_in_full_below():
    """Of "Our sponsor has sent ..." and "Our sponsor leaves ..." the beginnings are the same."""
    long = "Our sponsor leaves if this report disappoints."
    other = "Our sponsor leaves if this report is not liked."
    nodes = [
        node("token.p0", "token", 0, text="How"),
        node("token.p1", "token", 1, text=long),
        node("logit.0", "logit", 1, influence=0.0, text=other, probability=0.75),
    ]
    value = document(nodes, [{"source": "token.p1", "target": "logit.0", "weight": 2.0, "settings_share": 1}])
    labels = [element.text for element in drawn(value).iter(f"{SVG}text")]
    short = next(label for label in labels if label.startswith("Our") and label.endswith("ts."))
    assert "…" in short
    assert any(label.startswith("Our") and label.endswith("ed.") for label in labels)
    below = in_full(value)
    assert f"Tokens in full: {printable(long)} (position 1)." in below
    assert f"{printable(other)} 0.75." in below
    assert "How" not in below, "what fits is not said twice"
    brief = [node("token.p1", "token", 1, text="How"), node("logit.0", "logit", 1, text=" no", probability=0.75)]
    assert in_full(document(brief, value["edges"])) == ""
