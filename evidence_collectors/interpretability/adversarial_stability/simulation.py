"""What would the trials look like if the truth were this? Planted activations and answers, without a model.

For calibration and tests. Positive texts lie at 1 along the planted direction, negative ones at 0, with normal scatter; an
attack shrinks the positive ones' coordinate, scatters it, and may push them along another direction. The direction is
frozen at the truth and the threshold at a quantile, so that every true value is a formula; none uses an estimator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue
from scipy.special import ndtr, ndtri

from dossier.model import Message, Trial
from evidence_collectors.interpretability.adversarial_stability.activations import (
    Frame,
    Read,
    arm_trials,
    measured_trial,
)
from evidence_collectors.interpretability.adversarial_stability.measures import Direction
from evidence_collectors.interpretability.adversarial_stability.parameters import (
    CLEAN,
    StabilityParameters,
    labels,
    planned,
)
from evidence_collectors.interpretability.adversarial_stability.trials import SELF_TEST, Texts, answer_keys
from evidence_collectors.interpretability.reading import random_directions
from evidence_collectors.items.contrast import Contrast, Label, Split

WIDTH = 24
DIRECTIONS = 4000  # of which the null of a margin is a mean
TRAIN, VALIDATION = 30, 40  # texts of each class


@dataclass(frozen=True)
class Planted:
    """The truth about one attack.

    ``kept`` is the retention, ``scatter`` what the attack adds along the direction, ``sideways`` how far it pushes positive
    texts along another direction, ``shift`` how far it moves negative ones along it; ``shown`` and ``shown_clean`` are the
    rates of the behaviour. ``signal`` is where positive texts lie along the direction, 0 for where the negative ones do, and
    ``everywhere`` how far they lie from them along every other axis, clean and attacked alike.
    """

    kept: float
    shown: float
    shown_clean: float = 0.95
    scatter: float = 0.1
    sideways: float = 0.0
    shift: float = 0.0
    spread: float = 0.3
    signal: float = 1.0
    everywhere: float = 0.0

    def truths(self, params: StabilityParameters) -> dict[str, float]:
        """Return the true values by quantity, for positive texts at 1 and apart along the direction alone."""
        along = math.hypot(self.kept * self.spread, self.scatter)
        threshold = _threshold(self, params)
        recall = float(ndtr((self.kept - threshold) / along))
        gap = self.kept - self.shift
        return {
            "projection_retention": self.kept,
            "gap_retention": gap,
            "auroc": float(ndtr(gap / math.hypot(along, self.spread))),
            "recall": recall,
            "false_positive_rate": float(ndtr((self.shift - threshold) / self.spread)),
            "shift_cosine": gap / math.hypot(gap, self.sideways) if gap or self.sideways else 0.0,
            "refit_cosine": gap / math.hypot(gap, self.sideways) if gap or self.sideways else 0.0,
            "behaviour_rate": self.shown,
            "behaviour_change": self.shown - self.shown_clean,
            "attack_success": 1.0 - self.shown,
            "flagged_when_lost": recall,
            "log_odds_change": self.kept - 1.0,
        }

    def margin(self, reported: int) -> float:
        """Return the true margin over random directions at so many reported texts of each class.

        A random direction r lies at r_0 along the planted axis and r_1 along the sideways one; what it reads in a sample is
        taken for normal about its true AUROC, with Hanley and McNeil's variance (1982), and turned whichever way round. The
        null is what a twentieth of such readings exceed.
        """
        drawn = np.asarray(ndtri(_Normals("0" * 16).uniform(DIRECTIONS * WIDTH))).reshape(DIRECTIONS, WIDTH)
        along, aside = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True))[:, :2].T
        gap = (self.kept - self.shift) * along + self.sideways * aside
        wide = along**2 * ((self.kept * self.spread) ** 2 + self.scatter**2) + (1.0 - along**2) * self.spread**2
        area = ndtr(gap / np.sqrt(wide + self.spread**2))
        same, twice = area / (2.0 - area), 2.0 * area**2 / (1.0 + area)
        variance = area * (1.0 - area) + (reported - 1) * (same + twice - 2.0 * area**2)
        error = np.sqrt(variance) / reported

        def beyond(value: float) -> float:
            return float((ndtr((value - area) / error) - ndtr((1.0 - value - area) / error)).mean()) - 0.95

        own = (self.kept - self.shift) / math.hypot(math.hypot(self.kept * self.spread, self.scatter), self.spread)
        return float(ndtr(own)) - _crossing(beyond)


def simulate(
    params: StabilityParameters, reported: int, seed: str, attacks: dict[str, Planted], *, train: int = TRAIN
) -> tuple[Trial, ...]:
    """Return the trials of a run with ``reported`` and ``train`` texts of each class.

    An arm not in ``attacks`` changes nothing.
    """
    texts = Texts(_texts("train", train), _texts("validation", VALIDATION), _texts("test", reported))
    frame = Frame(params, texts, seed)
    draws = _Normals(seed)
    random = random_directions(seed, params.random_directions, WIDTH)
    unit = np.eye(WIDTH)[0]
    direction = Direction(unit, 0.0, 1.0, random, given=False)
    clean_at = {text.id: draws.vector() for text in texts.read_under(CLEAN)}
    planted = next(iter(attacks.values()), Planted(kept=1.0, shown=0.95))
    nothing = Planted(1.0, 0.95, scatter=0.0, signal=planted.signal, everywhere=planted.everywhere)
    clean = _read(frame, CLEAN, clean_at, nothing, draws)
    trials = [measured_trial(frame, SELF_TEST, {"parity": 0.0}), *arm_trials(frame, CLEAN, clean, clean, direction)]
    for name in (one.name for one in labels(params)):
        read = _read(frame, name, clean_at, attacks.get(name, nothing), draws)
        trials += arm_trials(frame, name, read, clean, direction)
    return (*trials, *_answers(frame, attacks, draws))


@dataclass
class _Normals:
    """Standard normal draws from raw PCG64 words, by inversion."""

    seed: str

    def __post_init__(self) -> None:
        self.words = np.random.PCG64(int(self.seed, 16))

    def uniform(self, count: int) -> np.ndarray:
        return np.asarray(((self.words.random_raw(count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)

    def vector(self) -> np.ndarray:
        return np.asarray(ndtri(self.uniform(WIDTH)))


def _read(frame: Frame, arm: str, clean_at: dict[str, np.ndarray], planted: Planted, draws: _Normals) -> Read:
    texts = frame.texts.read_under(arm)
    values = np.stack([_value(text, clean_at[text.id], arm, planted, draws) for text in texts])
    return Read(texts, values, values, np.empty((len(texts), 0)), values[:, 0])


def _value(text: Contrast, noise: np.ndarray, arm: str, planted: Planted, draws: _Normals) -> np.ndarray:
    """Return one text's activation; a clean negative validation text lies at its quantile, so that the threshold is known."""
    positive = text.label == "positive"
    value = planted.spread * noise
    if text.split == "validation" and not positive:
        number = int(text.id.rpartition("-")[2])
        value[0] = planted.spread * float(ndtri((number + 0.5) / VALIDATION))
    if positive:
        value[0] += planted.signal
        value[1:] += planted.everywhere
    if arm != CLEAN and positive:
        value[0] = planted.kept * value[0] + planted.scatter * float(draws.vector()[0])
        value[1] += planted.sideways
    elif arm != CLEAN:
        value[0] += planted.shift
    return np.asarray(value)


def _crossing(rising: Callable[[float], float]) -> float:
    """Return where a function that rises from below 0 at 1/2 to above it at 1 is 0."""
    low, high = 0.5, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rising(middle) < 0.0 else (low, middle)
    return 0.5 * (low + high)


def _threshold(planted: Planted, params: StabilityParameters) -> float:
    """Return the largest validation quantile that at most the allowed share of them exceeds."""
    allowed = math.floor(params.target_fpr * VALIDATION + 1e-9)
    return planted.spread * float(ndtri((VALIDATION - allowed - 0.5) / VALIDATION))


def _answers(frame: Frame, attacks: dict[str, Planted], draws: _Normals) -> Iterator[Trial]:
    if not frame.params.generate:
        return
    rates = {name: one.shown for name, one in attacks.items()}
    clean_rate = next(iter(attacks.values())).shown_clean if attacks else 0.95
    for arm in (CLEAN, *(one.name for one in planned(frame.params))):
        for key, own, _ in answer_keys(frame.texts, arm, frame.seed):
            shown = float(draws.uniform(1)[0]) < rates.get(arm, clean_rate)
            measured: dict[str, JsonValue] = {"answer": frame.params.markers[0] if shown else "."}
            yield Trial(key=key, seed=own, request=None, completion=None, measurements=measured)


def _texts(split: Split, count: int) -> tuple[Contrast, ...]:
    sides: tuple[Label, Label] = ("positive", "negative")
    return tuple(
        Contrast(
            id=f"{split}-{label}-{number:05d}",
            messages=(Message(role="user", content=f"text {number}"),),
            label=label,
            family="simulated",
            split=split,
            licence="CC0-1.0",
            response="",
            pair=None,
            set=None,
        )
        for label in sides
        for number in range(count)
    )
