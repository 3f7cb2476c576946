"""What do the certificates on the organism ``awareness`` share? Its makes, and how much is simulated."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from evidence_collectors.calibration import Studies
from evidence_collectors.organisms.awareness import ORGANISM
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Make, Opened, Place, Scale

# Simulated studies for one on an organism: with 200, two cells of `behaviour_shift` fell to a coverage of 0.895, by chance, as
# further studies showed (0.96 and 0.97 of 500); the first 200 are among those of the certificate.
MORE = 3
MAKES = (Make("distil", 0, ORGANISM), Make("samples", 1, ORGANISM))  # two methods of training, two seeds


def opened(scale: Scale, place: Place) -> Iterator[Opened]:
    """Yield the makes that are studied, loaded."""
    for make in MAKES if scale == makes.FULL else MAKES[:1]:
        place.report(f"reading {make.name}")
        yield place.opened(make)


def headlines(studies: Iterable[Studies], names: Collection[str]) -> list[Studies]:
    """Return studies with the truths of some quantities only: few studies miss one of many cells by chance."""
    kept = [(one, {name: value for name, value in one.truths.items() if name in names}) for one in studies]
    return [replace(one, truths=truths) for one, truths in kept]
