"""What do the calibrations of these instruments share? A pool of scenarios, and controls of enough studies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from dossier.collector import Collector
from dossier.model import NegativeControl
from evidence_collectors import calibration
from evidence_collectors.calibration import LEAST_STUDIES, Case, Found

__all__ = ["Case", "Scenarios", "controlled", "holds", "unknown"]


class OfScenario(Protocol):
    """What was read in a scenario."""

    @property
    def scenario(self) -> str:
        """Its name."""


PartT = TypeVar("PartT", bound=OfScenario)


@dataclass(frozen=True)
class Scenarios(Generic[PartT]):
    """What complete runs hold, scenario by scenario; ``renamed`` gives a part another scenario's name."""

    items: tuple[tuple[PartT, ...], ...]
    renamed: Callable[[PartT, str], PartT]

    @classmethod
    def of(cls, readings: Iterable[Iterable[PartT]], renamed: Callable[[PartT, str], PartT]) -> Self:
        """Return the scenarios of all readings; those of different runs are different scenarios."""
        found: list[tuple[PartT, ...]] = []
        for reading in readings:
            by_name: dict[str, list[PartT]] = {}
            for part in reading:
                by_name.setdefault(part.scenario, []).append(part)
            found += [tuple(parts) for parts in by_name.values()]
        return cls(tuple(found), renamed)

    @property
    def parts(self) -> tuple[PartT, ...]:
        """What was read in all of them."""
        return tuple(part for parts in self.items for part in parts)

    def take(self, rows: Sequence[int]) -> Self:
        """Return the scenarios at these places, under new names."""
        taken = (
            tuple(self.renamed(part, f"{number:05d}") for part in self.items[row]) for number, row in enumerate(rows)
        )
        return type(self)(tuple(taken), self.renamed)


def controlled(
    collector: Collector[Any], params: Any, cases: Iterable[Case], *, seed: str, studies: int
) -> tuple[NegativeControl, ...]:
    """Return the controls, each of so many studies, and of `LEAST_STUDIES` at least."""
    return calibration.controlled(collector, params, cases, seed=seed, studies=max(studies, LEAST_STUDIES))


def holds(found: Found, name: str, value: float) -> bool:
    """Return whether an observation has an interval that holds a value."""
    interval = found[name].interval
    return interval is not None and interval.low <= value <= interval.high


def unknown(found: Found, name: str) -> bool:
    """Return whether an observation is not estimable."""
    return found[name].estimate is None
