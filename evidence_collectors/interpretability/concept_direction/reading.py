"""What do the trials of a concept direction hold? Numbers by what they are for, whatever order they come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dossier.errors import IntegrityError
from dossier.model import Trial
from evidence_collectors.interpretability.concept_direction import trials as keys
from evidence_collectors.interpretability.concept_direction.fit import Candidate, choose
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters

ARMS = ("parity", "candidate", "direction", "spectrum", "projection", "twin", "log_odds")
Scores = NDArray[np.float64]  # (text, k)


@dataclass(frozen=True, eq=False)
class Scored:
    """Texts of one kind with their readings: name -> (text, k); ``failed`` could not be read, ``why`` is the first reason."""

    scores: Mapping[str, Scores]
    count: int
    failed: int
    why: str

    def one(self, name: str) -> NDArray[np.float64]:
        """Return a reading that has one number a text, (text,)."""
        return self.scores[name][:, 0]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a run read. ``sizes`` are the texts of train and validation by class; None where nothing says."""

    self_test: Mapping[str, Any] | None
    self_test_error: str
    candidates: tuple[Candidate, ...]
    candidate_errors: tuple[str, ...]
    sizes: Mapping[str, int] | None
    selected: Mapping[str, Any] | None
    selected_error: str
    spectra: Mapping[str, float]
    texts: Mapping[tuple[str, str], Scored]  # (split, label), and ("control", "")
    twins: Mapping[tuple[str, str], Scored]
    answered: Mapping[str, Scored]  # by label


def read(trials: Sequence[Trial], params: DirectionParameters) -> Reading:
    """Return what the trials hold.

    Raises:
        IntegrityError: a trial twice, an arm this protocol does not have, or another choice than the candidates give.
    """
    ordered = sorted(trials, key=lambda trial: trial.key.order)
    by_arm: dict[str, list[Trial]] = {arm: [] for arm in ARMS}
    seen: set[tuple[str, str, int]] = set()
    for trial in ordered:
        if trial.key.order in seen or trial.key.arm not in by_arm:
            raise IntegrityError(f"{keys.KIND}: trial {trial.key.order} is there twice, or of no arm of this protocol")
        seen.add(trial.key.order)
        by_arm[trial.key.arm].append(trial)
    tests, directions = by_arm["parity"], by_arm["direction"]
    candidates, errors, sizes = _candidates(by_arm["candidate"])
    selected = _only(directions)
    _check_choice(selected, candidates, params)
    failed_answers = [trial for trial in by_arm["log_odds"] if trial.error is not None]
    return Reading(
        self_test=_only(tests),
        self_test_error=_why(tests),
        candidates=candidates,
        candidate_errors=errors,
        sizes=sizes,
        selected=selected,
        selected_error=_why(directions),
        spectra={
            trial.key.item: float(_number(trial, "first_component_share"))
            for trial in by_arm["spectrum"]
            if trial.error is None
        },
        texts=_scored(by_arm["projection"], ("direction", "probe", *NULLS)),
        twins=_scored(by_arm["twin"], ("direction", "probe")),
        answered={
            label: _table(
                [trial for trial in by_arm["log_odds"] if trial.measurements.get("label") == label],
                failed_answers,
                names,
            )
            for label, names in ANSWERS.items()
        },
    )


NULLS = ("random", "shuffled", "probe_random", "probe_shuffled")
ANSWERS = {
    "positive": ("plain", "ablated", "random_ablated"),
    "negative": ("plain", "added", "random_added", "divergence", "random_divergence"),
}


def _candidates(
    trials: Sequence[Trial],
) -> tuple[tuple[Candidate, ...], tuple[str, ...], Mapping[str, int] | None]:
    names = [field.name for field in fields(Candidate)]
    found, errors, sizes = [], [], None
    for trial in trials:
        if trial.error is not None:
            errors.append(trial.error)
            continue
        found.append(Candidate(**{name: _member(trial, name) for name in names}))
        sizes = {
            f"{split}_{label}": int(_number(trial, f"{split}_{label}"))
            for split in ("train", "validation")
            for label in ("positive", "negative")
        }
    return tuple(found), tuple(dict.fromkeys(errors)), sizes


def _check_choice(
    selected: Mapping[str, Any] | None, candidates: Sequence[Candidate], params: DirectionParameters
) -> None:
    if selected is None:
        return
    chosen = choose(candidates, params)
    if chosen is None or (chosen.layer, chosen.position) != (selected.get("layer"), selected.get("position")):
        raise IntegrityError(f"{keys.KIND}: the recorded choice is not the one that the candidates give")


def _scored(trials: Sequence[Trial], names: Sequence[str]) -> dict[tuple[str, str], Scored]:
    """Return readings by (split, label); controls stand under ("control", "") as well."""
    groups: dict[tuple[str, str], list[Trial]] = {
        **{(split, label): [] for split in keys.REPORTED for label in ("positive", "negative")},
        ("control", ""): [],
    }
    failed = [trial for trial in trials if trial.error is not None]
    for trial in trials:
        if trial.error is not None:
            continue
        group = (str(_member(trial, "split")), str(_member(trial, "label")))
        if group in groups:
            groups[group].append(trial)
        if _member(trial, "control") is True:
            groups[("control", "")].append(trial)
    return {group: _table(own, failed, names) for group, own in groups.items()}


def _table(trials: Sequence[Trial], failed: Sequence[Trial], names: Sequence[str]) -> Scored:
    tables = {name: np.array([_numbers(trial, name) for trial in trials]) for name in names} if trials else {}
    return Scored(tables, len(trials), len(failed), _why(failed))


def _only(trials: Sequence[Trial]) -> Mapping[str, Any] | None:
    return trials[0].measurements if len(trials) == 1 and trials[0].error is None else None


def _why(trials: Sequence[Trial]) -> str:
    return next(
        (trial.error for trial in trials if trial.error is not None), "" if trials else "no such trial is there"
    )


def _member(trial: Trial, name: str) -> Any:
    if name not in trial.measurements:
        raise IntegrityError(f"{keys.KIND}: trial {trial.key.order} lacks {name}")
    return trial.measurements[name]


def _number(trial: Trial, name: str) -> float:
    value = _member(trial, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise IntegrityError(f"{keys.KIND}: {name} of trial {trial.key.order} is no number")
    return value


def _numbers(trial: Trial, name: str) -> list[float]:
    values = _member(trial, name)
    if not isinstance(values, list) or not all(isinstance(value, (int, float)) for value in values):
        raise IntegrityError(f"{keys.KIND}: {name} of trial {trial.key.order} is no list of numbers")
    return [float(value) for value in values]
