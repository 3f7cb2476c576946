"""A conformance lint of ours for PDF/A-3a and PDF/UA-1: a regression guard, no validator.

`findings` knows the rules that our files could break, each with its clause. It agrees with veraPDF on the constructs we
use and knows nothing of those we do not. Before any public claim of conformance, run veraPDF (`verapdf` on the PATH).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pikepdf
from fontTools.ttLib import TTFont

RELATIONSHIPS = {"/Data", "/Source", "/Supplement", "/Alternative", "/Unspecified"}
HEADING = re.compile(r"/H([1-6])$")


def findings(data: bytes) -> list[str]:
    """Return what breaks PDF/A-3a or PDF/UA-1 in a PDF, in words; empty if nothing was found."""
    with pikepdf.open(io.BytesIO(data)) as pdf:
        return [
            *_header(data, pdf),
            *_metadata(pdf),
            *_catalog(pdf),
            *_attachments(pdf),
            *_pages(pdf),
            *_fonts(pdf),
            *_structure(pdf),
            *_forbidden(pdf),
        ]


def _header(data: bytes, pdf: pikepdf.Pdf) -> Iterator[str]:
    if not re.match(rb"%PDF-1\.[0-7]\r?\n%[\x80-\xff]{4}", data):
        yield "A 6.1.2: the header is not %PDF-1.n with a binary comment"
    if "/ID" not in pdf.trailer:
        yield "A 6.1.3: the trailer has no /ID"
    if pdf.is_encrypted:
        yield "A 6.1.3: the file is encrypted"


def _metadata(pdf: pikepdf.Pdf) -> Iterator[str]:
    if "/Metadata" not in pdf.Root:
        yield "A 6.6.2.1: no XMP metadata"
        return
    xmp = pdf.Root.Metadata.read_bytes()
    packet = xmp.partition(b"<rdf:RDF")[2].partition(b"</rdf:RDF>")[0]
    for pattern, rule in (
        (rb'pdfaid:part(="3"|>3<)', "A 6.6.4: not identified as PDF/A part 3"),
        (rb'pdfaid:conformance(="A"|>A<)', "A 6.6.4: not identified as level A"),
        (rb"pdfuaid:part>1<", "UA 5: not identified as PDF/UA part 1"),
        (rb"pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/<", "A 6.6.2.3: pdfuaid has no extension schema"),
        (rb"<dc:title>", "UA 7.1: no dc:title"),
    ):
        if not re.search(pattern, packet):
            yield rule


def _catalog(pdf: pikepdf.Pdf) -> Iterator[str]:
    root = pdf.Root
    if not root.get("/MarkInfo", {}).get("/Marked"):
        yield "A 6.7.2.2: not marked as tagged"
    if "/StructTreeRoot" not in root:
        yield "A 6.7.3.3: no structure tree"
    if not str(root.get("/Lang", "")):
        yield "UA 7.2: no language"
    if not root.get("/ViewerPreferences", {}).get("/DisplayDocTitle"):
        yield "UA 7.1: the window does not show the title"
    intents = list(root.get("/OutputIntents", []))
    if not any(str(i.get("/S")) == "/GTS_PDFA1" and "/DestOutputProfile" in i for i in intents):
        yield "A 6.2.3: no output intent with a profile"
    if "/OpenAction" in root or "/AA" in root:
        yield "A 6.5: the catalog carries an action"


def _attachments(pdf: pikepdf.Pdf) -> Iterator[str]:
    associated = [reference.objgen for reference in pdf.Root.get("/AF", [])]
    if len(associated) != len(set(associated)):
        yield "A 6.8: /AF names a file twice"
    names = list(pdf.Root.get("/Names", {}).get("/EmbeddedFiles", {}).get("/Names", []))
    if [str(name) for name in names[::2]] != sorted(str(name) for name in names[::2]):
        yield "ISO 32000-1 7.9.6: the names of embedded files are not sorted"
    for specification in names[1::2]:
        name = str(specification.get("/UF", "?"))
        if specification.objgen not in associated:
            yield f"A 6.8: {name} is not associated with the document"
        if str(specification.get("/AFRelationship")) not in RELATIONSHIPS:
            yield f"A 6.8: {name} has no relationship"
        if "/Subtype" not in specification.EF.F or "/ModDate" not in specification.EF.F.get("/Params", {}):
            yield f"A 6.8: {name} has no media type or date"


def _pages(pdf: pikepdf.Pdf) -> Iterator[str]:
    for number, page in enumerate(pdf.pages, start=1):
        annotations = list(page.obj.get("/Annots", []))
        if annotations and str(page.obj.get("/Tabs")) != "/S":
            yield f"UA 7.18.3: page {number}: tab order does not follow the structure"
        if "/StructParents" not in page.obj:
            yield f"UA 7.1: page {number} is not in the structure tree"
        for annotation in annotations:
            yield from _annotation(annotation, number)
        yield from _untagged(page, number)


def _annotation(annotation: pikepdf.Object, number: int) -> Iterator[str]:
    hidden = not any(float(value) for value in annotation.Rect)
    if not int(annotation.get("/F", 0)) & 4:
        yield f"A 6.3.2: page {number}: an annotation is not printed"
    if str(annotation.Subtype) == "/Link":
        if "/StructParent" not in annotation:
            yield f"UA 7.18.5: page {number}: a link is not in the structure tree"
        if not str(annotation.get("/Contents", "")):
            yield f"UA 7.18.5: page {number}: a link has no description"
        if "/A" in annotation and str(annotation.A.get("/S")) != "/GoTo":
            yield f"dossier: page {number}: a link leaves the document"
    elif not (str(annotation.Subtype) == "/Widget" and hidden):
        yield f"UA 7.18.1: page {number}: an annotation that is no link: {annotation.Subtype}"


def _untagged(page: pikepdf.Page, number: int) -> Iterator[str]:
    depth = 0
    for instruction in pikepdf.parse_content_stream(page):
        operator = str(instruction.operator)
        if operator in {"BMC", "BDC"}:
            depth += 1
        elif operator == "EMC":
            depth -= 1
        elif operator in {"Tj", "TJ", "Do", "S", "f", "B", "b", "s"} and depth == 0:
            yield f"UA 7.1: page {number}: content is neither tagged nor an artifact ({operator})"
            return


def _fonts(pdf: pikepdf.Pdf) -> Iterator[str]:
    fonts = [found for found in pdf.objects if isinstance(found, pikepdf.Dictionary) and _is(found, "/Font")]
    for font in fonts:
        if "/DescendantFonts" not in font:
            if "/FontDescriptor" not in font and not str(font.get("/Subtype")).startswith("/CIDFont"):
                yield f"A 6.2.11.4: font {font.get('/BaseFont')} is not embedded"
            continue
        descriptor = font.DescendantFonts[0].get("/FontDescriptor", {})
        program = descriptor.get("/FontFile2", descriptor.get("/FontFile3"))
        if program is None:
            yield f"A 6.2.11.4: font {font.BaseFont} is not embedded"
        if "/ToUnicode" not in font:
            yield f"A 6.2.11.7: font {font.BaseFont} has no ToUnicode map"
        elif program is not None and b"<0000>" in font.ToUnicode.read_bytes().partition(b"beginbfchar")[2]:
            yield f"A 6.2.11.8: font {font.BaseFont} shows .notdef"
        if "/FontFile2" in descriptor:
            TTFont(io.BytesIO(program.read_bytes()), lazy=True).close()
    shown = [name for page in pdf.pages for name in _notdef(page)]
    if shown:
        yield f"A 6.2.11.8: .notdef is shown with {sorted(set(shown))}"


def _notdef(page: pikepdf.Page) -> Iterator[str]:
    font = ""
    for instruction in pikepdf.parse_content_stream(page):
        if str(instruction.operator) == "Tf":
            font = str(instruction.operands[0])
        elif str(instruction.operator) in {"Tj", "TJ"}:
            operand = instruction.operands[0]
            strings = operand if str(instruction.operator) == "TJ" else [operand]
            for text in strings:
                codes = bytes(text) if isinstance(text, pikepdf.String) else b""
                if any(codes[i : i + 2] == b"\0\0" for i in range(0, len(codes), 2)):
                    yield font


def _structure(pdf: pikepdf.Pdf) -> Iterator[str]:
    if "/StructTreeRoot" not in pdf.Root:
        return
    level = 0
    for element in _elements(pdf.Root.StructTreeRoot, set()):
        kind = str(element.get("/S", ""))
        heading = HEADING.match(kind)
        if heading:
            if int(heading[1]) > level + 1:
                yield f"UA 7.4.2: heading {kind} follows level {level}"
            level = int(heading[1])
        if kind == "/Figure" and not str(element.get("/Alt", "")):
            yield "UA 7.3: a figure has no description"
        if kind == "/Figure" and not _lies_on_its_page(element):
            yield "ISO 32000-1 14.8.5.4.3: a figure's BBox does not lie on its page"
        if kind == "/TH" and "/ID" not in element and "/Scope" not in element.get("/A", {}):
            yield "UA 7.5: a header cell has neither scope nor identifier"
    if level == 0:
        yield "UA 7.4: no heading"


def _lies_on_its_page(figure: pikepdf.Object) -> bool:
    """Whether the BBox, in the page's own coordinates, lies in its media box and something is drawn there."""
    left, bottom, right, top = (float(value) for value in figure.Pg.MediaBox)
    x1, y1, x2, y2 = (float(value) for value in figure.A.BBox)
    return left <= x1 < x2 <= right and bottom <= y1 < y2 <= top


def _elements(node: pikepdf.Object, seen: set[tuple[int, int]]) -> Iterator[pikepdf.Object]:
    stack = [node]
    while stack:
        node = stack.pop()
        if not isinstance(node, pikepdf.Dictionary) or (node.is_indirect and node.objgen in seen):
            continue
        seen.add(node.objgen)
        if "/S" in node:
            yield node
        children = node.get("/K")
        if isinstance(children, pikepdf.Array):
            stack.extend(reversed([child for child in children if isinstance(child, pikepdf.Dictionary)]))
        elif isinstance(children, pikepdf.Dictionary):
            stack.append(children)


def _forbidden(pdf: pikepdf.Pdf) -> Iterator[str]:
    for found in _dictionaries(pdf):
        if "/JS" in found or str(found.get("/S", "")) in {"/JavaScript", "/Launch", "/SubmitForm", "/URI"}:
            yield "A 6.5.1: JavaScript or another forbidden action"
        if found.get("/Interpolate") is True:
            yield "A 6.2.8: an image is interpolated"
        if _is(found, "/ExtGState") and (found.get("/ca", 1) != 1 or found.get("/CA", 1) != 1):
            yield "dossier: something is transparent"
        if isinstance(found, pikepdf.Stream) and "/LZWDecode" in str(found.get("/Filter", "")):
            yield "A 6.1.7: LZW"


def _dictionaries(pdf: pikepdf.Pdf) -> Iterator[pikepdf.Object]:
    """Every dictionary and stream, those inside others too."""
    stack: list[pikepdf.Object] = list(pdf.objects)
    while stack:
        found = stack.pop()
        if isinstance(found, pikepdf.Array):
            inside = list(found)
        elif isinstance(found, pikepdf.Dictionary | pikepdf.Stream):
            yield found
            inside = [found[key] for key in found.keys()]  # noqa: SIM118 - pikepdf iterates over names this way
        else:
            continue
        stack += [child for child in inside if isinstance(child, pikepdf.Object) and not child.is_indirect]


def _is(found: pikepdf.Object, kind: str) -> bool:
    return str(found.get("/Type", "")) == kind
