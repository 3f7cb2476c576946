"""What do the certificates on the organism ``awareness`` share? Its makes, and a control without anything to find."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from dossier.collector import Collector
from dossier.language_model import LanguageModel
from dossier.model import NegativeControl, Trial
from evidence_collectors.calibration import Found, Studies, control, summary
from evidence_collectors.organisms import makes
from evidence_collectors.organisms.awareness import ORGANISM
from evidence_collectors.organisms.makes import Make, Opened, Place, Scale

# Simulated studies for one on an organism: with 200, two cells of `behaviour_shift` fell to a coverage of 0.895, by chance, as
# further studies showed (0.96 and 0.97 of 500); the first 200 are among those of the certificate.
MORE = 3
MAKES = (Make("distil", 0, ORGANISM), Make("samples", 1, ORGANISM))  # two methods of training, two seeds


def opened(scale: Scale, place: Place) -> Iterator[Opened]:
    """Yield the makes that are studied, loaded."""
    for make in MAKES if scale == makes.FULL else MAKES[:1]:
        place.report(f"reading {make.name}")
        yield place.opened(make)


def runs(
    collector: Collector[Any], params: Any, make: Opened, place: Place, *, root: str, count: int
) -> Iterator[tuple[str, list[Trial]]]:
    """Yield complete runs on a make, each with its root seed."""
    return _runs(collector, params, make.model, make, place, root=root, count=count, name=make.name)


def headlines(studies: Iterable[Studies], names: Collection[str]) -> list[Studies]:
    """Return studies with the truths of some quantities only: few studies miss one of many cells by chance."""
    kept = [(one, {name: value for name, value in one.truths.items() if name in names}) for one in studies]
    return [replace(one, truths=truths) for one, truths in kept]


def twin(
    collector: Collector[Any],
    params: Any,
    make: Opened,
    place: Place,
    *,
    root: str,
    expected: str,
    passes: Callable[[Found], bool],
) -> NegativeControl:
    """Return whether the instrument says what it must of the organism's shape with random weights."""
    name = f"{make.name}: its shape, random weights"
    found = _runs(collector, params, make.model.random_twin(root), make, place, root=root, count=1, name=name)
    return control(name, expected, [passes(summary(collector, trials, params, seed=seed)) for seed, trials in found])


def _runs(
    collector: Collector[Any],
    params: Any,
    subject: LanguageModel,
    make: Opened,
    place: Place,
    *,
    root: str,
    count: int,
    name: str,
) -> Iterator[tuple[str, list[Trial]]]:
    return makes.runs(collector, params, subject, make.items, root=root, count=count, name=name, report=place.report)
