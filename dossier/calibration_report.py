"""What did every instrument read where the truth is known? The certificates as one Markdown page.

`docs/calibration.md` is made from the shipped certificates by ``dossier calibrate --write``; nothing in it is typed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dossier.model import Calibration, CalibrationCell, Reference

_HEAD = """# Calibration

What each instrument read on organisms whose truth is known, and where there was nothing to find. Made by
`dossier calibrate --write` from the certificates under `samples/organisms/`; evidence cites a certificate by digest and the
PDF prints it. A certificate says "estimator checked on these organisms", never anything about a subject, and none of these
runs was on weights of a released model.

Truth is computed by code that imports no instrument. "Measured" is the mean over studies, "coverage" the share of studies
whose interval held the truth, with its Monte-Carlo standard error; a 95 % interval should hold it in about 95 %. A dash means
that nothing was planted under that name: the truth is then a formula or read off the organism.
"""


@dataclass(frozen=True)
class Entry:
    """A certificate, where it lies, and what is known about its organism."""

    path: str
    certificate: Calibration
    reference: Reference | None


def markdown(found: Sequence[Entry]) -> str:
    """Return the page: a section for each certificate, in order of kind and path."""
    ordered = sorted(found, key=lambda one: (one.certificate.kind, one.path))
    return _HEAD + "".join(_section(one) for one in ordered)


def _section(one: Entry) -> str:
    certificate = one.certificate
    planted = {value.quantity: value.planted for value in one.reference.values} if one.reference else {}
    organisms = ", ".join(f"{file.name} (`{file.sha256[:12]}`)" for file in certificate.organisms)
    lines = [
        f"\n## {certificate.kind}\n",
        f"Protocol {certificate.protocol_version}, analysis {certificate.analysis_version}; `{one.path}`.\n",
        f"Organisms: {organisms}.\n",
        f"{certificate.truth}\n",
        "| quantity | planted | truth | measured | bias | coverage (s.e.) | n | studies, estimable |",
        "|---|---|---|---|---|---|---|---|",
        *_cells(certificate.cells, planted),
        "\n| where there is nothing to find | expected | passed |",
        "|---|---|---|",
        *(
            f"| {_plain(control.what)} | {_plain(control.expected)} | {control.passed} of {control.studies} |"
            for control in certificate.negative_controls
        ),
        "",
        *(f"- {_plain(text)}" for text in certificate.limits),
        "",
    ]
    return "\n".join(lines)


def _cells(cells: Sequence[CalibrationCell], planted: Mapping[str, float]) -> Iterator[str]:
    for cell in cells:
        known = f"{planted[cell.quantity]:.3f}" if cell.quantity in planted else "-"
        yield (
            f"| {_plain(cell.quantity)} | {known} | {cell.truth:.3f} | {cell.truth + cell.mean_bias:.3f} | "
            f"{cell.mean_bias:+.3f} | {cell.coverage:.3f} ({cell.coverage_standard_error:.3f}) | "
            f"{cell.n_low} to {cell.n_high} | {cell.studies}, {cell.estimable} |"
        )


def _plain(text: str) -> str:
    """Return a text that cannot end a table's cell."""
    return " ".join(text.replace("|", "\\|").split())
