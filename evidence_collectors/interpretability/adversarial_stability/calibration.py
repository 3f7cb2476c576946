"""Does the instrument read a known truth? Studies on organisms, simulated ones, and controls without anything to find.

On an organism the truth is read off by `organisms.stability_truth`, which imports no collector; in a simulation it is a
formula. What is made of all texts together (cosines) is studied in simulations only. What the certificates of all
instruments share stands in `evidence_collectors.calibration`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dossier.model import NegativeControl, Observation, Trial
from evidence_collectors.calibration import (
    Case,
    Found,
    Studies,
    controlled,
    draw,
    read_runs,
    renamed,
    seeds,
    summary,
)
from evidence_collectors.interpretability.adversarial_stability.collector import COLLECTOR
from evidence_collectors.interpretability.adversarial_stability.parameters import CLEAN, StabilityParameters, labels
from evidence_collectors.interpretability.adversarial_stability.reading import ANSWER
from evidence_collectors.interpretability.adversarial_stability.simulation import TRAIN, Planted, simulate
from evidence_collectors.interpretability.adversarial_stability.trials import REPORTED

BOUND = (
    "target_fpr",
    "interval_level",
)  # what else is chosen belongs to the model that is read, or only adds to the nulls
LIMITS = (
    "The estimator was checked on the organisms named here and on simulated runs, never on a subject.",
    "The direction and the threshold are taken as frozen: how well they fit is another instrument's matter.",
    "Texts of a study were independent; texts of a subject that move together make its intervals too short.",
    "A margin over random directions was studied in simulations, with a hundred of them; its truth is over what a random "
    "direction reads in one of twenty cases at the study's own n.",
    "The worst of several attacks alike in strength lies beyond each one's truth, by up to a standard error; how its interval "
    "covers was seen for retention only. Overlaps of features and what survives of a core have no cell.",
)
SIMULATED = {  # the case an attack is planted with
    "erased": Planted(kept=0.1, shown=0.1, scatter=0.2, sideways=0.5),
    "halved": Planted(kept=0.5, shown=0.6, shift=0.1),
    "kept": Planted(kept=0.95, shown=0.2),
}
WORST_OF_TWO = ("projection_retention", "gap_retention")
CONTROL_TEXTS = 40
LARGE_TRAIN = 80
NO_SIGNAL = "what is kept is not estimable, no margin over random directions above 0"
KEPT = ("projection_retention", "gap_retention", "shift_cosine", "refit_cosine")


# --- studies -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pool:
    """A complete run, and the answers of others on the same texts: what a text is read as is the same in all of them.

    Attributes:
        fixed: the trials every study has.
        read: what was read of each reported text.
        answers: the answers to each reported positive text, run by run.
    """

    fixed: Sequence[Trial]
    read: Mapping[str, Sequence[Trial]]
    answers: Mapping[str, Sequence[Sequence[Trial]]]

    @staticmethod
    def of(run: Sequence[Trial], others: Sequence[Sequence[Trial]]) -> Pool:
        """Return what studies are drawn from; of ``others`` only the answers are used."""
        reported = {
            trial.key.item for trial in run if trial.key.arm == CLEAN and trial.measurements.get("split") in REPORTED
        }
        read: dict[str, list[Trial]] = {name: [] for name in sorted(reported)}
        fixed = [trial for trial in run if trial.key.item not in reported]
        for trial in run:
            if trial.key.item in reported and not trial.key.arm.endswith(ANSWER):
                read[trial.key.item].append(trial)
        answers: dict[str, list[list[Trial]]] = {}
        for own in (run, *others):
            given: dict[str, list[Trial]] = {}
            for trial in own:
                if trial.key.item in reported and trial.key.arm.endswith(ANSWER):
                    given.setdefault(trial.key.item, []).append(trial)
            for name, trials in given.items():
                answers.setdefault(name, []).append(trials)
        return Pool(fixed, read, answers)

    def study(self, size: int, *, seed: str) -> list[Trial]:
        """Return a study of so many texts of each class, drawn with replacement, each with the answers of a drawn run."""
        groups = {
            "positive": [f"{name} {run}" for name, given in sorted(self.answers.items()) for run in range(len(given))],
            "negative": [name for name in self.read if name not in self.answers],
        }
        found = list(self.fixed)
        for drawn in draw(groups, size, seed=seed).values():
            for unit, count in sorted(drawn.items()):
                name, _, run = unit.partition(" ")
                trials = [*self.read[name], *(self.answers[name][int(run)] if run else ())]
                found += [renamed(trial, f"{run or 0}-{copy}") for copy in range(count) for trial in trials]
        return found


def studied(
    pool: Pool,
    truths: Mapping[str, Mapping[str, float]],
    params: StabilityParameters,
    *,
    source: str,
    sizes: Sequence[int],
    count: int,
    seed: str,
) -> Iterator[Studies]:
    """Yield studies of each size, and in them each arm by itself.

    Args:
        pool: what studies are drawn from.
        truths: true value by arm and quantity.
        params: the parameters of the runs.
        source: the organism.
        sizes: texts of each class in a study.
        count: studies of each size.
        seed: decides which texts are drawn.
    """
    for size in sizes:
        found = [
            summary(COLLECTOR, pool.study(size, seed=own), params) for own in seeds(seed, f"{source} {size}", count)
        ]
        for arm, values in truths.items():
            known = {f"*.{name}": value for name, value in values.items()}
            yield Studies(f"{source}, {arm}", known, [of_arm(one, arm) for one in found])


def simulated(params: StabilityParameters, *, sizes: Sequence[int], count: int, seed: str) -> Iterator[Studies]:
    """Yield simulated studies of each size at each planted case."""
    (first, *_), reduced = _attacks(params), _reduced(params, 1)
    for size in sizes:
        for case, planted in SIMULATED.items():
            run = partial(simulate, reduced, size, attacks={first: planted}, train=_train(size))
            found = read_runs(COLLECTOR, reduced, run, what=f"{case} {size}", count=count, seed=seed)
            truths = {**planted.truths(params), "auroc_margin": planted.margin(size)}
            known = {f"*.{name}": value for name, value in truths.items()}
            yield Studies(f"simulated, {case}", known, [of_arm(one, first) for one in found])
        unchanged = {"*.auroc_margin": Planted(1.0, 0.95, scatter=0.0).margin(size)}  # whatever the case
        yield Studies("simulated, no attack", unchanged, [of_arm(one, CLEAN) for one in found])


def worst_of_two(params: StabilityParameters, *, size: int, count: int, seed: str) -> Studies:
    """Return simulated studies of two attacks alike in strength: what is said of the worse one is about them both.

    Raises:
        ValueError: the parameters plan fewer than two attacks.
    """
    pair, two, planted = _attacks(params)[:2], _reduced(params, 2), SIMULATED["halved"]
    if len(pair) < 2:
        raise ValueError("no two attacks are planned")
    run = partial(simulate, two, size, attacks=dict.fromkeys(pair, planted))
    found = read_runs(COLLECTOR, two, run, what="two alike", count=count, seed=seed)
    known = {f"worst.{name}": planted.truths(params)[name] for name in WORST_OF_TWO}
    return Studies("simulated, two attacks alike", known, found)


def of_arm(found: Found, arm: str) -> Found:
    """Return what was said of one arm."""
    return {name: one for name, one in found.items() if name.startswith(f"{arm}.")}


# --- controls ------------------------------------------------------------------------------------------------------


def controls(params: StabilityParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the simulated controls: what changes nothing, what erases, what flips the behaviour alone, and no signal."""
    (attack, *_), reduced = _attacks(params), _reduced(params, 1)
    cases: tuple[tuple[str, str, Planted, Callable[[Found], bool]], ...] = (
        (
            "simulated: an attack that changes nothing",
            "retention holds 1, no change of behaviour",
            Planted(1.0, 0.95, scatter=0.0),
            lambda found: _holds(found[f"{attack}.projection_retention"], 1.0) and _same_behaviour(found, attack),
        ),
        (
            "simulated: an attack that erases the signal",
            "retention holds 0 and ends below 0.5",
            Planted(0.0, 0.05),
            lambda found: _holds(found[f"{attack}.projection_retention"], 0.0, below=0.5),
        ),
        (
            "simulated: an attack that only flips the behaviour",
            "flagged inside where it is lost",
            Planted(1.0, 0.05, scatter=0.05),
            lambda found: _low(found.get(f"{attack}.flagged_when_lost"), otherwise=1.0) > 0.5,
        ),
        (
            "simulated: a direction that tells nothing apart",
            NO_SIGNAL,
            Planted(1.0, 0.95, signal=0.0),
            nothing,
        ),
        (
            "simulated: classes that every direction tells apart",
            "no margin over random directions above 0",
            Planted(1.0, 0.95, everywhere=5.0),
            lambda found: no_margin(found, (CLEAN, attack)),
        ),
    )
    return controlled(
        COLLECTOR,
        reduced,
        (
            Case(what, expected, partial(simulate, reduced, CONTROL_TEXTS, attacks={attack: planted}), says)
            for what, expected, planted, says in cases
        ),
        seed=seed,
        studies=studies,
    )


def nothing(found: Found) -> bool:
    """Return whether nothing is said to be kept, with a reason, and no margin is claimed without an attack."""
    arms = sorted({name.partition(".")[0] for name in found if name.endswith(f".{KEPT[0]}")})
    kept = [found[f"{arm}.{name}"] for arm in arms for name in KEPT if f"{arm}.{name}" in found]
    unsaid = all(one.estimate is None and one.reasons for one in kept)
    return bool(kept) and unsaid and no_margin(found, (CLEAN,))


def no_margin(found: Found, arms: Sequence[str]) -> bool:
    """Return whether in none of these arms the direction tells the classes apart better than random ones."""
    return all(_low(found[f"{arm}.auroc_margin"], otherwise=0.0) <= 0.0 for arm in arms)


def _low(one: Observation | None, *, otherwise: float) -> float:
    return otherwise if one is None or one.interval is None else one.interval.low


def _holds(one: Observation, value: float, *, below: float = float("inf")) -> bool:
    return one.interval is not None and one.interval.low <= value <= one.interval.high < below


def _same_behaviour(found: Found, attack: str) -> bool:
    change = found.get(f"{attack}.behaviour_change")
    return change is None or _holds(change, 0.0)


# --- helpers -------------------------------------------------------------------------------------------------------


def _train(size: int) -> int:
    """Return how many training texts of each class a simulated study has: cosines of refitted directions are over them."""
    return min(max(size, TRAIN), LARGE_TRAIN)


def _attacks(params: StabilityParameters) -> list[str]:
    return [one.name for one in labels(params) if one.kind == "attack"]


def _reduced(params: StabilityParameters, count: int) -> StabilityParameters:
    """Return the parameters with so many attacks and one benign edit, which is all a simulated run needs."""
    kept = {*_attacks(params)[:count], *[one.name for one in labels(params) if one.kind == "benign"][:1]}
    return params.model_copy(
        update={
            "attacks": tuple(name for name in params.attacks if name in kept),
            "extra_attacks": params.extra_attacks[: sum(name.startswith("own-") for name in kept - {"own-benign-1"})],
            "extra_benign": params.extra_benign[:1] if "own-benign-1" in kept else (),
            "searches": (),
            "twin": False,
            "use_core": False,
            "permutations": 20,  # they only make a null
        }
    )
