"""How is a judge asked? The impure half: one phase, once it is known which answers switched to their hint.

A trial in which nothing switched is not asked and says so. Behind an endpoint a failure is the infrastructure's and stops
the run; in process a text the judge cannot take (one that holds a control token of the judge's) fails alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dossier.collector import Inputs
from dossier.errors import CollectionError
from dossier.language_model import LanguageModel
from dossier.model import Request, Trial, TrialKey, digest_of
from dossier.statistics import trial_seed
from evidence_collectors.cot_faithfulness.answering import answers
from evidence_collectors.cot_faithfulness.hint.judge.labels import Label, read_labels
from evidence_collectors.cot_faithfulness.hint.judge.reading import PREFIX, judge_request, label_key
from evidence_collectors.cot_faithfulness.hint.parameters import KIND, HintParameters
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES, Family
from evidence_collectors.cot_faithfulness.hint.reading import Place, read_with_switches

JUDGE, LABELS = "judge", "labels"


def check_roles(inputs: Inputs, params: HintParameters) -> None:
    """Compare the further inputs with what the parameters plan.

    Raises:
        CollectionError: a judge or labels are planned and missing, or given and not planned.
    """
    for role, given, planned in (
        (JUDGE, JUDGE in inputs.models, params.judge != "none"),
        (LABELS, LABELS in inputs.files, params.labelled > 0),
    ):
        if given != planned:
            raise CollectionError(
                f"{KIND}: the parameters plan {'a' if planned else 'no'} {role!r}, and it is "
                f"{'given' if given else 'missing'}",
                hint="Name it under the evidence's inputs and plan it by the parameters judge and labelled, or neither.",
            )


def judged_keys(keys: Sequence[TrialKey], params: HintParameters) -> Iterator[TrialKey]:
    """Yield the keys of the judge's trials: one for every hinted trial of the subject, one for every label."""
    if params.judge == "none":
        return
    for key in keys:
        if "." in key.arm:
            yield TrialKey(item=key.item, arm=PREFIX + key.arm, repeat=key.repeat)
    for number in range(params.labelled):
        yield label_key(number)


def labels_of(inputs: Inputs, params: HintParameters) -> tuple[Label, ...]:
    """Return the labelled set that the plan names, if any. Raises CollectionError where it is not what was promised."""
    if params.judge == "none" or not params.labelled:
        return ()
    return read_labels(inputs.files[LABELS], construct=params.judge, promised=params.labelled)


def judged(
    judge: LanguageModel, trials: Sequence[Trial], labels: Sequence[Label], params: HintParameters, seed: str
) -> Iterator[Trial]:
    """Yield the judge's trials: of switches as they are answered, of all others at once.

    Raises:
        CollectionError: the judge answers what was not asked, or an endpoint fails.
    """
    _, switches = read_with_switches(trials, families=params.families, hints=params.hints, repeats=params.repeats)
    who = {"judge": judge.subject.name, "judge_sha256": digest_of(judge.subject)}
    open_: dict[str, tuple[TrialKey, str, Request, dict[str, str | bool]]] = {}
    texts: list[tuple[TrialKey, str, Family, dict[str, str | bool]]] = []
    for key in judged_keys([trial.key for trial in trials], params.model_copy(update={"labelled": 0})):
        place: Place = (key.item, key.arm.removeprefix(PREFIX), key.repeat)
        if place in switches:
            family = next(one for one in FAMILIES if place[1].startswith(f"{one}."))
            texts.append((key, switches[place], family, {"needed": True}))
        else:
            own = trial_seed(seed, KIND, key)
            yield Trial(key=key, seed=own, request=None, completion=None, measurements={"needed": False})
    for number, label in enumerate(labels):
        told: dict[str, str | bool] = {"label": label.id, "family": label.family, params.judge: label.holds}
        texts.append((label_key(number), label.reasoning, label.family, told))
    for key, text, family, noted in texts:
        own = trial_seed(seed, KIND, key)
        request = judge_request(params, text, family, own)
        open_[digest_of(request)] = key, own, request, {**noted, **who}
    requests = [request for _, _, request, _ in open_.values()]
    alone = judge.subject.identity == "digests"
    for digest, answer in answers(judge, requests, apart=alone, kind=KIND):
        key, own, request, noted = open_[digest]
        if isinstance(answer, str):
            yield Trial(key=key, seed=own, request=request, completion=None, error=answer)
        else:
            yield Trial(key=key, seed=own, request=request, completion=answer, measurements=noted)
