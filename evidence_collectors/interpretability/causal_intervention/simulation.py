"""What would the trials of an intervention look like if the truth were this? Planted rates, without a model.

For calibration and tests. Each text's answer is drawn anew in every arm, so that the arms of a text are independent given
the rates, or once for all arms. Nothing here is computed by the estimators.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from dossier.model import Trial, TrialKey
from evidence_collectors.interpretability.causal_intervention import trials as keys
from evidence_collectors.interpretability.causal_intervention.parameters import InterventionParameters
from evidence_collectors.interpretability.causal_intervention.trials import LABELS, PLAIN, Arm, arms, measured


@dataclass(frozen=True)
class Planted:
    """True rates of the behaviour: plain by class, and in an arm by (arm, class); an arm that is not named changes nothing.

    ``control`` is by how much a control direction moves the rate towards that of the direction itself, 0 to 1.
    ``log_odds`` are plain; an arm shifts them by ``shift`` for each unit that it changes the rate. ``nats`` is what neutral
    texts lose on average in every arm, most of them less and a few much more (exponential). ``broken`` is the rate of answers
    that repeat themselves, plain or not. ``one_draw`` draws a text's answers in all arms from one number, as a model at
    temperature 0 does: an arm then changes texts one way only.
    """

    plain: Mapping[str, float] = field(default_factory=lambda: {"positive": 0.95, "negative": 0.03})
    changed: Mapping[tuple[str, str], float] = field(default_factory=dict)
    control: float = 0.0
    shift: float = 10.0
    nats: float = 0.0
    broken: float = 0.0
    one_draw: bool = False

    def rate(self, arm: str, label: str) -> float:
        """Return the true rate of an arm on a class."""
        return self.changed.get((arm, label), self.plain[label])

    def truths(self, params: InterventionParameters) -> dict[str, float]:
        """Return the true values by observation id, but for ratios, whose estimates are not checked."""
        found = {f"baseline.rate_{label}": self.plain[label] for label in LABELS}
        found["baseline.degeneration"] = self.broken
        for arm in arms(params):
            for label in LABELS:
                rise = self.rate(arm.name, label) - self.plain[label]
                found |= {
                    f"{arm.name}.rate_{label}": self.rate(arm.name, label),
                    f"{arm.name}.change_{label}": rise,
                    f"{arm.name}.log_odds_{label}": self.shift * rise,
                }
            found[f"{arm.name}.degeneration"] = self.broken
            found[f"{arm.name}.capability"] = self.nats
        return found


def simulate(
    params: InterventionParameters, seed: str, planted: Planted, *, texts: int, neutral: int = 40
) -> tuple[Trial, ...]:
    """Return the trials of a run with as many texts in each class, and so many neutral ones."""
    handle: dict[str, JsonValue] = {"source": "train", "layer": params.layer, "norm": 1.0, "mean_residual_norm": 2.0}
    found = [
        measured(seed, keys.SELF_TEST, {"parity": 1e-7, "behaviour_token_ids": [1]}),
        measured(seed, keys.HANDLE, {**handle, "vector_sha256": "0" * 64}),
    ]
    names: dict[str, list[str]] = {label: [f"{label}-{number:05d}" for number in range(texts)] for label in LABELS}
    for label in LABELS:
        for name in names[label]:
            found.append(_answer(params, seed, planted, PLAIN, label, name))
            found += [_answer(params, seed, planted, arm.name, label, name) for arm in arms(params)]
    for arm in arms(params):
        edited: list[JsonValue] = [1.0 + _loss(seed, planted, arm.name, str(number)) for number in range(neutral)]
        plain: list[JsonValue] = [1.0] * neutral
        found.append(measured(seed, keys.capability_key(arm.name), {"plain": plain, "edited": edited}))
        if arm.controlled:
            found += [_control(params, seed, planted, arm, kind, place, names) for kind, place in keys.controls(params)]
    return tuple(found)


def _loss(seed: str, planted: Planted, arm: str, name: str) -> float:
    return 0.1 * (_uniform(seed, arm, name) - 0.5) - planted.nats * math.log1p(-_uniform(seed, f"loss.{arm}", name))


def _answer(params: InterventionParameters, seed: str, planted: Planted, arm: str, label: str, name: str) -> Trial:
    shown = _uniform(seed, PLAIN if planted.one_draw else arm, name) < planted.rate(arm, label)
    broken = " and so on" * 8 if _uniform(seed, f"broken.{arm}", name) < planted.broken else ""
    rise = planted.rate(arm, label) - planted.plain[label]
    noise = _uniform(seed, "noise", name) + 0.5 * _uniform(seed, f"noise.{arm}", name)
    told: dict[str, JsonValue] = {"label": label, "reasoning": "", "finish_reason": "stop"}
    told["answer"] = (params.markers[0] if shown else "something else") + broken
    told["log_odds"] = noise + planted.shift * rise
    if arm == PLAIN:
        told["log_odds"] = noise
    return measured(seed, TrialKey(item=name, arm=arm, repeat=0), told)


def _control(
    params: InterventionParameters,
    seed: str,
    planted: Planted,
    arm: Arm,
    kind: str,
    place: int,
    names: Mapping[str, list[str]],
) -> Trial:
    """Return a control that follows the plain answers, but for the share of texts that it pushes as the direction does."""
    key = keys.control_key(kind, place, arm.name)
    told: dict[str, JsonValue] = {"degenerate": 0, "cosine": 0.0}
    for label in LABELS:
        flags: list[JsonValue] = []
        for name in names[label][: params.control_items]:
            pushed = _uniform(seed, f"{key.item}.{key.arm}", name) < planted.control
            of = arm.name if pushed else PLAIN
            flags.append(int(_uniform(seed, of, name) < planted.rate(of, label)))
        told[label] = flags
        told[f"{label}_log_odds"] = [0.5] * len(flags)
    return measured(seed, key, told)


def _uniform(seed: str, what: str, name: str) -> float:
    digest = hashlib.sha256(f"simulated\0{seed}\0{what}\0{name}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56
