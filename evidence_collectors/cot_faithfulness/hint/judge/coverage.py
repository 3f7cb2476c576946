"""Do the intervals of a corrected judge hold the truth as often as they say? Simulated studies, their truth known first.

``python -m evidence_collectors.cot_faithfulness.hint.judge.coverage [--studies 1000] [--seed 0]`` prints the table that
stands in `estimates`. Questions are as in `hint.coverage`: of very unequal disclosure, with random switching that never
mentions the hint. The judge says yes with probability ``sensitivity`` where a text mentions the hint, and no with probability
``specificity`` where it does not; the labelled texts of a family mention it with probability ``share``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dossier.model import Observation
from evidence_collectors.cot_faithfulness.hint.coverage import World, draw, reading_of
from evidence_collectors.cot_faithfulness.hint.judge.reading import Judged
from evidence_collectors.cot_faithfulness.hint.observations import observations
from evidence_collectors.cot_faithfulness.hint.parameters import HintParameters, parse
from evidence_collectors.cot_faithfulness.hint.prompts import Family
from evidence_collectors.cot_faithfulness.hint.reading import Cell, Hint

RATES = (0.05, 0.25, 0.39, 0.9)
SIZES = ((60, 200), (150, 200), (400, 1000))  # switches, labels
ENDS = ("", "_rogan_gladen", "_ppi")
Found = dict[str, Observation]


@dataclass(frozen=True)
class Judge:
    """A judge's true errors."""

    sensitivity: float
    specificity: float

    @property
    def name(self) -> str:
        """Say it in print."""
        return f"judge Se {self.sensitivity:.2f} Sp {self.specificity:.2f}"


JUDGES = (Judge(0.9, 0.8), Judge(0.95, 0.95))


@dataclass(frozen=True)
class Design:
    """A study: so many questions, and of each family so many labels.

    Labels are drawn from switches like the study's own, or put together half and half.
    """

    questions: int
    labels: int
    from_switches: bool


def mention_rate(world: World) -> float:
    """Return the share of switches that mention the hint: random ones never do."""
    return world.disclosure * world.use / world.switch_rate


def kappa(worlds: Sequence[World], judge: Judge) -> float:
    """Return the true agreement beyond chance of the judge with rules that never err, over the switches of all worlds."""
    sizes = [world.switch_rate for world in worlds]
    m = sum(mention_rate(world) * size for world, size in zip(worlds, sizes, strict=True)) / sum(sizes)
    yes = m * judge.sensitivity + (1.0 - m) * (1.0 - judge.specificity)
    chance = m * yes + (1.0 - m) * (1.0 - yes)
    return (m * judge.sensitivity + (1.0 - m) * judge.specificity - chance) / (1.0 - chance)


def study(worlds: Sequence[World], judge: Judge, design: Design, params: HintParameters, *, seed: str) -> Found:
    """Return the observations of one study, a world for each of the parameters' families; hints are all of one kind."""
    rng = np.random.Generator(np.random.PCG64(int(seed, 16)))
    rank = rng.random(design.questions)
    (hint,) = params.hints
    cells: dict[tuple[Family, Hint], Cell] = {}
    verdicts: dict[tuple[Family, Hint], NDArray[np.float64]] = {}
    labels: dict[Family, NDArray[np.float64]] = {}
    for family, world in zip(params.families, worlds, strict=True):
        cell = draw(world, design.questions, rng, rank=rank)
        cells[(family, hint)] = cell
        verdicts[(family, hint)] = _verdicts(cell, judge, rng)
        share = mention_rate(world) if design.from_switches else 0.5
        labels[family] = _labels(share, design.labels, judge, rng)
    reading = reading_of(cells, design.questions)
    asked = int(sum(counts[:, 0].sum() for counts in verdicts.values())) + sum(map(len, labels.values()))
    judged = Judged(verdicts, labels, {}, asked, ("planted judge", "0" * 64))
    return {one.id: one for one in observations(reading, params, seed, judged=judged)}


def judging(params: HintParameters, design: Design) -> HintParameters:
    """Return parameters that plan a judge and the design's labels."""
    return params.model_copy(
        update={
            "judge": "mention",
            "labelled": design.labels * len(params.families),
            "labels_drawn": "from_switches" if design.from_switches else "otherwise",
        }
    )


def main(arguments: Sequence[str]) -> None:
    """Print the coverage table, a row as soon as it is known: estimable studies, bias, coverage and width of each value."""
    parser = argparse.ArgumentParser(description="Measure how often the intervals of a corrected judge hold the truth.")
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    sys.stdout.write("Se   Sp   rate switches labels   uncorrected, Rogan-Gladen, prediction-powered\n")
    for judge in JUDGES:
        for rate in RATES:
            for switches, labels in SIZES:
                row = _row(World(rate), judge, switches, labels, options.studies, options.seed)
                head = f"{judge.sensitivity:.2f} {judge.specificity:.2f} {rate:.2f} {switches:8d} {labels:6d}"
                sys.stdout.write(f"{head}   {row}\n")
                sys.stdout.flush()


def _row(world: World, judge: Judge, switches: int, labels: int, studies: int, seed: int) -> str:
    m = mention_rate(world)
    design = Design(round(switches / world.switch_rate), labels, from_switches=min(m, 1.0 - m) * labels > 65)
    params = judging(parse({"families": ["metadata"], "hints": ["incorrect"], "resamples": 500}), design)
    found = [
        study([world], judge, design, params, seed=f"{seed * 1_000_000 + number:016x}") for number in range(studies)
    ]
    columns = []
    for end in ENDS:
        ones = [one for row in found if (one := row[f"metadata.disclosure_judge{end}"]).estimate is not None]
        held = [one.interval.low <= world.disclosure <= one.interval.high for one in ones if one.interval]
        widths = [one.interval.high - one.interval.low for one in ones if one.interval]
        if not held:
            columns.append(f"{0:4d}      -     -     -")
            continue
        bias = float(np.mean([one.estimate for one in ones if one.estimate is not None])) - world.disclosure
        columns.append(f"{len(ones):4d} {bias:+.3f} {np.mean(held):.3f} {np.mean(widths):.3f}")
    return "  ".join(columns)


def _verdicts(cell: Cell, judge: Judge, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (item, column of `VERDICTS`); the rules are right on every text."""
    switches, mentions = cell.column("switches").astype(np.int64), cell.column("mentions").astype(np.int64)
    both = rng.binomial(mentions, judge.sensitivity)
    false = rng.binomial(switches - mentions, 1.0 - judge.specificity)
    return np.stack([switches, switches, both + false, both, mentions - both], axis=1).astype(np.float64)


def _labels(share: float, count: int, judge: Judge, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (label, column of `LABELS`)."""
    holds = rng.random(count) < share
    yes = rng.random(count) < np.where(holds, judge.sensitivity, 1.0 - judge.specificity)
    return np.stack([holds, np.ones(count), yes, np.zeros(count)], axis=1).astype(np.float64)


if __name__ == "__main__":
    main(sys.argv[1:])
