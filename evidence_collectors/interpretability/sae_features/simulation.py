"""What would the trials look like if the truth were this? Planted numbers without a model.

For calibration and tests. The truth is what is put in here; nothing is computed by the estimators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from dossier.model import Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.sae_features.parameters import KIND, RECALL_FPR, SaeFeaturesParameters

Floats = NDArray[np.float64]
CLEAN, SPLICED, ABLATED = 1.0, 1.1, 3.0  # nats a token
CLEAR = 1.0  # deviations; an AUROC of 0.76, which labels permuted over forty items of each class reach in no study


@dataclass(frozen=True)
class Planted:
    """A true state of affairs.

    Attributes:
        separation: distance of the classes' means in each chosen feature, in deviations; scores are normal.
        fall: mean fall of the log-odds when the chosen features are taken away, in nats; ``random_fall`` for random ones.
        lift: how much higher the behaviour's log-odds are on positive items, in nats.
        spread: deviation of a fall from item to item; ``shared`` of its variance is common to a pair.
        unexplained: true FVU; ``active`` true L0.
        changed: by how much the first followed-up feature differs between the versions, in deviations; the others do not.
        silent: share of items on which a followed-up feature does not change at all.
        per_pair: items of each label in a pair.
    """

    separation: float = 2.0
    random_separation: float = 0.0
    twin_separation: float = 0.0
    fall: float = 2.0
    random_fall: float = 0.0
    lift: float = 5.0
    spread: float = 0.5
    shared: float = 0.5
    unexplained: float = 0.2
    active: float = 12.0
    changed: float = 1.0
    silent: float = 0.0
    per_pair: int = 2

    def truths(self, params: SaeFeaturesParameters) -> dict[str, float]:
        """Return the true values by observation id."""
        chosen, probe = (float(ndtr(self.separation * one**0.5)) for one in (params.top_k / 2.0, 2.0))
        known = {
            "set.auroc": chosen,
            "set.transfer_auroc": chosen,
            **dict.fromkeys(("probe.auroc", "probe.transfer_auroc"), probe),
            **dict.fromkeys(("probe.gap", "probe.transfer_gap"), probe - chosen),
            "twin.auroc": float(ndtr(self.twin_separation / 2.0**0.5)),
            "health.fvu": self.unexplained,
            "health.l0": self.active,
            "health.ce_score": (ABLATED - SPLICED) / (ABLATED - CLEAN),
        }
        for place in range(params.top_k):
            known[f"feature-{place + 1}.auroc"] = float(ndtr(self.separation / 2.0**0.5))
            known[f"feature-{place + 1}.firing_rate"] = float(ndtr(self.separation))
            known[f"feature-{place + 1}.effect"] = self.separation
        known["set.effect"] = params.top_k * self.separation
        if self.twin_separation >= CLEAR:  # then the twin is the strictest null, and what it reads is known
            known |= dict.fromkeys(("set.auroc_margin", "set.transfer_auroc_margin"), chosen - known["twin.auroc"])
        if params.behaviour_tokens:
            known |= {"ablation.fall": self.fall, "ablation.transfer_fall": self.fall}
            known |= dict.fromkeys(
                ("ablation.fall_margin", "ablation.transfer_fall_margin"), self.fall - self.random_fall
            )
        return known

    def shifts(self, params: SaeFeaturesParameters) -> dict[str, float]:
        """Return the true shift of each followed-up feature."""
        return {f"change-{place + 1}.shift": 0.0 if place else self.changed for place in range(params.changes)}

    def recall(self, params: SaeFeaturesParameters) -> float:
        """Return the true recall at the threshold that the simulated controls freeze."""
        allowed = math.floor(RECALL_FPR * params.minimum_controls + 1e-9)
        threshold = ndtri((params.minimum_controls - allowed - 0.5) / params.minimum_controls)
        return float(ndtr(self.separation * params.top_k**0.5 - threshold))


def simulate(params: SaeFeaturesParameters, pairs: int, seed: str, planted: Planted) -> tuple[Trial, ...]:
    """Return the trials of a run with so many pairs in each of the splits test and transfer.

    Where a control set is planned, it lies at the quantiles of the negative class, so that its threshold is known.
    """
    return tuple(
        Trial(
            key=key,
            seed=trial_seed(seed, KIND, key),
            request=None,
            completion=None,
            measurements=held,
        )
        for key, held in _trials(params, pairs, seed, planted)
    )


def _trials(
    params: SaeFeaturesParameters, pairs: int, seed: str, planted: Planted
) -> Iterator[tuple[TrialKey, Mapping[str, Any]]]:
    yield (
        _key("self-test", "subject"),
        {
            "parity": 0.0,
            "l0": planted.active,
            "fvu": planted.unexplained,
            "first_component_share": 0.2,
            "mean_norm": 10.0,
            "tokens": 1000,
            "positives": 100,
            "negatives": 100,
        },
    )
    for place in range(params.top_k):
        held = {"feature": place, "correlation": 0.5, "scale": 1.0, "tokens": "[]", "texts": []}
        yield _key(f"feature-{place + 1}", "selected"), held
    for place in range(params.changes if params.compare else 0):
        yield _key(f"change-{place + 1}", "changed"), {"feature": place, "change": 0.0, "deviation": 1.0}
    census = {"tokens": 1000, "width": 100, "alive": 80, "dense_1": 0.9, "dense_10": 0.5}
    yield _key("dictionary", "census"), census
    if params.control_set:
        yield from _controls(params, planted)
    draws = _normal(seed)
    for split in ("test", "transfer"):
        for pair in range(pairs):
            common = next(draws)
            for number in range(planted.per_pair):
                for label in ("positive", "negative"):
                    name = f"{split}-{pair:05d}-{number}-{label}"
                    about = {"label": label, "split": split, "cluster": f"{split}-{pair:05d}", "control": False}
                    yield from _item(name, about, common, draws, params, planted)


def _controls(params: SaeFeaturesParameters, planted: Planted) -> Iterator[tuple[TrialKey, Mapping[str, Any]]]:
    for number in range(params.minimum_controls):
        value = float(params.top_k**0.5 * ndtri((number + 0.5) / params.minimum_controls))
        name = f"control-{number:05d}"
        yield (
            _key(name, "read"),
            {
                "label": "neutral",
                "split": "test",
                "cluster": name,
                "control": True,
                "features": [value / params.top_k] * params.top_k,
                "set": value,
                "probe": 0.0,
                "random": [value] * params.random_sets,
                "changed": [0.0] * (params.changes if params.compare else 0),
                "tokens": 10,
                "active": 10.0 * planted.active,
                "error": 10.0 * planted.unexplained,
                "spread": 10.0,
            },
        )


def _item(
    name: str,
    about: Mapping[str, Any],
    common: float,
    draws: Iterator[float],
    params: SaeFeaturesParameters,
    planted: Planted,
) -> Iterator[tuple[TrialKey, Mapping[str, Any]]]:
    up = 1.0 if about["label"] == "positive" else 0.0
    features = [up * planted.separation + next(draws) for _ in range(params.top_k)]
    random = [
        sum(up * planted.random_separation + next(draws) for _ in range(params.top_k))
        for _ in range(params.random_sets)
    ]
    tokens = 10 + int(abs(next(draws)) * 3)
    spread = tokens * (1.0 + 0.2 * next(draws))
    before = [next(draws) for _ in range(params.changes if params.compare else 0)]
    after = [
        value + _moved(draws, planted.silent) + (planted.changed if not place else 0.0)
        for place, value in enumerate(before)
    ]
    yield (
        _key(name, "read"),
        {
            **about,
            "features": features,
            "set": sum(features),
            "random": random,
            "probe": up * 2.0 * planted.separation + next(draws),
            "changed": after,
            "tokens": tokens,
            "active": tokens * planted.active * (1.0 + 0.1 * next(draws)),
            "error": max(spread, 0.1) * planted.unexplained * (1.0 + 0.3 * next(draws)),
            "spread": max(spread, 0.1),
        },
    )
    yield _key(name, "twin"), {**about, "set": up * planted.twin_separation + next(draws), "probe": next(draws)}
    if params.behaviour_tokens and up:
        own, pair = (1.0 - planted.shared) ** 0.5, planted.shared**0.5
        fall = planted.fall + planted.spread * (own * next(draws) + pair * common)
        random_falls = [planted.random_fall + 0.1 * next(draws) for _ in range(params.random_sets)]
        at = planted.lift + next(draws)
        held = {"before": at, "after": at - fall, "random": [at - one for one in random_falls]}
        yield _key(name, "ablate"), {**about, **held}
    elif params.behaviour_tokens:
        yield _key(name, "behaviour"), {**about, "before": next(draws)}
    yield (
        _key(name, "fidelity"),
        {**about, "clean": CLEAN, "dictionary": SPLICED + 0.01 * next(draws), "ablated": ABLATED},
    )
    if params.compare:
        yield _key(name, "baseline"), {**about, "changed": before}


def _moved(draws: Iterator[float], silent: float) -> float:
    """Return a draw that is 0 in this share of cases, and else normal."""
    return next(draws) if ndtr(next(draws)) >= silent else 0.0


def _key(item: str, arm: str) -> TrialKey:
    return TrialKey(item=item, arm=arm, repeat=0)


def _normal(seed: str) -> Iterator[float]:
    """Yield standard normal numbers from raw PCG64 words, by Box and Muller."""
    generator = np.random.PCG64(int(seed, 16))
    while True:
        words = generator.random_raw(4096).reshape(2, 2048)
        uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
        found: Floats = np.sqrt(-2.0 * np.log(uniform[0])) * np.cos(2.0 * np.pi * uniform[1])
        yield from found.tolist()
