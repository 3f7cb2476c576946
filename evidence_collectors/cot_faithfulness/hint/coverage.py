"""Do the intervals hold the truth as often as they say? Simulated studies whose truth is known before anything is drawn.

``python -m evidence_collectors.cot_faithfulness.hint.coverage [--studies 2000] [--seed 0]`` prints the table that stands
in `estimates`. A simulated question has its own disclosure rate, drawn from Beta(2 f, 2 (1 - f)); with probability
``use`` the hint is followed, otherwise the answer lands on each other option with probability ``noise``. The truth f is a
parameter of this module and never an output of the estimator.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from dossier.statistics import bootstrap_weights
from evidence_collectors.cot_faithfulness.hint.estimates import alpha, alpha_resampled, disclosure, mean, raw_rate
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES, Family
from evidence_collectors.cot_faithfulness.hint.reading import COLUMNS, Cell, Hint, Reading

RATES = (0.05, 0.25, 0.39, 0.9)
SIX = (0.55, 0.05, 0.30, 0.12, 0.25, 0.39)  # the last case: the mean of six families on the same questions
SWITCHES = (30, 60, 100, 300)
CONCENTRATION = 2.0  # of the Beta over questions: standard deviation .28 at a mean of .39


@dataclass(frozen=True)
class World:
    """What is planted: disclosure among hint-caused switches, hint use, and random switching per option."""

    disclosure: float
    use: float = 0.6
    noise: float = 0.05
    options: int = 4
    repeats: int = 1

    @property
    def switch_rate(self) -> float:
        """The share of eligible pairs that switch to the hint."""
        return self.use + (1.0 - self.use) * self.noise


@dataclass(frozen=True)
class Coverage:
    """How the interval did over the studies.

    ``percentile`` is the coverage of the plain bootstrap, ``resampled`` that of the rate by the resampled alpha.
    """

    studies: int
    bias: float
    coverage: float
    width: float
    percentile: float
    resampled: float


def draw(world: World, questions: int, rng: np.random.Generator, *, rank: NDArray[np.float64]) -> Cell:
    """Return a simulated cell; ``rank`` (question,) in [0, 1] places each question's own rate."""
    rates = _question_rates(world.disclosure, rank)
    counts = np.zeros((questions, len(COLUMNS)))
    for _ in range(world.repeats):
        used = rng.random(questions) < world.use
        where = rng.random(questions) / world.noise if world.noise else np.full(questions, np.inf)
        switch = used | (where < 1.0)
        other = ~used & (where >= 1.0) & (where < world.options - 1.0)
        again = rng.random(questions) / world.noise if world.noise else np.full(questions, np.inf)
        mention = used & (rng.random(questions) < rates)
        drawn: dict[str, NDArray[Any] | float] = {
            "pairs": 1.0,
            "eligible": 1.0,
            "switches": switch,
            "others": other,
            "expected": other / (world.options - 2.0),
            "mentions": mention,
            "room": switch * (world.options - 2.0),
            "controls": 1.0,
            "control_switches": again < 1.0,
            "control_expected": ((again >= 1.0) & (again < world.options - 1.0)) / (world.options - 2.0),
        }
        for name, values in drawn.items():
            counts[:, COLUMNS.index(name)] += values
    return Cell(counts)


def reading_of(cells: Mapping[tuple[Family, Hint], Cell], questions: int) -> Reading:
    """Return simulated cells as what is read of a run in which every answer could be read."""
    items = tuple(f"q{number}" for number in range(questions))
    return Reading(items, cells, np.zeros((questions, 3 + len(FAMILIES))), np.zeros((questions, 2)))


def coverage(worlds: Sequence[World], switches: int, studies: int, *, seed: int, resamples: int = 500) -> Coverage:
    """Return how the 95 % interval of the mean over worlds did, in studies expected to see that many switches in each.

    Worlds are hint families asked on the same questions: where one is disclosed readily, so are the others.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    truth = sum(world.disclosure for world in worlds) / len(worlds)
    questions = round(switches / worlds[0].switch_rate / worlds[0].repeats)
    weights = bootstrap_weights(f"{seed:016x}", questions, resamples)
    errors, widths, held = [], [], np.zeros(3)
    for _ in range(studies):
        rank = rng.random(questions)
        cells = [draw(world, questions, rng, rank=rank) for world in worlds]
        part = mean(
            [disclosure(raw_rate(cell, weights, level=0.95), alpha(cell, weights, level=0.95)) for cell in cells]
        )
        other = mean(
            [
                disclosure(raw_rate(cell, weights, level=0.95), alpha_resampled(cell, weights, level=0.95))
                for cell in cells
            ]
        )
        plain = np.quantile(part.resamples, [0.025, 0.975])
        held += [low <= truth <= high for low, high in (part.limits, plain, other.limits)]
        errors.append(part.estimate - truth)
        widths.append(part.limits[1] - part.limits[0])
    own, percentile, resampled = (float(share) for share in held / studies)
    return Coverage(studies, float(np.mean(errors)), own, float(np.mean(widths)), percentile, resampled)


def main(arguments: Sequence[str]) -> None:
    """Print the coverage table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(
        description="Measure how often the intervals of the hint instrument hold the truth."
    )
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    sys.stdout.write("use  noise repeats rate  switches   bias coverage width percentile resampled\n")
    cases: list[tuple[World, ...]] = [(World(rate),) for rate in RATES]
    cases += [(World(rate, use=0.4, noise=0.09),) for rate in RATES]
    cases += [(World(rate, repeats=3),) for rate in RATES]
    cases += [tuple(World(rate) for rate in SIX)]
    for worlds in cases:
        for switches in SWITCHES:
            row = coverage(worlds, switches, options.studies, seed=options.seed)
            rate = sum(world.disclosure for world in worlds) / len(worlds)
            head = f"{worlds[0].use:.2f} {worlds[0].noise:5.2f} {worlds[0].repeats:7d} {rate:4.2f} {switches:9d}"
            figures = (
                f"{row.bias:+7.4f} {row.coverage:8.3f} {row.width:5.3f} {row.percentile:10.3f} {row.resampled:9.3f}"
            )
            sys.stdout.write(f"{head} {figures}\n")
            sys.stdout.flush()


def _question_rates(rate: float, rank: NDArray[np.float64]) -> NDArray[np.float64]:
    if rate in (0.0, 1.0):
        return np.full(len(rank), rate)
    return np.asarray(betaincinv(CONCENTRATION * rate, CONCENTRATION * (1.0 - rate), rank), dtype=np.float64)


if __name__ == "__main__":
    main(sys.argv[1:])
