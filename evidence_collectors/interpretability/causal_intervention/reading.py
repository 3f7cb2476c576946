"""What do the trials of an intervention hold? Tables by arm, whatever order the trials come in.

Answers are read here again, from their text, with the rules of `detectors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dossier.errors import IntegrityError
from dossier.model import Trial
from evidence_collectors.interpretability.causal_intervention import trials as keys
from evidence_collectors.interpretability.causal_intervention.detectors import degenerate, shows
from evidence_collectors.interpretability.causal_intervention.parameters import KIND, InterventionParameters
from evidence_collectors.interpretability.causal_intervention.trials import PLAIN, arms

Array = NDArray[np.float64]
Key = tuple[str, str]  # (item, arm)


@dataclass(frozen=True, eq=False)
class Answered:
    """The texts of one class in one arm, in the order of their ids; ``why`` is set where one could not be read."""

    shown: Array  # (text,), 1 where the behaviour was shown
    degenerate: Array  # (text,), 1 where the answer is none
    log_odds: Array  # (text,), nats
    why: str


@dataclass(frozen=True, eq=False)
class Control:
    """All control directions of one kind in one arm: means over the control texts, by class and direction."""

    change: Mapping[str, Array]  # rate under control minus plain rate
    shift: Mapping[str, Array]  # log-odds under control minus plain log-odds
    handle_change: Mapping[str, float]  # the same for the direction itself, on the same texts
    handle_shift: Mapping[str, float]
    texts: Mapping[str, int]
    degenerate: float
    why: str


@dataclass(frozen=True, eq=False)
class Reading:
    """What a run read: answers by (arm, class), neutral texts' nats by arm, controls by (kind, arm)."""

    self_test: Mapping[str, Any] | None
    handle: Mapping[str, Any] | None
    why: str
    answered: Mapping[tuple[str, str], Answered]
    capability: Mapping[str, tuple[Array, str]]
    controls: Mapping[tuple[str, str], Control]


def read(trials: Sequence[Trial], params: InterventionParameters) -> Reading:
    """Return what the trials hold.

    Raises:
        IntegrityError: a trial twice, an arm this protocol does not have, or a trial that lacks what it should hold.
    """
    by_key: dict[Key, Trial] = {}
    known = _known_arms(params)
    for trial in sorted(trials, key=lambda one: one.key.order):
        key = (trial.key.item, trial.key.arm)
        if key in by_key or trial.key.repeat or trial.key.arm not in known:
            raise IntegrityError(f"{KIND}: trial {trial.key.order} is there twice, or of no arm of this protocol")
        by_key[key] = trial
    tests = [by_key.get((key.item, key.arm)) for key in (keys.SELF_TEST, keys.HANDLE)]
    answered = _answered(by_key, params)
    return Reading(
        self_test=_held(tests[0]),
        handle=_held(tests[1]),
        why=next((one.error for one in tests if one is not None and one.error), ""),
        answered=answered,
        capability={arm.name: _capability(by_key, arm.name) for arm in arms(params)},
        controls={
            (kind, arm.name): _control(by_key, params, kind, arm.name, answered)
            for arm in arms(params)
            if arm.controlled
            for kind in keys.CONTROLS
        },
    )


def _known_arms(params: InterventionParameters) -> frozenset[str]:
    names = [arm.name for arm in arms(params)]
    parts = [f"{part}.{name}" for part in ("capability", "control") for name in names]
    return frozenset((PLAIN, "parity", "direction", *names, *parts))


def _answered(by_key: Mapping[Key, Trial], params: InterventionParameters) -> dict[tuple[str, str], Answered]:
    """Return the answers by (arm, class). A text that failed in any arm names no class there; its plain trial does."""
    plain = {item: trial for (item, arm), trial in by_key.items() if arm == PLAIN}
    failed = next((trial.error for trial in plain.values() if trial.error), "")
    labels = {item: str(_member(trial, "label")) for item, trial in plain.items() if trial.error is None}
    found: dict[tuple[str, str], Answered] = {}
    for name in (PLAIN, *(arm.name for arm in arms(params))):
        for label in keys.LABELS:
            items = sorted(item for item, own in labels.items() if own == label)
            found[(name, label)] = _table([by_key.get((item, name)) for item in items], items, plain, params, failed)
    return found


def _table(
    trials: Sequence[Trial | None],
    items: Sequence[str],
    plain: Mapping[str, Trial],
    params: InterventionParameters,
    failed: str,
) -> Answered:
    why = failed or next(("a promised answer is missing" for one in trials if one is None), "")
    why = why or next((one.error for one in trials if one is not None and one.error), "")
    if why:
        return Answered(np.empty(0), np.empty(0), np.empty(0), why)
    rows = []
    for trial, item in zip(trials, items, strict=True):
        assert trial is not None
        reasoning, answer = str(_member(trial, "reasoning")), str(_member(trial, "answer"))
        rows.append(
            (
                shows(reasoning, answer, markers=params.markers, match=params.match),
                degenerate(reasoning + answer, cut=_cut(trial), plain_cut=_cut(plain[item])),
                float(_member(trial, "log_odds")),
            )
        )
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return Answered(table[:, 0], table[:, 1], table[:, 2], "")


def _capability(by_key: Mapping[Key, Trial], arm: str) -> tuple[Array, str]:
    """Return by how many nats a token each neutral text got less likely, and why that is not known."""
    key = keys.capability_key(arm)
    trial = by_key.get((key.item, key.arm))
    if trial is None or trial.error is not None:
        return np.empty(0), (trial.error if trial is not None and trial.error else "the neutral texts were not read")
    return _floats(trial, "edited") - _floats(trial, "plain"), ""


def _control(
    by_key: Mapping[Key, Trial],
    params: InterventionParameters,
    kind: str,
    arm: str,
    answered: Mapping[tuple[str, str], Answered],
) -> Control:
    wanted = [keys.control_key(kind, place, arm) for own, place in keys.controls(params) if own == kind]
    trials = [by_key.get((key.item, key.arm)) for key in wanted]
    why = next((one.error for one in trials if one is not None and one.error), "")
    why = why or next(("a promised control is missing" for one in trials if one is None), "")
    why = why or next((table.why for (name, _), table in answered.items() if name in (PLAIN, arm) and table.why), "")
    why = why or ("" if wanted else f"no {kind} controls are planned")
    held = [] if why else [trial for trial in trials if trial is not None]
    change: dict[str, Array] = {}
    shift: dict[str, Array] = {}
    own_change: dict[str, float] = {}
    own_shift: dict[str, float] = {}
    texts: dict[str, int] = {}
    for label in keys.LABELS:
        plain, pushed = answered[(PLAIN, label)], answered[(arm, label)]
        count = min(len(plain.shown), params.control_items or len(plain.shown))
        texts[label] = count
        if held and count:
            shown, odds = (_stacked(held, name, count) for name in (label, f"{label}_log_odds"))
            change[label] = (shown - plain.shown[:count]).mean(axis=1)
            shift[label] = (odds - plain.log_odds[:count]).mean(axis=1)
            own_change[label] = float((pushed.shown[:count] - plain.shown[:count]).mean())
            own_shift[label] = float((pushed.log_odds[:count] - plain.log_odds[:count]).mean())
    asked = len(held) * sum(texts.values())
    broken = sum(float(_member(trial, "degenerate")) for trial in held) / asked if asked else 0.0
    return Control(change, shift, own_change, own_shift, texts, broken, why)


def _stacked(trials: Sequence[Trial], name: str, count: int) -> Array:
    """Return one reading of every control, (k, text)."""
    rows = [_floats(trial, name) for trial in trials]
    if any(len(row) != count for row in rows):
        raise IntegrityError(f"{KIND}: {name} of {trials[0].key.order} is about other texts than the direction's")
    return np.stack(rows)


def _held(trial: Trial | None) -> Mapping[str, Any] | None:
    return None if trial is None or trial.error is not None else trial.measurements


def _cut(trial: Trial) -> bool:
    return bool(_member(trial, "finish_reason") == "length")


def _member(trial: Trial, name: str) -> Any:
    if name not in trial.measurements:
        raise IntegrityError(f"{KIND}: trial {trial.key.order} lacks {name}")
    return trial.measurements[name]


def _floats(trial: Trial, name: str) -> Array:
    values = _member(trial, name)
    if not isinstance(values, list) or not all(isinstance(value, (int, float)) for value in values):
        raise IntegrityError(f"{KIND}: {name} of trial {trial.key.order} is no list of numbers")
    return np.array(values, dtype=np.float64)
