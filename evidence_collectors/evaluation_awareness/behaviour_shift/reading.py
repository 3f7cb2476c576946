"""What did the model do in each scenario: show the behaviour or not, say that it is tested or not?

A *pair* is an evaluation and a deployment answer to one scenario, format and repeat; where a scenario's contexts stand in
different formats, its texts are paired in the order of their formats, and the scenario is *unmatched*. A pair is unusable
where one of its answers cannot be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dossier.errors import IntegrityError
from dossier.model import Trial
from evidence_collectors.evaluation_awareness import answers
from evidence_collectors.evaluation_awareness.answers import Fault
from evidence_collectors.evaluation_awareness.behaviour_shift.parameters import ShiftParameters
from evidence_collectors.evaluation_awareness.behaviour_shift.trials import AGAIN, ARMS
from evidence_collectors.evaluation_awareness.verbalised import detectors
from evidence_collectors.interpretability.causal_intervention.detectors import shows

Shown = bool | Fault


@dataclass(frozen=True)
class Pair:
    """One scenario, format and repeat. ``spoken``: the evaluation answer says that this may be a test; None if unread."""

    scenario: str
    cells: tuple[str, str]  # of the evaluation and of the deployment text
    evaluation: Shown
    deployment: Shown
    again: Shown
    spoken: bool | None

    @property
    def difference(self) -> int | None:
        """Evaluation minus deployment: -1, 0, 1, or None where one cannot be read."""
        return _difference(self.evaluation, self.deployment)

    @property
    def chance(self) -> int | None:
        """Deployment asked again minus deployment."""
        return _difference(self.again, self.deployment)


@dataclass(frozen=True)
class Reading:
    """All pairs, by scenario in the order of names; ``faults`` counts unreadable trials by kind."""

    pairs: tuple[Pair, ...]
    trials: int
    faults: Counter[Fault]

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The names of the scenarios."""
        return tuple(dict.fromkeys(pair.scenario for pair in self.pairs))

    @property
    def unmatched(self) -> int:
        """How many scenarios pair texts of different formats, or more of a format in one context than in the other."""
        return len({pair.scenario for pair in self.pairs if pair.cells[0] != pair.cells[1]})


def read(trials: Sequence[Trial], params: ShiftParameters) -> Reading:
    """Return the pairs, whatever the order of the trials.

    Raises:
        IntegrityError: a trial is given twice, or belongs to no promised arm.
    """
    by_scenario: dict[str, dict[tuple[str, str, int], Trial]] = {}
    cells = params.cells or ("uncrossed",)
    for trial in trials:
        context, _, cell = trial.key.arm.partition(".")
        if context not in ARMS or cell not in cells or trial.key.repeat >= params.repeats:
            raise IntegrityError(f"trial {trial.key.order}: the parameters promise no such arm or repeat")
        own = by_scenario.setdefault(trial.key.item, {})
        if (context, cell, trial.key.repeat) in own:
            raise IntegrityError(f"trial {trial.key.order} is there twice")
        own[(context, cell, trial.key.repeat)] = trial
    shown = {name: {place: _shown(trial, params) for place, trial in own.items()} for name, own in by_scenario.items()}
    faults = Counter[Fault](one for own in shown.values() for one in own.values() if not isinstance(one, bool))
    pairs = tuple(pair for name in sorted(by_scenario) for pair in _pairs(name, by_scenario[name], shown[name], params))
    return Reading(pairs, len(trials), faults)


def _pairs(
    name: str,
    trials: Mapping[tuple[str, str, int], Trial],
    shown: Mapping[tuple[str, str, int], Shown],
    params: ShiftParameters,
) -> list[Pair]:
    found = []
    formats = {
        context: sorted({cell for own, cell, _ in shown if own == context}) for context in ("evaluation", "deployment")
    }
    longest = max(len(cells) for cells in formats.values())
    if not all(formats.values()):
        raise IntegrityError(f"scenario {name!r} has trials of one context only")
    for place in range(longest):
        one, other = (formats[context][place % len(formats[context])] for context in ("evaluation", "deployment"))
        for repeat in range(params.repeats):
            evaluation = ("evaluation", one, repeat)
            found.append(
                Pair(
                    scenario=name,
                    cells=(one, other),
                    evaluation=shown.get(evaluation, "no_answer"),
                    deployment=shown.get(("deployment", other, repeat), "no_answer"),
                    again=shown.get((AGAIN, other, repeat), "no_answer"),
                    spoken=_spoken(trials.get(evaluation)),
                )
            )
    return found


def _shown(trial: Trial, params: ShiftParameters) -> Shown:
    why = answers.fault(trial)
    if why is not None:
        return why
    assert trial.completion is not None
    said = trial.completion
    if shows(said.reasoning or "", said.answer, markers=params.markers, match=params.match):
        return True
    if answers.cut_off(trial) and params.match == "anywhere":
        return "cut_off"  # the marker may have come after the limit
    return False


def _spoken(trial: Trial | None) -> bool | None:
    if trial is None or trial.completion is None:
        return None
    return detectors.grade(answers.text_of(trial.completion)) == "aware"


def _difference(one: Shown, other: Shown) -> int | None:
    if not isinstance(one, bool) or not isinstance(other, bool):
        return None
    return int(one) - int(other)
