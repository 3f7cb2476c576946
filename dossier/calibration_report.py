"""What did an instrument read where the truth is known? Its certificate in a table, and all of them as one Markdown page.

`docs/calibration.md` is made from the shipped certificates by ``dossier calibrate --page``; nothing in it is typed by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dossier.model import Calibration, CalibrationCell, Sensitivity

_HEAD = """# Calibration

What each instrument read on organisms whose truth is known, and where there was nothing to find. Made by
`dossier calibrate --page` from the certificates under `samples/calibration/`; evidence cites a certificate by digest and
the PDF prints it. A certificate says "estimator checked on these organisms", never anything about a subject, and none of these
runs was on weights of a released model.

Truth is computed by code that imports no instrument. "Planted" is what the training of an organism aimed at, "truth" what
it came to, read off the model itself, or a formula where trials were simulated. "Measured" is the mean over studies,
"coverage" the share of studies whose interval held the truth, with its Monte-Carlo standard error; a 95 % interval should
hold it in about 95 %. Where the truth is an AUROC or a rate near 0 or 1, or where an interval is exact, it holds it more
often. "Detects" is the smallest effect that a two-sided test at 5 % finds with a power of 80 % at this n. A dash means that
nothing was planted under that name, or that the effect cannot be said. `*.` stands for any group of an instrument's
quantities, such as any attack.
"""


@dataclass(frozen=True)
class Checked:
    """All studies of one quantity: ranges over its cells, from the worst on. ``place`` is the first cell's."""

    quantity: str
    place: int
    truths: tuple[float, float]
    n: tuple[int, int]
    studies: int
    estimable: int
    bias: float
    coverage: tuple[float, float]


def by_quantity(certificate: Calibration) -> tuple[Checked, ...]:
    """Return a row for each quantity of a certificate, in the order of its cells; ``bias`` is the largest of the means."""
    found: dict[str, list[tuple[int, CalibrationCell]]] = {}
    for place, cell in enumerate(certificate.cells):
        found.setdefault(cell.quantity, []).append((place, cell))
    return tuple(_checked(places) for places in found.values())


def _checked(found: Sequence[tuple[int, CalibrationCell]]) -> Checked:
    cells = [cell for _, cell in found]
    return Checked(
        quantity=cells[0].quantity,
        place=found[0][0],
        truths=(min(cell.truth for cell in cells), max(cell.truth for cell in cells)),
        n=(min(cell.n_low for cell in cells), max(cell.n_high for cell in cells)),
        studies=sum(cell.studies for cell in cells),
        estimable=sum(cell.estimable for cell in cells),
        bias=max((cell.mean_bias for cell in cells), key=abs),
        coverage=(min(cell.coverage for cell in cells), max(cell.coverage for cell in cells)),
    )


def markdown(found: Mapping[str, Calibration]) -> str:
    """Return the page: a section for each certificate, in order of kind; ``found`` is by where they lie."""
    ordered = sorted(found.items(), key=lambda one: (one[1].kind, one[0]))
    return _HEAD + "".join(_section(path, certificate) for path, certificate in ordered)


def _section(path: str, certificate: Calibration) -> str:
    organisms = ", ".join(f"{file.name} (`{file.sha256[:12]}`)" for file in certificate.organisms)
    lines = [
        f"\n## {certificate.kind}\n",
        f"Protocol {certificate.protocol_version}, analysis {certificate.analysis_version}; `{path}`.\n",
        f"Organisms: {organisms}.\n",
        f"{certificate.truth}\n",
        "| quantity | where | planted | truth | measured | bias | coverage (s.e.) | detects | n | studies, estimable |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *_cells(certificate.cells),
        "\n| control | expected | passed |",
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


def _cells(cells: Sequence[CalibrationCell]) -> Iterator[str]:
    for cell in cells:
        known = "-" if cell.planted is None else f"{cell.planted:.3f}"
        detects = "-" if cell.smallest_detectable is None else f"{cell.smallest_detectable:.3f}"
        yield (
            f"| {_plain(cell.quantity)} | {_plain(cell.source)} | {known} | {cell.truth:.3f} | "
            f"{cell.truth + cell.mean_bias:.3f} | {cell.mean_bias:+.3f} | "
            f"{cell.coverage:.3f} ({cell.coverage_standard_error:.3f}) | {detects} | "
            f"{cell.n_low} to {cell.n_high} | {cell.studies}, {cell.estimable} |"
        )


def _plain(text: str) -> str:
    """Return a text that cannot end a table's cell."""
    return " ".join(text.replace("|", "\\|").split())


def planted_counts(found: Sensitivity) -> str:
    """Return in how many copies the instrument found what was planted, and in how many shams it raised a false alarm.

    A positive copy it can say nothing about counts as missed. A sham it can say nothing about counts neither as an alarm nor
    as silence: it is counted by itself.
    """
    said = {
        positive: Counter(one.flagged for one in found.plants if one.positive == positive) for positive in (True, False)
    }
    copies, shams = said[True], said[False]
    judged = shams[True] + shams[False]
    parts = [f"It found the behaviour in {copies[True]} of {copies.total()} copies that were to show it"]
    if copies[None]:
        parts[0] += f" ({copies[None]} of the others not estimable)"
    parts.append(f"raised a false alarm on {shams[True]} of {judged} shams that it could judge")
    if shams[None]:
        parts.append(
            f"could judge {shams[None]} of {shams.total()} shams not at all, which says nothing of false alarms"
        )
    if len(parts) == 2:
        return f"{parts[0]} and {parts[1]}."
    return f"{parts[0]}, {parts[1]}, and {parts[2]}."
