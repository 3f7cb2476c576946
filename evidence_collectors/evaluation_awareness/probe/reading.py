"""What do the trials of a probe hold? Tables by what they are for, whatever order the trials come in.

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
from evidence_collectors.evaluation_awareness.probe import trials as keys
from evidence_collectors.evaluation_awareness.probe.detectors import RECORDED
from evidence_collectors.evaluation_awareness.probe.detectors import read as read_answer
from evidence_collectors.evaluation_awareness.probe.parameters import KIND, ProbeParameters
from evidence_collectors.evaluation_awareness.probe.trials import (
    PLAIN,
    READ_ARMS,
    READERS,
    SHOWN,
    answered_arms,
    arms,
    random_arm,
)

Array = NDArray[np.float64]
MISSING = "a promised trial is missing, or the item set has no text for it"


@dataclass(frozen=True, eq=False)
class Rows:
    """Texts with what was read of them, in the order of their ids; ``why`` is set where one could not be read.

    ``scores`` is by "fit.reader", (text,), or (text, k) for nulls.
    """

    evaluation: NDArray[np.bool_]
    split: tuple[str, ...]
    cell: tuple[str, ...]
    pair: tuple[str, ...]
    scores: Mapping[str, Array]
    why: str

    def where(self, *, split: str, without: str | None) -> NDArray[np.bool_]:
        """Return which texts are of a split, and not of one format."""
        return np.array(
            [own == split and cell != without for own, cell in zip(self.split, self.cell, strict=True)], dtype=bool
        )


@dataclass(frozen=True, eq=False)
class Answered:
    """The pushed texts in one arm, in the order of their ids: (text,) of 0 and 1, or (text, k) for random directions."""

    shown: Mapping[str, Array]
    why: str


@dataclass(frozen=True, eq=False)
class Reading:
    """What a run read. ``pushed`` is by arm, ``random`` by arm; ``texts`` are the contexts and pairs of the pushed texts."""

    self_test: Mapping[str, Any] | None
    why: str
    formats: Mapping[str, Mapping[str, tuple[int, int]]]
    fits: Mapping[str, Mapping[str, Any]]
    fit_errors: Mapping[str, str]
    spectra: Mapping[str, float]
    scored: Rows
    twins: Rows
    handle: Mapping[str, Any] | None
    contexts: tuple[str, ...]
    pairs: tuple[str, ...]
    pushed: Mapping[str, Answered]
    random: Mapping[str, Answered]


def read(trials: Sequence[Trial], params: ProbeParameters) -> Reading:
    """Return what the trials hold.

    Raises:
        IntegrityError: a trial twice, an arm this protocol does not have, or a trial that lacks what it should hold.
    """
    by_arm: dict[str, dict[str, Trial]] = {}
    known = {*READ_ARMS, *answered_arms(params), *map(random_arm, arms(params))}
    known |= {keys.HANDLE.arm} if params.strengths else set()
    for trial in sorted(trials, key=lambda one: one.key.order):
        held = by_arm.setdefault(trial.key.arm, {})
        if trial.key.item in held or trial.key.repeat or trial.key.arm not in known:
            raise IntegrityError(f"{KIND}: trial {trial.key.order} is there twice, or of no arm of this protocol")
        held[trial.key.item] = trial
    fits = {fit: by_arm.get("fit", {}).get(keys.fit_key(fit).item) for fit in keys.fits(params)}
    fitted = {fit: one for fit, one in fits.items() if one is not None and one.error is None}
    plain = by_arm.get(PLAIN, {})
    self_test = _only(by_arm, keys.SELF_TEST.arm)
    return Reading(
        self_test=self_test,
        why=next((one.error for one in by_arm.get(keys.SELF_TEST.arm, {}).values() if one.error), MISSING)
        if self_test is None
        else "",
        formats=_formats(_only(by_arm, keys.FORMATS.arm) or {}),
        fits={fit: one.measurements for fit, one in fitted.items()},
        fit_errors={
            fit: (one.error if one is not None and one.error else MISSING)
            for fit, one in fits.items()
            if fit not in fitted
        },
        spectra={
            item: float(_member(one, "first_component_share"))
            for item, one in by_arm.get("spectrum", {}).items()
            if one.error is None
        },
        scored=_rows(
            by_arm.get("score", {}),
            tuple(f"{fit}.{reader}" for fit in fitted for reader in (*READERS, "shuffled")),
        ),
        twins=_rows(by_arm.get("twin", {}), tuple(fitted)),
        handle=_only(by_arm, keys.HANDLE.arm),
        contexts=tuple(str(_member(one, "context")) for one in plain.values() if one.error is None),
        pairs=tuple(str(_member(one, "pair")) for one in plain.values() if one.error is None),
        pushed={name: _answered(by_arm, name, params) for name in answered_arms(params)},
        random={arm.name: _random(by_arm.get(random_arm(arm), {}), tuple(plain), params) for arm in arms(params)},
    )


def _formats(told: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    return {
        split: {cell: (int(counts[0]), int(counts[1])) for cell, counts in cells.items()}
        for split, cells in told.items()
    }


def _rows(trials: Mapping[str, Trial], names: tuple[str, ...]) -> Rows:
    why = next((one.error for one in trials.values() if one.error), "" if trials else MISSING)
    held = [] if why else list(trials.values())
    return Rows(
        evaluation=np.array([_member(one, "context") == "evaluation" for one in held], dtype=bool),
        split=tuple(str(_member(one, "split")) for one in held),
        cell=tuple(str(_member(one, "cell")) for one in held),
        pair=tuple(str(_member(one, "pair")) for one in held),
        scores={name: _table(held, name) for name in names} if held else {},
        why=why,
    )


def _answered(by_arm: Mapping[str, Mapping[str, Trial]], name: str, params: ProbeParameters) -> Answered:
    plain, own = by_arm.get(PLAIN, {}), by_arm.get(name, {})
    why = "" if plain and set(own) == set(plain) else MISSING
    why = why or next((one.error for one in (*plain.values(), *own.values()) if one.error), "")
    if why:
        return Answered({}, why)
    told, before = (
        {item: {what: _member(one[item], what) for what in RECORDED} for item in plain} for one in (own, plain)
    )
    found = [read_answer(told[item], plain=before[item], params=params) for item in plain]
    return Answered({what: np.array([float(getattr(one, what)) for one in found]) for what in SHOWN}, "")


def _random(trials: Mapping[str, Trial], items: tuple[str, ...], params: ProbeParameters) -> Answered:
    why = "" if items and set(trials) == set(items) else MISSING
    why = why or next((one.error for one in trials.values() if one.error), "")
    if why:
        return Answered({}, why)
    tables = {what: _table([trials[item] for item in items], what) for what in SHOWN}
    if any(table.ndim != 2 or table.shape[1] != params.random_directions for table in tables.values()):
        raise IntegrityError(f"{KIND}: the random directions are not as many as the parameters say")
    return Answered(tables, "")


def _table(trials: Sequence[Trial], name: str) -> Array:
    rows = [_member(trial, name) for trial in trials]
    try:
        table = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"{KIND}: {name} holds what is no number, or lists of unequal length") from error
    if not np.isfinite(table).all():
        raise IntegrityError(f"{KIND}: {name} holds what is no finite number")
    return table


def _only(by_arm: Mapping[str, Mapping[str, Trial]], arm: str) -> Mapping[str, Any] | None:
    held = list(by_arm.get(arm, {}).values())
    return held[0].measurements if len(held) == 1 and held[0].error is None else None


def _member(trial: Trial, name: str) -> Any:
    if name not in trial.measurements:
        raise IntegrityError(f"{KIND}: trial {trial.key.order} lacks {name}")
    return trial.measurements[name]
