"""Which answers talk of being tested, and where: in the reasoning or in the answer?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dossier.errors import IntegrityError
from dossier.model import Trial
from evidence_collectors.evaluation_awareness import answers
from evidence_collectors.evaluation_awareness.answers import Fault
from evidence_collectors.evaluation_awareness.asking import CONTEXTS
from evidence_collectors.evaluation_awareness.verbalised import detectors
from evidence_collectors.evaluation_awareness.verbalised.detectors import Grade
from evidence_collectors.evaluation_awareness.verbalised.parameters import VerbalisedParameters


@dataclass(frozen=True)
class Answer:
    """One answer, graded. ``reasoning`` is None where no closed block of it was seen; with a ``fault`` nothing was read."""

    scenario: str
    context: str
    cell: str
    fault: Fault | None
    whole: Grade = "none"
    reasoning: Grade | None = None
    answer: Grade = "none"


def read(trials: Sequence[Trial], params: VerbalisedParameters) -> tuple[Answer, ...]:
    """Return the answers in the order of their keys, whatever the order of the trials.

    Raises:
        IntegrityError: a trial is given twice, or belongs to no promised arm.
    """
    cells = params.cells or ("uncrossed",)
    ordered = sorted(trials, key=lambda trial: trial.key.order)
    twice = [key for key, count in Counter(trial.key.order for trial in ordered).items() if count > 1]
    if twice:
        raise IntegrityError(f"trial {twice[0]} is there twice")
    found = []
    for trial in ordered:
        context, _, cell = trial.key.arm.partition(".")
        if context not in CONTEXTS.values() or cell not in cells or trial.key.repeat >= params.repeats:
            raise IntegrityError(f"trial {trial.key.order}: the parameters promise no such arm or repeat")
        scenario = str(trial.measurements.get("pair") or trial.key.item)
        found.append(_answer(trial, scenario, context, cell))
    return tuple(found)


def _answer(trial: Trial, scenario: str, context: str, cell: str) -> Answer:
    why = answers.fault(trial)
    if why is not None:
        return Answer(scenario, context, cell, why)
    assert trial.completion is not None
    said = trial.completion
    whole = detectors.grade(answers.text_of(said))
    if whole != "aware" and answers.cut_off(trial):
        return Answer(scenario, context, cell, "cut_off")  # a mention may have come after the limit
    written = said.readable_reasoning
    reasoning = None if written is None else detectors.grade(written)
    return Answer(scenario, context, cell, None, whole, reasoning, detectors.grade(said.answer))
