"""What would the trials of a concept direction look like if the truth were this? Planted numbers, without a model.

For calibration and tests. Scores are normal with the same spread in both classes, so that a shift of d between them is an
AUROC of Phi(d / sqrt 2) exactly. Controls lie at the quantiles of the negative class, so that the threshold they freeze is
known. Nothing here is computed by the estimators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from scipy.special import ndtr, ndtri

from dossier.model import Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.concept_direction import trials as keys
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.interpretability.concept_direction.trials import KIND, candidate_key, measured, spectrum_key

Array = NDArray[np.float64]
LABELS = ("positive", "negative")
CONTROLS = 300


@dataclass(frozen=True)
class Planted:
    """The truth of a run. Shifts are between the class means, in standard deviations; log-odds in nats.

    ``null_shift`` is that of every random and shuffled direction and every twin; ``effect`` what ablation takes and
    addition gives; ``induces`` whether any candidate qualifies.
    """

    shift: float = 2.0
    null_shift: float = 0.0
    plain: float = 4.0
    effect: float = 8.0
    divergence: float = 0.02
    induces: bool = True

    @property
    def auroc(self) -> float:
        """The AUROC that the shift means."""
        return float(ndtr(self.shift / math.sqrt(2.0)))

    @staticmethod
    def areas() -> tuple[str, ...]:
        """Return the ids of the observations that are AUROCs."""
        return tuple(f"{split}.{reader}_auroc" for split in keys.REPORTED for reader in ("direction", "probe"))

    def truths(self) -> dict[str, float]:
        """Return the true values by observation id, but for margins, which hang on n."""
        return {
            **dict.fromkeys(self.areas(), self.auroc),
            "test.bypass": self.plain - self.effect,
            "test.bypass_drop": self.effect,
            "test.induce": -self.plain + self.effect,
            "test.induce_rise": self.effect,
            "test.divergence": self.divergence,
        }

    def recalls(self, params: DirectionParameters) -> dict[str, float]:
        """Return the true recall by observation id, nothing without a control set."""
        if params.control_set is None:
            return {}
        allowed = math.floor(params.recall_fpr * CONTROLS + 1e-9)
        threshold = float(ndtri((CONTROLS - allowed - 0.5) / CONTROLS))  # of deviations above the negative class's mean
        names = (f"{split}.{reader}_recall" for split in keys.REPORTED for reader in ("direction", "probe"))
        return dict.fromkeys(names, float(ndtr(self.shift - threshold)))


def simulate(params: DirectionParameters, seed: str, planted: Planted, *, texts: int) -> tuple[Trial, ...]:
    """Return the trials of a run with as many texts in each class of each reported split."""
    found = [
        measured(seed, keys.SELF_TEST, {"parity": 1e-7, "behaviour_token_ids": [1], "d_model": 64, "blocks": 4}),
        *_candidates(params, seed, planted),
    ]
    layer, position = params.layers[0], params.positions[0]
    reason = "no candidate qualified"
    if planted.induces:
        chosen: dict[str, JsonValue] = {"layer": layer, "position": position, "probe_position": position}
        cosines: list[JsonValue] = [0.9] * params.half_splits
        chosen |= {"norm": 1.0, "mean_residual_norm": 2.0, "vector_sha256": "0" * 64, "half_cosines": cosines}
        found.append(measured(seed, keys.SELECTED, {**chosen, "half_cosines_shuffled": [0.0] * params.half_splits}))
    else:
        found.append(keys.unread(seed, keys.SELECTED, reason))
    for split in keys.REPORTED:
        found.append(measured(seed, spectrum_key(split), {"first_component_share": 0.2}))
        for label in LABELS:
            for number in range(texts):
                found += _text(params, seed, planted, split, label, number)
    found += [] if params.control_set is None else _controls(params, seed, planted)
    return tuple(found if planted.induces else [_failed(trial, reason) for trial in found])


def _candidates(params: DirectionParameters, seed: str, planted: Planted) -> Iterator[Trial]:
    sizes = {f"{split}_{label}": 100 for split in ("train", "validation") for label in LABELS}
    for number, (layer, position) in enumerate(keys.candidates(params)):
        told: dict[str, JsonValue] = {"layer": layer, "position": position, "depth": 0.5, "norm": 1.0}
        told |= {"bypass": -4.0 + number, "induce": 4.0 if planted.induces else -4.0, "kl": 0.01}
        told |= {"plain_positive": planted.plain, "plain_negative": -planted.plain, "auroc": 0.9}
        yield measured(seed, candidate_key(layer, position), {**told, **sizes})


def _text(
    params: DirectionParameters, seed: str, planted: Planted, split: str, label: str, number: int
) -> Iterator[Trial]:
    name = f"{split}-{number:05d}-{label}"
    sign = 0.5 if label == "positive" else -0.5
    what: dict[str, JsonValue] = {"label": label, "split": split, "control": False}
    counts = {"direction": 1, "probe": 1, "random": params.random_directions, "shuffled": params.shuffles}
    counts |= {"probe_random": params.random_directions, "probe_shuffled": params.shuffles}
    for arm, drawn in (("projection", counts), ("twin", {"direction": params.twins, "probe": params.twins})):
        key = TrialKey(item=name, arm=arm, repeat=0)
        told = dict(what)
        for reader, count in drawn.items():
            own = arm == "projection" and reader in ("direction", "probe")
            shift = planted.shift if own else planted.null_shift
            told[reader] = [*(normals(f"{seed}.{reader}", key, count) + sign * shift).tolist()]
        yield measured(seed, key, told)
    if split == "test":
        yield _log_odds(params, seed, planted, label, TrialKey(item=name, arm="log_odds", repeat=0))


def _controls(params: DirectionParameters, seed: str, planted: Planted) -> Iterator[Trial]:
    """Yield the control set, at quantiles of the negative class, on the nulls too."""
    what: dict[str, JsonValue] = {"label": "neutral", "split": "test", "control": True}
    for number in range(CONTROLS):
        at = float(ndtri((number + 0.5) / CONTROLS))
        own: list[JsonValue] = [at - 0.5 * planted.shift]
        null = at - 0.5 * planted.null_shift
        random: list[JsonValue] = [null] * params.random_directions
        shuffled: list[JsonValue] = [null] * params.shuffles
        told = {"direction": own, "probe": own, "random": random, "shuffled": shuffled}
        twin: list[JsonValue] = [null] * params.twins
        item = f"control-{number:05d}"
        yield measured(
            seed,
            TrialKey(item=item, arm="projection", repeat=0),
            {**what, **told, "probe_random": random, "probe_shuffled": shuffled},
        )
        yield measured(seed, TrialKey(item=item, arm="twin", repeat=0), {**what, "direction": twin, "probe": twin})


def _log_odds(params: DirectionParameters, seed: str, planted: Planted, label: str, key: TrialKey) -> Trial:
    count = params.random_interventions
    noise = normals(seed, key, 3 + 2 * count)
    plain = (planted.plain if label == "positive" else -planted.plain) + noise[0]
    random = (plain + 0.1 * noise[3 : 3 + count]).tolist()
    if label == "positive":
        changed = plain - planted.effect + 0.5 * noise[1]
        return measured(
            seed, key, {"label": label, "plain": [plain], "ablated": [changed], "random_ablated": [*random]}
        )
    moved = planted.divergence * (noise[2] ** 2)  # mean 1 times the planted divergence
    others = 0.1 * planted.divergence * noise[3 + count :] ** 2
    return measured(
        seed,
        key,
        {
            "label": label,
            "plain": [plain],
            "added": [plain + planted.effect + 0.5 * noise[1]],
            "random_added": [*random],
            "divergence": [moved],
            "random_divergence": [*others.tolist()],
        },
    )


def _failed(trial: Trial, reason: str) -> Trial:
    if trial.key.arm in ("parity", "candidate") or trial.error is not None:
        return trial
    return trial.model_copy(update={"measurements": {}, "error": reason})


def normals(seed: str, key: TrialKey, count: int) -> Array:
    """Return normal draws that hang on the seed and the key alone."""
    words = np.random.PCG64(int(trial_seed(seed, f"simulated {KIND}", key), 16)).random_raw(count)
    found: Array = ndtri(((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)
    return found
