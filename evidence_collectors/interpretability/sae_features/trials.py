"""What do the trials of a reading say, as tables? Sorted by key, so that the order they come in changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dossier.errors import IntegrityError
from dossier.model import Trial
from evidence_collectors.interpretability.sae_features.parameters import KIND, SaeFeaturesParameters

Floats = NDArray[np.float64]
T = TypeVar("T")

SINGLE = ("subject", "census")  # arms with one trial
BY_FEATURE = ("selected", "changed")
BY_ITEM = ("read", "twin", "ablate", "behaviour", "fidelity", "baseline")
NUMBERS = {  # what each arm without labels must hold
    "subject": ("parity", "l0", "fvu", "positives", "negatives"),
    "census": ("tokens", "width", "alive", "dense_1", "dense_10"),
    "selected": ("feature", "scale"),
    "changed": ("feature", "change", "deviation"),
}
LABELS, SPLITS = ("positive", "negative", "neutral"), ("test", "transfer")


@dataclass(frozen=True, eq=False)
class Table:
    """The trials of an arm that carry measurements, and why the others do not.

    ``problem`` is "" where all were read. With a problem nothing is estimated from the arm: what is left may not stand for
    the rest.
    """

    arm: str
    rows: tuple[Mapping[str, Any], ...]
    problem: str

    def where(self, *, label: str = "", split: str = "", control: bool = False) -> Table:
        """Return the rows of a label, of a split, of the control set."""
        rows = tuple(
            row
            for row in self.rows
            if (not label or row["label"] == label)
            and (not split or row["split"] == split)
            and (not control or row["control"])
        )
        return Table(self.arm, rows, self.problem)

    def column(self, name: str) -> Floats:
        """Return one number a row, (row,)."""
        return self._array(lambda: [row[name] for row in self.rows], 1)

    def matrix(self, name: str) -> Floats | None:
        """Return a list of numbers a row, (row, member); None where rows say there is none."""
        if any(row.get(name, 0) is None for row in self.rows):
            return None
        return self._array(lambda: [row[name] for row in self.rows], 2)

    def clusters(self) -> list[str]:
        """Return the cluster of each row."""
        return [str(row["cluster"]) for row in self.rows]

    def _array(self, values: Callable[[], Any], dimensions: int) -> Floats:
        try:
            array = np.asarray(values(), dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"{KIND}: arm {self.arm!r} holds a trial with other measurements: {error}") from error
        if not self.rows:
            return np.zeros((0,) * dimensions)
        if array.ndim != dimensions or not np.isfinite(array).all():
            raise IntegrityError(
                f"{KIND}: arm {self.arm!r} holds measurements that are not {dimensions}-dimensional numbers"
            )
        return array


@dataclass(frozen=True, eq=False)
class Trials:
    """All tables by arm, and the chosen features in their order; a feature that was not found is None."""

    tables: Mapping[str, Table]
    selected: tuple[Mapping[str, Any] | None, ...]
    changed: tuple[Mapping[str, Any] | None, ...]

    def single(self, arm: str) -> Mapping[str, Any] | None:
        """Return the only trial of an arm, None where it failed."""
        rows = self.tables[arm].rows
        return rows[0] if rows else None


def read(trials: Sequence[Trial], params: SaeFeaturesParameters) -> Trials:
    """Return the tables.

    Raises:
        IntegrityError: a trial twice, an arm nobody promised, or an item without what is needed to place it.
    """
    ordered = sorted(trials, key=lambda trial: trial.key.order)
    if len({trial.key.order for trial in ordered}) != len(ordered):
        raise IntegrityError(f"{KIND}: a trial is there twice")
    for trial in ordered:
        if trial.key.arm not in (*SINGLE, *BY_FEATURE, *BY_ITEM) or trial.key.repeat != 0:
            raise IntegrityError(f"{KIND}: trial {trial.key.item!r} in arm {trial.key.arm!r} was never promised")
        if trial.error is None:
            _check_held(trial)
    return Trials(
        tables={arm: _table(arm, ordered) for arm in (*SINGLE, *BY_ITEM)},
        selected=_by_feature(ordered, "selected", "feature", params.top_k),
        changed=_by_feature(ordered, "changed", "change", params.changes) if params.compare else (),
    )


def _table(arm: str, trials: Sequence[Trial]) -> Table:
    mine = [trial for trial in trials if trial.key.arm == arm]
    errors = [trial.error for trial in mine if trial.error is not None]
    problem = "" if mine else "there are no trials"
    if errors:
        problem = f"{len(errors)} of {len(mine)} trials could not be read: {errors[0]}"
    return Table(arm, tuple(trial.measurements for trial in mine if trial.error is None), problem)


def _by_feature(trials: Sequence[Trial], arm: str, prefix: str, count: int) -> tuple[Mapping[str, Any] | None, ...]:
    found = {trial.key.item: trial.measurements for trial in trials if trial.key.arm == arm and trial.error is None}
    return tuple(found.get(f"{prefix}-{place + 1}") for place in range(count))


def _check_held(trial: Trial) -> None:
    """Refuse a trial without what its arm must hold."""
    held = trial.measurements
    where = f"{KIND}: trial {trial.key.item!r} in arm {trial.key.arm!r}"
    for name in NUMBERS.get(trial.key.arm, ()):
        if isinstance(held.get(name), bool) or not isinstance(held.get(name), int | float):
            raise IntegrityError(f"{where} holds no number {name!r}")
    if trial.key.arm == "census" and not float(str(held["width"])) > 0.0:
        raise IntegrityError(f"{where} says the dictionary has no features")
    if trial.key.arm not in BY_ITEM:
        return
    if held.get("label") not in LABELS or held.get("split") not in SPLITS or not isinstance(held.get("cluster"), str):
        raise IntegrityError(f"{where} says no label, split and cluster")
