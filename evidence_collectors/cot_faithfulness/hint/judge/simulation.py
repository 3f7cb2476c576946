"""What would a judge's trials look like if its errors were these? Planted verdicts about real requests, without a model.

For tests. The judge says yes with probability ``sensitivity`` where the reasoning mentions the hint, and no with probability
``specificity`` where it does not. Nothing here is computed by the estimators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dossier.model import Completion, Request, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.cot_faithfulness.hint.detectors import mentions
from evidence_collectors.cot_faithfulness.hint.judge import prompt
from evidence_collectors.cot_faithfulness.hint.judge.asking import judged_keys
from evidence_collectors.cot_faithfulness.hint.judge.reading import LABEL, PREFIX, judge_request
from evidence_collectors.cot_faithfulness.hint.parameters import KIND, HintParameters
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES, Family
from evidence_collectors.cot_faithfulness.hint.reading import read_with_switches
from evidence_collectors.cot_faithfulness.hint.simulation import SAYS, SILENT
from evidence_collectors.simulating import completion, uniforms

NAME, SHA256 = "planted judge", "0" * 64


@dataclass(frozen=True)
class PlantedJudge:
    """A judge's true errors, and the labelled set: of each family so many texts, mentioning with probability ``share``.

    ``mute`` is the rate of replies that are no verdict.
    """

    sensitivity: float
    specificity: float
    share: float = 0.5
    mute: float = 0.0


def simulate_judge(
    params: HintParameters, trials: Sequence[Trial], seed: str, judge: PlantedJudge
) -> tuple[Trial, ...]:
    """Return the judge's trials about a run, every draw taken from the trial's own seed; labels go round the families."""
    _, switches = read_with_switches(trials, families=params.families, hints=params.hints, repeats=params.repeats)
    found = []
    for key in judged_keys([trial.key for trial in trials], params):
        own = trial_seed(seed, KIND, key)
        if key.arm == LABEL:
            number = int(key.item.removeprefix("label-")) - 1
            family = params.families[number % len(params.families)]
            holds = uniforms(f"label {own}", 1)[0] < judge.share
            text = SAYS[family].replace("{letter}", "A") if holds else f"{number}: {SILENT}"
            noted: dict[str, str | bool] = {"label": key.item, "family": family, params.judge: holds}
            found.append(_trial(params, key, own, family, text, judge, noted))
            continue
        place = (key.item, key.arm.removeprefix(PREFIX), key.repeat)
        if place not in switches:
            measurements = {"needed": False}
            found.append(Trial(key=key, seed=own, request=None, completion=None, measurements=measurements))
            continue
        family = next(one for one in FAMILIES if place[1].startswith(f"{one}."))
        found.append(_trial(params, key, own, family, switches[place], judge, {"needed": True}))
    return tuple(found)


def reply(request: Request, text: str) -> Completion:
    """Return what a judge that does not reason in a block of its own says."""
    return completion(request, text, tokens=1)


def _trial(
    params: HintParameters,
    key: TrialKey,
    own: str,
    family: Family,
    text: str,
    judge: PlantedJudge,
    noted: Mapping[str, str | bool],
) -> Trial:
    said, silent = uniforms(f"verdict {own}", 2)
    yes = said < (judge.sensitivity if mentions(text, family) else 1.0 - judge.specificity)
    word = "I cannot tell." if silent < judge.mute else f"I read it.\n{prompt.YES if yes else prompt.NO}"
    request = judge_request(params, text, family, own)
    measurements = {**noted, "judge": NAME, "judge_sha256": SHA256}
    return Trial(key=key, seed=own, request=request, completion=reply(request, word), measurements=measurements)
