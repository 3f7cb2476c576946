"""What do the trials of a stability run say, sorted and counted? Pure, and the same for any order of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from dossier.errors import IntegrityError
from dossier.model import Trial
from dossier.ranking import auroc, auroc_interval, recall_at_fpr
from dossier.statistics import Limits
from evidence_collectors.interpretability.adversarial_stability.parameters import CLEAN, StabilityParameters
from evidence_collectors.interpretability.adversarial_stability.trials import (
    OWN,
    REPORTED,
    SEARCH,
    SELF_TEST,
    SHIFT,
    TWIN,
    answer_arm,
    arms,
)

Array = NDArray[np.float64]
ANSWER = ".answer"
STRICT = 0.95  # of random directions, a share of them lies below the null that a margin is over


@dataclass(frozen=True)
class Text:
    """One text in one arm; ``without`` is the cosine of its split's shift without it."""

    positive: bool
    split: str
    projection: float
    log_odds: float
    random: tuple[float, ...]
    without: float | None


@dataclass(frozen=True)
class Arm:
    """One arm: its texts by item, the answers that could be read (true: the behaviour shows), and what failed."""

    texts: Mapping[str, Text]
    answers: Mapping[str, bool]
    step: Mapping[str, Any]
    failed: tuple[str, ...]
    failed_answers: tuple[str, ...]

    def items(self, *, positive: bool, splits: Sequence[str] = REPORTED) -> tuple[str, ...]:
        """Return the ids of a class in some splits, sorted."""
        return tuple(sorted(name for split in splits for name in self._by_class.get((positive, split), ())))

    @cached_property
    def random_aurocs(self) -> Array:
        """How well each random direction tells the classes apart in the reported texts, whichever way round, sorted."""
        return np.sort([max(one, 1.0 - one) for one in self._random_by_direction])

    def random_limits(self, null: float, level: float) -> Limits:
        """Return limits of the 95th percentile of random directions.

        The wider at each end of what two errors leave: that of the texts, as in the random direction that comes nearest to
        it, and that of which directions were drawn, by order statistics (exact; 1 where too few directions were drawn to
        bound it from above).
        """
        nearest = int(np.argmin([abs(max(one, 1.0 - one) - null) for one in self._random_by_direction]))
        positive, negative = (side[:, nearest] for side in self._random_rows)
        limits = auroc_interval(positive, negative, level=level) or (0.0, 1.0)
        value = self._random_by_direction[nearest]
        if value < 0.5:
            value, limits = 1.0 - value, (1.0 - limits[1], 1.0 - limits[0])
        low, high = order_limits(self.random_aurocs, STRICT, level)
        return min(null - (value - limits[0]), low), max(null + (limits[1] - value), high)

    def projections(self, *, positive: bool, splits: Sequence[str] = REPORTED) -> Array:
        """Return the projections of a class in some splits, by item."""
        return np.array([self.texts[name].projection for name in self.items(positive=positive, splits=splits)])

    @cached_property
    def _random_rows(self) -> tuple[Array, Array]:
        return tuple(  # type: ignore[return-value]
            np.array([self.texts[name].random for name in self.items(positive=side)]) for side in (True, False)
        )

    @cached_property
    def _random_by_direction(self) -> list[float]:
        positive, negative = self._random_rows
        return [auroc(positive[:, k], negative[:, k]) or 0.0 for k in range(positive.shape[1])]

    @cached_property
    def _by_class(self) -> Mapping[tuple[bool, str], list[str]]:
        found: dict[tuple[bool, str], list[str]] = {}
        for name, one in self.texts.items():
            found.setdefault((one.positive, one.split), []).append(name)
        return found


@dataclass(frozen=True)
class Reading:
    """All arms of a run. ``threshold`` is None where no clean validation text could freeze it."""

    arms: Mapping[str, Arm]
    parity: float | None
    twin: Mapping[str, Any]
    searches: Mapping[str, Mapping[str, Any]]
    threshold: float | None = field(default=None)

    @property
    def clean(self) -> Arm:
        """The arm without an attack."""
        return self.arms[CLEAN]


def order_limits(values: Array, share: float, level: float) -> Limits:
    """Return an interval for a quantile of what values between 0 and 1, sorted, were drawn from; exact.

    Source: Thompson 1936, Annals of Mathematical Statistics 7:122.
    """
    tail = 0.5 * (1.0 - level)
    at_most = bdtr(
        np.arange(len(values)), len(values), share
    )  # chance that no more than so many lie below the quantile
    low, high = int((at_most <= tail).sum()), int((at_most < 1.0 - tail).sum())
    return float(values[low - 1]) if low else 0.0, float(values[high]) if high < len(values) else 1.0


def read(trials: Sequence[Trial], params: StabilityParameters) -> Reading:
    """Return what the trials say.

    Raises:
        IntegrityError: trials this protocol cannot have given.
    """
    known = set(arms(params))
    texts: dict[str, dict[str, Text]] = {name: {} for name in known}
    answers: dict[str, dict[str, bool]] = {name: {} for name in known}
    failed: dict[str, list[str]] = {name: [] for arm in known for name in (arm, answer_arm(arm))}
    own: dict[tuple[str, str], Mapping[str, Any]] = {}
    for trial in sorted(trials, key=lambda one: one.key.order):
        item, arm = trial.key.item, trial.key.arm
        if trial.error is not None and item not in (SELF_TEST.item, TWIN.item, SEARCH):
            _known(arm.removesuffix(ANSWER), known, trial)
            failed[arm].append(trial.error)
        elif item in OWN:
            own[(item, arm)] = trial.measurements
        elif arm.endswith(ANSWER):
            _known(arm.removesuffix(ANSWER), known, trial)
            answers[arm.removesuffix(ANSWER)][item] = shows(_answer(trial), params.markers)
        else:
            _known(arm, known, trial)
            texts[arm][item] = _text(trial)
    found = {
        name: Arm(
            texts=texts[name],
            answers=answers[name],
            step=own.get((SHIFT, name), {}),
            failed=tuple(failed[name]),
            failed_answers=tuple(failed[answer_arm(name)]),
        )
        for name in arms(params)
    }
    parity = own.get((SELF_TEST.item, SELF_TEST.arm), {}).get("parity")
    searches = {arm: measured for (item, arm), measured in own.items() if item == SEARCH and measured}
    return Reading(found, parity, own.get((TWIN.item, TWIN.arm), {}), searches, _threshold(found[CLEAN], params))


def shows(answer: str, markers: Sequence[str]) -> bool:
    """Whether an answer shows the behaviour: it holds one of the markers, letter case aside."""
    return any(marker.casefold() in answer.casefold() for marker in markers)


def _threshold(clean: Arm, params: StabilityParameters) -> float | None:
    controls = clean.projections(positive=False, splits=("validation",))
    if len(controls) < params.minimum_items:
        return None
    frozen = recall_at_fpr(controls, controls, fpr=params.target_fpr)  # positives play no part in it
    return None if frozen is None else frozen.threshold


def _text(trial: Trial) -> Text:
    measured: Mapping[str, Any] = trial.measurements
    try:
        return Text(
            positive=bool(measured["positive"]),
            split=str(measured["split"]),
            projection=float(measured["projection"]),
            log_odds=float(measured["log_odds"]),
            random=tuple(float(one) for one in measured.get("random", ())),
            without=measured.get("without"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(trial, f"measurement {error} is missing or no number") from error


def _answer(trial: Trial) -> str:
    if trial.completion is not None:
        return (trial.completion.reasoning or "") + trial.completion.answer
    answer = trial.measurements.get("answer")
    if not isinstance(answer, str):
        raise _foreign(trial, "neither a completion nor an answer")
    return answer


def _known(arm: str, known: set[str], trial: Trial) -> None:
    if arm not in known:
        raise _foreign(trial, "no such arm is planned")


def _foreign(trial: Trial, what: str) -> IntegrityError:
    name = "/".join(str(part) for part in trial.key.order)
    return IntegrityError(f"trial {name}: {what}", hint="The trials belong to another protocol or other parameters.")
