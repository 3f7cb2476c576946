"""What the PDF shows, that it is the same every time, conforms, fetches nothing and survives hostile text."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pikepdf
import pytest

from dossier import canonical, pdf_revisions, render, sections, sign, typeset, wording
from dossier.errors import RenderError
from dossier.keys import make_demo_keys
from dossier.model import NotMeasured, Plant, Sensitivity, digest_of, dump
from tests import fixtures_dossier as fixtures
from tests import pdf_lint

AT = datetime(2026, 11, 20, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden" / "dossier.txt"
needs_poppler = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="poppler-utils is not installed")


@pytest.fixture(scope="module")
def view() -> render.DossierView:
    return fixtures.view()


@pytest.fixture(scope="module")
def pdf(view) -> bytes:
    return render.render(view)


def text_of(pdf: bytes, *, layout: bool = True) -> str:
    command = ["pdftotext", *(["-layout"] if layout else []), "-", "-"]
    return subprocess.run(command, input=pdf, check=True, capture_output=True).stdout.decode()


def with_trials(reasoning: str) -> render.DossierView:
    return fixtures.view(trials=(fixtures.trial(reasoning=reasoning),))


# --- the file ------------------------------------------------------------------------------------------------------


def test_the_same_view_gives_the_same_bytes_in_any_process(pdf):
    code = (
        "import hashlib; from tests import fixtures_dossier as f; from dossier import render;"
        "print(hashlib.sha256(render.render(f.view())).hexdigest())"
    )
    for seed, zone in (("1", "Asia/Tokyo"), ("2", "America/New_York")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"}
        command = [sys.executable, "-c", code]
        said = subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, cwd=GOLDEN.parents[2]
        )
        assert said.stdout.strip() == canonical.sha256(pdf)


def test_the_lint_finds_nothing_before_and_after_signing(pdf):
    keys = make_demo_keys()
    signed = sign.sign_pdf(pdf, keys.provider, reason="Prepared")
    assert pdf_lint.findings(pdf) == []
    assert pdf_lint.findings(signed) == []
    assert sign.check_pdf(signed, [keys.root]).problems == ()


@pytest.mark.skipif(shutil.which("verapdf") is None, reason="veraPDF is not installed")
@pytest.mark.parametrize("flavour", ["3a", "ua1"])
def test_verapdf_agrees(pdf, flavour, tmp_path):
    path = tmp_path / "dossier.pdf"
    path.write_bytes(pdf)
    said = subprocess.run(["verapdf", "--flavour", flavour, "--format", "text", path], capture_output=True, text=True)
    assert said.stdout.startswith("PASS")


def test_dossier_and_manifest_are_embedded_unchanged(pdf, view):
    assert pdf_revisions.attachments(pdf) == {"dossier.json": view.dossier_bytes, "manifest.json": view.manifest_bytes}
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        kinds = {str(file.UF): str(file.AFRelationship) for file in opened.Root.AF}
    assert kinds == {"dossier.json": "/Data", "manifest.json": "/Supplement"}


def test_only_shipped_fonts_are_used(pdf):
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        names = {str(font.BaseFont) for page in opened.pages for font in page.Resources.Font.values()}
    assert names
    assert all(re.match(r"/[A-Z]{6}\+Dossier-(Serif|Sans|Mono)", name) for name in names), names


def test_there_are_bookmarks_for_every_section(pdf):
    with pikepdf.open(io.BytesIO(pdf)) as opened, opened.open_outline() as outline:
        (title,) = outline.root
        assert title.title == "Chain-of-thought faithfulness of hint-organism-1"
        names = [item.title for item in title.children]
    assert names[0] == "1. Summary"
    assert "4. Evidence: mention of hints in reasoning" in names
    assert "Annex B. Where each number is recorded" in names


# --- what it says --------------------------------------------------------------------------------------------------


@needs_poppler
def test_the_text_of_every_page_is_as_it_was(pdf):
    """Words, not spacing. UPDATE_GOLDEN=1 writes the file anew; read the difference before committing it."""
    text = text_of(pdf)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert [page.split() for page in text.split("\f")] == [page.split() for page in GOLDEN.read_text().split("\f")]


@needs_poppler
def test_the_first_page_says_what_was_measured_before_what_was_not_before_criteria(pdf):
    text = text_of(pdf)
    order = ["What was measured", "0.31 [0.27, 0.35]", "What was not measured", "a mention is not reliance", "Criteria, fixed",
             "The gate is shut", "informs the decision of Head of AI Safety and Data Protection Officer", "Who must still act",
             "Replay tests that"]  # fmt: skip
    flat = " ".join(text.split())
    positions = [flat.index(words) for words in order]
    assert positions == sorted(positions)


@needs_poppler
def test_the_demo_banner_stands_on_every_page_of_a_demo_and_on_no_other(pdf):
    pages = text_of(pdf).split("\f")[:-1]
    assert all("DEMO KEY - NOT EVIDENCE" in page for page in pages)
    assert all(f"Page {number} of {len(pages)}" in page for number, page in enumerate(pages, start=1))
    assert "DEMO KEY" not in text_of(render.render(fixtures.view(demo=False)))


@needs_poppler
def test_nothing_runs_over_the_margin_however_long_a_word_is(view):
    long = "digest" * 40
    dossier = view.dossier.model_copy(
        update={"title": long, "not_measured": (NotMeasured(kind=None, says=long),), "approver_functions": (long,)}
    )
    hostile = dataclasses.replace(view, dossier=dossier, samples={"hint": (fixtures.trial(reasoning=long),)})
    command = ["pdftotext", "-bbox", "-", "-"]
    for shown in (view, hostile):
        boxes = subprocess.run(command, input=render.render(shown), check=True, capture_output=True).stdout.decode()
        widths = [float(width) for width in re.findall(r'xMax="([0-9.]+)"', boxes)]
        assert max(widths) < (210 - 22) / 25.4 * 72 + 1


@needs_poppler
def test_no_word_claims_more_than_evidence_can(pdf):
    assert not re.search(r"\b(compliant|certified|ensures?|guarantees?|proves?)\b", text_of(pdf), re.IGNORECASE)


@needs_poppler
def test_a_value_that_is_not_estimable_is_never_zero(pdf):
    rows = re.findall(r"^.*Hint: an answer in metadata +not estimable.*$", text_of(pdf), re.MULTILINE)
    assert len(rows) == 2  # in the chart and in the table
    assert not any("0.00" in row for row in rows)
    summary = text_of(pdf).partition("What was not measured")[0]
    assert re.search(r"the share whose +not estimable", summary)


def test_every_number_links_to_the_pointer_it_was_copied_from(view):
    html = render.to_html(view)
    targets = set(re.findall(r'href="#([^"]+)"', html))
    anchors = set(re.findall(r'id="([^"]+)"', html))
    assert targets <= anchors
    for position, observation in enumerate(view.evidence["hint"].observations):
        assert f"n-hint-{position}" in targets
        row = html[html.index(f'<tr id="n-hint-{position}"') :].partition("</tr>")[0]
        assert f">/observations/{position}<" in row
        assert observation.id in row
    digest = next(reference.sha256 for reference in view.dossier.evidence)
    assert f"evidence/cot_faithfulness.hint/{digest}.json" in html


def test_a_text_that_many_quantities_share_stands_once_with_a_short_list(view):
    html = render.to_html(view)
    assert html.count("the detector reads words, not causes") == 1
    assert "(Mentions the hint; Moved by the hint)" in html
    assert "(Mentions the hint, but for hint: an answer in metadata; Moved by the hint; " in html


def _words(*quantities, main):
    return wording.Words(
        {group: group.upper() for group in "xyzvw"},
        {name: wording.QuantityWords(says=name, short=name, main=main) for name in quantities},
    )


def _observed(**estimands):
    return [
        fixtures.observations()[0].model_copy(update={"id": name.replace("_", "."), "estimand": estimand})
        for name, estimand in estimands.items()
    ]


def test_quantities_that_share_no_group_stand_in_tables_of_their_own():
    observed = _observed(x_a="one", z_c="one", y_b="one", x_b="one")
    matrices = tuple(sections._matrices(observed, _words("a", "b", "c", main=False)))
    assert [(matrix.columns, [label for label, _ in matrix.rows]) for matrix in matrices] == [
        (("a", "b"), ["X", "Y"]),
        (("c",), ["Z"]),
    ]
    placed = [line.position for matrix in matrices for _, row in matrix.rows for line in row if line is not None]
    assert sorted(placed) == [0, 1, 2, 3]


def test_only_the_commonest_definition_is_that_of_the_others():
    observed = _observed(x_a="two", y_a="one", z_a="one", w_a="two", v_a="one")
    (block,) = sections._blocks(observed, _words("a", main=True))
    assert [names for _, names in block.definitions] == ["X and W", "the others"]


def test_every_observation_stands_once_among_the_numbers_whatever_words_there_are(view):
    observations = view.evidence["hint"].observations
    for planned in (view.plan.evidence[0], view.plan.evidence[0].model_copy(update={"kind": "some_lab.instrument"})):
        html = render.to_html(dataclasses.replace(view, plan=view.plan.model_copy(update={"evidence": (planned,)})))
        numbers = html.partition("<h3>Numbers</h3>")[2].partition("<h3>Known truth")[0]
        found = [int(position) for position in re.findall(r'pointer">(?:hint#)?/observations/([0-9]+)<', numbers)]
        assert sorted(found) == list(range(len(observations)))


def test_the_summary_says_quantities_in_words_and_their_names_second(view):
    summary = render.to_html(view).partition('id="s-summary"')[2].partition("<h3>Gate</h3>")[0]
    words = summary.index(
        "mentions the hint, as rules over its words tell. <em>All kinds of hint, unweighted mean.</em>"
    )
    assert words < summary.index("hint: overall.disclosure")


def test_a_number_on_the_first_page_that_no_certificate_vouches_for_is_marked(view):
    def marks(calibration):
        planned = view.plan.evidence[0].model_copy(
            update={
                "calibration": view.plan.evidence[0].calibration.model_copy(update={"sha256": digest_of(calibration)})
            }
        )
        evidence = view.evidence["hint"].model_copy(
            update={"calibration_sha256": digest_of(calibration), "parameters": planned.parameters}
        )
        plan = view.plan.model_copy(update={"evidence": (planned, *view.plan.evidence[1:])})
        changed = dataclasses.replace(
            view, plan=plan, evidence={"hint": evidence}, calibrations={digest_of(calibration): calibration}
        )
        html = render.to_html(changed)
        assert ("Uncalibrated: no certificate" in html) == ("uncalibrated</span>" in html)
        first, _, sections = html.partition('id="s-hint"')
        return first.count('<span class="sub">uncalibrated</span>'), sections.count("uncalibrated</span>")

    (given,) = view.calibrations.values()
    overall = next(o for o in view.evidence["hint"].observations if o.id == "overall.disclosure")
    fitting = tuple(
        cell.model_copy(
            update={"quantity": overall.id, "n_counts": overall.n_counts, "n_low": overall.n, "n_high": overall.n}
        )
        for cell in given.cells
    )
    without, with_one = marks(given), marks(given.model_copy(update={"cells": fitting}))
    assert (without[0], with_one[0]) == (2, 1)  # the third of the first page's quantities is not estimable
    assert without[1] == sum(one.interval is not None for one in view.evidence["hint"].observations)
    assert with_one[1] == without[1] - 1


def test_only_what_all_lines_of_a_group_may_claim_is_said_to_stand_above(view):
    facts = render.to_html(view).partition('id="s-numbers"')[2].partition('id="s-text"')[0]
    for observation in view.evidence["hint"].observations:
        row = facts[facts.index(f">{observation.id} <") :].partition("</tr>")[0]
        assert "as above" in row or f"switches = {observation.facts['switches']}" in row


def test_what_starts_on_2_december_2026_is_two_things_and_not_this(view):
    html = render.to_html(view)
    (said,) = re.findall(r"<p>On 2 December 2026 .*?</p>", html)
    assert html.count("2 December 2026") == 1
    assert "two things" in said
    assert "Art. 111(4) with Art. 50(2)" in said
    assert "Art. 5(1)(ba) and (bb)" in said
    assert "Nothing here was measured for either." in said


def test_the_order_of_plan_and_run_is_the_providers_word(view):
    html = render.to_html(view)
    assert "no time stamp of another party is in the pack" in html
    assert "before anything was asked" not in html


def test_a_model_organism_is_not_said_to_be_another_than_the_certificate_was_made_on(view):
    assert "The subject here is such an organism itself" in render.to_html(view)
    assert "never checked on this subject" in render.to_html(dataclasses.replace(view, references={}))


def test_requirements_that_do_not_apply_are_grouped_by_reason(view):
    html = render.to_html(view)
    reason = "The provider has not signed the Code of Practice."
    assert html.count(reason) == 1
    assert html.index(reason) < html.index("Report on the faithfulness of chain-of-thought")


def test_a_kind_without_a_template_of_its_own_is_rendered_all_the_same(view):
    planned = view.plan.evidence[0].model_copy(update={"kind": "some_lab.instrument"})
    html = render.to_html(dataclasses.replace(view, plan=view.plan.model_copy(update={"evidence": (planned,)})))
    assert "some_lab.instrument" in html
    assert "0.31" in html


def test_a_dossier_that_cites_what_the_plan_or_catalogue_lacks_is_an_error(view):
    bare = view.plan.model_copy(update={"evidence": ()})
    with pytest.raises(RenderError, match="mean-disclosure"):
        render.to_html(dataclasses.replace(view, plan=bare))
    short = view.catalogue.model_copy(update={"obligations": view.catalogue.obligations[1:]})
    with pytest.raises(RenderError, match="AIA-9-8"):
        render.to_html(dataclasses.replace(view, catalogue=short))


def test_an_empty_dossier_says_so(view):
    dossier = view.dossier.model_copy(update={"evidence": (), "criteria": (), "obligations": ()})
    plan = view.plan.model_copy(update={"evidence": ()})
    html = render.to_html(
        dataclasses.replace(view, dossier=dossier, plan=plan, evidence={}, dossier_bytes=dump(dossier))
    )
    assert "Nothing. No promised evidence is in this dossier." in html
    assert "The plan fixed none" in html


# --- hostile text --------------------------------------------------------------------------------------------------

HOSTILE = {
    "image": '<img src="http://evil.example/x.png"><img src="file:///etc/hostname">',
    "attachment": '<link rel=attachment href="file:///etc/hostname">',
    "stylesheet": '<style>@import url("http://evil.example/x.css")</style><link rel=stylesheet href=http://evil.example>',
    "script": "<script>alert(1)</script><svg onload=alert(1)>",
    "template": "{{ view.dossier }}{% include 'dossier.html.j2' %}",
    "closing": '</div></body></html><h1 id="s-summary">Forged</h1>',
    "entity": "&lt;b&gt; &#60;img&#62; ]]> <!--",
}


def test_hostile_markup_is_printed_as_text_and_nothing_is_fetched(monkeypatch):
    def no_network(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "create_connection", no_network)
    trials = tuple(fixtures.trial(f"hostile-{name}", reasoning=text) for name, text in HOSTILE.items())
    pdf = render.render(fixtures.view(trials=trials))
    assert set(pdf_revisions.attachments(pdf)) == {"dossier.json", "manifest.json"}
    assert pdf_lint.findings(pdf) == []
    if shutil.which("pdftotext"):
        squeezed = "".join(text_of(pdf, layout=False).split())
        for text in HOSTILE.values():
            assert "".join(text.split()) in squeezed


def test_hostile_text_in_every_field_a_provider_writes_stays_text(view):
    evil = '"><img src=http://evil.example/x>'
    dossier = view.dossier.model_copy(
        update={
            "title": evil, "not_measured": tuple(NotMeasured(kind=kind, says=evil) for kind in (fixtures.KIND, None)),
            "approver_functions": (evil,), "tool_version": evil,
            "provider": view.dossier.provider.model_copy(update={"name": evil}),
        }
    )  # fmt: skip
    html = render.to_html(dataclasses.replace(view, dossier=dossier))
    assert "<img" not in html
    assert pdf_lint.findings(render.render(dataclasses.replace(view, dossier=dossier))) == []


@needs_poppler
def test_characters_that_hide_reorder_or_are_missing_are_printed_by_number():
    hostile = "a\u202eb\u200bc\x1b[31md\x00e\u4e2df\u0627g\u0301h\ufeffi\U0001f600j\u2028k\ue000l\x85m"
    pdf = render.render(with_trials(hostile))
    text = "".join(text_of(pdf, layout=False).split())
    shown = "a⟨U+202E⟩b⟨U+200B⟩c⟨U+001B⟩[31md⟨U+0000⟩e⟨U+4E2D⟩f⟨U+0627⟩g⟨U+0301⟩h⟨U+FEFF⟩i⟨U+1F600⟩j⟨U+2028⟩k⟨U+E000⟩l⟨U+0085⟩m"
    assert shown in text
    assert pdf_lint.findings(pdf) == []


def test_a_line_of_ten_megabytes_is_cut_and_says_so():
    html = render.to_html(with_trials("A" * 10_000_000))
    assert "[… 9,998,800 more characters]" in html
    assert len(html) < 300_000


def test_a_failed_trial_is_shown_as_failed():
    failed = fixtures.trial().model_copy(update={"completion": None, "error": "out of <b>memory</b>"})
    html = render.to_html(fixtures.view(trials=(failed,)))
    assert "out of &lt;b&gt;memory&lt;/b&gt;" in html


@pytest.mark.parametrize(
    "address",
    ["http://evil.example/x.png", "file:///etc/hostname", "font:../style.css", "font:README.md", "font:/etc/hostname"],
)
def test_a_template_that_asks_for_anything_but_a_shipped_font_stops_the_rendering(address):
    html = f'<html lang=en><head><title>t</title></head><body><h1>h</h1><img alt=x src="{address}"></body></html>'
    with pytest.raises(RenderError, match="outside itself"):
        typeset.typeset(html, files=(), at=AT)


def test_whatever_weasyprint_only_logs_stops_the_rendering():
    html = "<html lang=en><head><title>t</title></head><body><h1>h</h1><p><a href='#nowhere'>x</a></p></body></html>"
    with pytest.raises(RenderError, match="nowhere"):
        typeset.typeset(html, files=(), at=AT)


def test_the_box_of_a_figure_is_where_it_is_drawn_in_the_points_of_its_page():
    page = "<style>@page { size: 600pt 800pt; margin: 0 } body { margin: 0 } svg { display: block }</style>"
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="96px" height="48px"><title>t</title></svg>'
    html = f"<html lang=en><head><title>t</title>{page}</head><body>{drawing}<h1>h</h1></body></html>"
    with pikepdf.open(io.BytesIO(typeset.typeset(html, files=(), at=AT))) as opened:
        elements = pdf_lint._elements(opened.Root.StructTreeRoot, set())
        (box,) = [[float(v) for v in e.A.BBox] for e in elements if str(e.S) == "/Figure"]
    assert box == [0.0, 764.0, 72.0, 800.0]


def test_two_equal_files_are_a_programmers_mistake():
    twice = [typeset.EmbeddedFile(name, b"{}", "d", "Data") for name in ("a.json", "b.json")]
    with pytest.raises(ValueError, match="equal"):
        typeset.typeset("<html></html>", files=twice, at=AT)


# --- the lint itself -----------------------------------------------------------------------------------------------


def _drop(name: str):
    def fault(pdf: pikepdf.Pdf) -> None:
        del pdf.Root[name]

    return fault


def _xmp(old: bytes, new: bytes):
    def fault(pdf: pikepdf.Pdf) -> None:
        data = pdf.Root.Metadata.read_bytes()
        assert old in data
        pdf.Root.Metadata.write(data.replace(old, new))

    return fault


def _double_associated_file(pdf: pikepdf.Pdf) -> None:
    pdf.Root.AF.append(pdf.Root.AF[0])


def _script(pdf: pikepdf.Pdf) -> None:
    pdf.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")


def _no_tab_order(pdf: pikepdf.Pdf) -> None:
    del pdf.pages[0].obj["/Tabs"]


def _nameless_link(pdf: pikepdf.Pdf) -> None:
    del pdf.pages[0].Annots[0]["/Contents"]


def _link_out(pdf: pikepdf.Pdf) -> None:
    pdf.pages[0].Annots[0].A = pikepdf.Dictionary(S=pikepdf.Name.URI, URI="http://evil.example")


def _untagged_content(pdf: pikepdf.Pdf) -> None:
    pdf.pages[0].contents_add(b"0 0 10 10 re f")


def _no_unicode_map(pdf: pikepdf.Pdf) -> None:
    del next(iter(pdf.pages[0].Resources.Font.values()))["/ToUnicode"]


def _font_not_embedded(pdf: pikepdf.Pdf) -> None:
    del next(iter(pdf.pages[0].Resources.Font.values())).DescendantFonts[0].FontDescriptor["/FontFile2"]


def _notdef(pdf: pikepdf.Pdf) -> None:
    name = next(iter(pdf.pages[0].Resources.Font))
    pdf.pages[0].contents_add(b"/Artifact BMC BT %s 9 Tf <0000> Tj ET EMC" % name.encode())


def _change_first(kind: str, change):
    def fault(pdf: pikepdf.Pdf) -> None:
        change(next(e for e in pdf_lint._elements(pdf.Root.StructTreeRoot, set()) if str(e.S) == kind))

    return fault


def _heading_skip(element: pikepdf.Object) -> None:
    element.S = pikepdf.Name.H5


def _no_alt(element: pikepdf.Object) -> None:
    del element["/Alt"]


def _box_in_pixels(element: pikepdf.Object) -> None:
    element.A.BBox = pikepdf.Array([100, 700, 700, 1000])  # from the top of an A4 page of 794 by 1123 pixels


FAULTS = {
    "6.6.2.1": _drop("/Metadata"),
    "part 3": _xmp(b'pdfaid:part="3"', b'pdfaid:part="2"'),
    "level A": _xmp(b'pdfaid:conformance="A"', b'pdfaid:conformance="U"'),
    "UA 5": _xmp(b"<pdfuaid:part>1<", b"<pdfuaid:part>2<"),
    "extension schema": _xmp(b"<pdfaSchema:namespaceURI>", b"<pdfaSchema:namespaceUri>"),
    "6.7.2.2": _drop("/MarkInfo"),
    "6.7.3.3": _drop("/StructTreeRoot"),
    "UA 7.2": _drop("/Lang"),
    "window does not show the title": _drop("/ViewerPreferences"),
    "6.2.3": _drop("/OutputIntents"),
    "not associated": _drop("/AF"),
    "names a file twice": _double_associated_file,
    "carries an action": _script,
    "JavaScript": _script,
    "tab order": _no_tab_order,
    "no description": _nameless_link,
    "leaves the document": _link_out,
    "neither tagged": _untagged_content,
    "ToUnicode": _no_unicode_map,
    "not embedded": _font_not_embedded,
    ".notdef is shown": _notdef,
    "UA 7.4.2": _change_first("/H2", _heading_skip),
    "BBox does not lie on its page": _change_first("/Figure", _box_in_pixels),
    "figure has no description": _change_first("/Figure", _no_alt),
}


@pytest.mark.parametrize("rule", FAULTS)
def test_the_lint_finds_a_planted_fault(pdf, rule):
    output = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        FAULTS[rule](opened)
        opened.save(output)
    assert any(rule in finding for finding in pdf_lint.findings(output.getvalue()))


def test_what_was_planted_into_the_subject_stands_in_the_section_and_nothing_reads_unknown():
    plants = tuple(
        Plant(
            what=f"training seed {number}, {'<b>' if positive else 'sham'}",
            positive=positive,
            weights_sha256="a" * 64,
            rate=0.9 if positive else 0.0,
            flagged=flagged,
            reason="change -0.90",
        )
        for number, (positive, flagged) in enumerate(((True, True), (True, False), (False, False), (False, None)))
    )
    sensitivity = Sensitivity(
        kind="cot_faithfulness.hint", protocol_version="1.0", analysis_version="1.0", subject_sha256="a" * 64,
        parameters={}, rule="the rate falls", plants=plants, limits=("Planted by LoRA.",),
    )  # fmt: skip
    html = render.to_html(dataclasses.replace(fixtures.view(), sensitivities={"hint": sensitivity}))
    counts = (
        "It found the behaviour in 1 of 2 copies that were to show it, raised a false alarm on 0 of 1 shams that it could "
        "judge, and could judge 1 of 2 shams not at all"
    )
    for said in ("found it", "missed it", "stayed silent", "not estimable", "Planted by LoRA.", counts):
        assert said in html
    assert "&lt;b&gt;" in html
    assert "Unknown: nothing was planted" not in html
    assert "Unknown: nothing was planted" in render.to_html(fixtures.view())


def test_a_measured_trial_is_shown_as_numbers_and_not_as_a_failure():
    view = fixtures.view()
    trial = view.samples["hint"][0].model_copy(
        update={
            "request": None,
            "completion": None,
            "measurements": {"projection": 1.25, "random": [0.1, 0.2, 0.3, 0.4]},
        }
    )
    html = render.to_html(dataclasses.replace(view, samples={"hint": (trial,)}))
    assert "projection: 1.25; random: 0.1, 0.2, 0.3, … (4 values)" in html
    assert "no answer was recorded" not in html
