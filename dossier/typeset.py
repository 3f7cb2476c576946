"""How does one HTML text become a PDF that is an archive copy, accessible, and the same bytes every time?

The result declares PDF/A-3a (ISO 19005-3) and PDF/UA-1 (ISO 14289-1) in one file. WeasyPrint 70 writes either; the second
identification is added to the XMP packet it writes, which is why its version is pinned. Only shipped fonts are used, so the
bytes do not depend on the machine's fonts, clock, locale or hash seed; they do depend on WeasyPrint, Pango and HarfBuzz.

Nothing is fetched: the only addresses that resolve are the shipped fonts. Characters that no shipped font shows, that are
invisible or that reorder text are printed by number, such as ⟨U+202E⟩.
"""

from __future__ import annotations

import functools
import importlib.resources
import io
import logging
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from dossier.errors import RenderError

FONT_SCHEME = "font:"  # font:SourceSansPro-Regular.ttf is templates/fonts/SourceSansPro-Regular.ttf
_EVERYWHERE = ("DejaVuSansMono",)  # last in each CSS font stack: what it has can be shown in any style
_TEXT = ("SourceSerifPro-Regular", "SourceSansPro-Regular")  # what all of these have can be shown too
_BIDI_SAFE = frozenset({"L", "EN", "ES", "ET", "CS", "NSM", "ON", "WS", "B", "S"})  # never reorders its neighbours

_POINTS_PER_PIXEL = 0.75  # CSS: 96 pixels and 72 points to the inch

_PDFUA = b"""<rdf:Description rdf:about="" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/"><pdfuaid:part>1</pdfuaid:part>
</rdf:Description><rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
 xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
<pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
<pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource"><pdfaProperty:name>part</pdfaProperty:name>
<pdfaProperty:valueType>Integer</pdfaProperty:valueType><pdfaProperty:category>internal</pdfaProperty:category>
<pdfaProperty:description>PDF/UA part number</pdfaProperty:description></rdf:li></rdf:Seq></pdfaSchema:property>
</rdf:li></rdf:Bag></pdfaExtension:schemas></rdf:Description>
"""  # PDF/A allows the pdfuaid properties only with this extension schema (ISO 19005-3, 6.6.2.3)


@dataclass(frozen=True)
class EmbeddedFile:
    """A file inside the PDF. ``name`` is ASCII; ``relationship`` says what it is to the document (ISO 32000-2, 7.11.3)."""

    name: str
    data: bytes
    description: str
    relationship: Literal["Data", "Source", "Supplement"]


def typeset(html: str, *, files: Sequence[EmbeddedFile], at: datetime) -> bytes:
    """Return the PDF of one complete HTML text with ``files`` embedded and dated ``at`` (UTC).

    The HTML has ``lang`` and ``title``, styles inline, and names fonts as ``font:NAME.ttf``. The result is one revision
    with compressed object streams, as signing and checking need it.

    Raises:
        RenderError: something in the HTML was fetched that is no shipped font, or WeasyPrint warned about anything.
    """
    weasyprint = _weasyprint()
    if len({file.data for file in files}) != len(files):
        raise ValueError("files: two are equal; WeasyPrint would give both the relationship of one")
    attachments = [
        weasyprint.Attachment(
            string=file.data, name=file.name, description=file.description, created=at, modified=at,
            relationship=file.relationship,
        )
        for file in sorted(files, key=lambda file: file.name)
    ]  # fmt: skip
    output = io.BytesIO()
    with _strict_logging(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # WeasyPrint leaves its colour profile's file to the collector
        try:
            source = weasyprint.HTML(string=printable(html), url_fetcher=_ShippedFonts())
            document = source.render(pdf_variant="pdf/a-3a")
            document.metadata.generate_rdf_metadata = _with_pdfua(document.metadata.generate_rdf_metadata)
            document.write_pdf(
                output, pdf_variant="pdf/a-3a", attachments=attachments, finisher=_dedupe_associated_files
            )
        except weasyprint.urls.FatalURLFetchingError as error:
            raise RenderError(f"the document asks for something outside itself: {error}") from error
    return _rewrite(output.getvalue())


def _weasyprint() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No fonts configured in FontConfig")  # ours are enough
        import weasyprint
    return weasyprint


def printable(text: str) -> str:
    """Return ``text`` with every character that would not be seen as itself written as ⟨U+XXXX⟩."""
    shown = _shown_characters()
    bad = {character for character in set(text) if character not in shown}
    return text.translate({ord(character): f"⟨U+{ord(character):04X}⟩" for character in bad}) if bad else text


@functools.cache
def _shown_characters() -> frozenset[str]:
    everywhere = frozenset[int]().union(*(_character_map(name) for name in _EVERYWHERE))
    text = frozenset.intersection(*(_character_map(name) for name in _TEXT))
    return frozenset("\n\t") | {character for character in map(chr, everywhere | text) if _is_plain(character)}


def _is_plain(character: str) -> bool:
    """Not a control, format or private character, no combining mark, nothing that runs from right to left."""
    return unicodedata.category(character)[0] not in "CM" and unicodedata.bidirectional(character) in _BIDI_SAFE


def _character_map(name: str) -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with TTFont(io.BytesIO(_font(f"{name}.ttf")), lazy=True) as font:
        return frozenset(font.getBestCmap())


def _font(name: str) -> bytes:
    return importlib.resources.files("dossier.templates").joinpath("fonts", name).read_bytes()


class _ShippedFonts:
    """WeasyPrint's URL fetcher: answers for the shipped fonts and stops the rendering at anything else."""

    _fail_on_errors = True  # WeasyPrint reads this name

    def __call__(self, url: str) -> Any:
        """Return the font ``url`` names.

        Raises:
            PermissionError: any other address.
        """
        from weasyprint.urls import URLFetcherResponse

        name = url.removeprefix(FONT_SCHEME)
        shipped = {entry.name for entry in importlib.resources.files("dossier.templates").joinpath("fonts").iterdir()}
        if name == url or not name.endswith(".ttf") or name not in shipped:
            raise PermissionError(f"{url[:200]!r} is not a shipped font")
        return URLFetcherResponse(url, _font(name), {"Content-Type": "font/ttf"})


def _with_pdfua(original: Any) -> Any:
    def generate(variant: str, version: int, conformance: str) -> bytes:
        xmp: bytes = original(variant, version, conformance)
        end = xmp.rindex(b"</rdf:RDF>")
        return xmp[:end] + _PDFUA + xmp[end:]

    return generate


def _dedupe_associated_files(document: Any, pdf: Any) -> None:
    """WeasyPrint lists each attachment twice in the catalog's /AF."""
    import pydyf

    if "AF" in pdf.catalog:
        pdf.catalog["AF"] = pydyf.Array(dict.fromkeys(pdf.catalog["AF"]))


def _rewrite(pdf: bytes) -> bytes:
    """Split the single object stream: pyHanko reads it again for each object, which takes minutes at 100 pages.

    WeasyPrint gives a figure's place in CSS pixels from the top of the page; it is put into the page's own coordinates.
    """
    import pikepdf

    output = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        for element in opened.objects:
            if isinstance(element, pikepdf.Dictionary) and str(element.get("/S")) == "/Figure" and "/A" in element:
                height = float(element.Pg.MediaBox[3])
                left, top, right, bottom = (float(pixels) * _POINTS_PER_PIXEL for pixels in element.A.BBox)
                element.A.BBox = pikepdf.Array([round(v, 3) for v in (left, height - bottom, right, height - top)])
        opened.save(output, object_stream_mode=pikepdf.ObjectStreamMode.generate, deterministic_id=True)
    return output.getvalue()


class _Collect(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _strict_logging() -> Iterator[None]:
    """WeasyPrint logs what it could not do and goes on; a dossier with a hole in it must not exist."""
    logger, handler = logging.getLogger("weasyprint"), _Collect()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if handler.messages:
        raise RenderError(f"WeasyPrint could not typeset this as written: {'; '.join(handler.messages)[:2000]}")
