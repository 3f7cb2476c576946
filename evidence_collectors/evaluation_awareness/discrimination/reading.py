"""Which probability of a test did the model give each text, and what could not be read?

Shapes: n texts, f formats of the question. A text that has an unreadable trial in a format has no score there (NaN).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dossier.errors import IntegrityError
from dossier.model import Trial
from evidence_collectors.evaluation_awareness import answers
from evidence_collectors.evaluation_awareness.answers import Fault
from evidence_collectors.evaluation_awareness.discrimination.parameters import DiscriminationParameters
from evidence_collectors.evaluation_awareness.discrimination.prompts import Question, score
from evidence_collectors.evaluation_awareness.discrimination.trials import CHOOSING, REPORTED, Arm

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Text:
    """What is known about a text beside its scores."""

    id: str
    label: str
    split: str
    cell: str
    family: str
    pair: str
    length: float


@dataclass(frozen=True)
class Texts:
    """Texts and their scores (n, f), NaN where unread; ``faults`` counts unreadable trials by format and kind."""

    texts: tuple[Text, ...]
    scores: Array
    trials: tuple[int, ...]  # asked, by format
    faults: tuple[Counter[Fault], ...]  # by format

    @property
    def positive(self) -> Mask:
        """Which texts are evaluation (n,)."""
        return np.array([text.label == "positive" for text in self.texts], dtype=np.bool_)

    @property
    def lengths(self) -> Array:
        """The texts' lengths in characters (n,)."""
        return np.array([text.length for text in self.texts], dtype=np.float64)

    def formats(self, columns: Sequence[int]) -> Texts:
        """Return the same texts in some formats of the question."""
        kept = list(columns)
        return Texts(
            self.texts,
            self.scores[:, kept],
            tuple(self.trials[column] for column in kept),
            tuple(self.faults[column] for column in kept),
        )

    def where(self, *, splits: Sequence[str]) -> Texts:
        """Return the texts of some splits; the counts stay those of all."""
        rows = [row for row, text in enumerate(self.texts) if text.split in splits]
        return Texts(tuple(self.texts[row] for row in rows), self.scores[rows], self.trials, self.faults)


def read(trials: Sequence[Trial], params: DiscriminationParameters) -> Texts:
    """Return the texts in the order of their ids, whatever the order of the trials.

    Raises:
        IntegrityError: a trial is given twice, or belongs to no promised arm.
    """
    formats = params.formats
    by_text: dict[tuple[str, str, str, str], dict[tuple[int, int], Trial]] = {}
    for trial in trials:
        arm = Arm.of(trial.key)
        place = _place(trial, arm, params)
        own = by_text.setdefault((trial.key.item, arm.label, arm.split, arm.cell), {})
        if place in own:
            raise IntegrityError(f"trial {trial.key.order} is there twice")
        own[place] = trial
    names = sorted(by_text)
    if len({name for name, *_ in names}) != len(names):
        raise IntegrityError("a text stands under two labels, splits or formats")
    scores = np.full((len(names), len(formats)), np.nan)
    asked, faults = [0] * len(formats), [Counter[Fault]() for _ in formats]
    for row, name in enumerate(names):
        for column, (_, question) in enumerate(formats):
            found = [_score(by_text[name].get((column, repeat)), question, params) for repeat in range(params.repeats)]
            asked[column] += len(found)
            faults[column].update(one for one in found if isinstance(one, str))
            numbers = [one for one in found if isinstance(one, float)]
            if len(numbers) == len(found):
                scores[row, column] = sum(numbers) / len(numbers)
    return Texts(tuple(_text(name, by_text[name].values()) for name in names), scores, tuple(asked), tuple(faults))


def _place(trial: Trial, arm: Arm, params: DiscriminationParameters) -> tuple[int, int]:
    formats = [f"{asking}.{question}" for asking, question in params.formats]
    name = f"{arm.asking}.{arm.question}"
    fits = arm.label in ("positive", "negative") and arm.split in (*CHOOSING, *REPORTED)
    cells = params.cells or ("uncrossed",)
    if name not in formats or not fits or arm.cell not in cells or trial.key.repeat >= params.repeats:
        raise IntegrityError(f"trial {trial.key.order}: the parameters promise no such arm or repeat")
    return formats.index(name), trial.key.repeat


def _score(trial: Trial | None, question: Question, params: DiscriminationParameters) -> float | Fault:
    if params.read == "logprobs":
        return _weight(trial, question, params.minimum_mass)
    why = answers.fault(trial)
    if why is not None:
        return why
    assert trial is not None
    assert trial.completion is not None
    if answers.cut_off(trial):
        return "cut_off"
    found = score(trial.completion.answer, question)
    return "outside_options" if found is None else found


def _weight(trial: Trial | None, question: Question, minimum: float) -> float | Fault:
    if trial is None or trial.error is not None:
        return "no_answer"
    yes, no = (_number(trial.measurements, name) for name in ("yes", "no"))
    if yes < 0.0 or no < 0.0 or yes + no < minimum:
        return "outside_options"
    return (yes if question == "test" else no) / (yes + no)


def _text(name: tuple[str, str, str, str], trials: Iterable[Trial]) -> Text:
    noted: Mapping[str, object] = next((trial.measurements for trial in trials if trial.measurements), {})
    item, label, split, cell = name
    length = noted.get("length", 0)
    return Text(
        id=item,
        label=label,
        split=split,
        cell=cell,
        family=str(noted.get("family", "unknown")),
        pair=str(noted.get("pair") or item),
        length=float(length) if isinstance(length, int | float) else 0.0,
    )


def _number(measurements: Mapping[str, object], name: str) -> float:
    value = measurements.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise IntegrityError(f"a trial has no number {name!r}")
    return float(value)
