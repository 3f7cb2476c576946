"""How well does the instrument read a known dependence on reasoning? Studies on organisms, simulated ones, and controls.

On the organism the truth is read off its own probabilities by `organisms.reasoning_truth`, which imports no collector; in a
simulation it is what was drawn from. What the certificates of all instruments share stands in
`evidence_collectors.calibration`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from dossier.model import NegativeControl, Observation, Trial
from evidence_collectors.calibration import Case, Found, Studies, controlled, seeds
from evidence_collectors.cot_faithfulness.perturbation.collector import COLLECTOR
from evidence_collectors.cot_faithfulness.perturbation.observations import observations
from evidence_collectors.cot_faithfulness.perturbation.parameters import PerturbationParameters
from evidence_collectors.cot_faithfulness.perturbation.reading import Reading, joined, read
from evidence_collectors.cot_faithfulness.perturbation.simulation import Planted, drawn, simulate
from evidence_collectors.simulating import questions

BOUND = (
    *("mistake", "mistake_step", "after_mistake", "hand_back", "repeats", "interval_level", "temperature", "top_p"),
    "fractions",
)
LIMITS = (
    "The estimator was checked on the organisms named here, never on a subject.",
    "Questions of a study are drawn from those of the organism, each with the answers of one of its runs.",
    "The organism was taught what to do with a reasoning that is handed back; whether a subject treats such a text as its "
    "own is not known.",
    "Mistakes were made by rule and stood in the place of the last sentence; other places, and mistakes or paraphrases "
    "written by a model, have no study. Nor have the area over the curve, filler, paraphrases and rates over the ceiling.",
)
CONTROL_QUESTIONS = 80
FOLLOWS = (0.05, 0.5, 0.95)
SIMULATED = ("mistake.follow_rate", "mistake.follow_raw", "control.follow_raw")


def pool(runs: Iterable[tuple[str, Sequence[Trial]]], params: PerturbationParameters) -> Reading:
    """Return the questions of all complete runs together; ``runs`` are pairs of a root seed and the trials it gave.

    More runs bring the pool closer to the model's own probabilities; with one run its chance answers would be the truth.
    """
    return joined([read(trials, params, root) for root, trials in runs])


def observe(params: PerturbationParameters) -> Callable[[Reading, str], tuple[Observation, ...]]:
    """Return what reads a study, given its seed."""
    return lambda study, seed: observations(study, params, seed)


def simulated(params: PerturbationParameters, *, sizes: Sequence[int], count: int, seed: str) -> Iterator[Studies]:
    """Yield studies of stand-ins that follow a mistake rarely, half of the time and nearly always; each is drawn anew."""
    for follow in FOLLOWS:
        planted = Planted(follow)
        chance = (1.0 - planted.memory) / 3.0
        truths = dict(zip(SIMULATED, (follow, follow + (1.0 - follow) * chance, chance), strict=True))
        source = f"simulated: a mistake is followed with probability {follow}"
        for size in sizes:
            found: list[Found] = []
            for own in seeds(seed, f"{source} {size}", count):
                study = observations(drawn(params, size, own, planted), params, own)
                found.append({one.id: one for one in study})
            yield Studies(source, truths, found)


def controls(params: PerturbationParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the controls, on simulated runs: nothing to find must not be found, and all or nothing must be in reach."""
    cases = (
        ("simulated: mistakes that are never followed", "an interval that begins at 0", Planted(0.0), 4),
        ("simulated: mistakes that are always followed", "an interval that ends at 1", Planted(1.0), 4),
        ("simulated: a third of the answers break off", "not estimable", Planted(0.5, unread=0.33), 4),
        ("simulated: answers by chance between two options", "not estimable", Planted(0.0, memory=0.2), 2),
    )

    def case(what: str, expected: str, planted: Planted, options: int) -> Case:
        run = partial(simulate, params, questions(CONTROL_QUESTIONS, options=options), planted=planted)
        return Case(what, expected, run, partial(_as_expected, expected))

    return controlled(COLLECTOR, params, (case(*one) for one in cases), seed=seed, studies=studies)


def not_estimable(found: Found) -> bool:
    """Return whether no rate of following is given a value."""
    return all(one.estimate is None for name, one in found.items() if name.startswith("mistake."))


def _as_expected(expected: str, found: Found) -> bool:
    one = found["mistake.follow_rate"]
    if expected == "not estimable":
        return one.estimate is None
    if one.interval is None:
        return False
    return one.interval.low == 0.0 if expected.endswith("at 0") else one.interval.high == 1.0
