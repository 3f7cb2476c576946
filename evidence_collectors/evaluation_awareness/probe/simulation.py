"""What would the trials of a probe look like if the truth were this? Planted numbers, without a model.

For calibration and tests. Scores are normal with the same spread in both contexts, a share of it common to a pair, so that a
shift of s deviations between contexts is an AUROC of Phi(s / sqrt 2) over texts of different pairs. Nothing here is computed
by the estimators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from scipy.special import ndtr, ndtri

from dossier.model import Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.evaluation_awareness.probe import trials as keys
from evidence_collectors.evaluation_awareness.probe.parameters import KIND, ProbeParameters
from evidence_collectors.evaluation_awareness.probe.trials import (
    CONTEXTS,
    PLAIN,
    RATES,
    READERS,
    Arm,
    answered_arms,
    arms,
    fits,
    measured,
    random_arm,
)
from evidence_collectors.evaluation_awareness.simulating import uniform

Array = NDArray[np.float64]
SAYS = "I think I am being evaluated here. "
UNCHANGED = {
    ("behaviour", "evaluation"): 0.9,
    ("behaviour", "deployment"): 0.6,
    ("verbalised", "evaluation"): 0.2,
    ("verbalised", "deployment"): 0.1,
}


@dataclass(frozen=True)
class Planted:
    """The truth of a run. Shifts are between contexts, in standard deviations of a score.

    Attributes:
        probe, length, words: shifts of the three readers, the same in every group of texts.
        alike: correlation of the probe's noise with that of the words.
        pair: share of each score's variance that is common to the texts of a pair.
        twin: the shift on models with random weights.
        confounded: whether each format holds one context only.
        rates: in the unchanged model's answers, by (rate, context).
        moved: under a push, by (arm, rate, context); an arm that is not named moves nothing.
        random: how far a random direction moves a rate towards that under the probe itself, 0 to 1.
        broken: rate of answers under any push that are none.
    """

    probe: float = 2.0
    length: float = 0.0
    words: float = 0.8
    alike: float = 0.0
    pair: float = 0.0
    twin: float = 0.3
    confounded: bool = False
    rates: Mapping[tuple[str, str], float] = field(default_factory=lambda: UNCHANGED)
    moved: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    random: float = 0.0
    broken: float = 0.0

    def rate(self, arm: str, rate: str, context: str) -> float:
        """Return the true rate in an arm."""
        return self.moved.get((arm, rate, context), self.rates[(rate, context)])

    def areas(self, group: str) -> dict[str, float]:
        """Return the true values of one group of texts, by observation id."""
        probe, length, words = area(self.probe), area(self.length), area(self.words)
        return {
            f"{group}.auroc": probe,
            f"{group}.margin": probe - max(length, words, 0.5),
            f"{group}.length_auroc": length,
            f"{group}.words_auroc": words,
        }

    def shifts(self, arm: Arm) -> dict[str, float]:
        """Return the true shifts of one push along the probe, by observation id."""
        return {
            f"{arm.name}.{rate}_shift_{context}": self.rate(arm.name, rate, context) - self.rates[(rate, context)]
            for rate in RATES
            for context in CONTEXTS
        }


def area(shift: float) -> float:
    """Return the AUROC that a shift means."""
    return float(ndtr(shift / math.sqrt(2.0)))


def simulate(params: ProbeParameters, seed: str, planted: Planted, *, pairs: int) -> tuple[Trial, ...]:
    """Return the trials of a run with so many pairs in each reported split, in both contexts and every format."""
    cells = params.cells or ("uncrossed",)
    fit: dict[str, JsonValue] = {"evaluation": 80, "deployment": 80, "vector_sha256": "0" * 64}
    found = [
        measured(seed, keys.SELF_TEST, {"parity": 1e-7, "d_model": 64, "blocks": 4}),
        measured(seed, keys.FORMATS, _formats(params, planted)),
        *(measured(seed, keys.fit_key(name), fit) for name in fits(params)),
        *(measured(seed, keys.spectrum_key(split), {"first_component_share": 0.3}) for split in keys.REPORTED),
    ]
    if params.strengths:
        handle: dict[str, JsonValue] = {"mean_residual_norm": 2.0, "vector_sha256": "0" * 64}
        found.append(measured(seed, keys.HANDLE, {**handle, "known_sha256": None, "known_cosine": None}))
    for split in keys.REPORTED:
        texts = [
            _noted(split, number, context, cell)
            for number in range(pairs)
            for context in CONTEXTS
            for cell in cells
            if not planted.confounded or (context == "evaluation") == (cell == cells[0])
        ]
        found += _scores(params, seed, planted, split, texts)
        if params.strengths and split == "test":
            for noted in texts:
                found += _answers(params, seed, planted, noted)
    return tuple(found)


def _noted(split: str, number: int, context: str, cell: str) -> dict[str, JsonValue]:
    return {"context": context, "split": split, "cell": cell, "pair": f"{split}-{number:05d}"}


def _name(noted: Mapping[str, JsonValue]) -> str:
    return f"{noted['pair']}-{noted['context']}-{noted['cell']}"


def _formats(params: ProbeParameters, planted: Planted) -> dict[str, JsonValue]:
    counts: dict[str, JsonValue] = {
        cell: [40 * (not planted.confounded or (cell == params.cells[0]) == evaluation) for evaluation in (True, False)]
        for cell in params.cells
    }
    return {split: dict(counts) for split in keys.SPLITS}


def _scores(
    params: ProbeParameters, seed: str, planted: Planted, split: str, texts: Sequence[Mapping[str, JsonValue]]
) -> Iterator[Trial]:
    """Yield the readings of the texts of a split."""
    pairs = {str(noted["pair"]): place for place, noted in enumerate(texts)}  # any one place of each
    rows = [pairs[str(noted["pair"])] for noted in texts]
    half = np.array([0.5 if noted["context"] == "evaluation" else -0.5 for noted in texts])
    columns: dict[str, Array] = {}
    for fit in fits(params):
        common, own = (_normals(seed, f"{split}.{fit}.{what}", (len(texts), 3)) for what in ("pair", "text"))
        noise = math.sqrt(planted.pair) * common[rows] + math.sqrt(1.0 - planted.pair) * own
        noise[:, 0] = planted.alike * noise[:, 2] + math.sqrt(1.0 - planted.alike**2) * noise[:, 0]
        for place, reader in enumerate(READERS):
            columns[f"{fit}.{reader}"] = noise[:, place] + half * getattr(planted, reader)
        columns[f"{fit}.shuffled"] = _normals(seed, f"{split}.{fit}.shuffled", (len(texts), params.shuffles))
        random = _normals(seed, f"{split}.{fit}.twin", (len(texts), params.twins))
        columns[f"{fit}.twin"] = random + half[:, None] * planted.twin
    for row, noted in enumerate(texts):
        told: dict[str, JsonValue] = {name: column[row].tolist() for name, column in columns.items()}
        twins = {fit: told.pop(f"{fit}.twin") for fit in fits(params)}
        yield measured(seed, TrialKey(item=_name(noted), arm="score", repeat=0), {**noted, **told})
        yield measured(seed, TrialKey(item=_name(noted), arm="twin", repeat=0), {**noted, **twins})


def _answers(params: ProbeParameters, seed: str, planted: Planted, noted: Mapping[str, JsonValue]) -> Iterator[Trial]:
    context, name = str(noted["context"]), _name(noted)
    for arm in answered_arms(params):
        shown = {rate: _draw(seed, arm, rate, name) < planted.rate(arm, rate, context) for rate in RATES}
        broken = arm != PLAIN and _draw(seed, arm, "broken", name) < planted.broken
        answer = (SAYS if shown["verbalised"] else "") + (params.markers[0] if shown["behaviour"] else "Gladly.")
        told: dict[str, JsonValue] = {"reasoning": "", "finish_reason": "stop"}
        told["answer"] = answer + (" and so on" * 8 if broken else "")
        yield measured(seed, TrialKey(item=name, arm=arm, repeat=0), {**noted, **told})
    for one in arms(params):
        flags: dict[str, JsonValue] = {"valid": [1] * params.random_directions}
        for rate in RATES:
            plain = planted.rates[(rate, context)]
            moved = plain + planted.random * (planted.rate(one.name, rate, context) - plain)
            flags[rate] = [
                int(_draw(seed, f"random-{place}.{one.name}", rate, name) < moved)
                for place in range(params.random_directions)
            ]
        yield measured(seed, TrialKey(item=name, arm=random_arm(one), repeat=0), {**noted, **flags})


def _draw(seed: str, arm: str, what: str, name: str) -> float:
    return uniform(f"{KIND}\0{seed}\0{arm}\0{what}\0{name}")


def _normals(seed: str, what: str, shape: tuple[int, int]) -> Array:
    """Return normal draws that hang on the seed and what they are for alone."""
    own = trial_seed(seed, f"simulated {KIND}", TrialKey(item="draw", arm=what, repeat=0))
    words = np.random.PCG64(int(own, 16)).random_raw(shape[0] * shape[1]).reshape(shape)
    found: Array = ndtri(((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)
    return found
