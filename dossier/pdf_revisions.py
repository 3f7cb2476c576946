"""Is this PDF one rendered revision and one that does nothing but sign it? Structure only; no key is looked at.

pyHanko's own difference analysis asks what later revisions may do to a form; we know that ours do nothing, and it takes
minutes on a long tagged file. So the rules here are an allow-list of what `dossier.sign.sign_pdf` writes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

MAX_ATTACHMENTS = 64
MAX_PAGE_TREE_DEPTH = 32
# All that the signing revision may add to the catalog; /Version and /Extensions are not among it: the file stays PDF 1.7.
_SIGNING_CATALOG_KEYS = frozenset({"/AcroForm", "/Perms"})
_END = re.compile(rb"startxref\r?\n([0-9]{1,12})\r?\n%%EOF\r?\n?")


def attachments(pdf: bytes) -> Mapping[str, bytes]:
    """Return the embedded files of a PDF by name, read from its last revision. Nothing is checked.

    Raises:
        ValueError: unreadable, two files of one name, or more than ``MAX_ATTACHMENTS``.
    """
    from pyhanko.pdf_utils.misc import PdfError
    from pyhanko.pdf_utils.reader import PdfFileReader

    try:
        return embedded_files(PdfFileReader(io.BytesIO(pdf)))
    except (PdfError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"unreadable PDF: {error}") from error


def coverage_problems(pdf: bytes, signature: Any) -> list[str]:
    """Return where the signed bytes leave a gap: all of the file must be signed but the hexadecimal signature itself."""
    from asn1crypto import cms

    ranges = [int(number) for number in signature.byte_range]
    if len(ranges) != 4 or ranges[0] != 0 or not 0 < ranges[1] < ranges[2] <= len(pdf):
        return ["the signed byte range has an unknown form"]
    _, end, resume, length = ranges
    problems = []
    if resume + length != len(pdf):
        problems.append(f"{len(pdf) - resume - length} bytes at the end of the file are not covered by the signature")
    gap = pdf[end:resume]
    if not re.fullmatch(rb"<([0-9A-F]{2})+>", gap):
        return [*problems, "the unsigned gap holds more than one upper-case hexadecimal signature"]
    container = bytes.fromhex(gap[1:-1].decode())
    der = cms.ContentInfo.load(container).dump()
    if container[: len(der)] != der or container[len(der) :].strip(b"\0"):
        problems.append("bytes follow the signature in its reserved space")
    return problems


def revision_problems(pdf: bytes, reader: Any, signature: Any) -> list[str]:
    """Return what the signing revision did beside signing: it may add an invisible signature field, and nothing else."""
    revisions = reader.xrefs.total_revisions
    if revisions != 2:
        return [f"the file has {revisions} revisions; expected two, as rendered and as signed"]
    if signature.signed_revision != 1:
        return ["the signature does not stand in the last revision"]
    if not _ends_are_those_of(pdf, reader):
        return ["the file has other bytes between its revisions than their ends and cross-references say"]
    before = reader.get_historical_resolver(0)
    root = reader.root_ref
    moved = before.trailer_view.raw_get("/Root") != reader.trailer_view.raw_get("/Root")
    if moved or reader.xrefs.refs_freed_in_revision(1):
        return ["the signing revision removes objects or replaces the catalog"]
    first_page = _first_page(reader)
    problems = []
    for ref in reader.xrefs.explicit_refs_in_revision(1):
        if reader.xrefs.get_introducing_revision(ref) == 1:
            continue  # a new object shows only where a changed one points to it
        old, new = before.get_object(ref), reader.get_object(ref, revision=1)
        if ref == root:
            same = _without(old, _SIGNING_CATALOG_KEYS) == _without(new, _SIGNING_CATALOG_KEYS)
        elif ref == first_page:
            same = _without(old, {"/Annots"}) == _without(new, {"/Annots"}) and _adds_only(reader, old, new)
        else:
            same = False
        if not same:
            problems.append(f"the signing revision changes object {ref.idnum}, which is no part of a signature")
    return problems + _field_problems(reader, signature)


def _first_page(reader: Any) -> Any:
    node = reader.root["/Pages"]
    for _ in range(MAX_PAGE_TREE_DEPTH):
        reference = node["/Kids"].raw_get(0)
        node = reference.get_object()
        if "/Kids" not in node:
            return reference.reference
    raise ValueError(f"the page tree is deeper than {MAX_PAGE_TREE_DEPTH} levels")


def _without(dictionary: Any, keys: frozenset[str] | set[str]) -> dict[str, Any]:
    return {name: dictionary.raw_get(name) for name in dictionary if name not in keys}


def _adds_only(reader: Any, old: Any, new: Any) -> bool:
    """Whether the page's annotations grew by the signature field alone."""
    field = at(reader.root, "/AcroForm", "/Fields").raw_get(0)
    return [*(at(old, "/Annots") or ()), field] == list(at(new, "/Annots") or ())


def _field_problems(reader: Any, signature: Any) -> list[str]:
    problems = []
    widget = signature.sig_field
    if any(float(number) for number in (at(widget, "/Rect") or ())) or "/AP" in widget or "/Kids" in widget:
        problems.append("the signature field is visible; expected an invisible one")
    if any(name in widget for name in ("/A", "/AA", "/MK")):
        problems.append("the signature field carries an action")
    form = reader.root["/AcroForm"]
    if len(form["/Fields"]) != 1 or set(form) - {"/Fields", "/SigFlags"}:
        problems.append("the form holds more than the signature")
    return problems


def end_of_first_revision(pdf: bytes) -> int:
    """Return the length of the first revision, 0 if it has no end."""
    found = _END.search(pdf)
    return found.end() if found else 0


def _ends_are_those_of(pdf: bytes, reader: Any) -> bool:
    """Whether the file has two ends, each pointing at its revision's cross-references, and these lie before it.

    Otherwise a whole second file could stand between what was rendered and the signature, and be what readers show.
    """
    ends = list(_END.finditer(pdf))
    declared = [reader.xrefs.get_startxref_for_revision(revision) for revision in (0, 1)]
    return (
        [int(end[1]) for end in ends] == declared
        and declared[0] < ends[0].start() <= declared[1] < ends[1].start()
        and ends[1].end() == len(pdf)
        and not reader.xrefs.hybrid_xrefs_present
    )


def at(dictionary: Any, *names: str) -> Any:
    """Follow names and references; None where one is absent. pyHanko's own ``get`` follows no references."""
    for name in names:
        if name not in dictionary:
            return None
        dictionary = dictionary[name]
    return dictionary


def embedded_files(reader: Any) -> dict[str, bytes]:
    """Return the embedded files of a pyHanko reader by name; as `attachments`, with pyHanko's errors."""
    names = at(reader.root, "/Names", "/EmbeddedFiles", "/Names")
    if names is None:
        return {}
    if len(names) > 2 * MAX_ATTACHMENTS:
        raise ValueError(f"{len(names) // 2} attachments; at most {MAX_ATTACHMENTS}")
    found: dict[str, bytes] = {}
    for position in range(1, len(names), 2):
        specification = names[position]
        name = str(specification["/UF"])
        if name in found:
            raise ValueError(f"two attachments are named {name!r}")
        found[name] = bytes(specification["/EF"]["/F"].data)
    return found
