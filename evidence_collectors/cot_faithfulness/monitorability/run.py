"""How are subject, monitor and judge asked? The impure half.

A verdict is a trial of its own without a request, since the subject was not asked: what the other model said, and how it
was read. Where the subject's answer could not be read there is nothing to judge, and the trial failed with that reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from dossier.collector import Inputs
from dossier.errors import CollectionError
from dossier.faults import words
from dossier.language_model import LanguageModel
from dossier.model import Completion, Request, Trial, TrialKey, digest_of
from evidence_collectors.cot_faithfulness.answering import answers, by_digest, trial_of
from evidence_collectors.cot_faithfulness.answers import letter_of
from evidence_collectors.cot_faithfulness.hint.prompts import questions_of
from evidence_collectors.cot_faithfulness.monitorability import protocol
from evidence_collectors.cot_faithfulness.monitorability.collector import asked, judged_keys
from evidence_collectors.cot_faithfulness.monitorability.parameters import KIND, MonitorabilityParameters
from evidence_collectors.cot_faithfulness.monitorability.protocol import JUDGE

SAID = 2000  # characters of what a monitor or judge said that are kept


def collect(inputs: Inputs, params: MonitorabilityParameters, seed: str) -> Iterator[Trial]:
    """Yield every promised trial; see `collector.MonitorabilityCollector.collect`."""
    readers = _readers(inputs, params)
    planned = {digest_of(request): (key, own, request) for key, own, request in asked(params, inputs.items, seed)}
    done: dict[tuple[str, str, int], Completion] = {}
    requests = [request for _, _, request in planned.values()]
    for digest, answer in answers(inputs.subject, requests, apart=False, kind=KIND):
        key, own, request = planned[digest]
        if not isinstance(answer, str):
            done[key.order] = answer
        yield trial_of(key, own, request, answer)
    options = {question.id: question.choices for question in questions_of(inputs.items)}
    for role, model in readers.items():
        open_: dict[str, tuple[TrialKey, str]] = {}
        to_ask: list[Request] = []
        for key, _, request in planned.values():
            for judged, own in judged_keys(params, key, seed):
                if (judged.arm.startswith(f"{JUDGE}.")) != (role == "judge"):
                    continue
                completion = done.get(key.order)
                _, fault = letter_of(completion, options[key.item])
                if completion is None or completion.reasoning is None or fault is not None:
                    reason = f"the answer could not be read: {words(fault or 'no_answer')}"
                    yield Trial(key=judged, seed=own, request=None, completion=None, error=reason)
                    continue
                view = judged.arm.partition(".")[0]
                question = protocol.to_monitor(
                    params, view, request.messages, completion.reasoning, completion.answer, own
                )
                open_[digest_of(question)] = (judged, own)
                to_ask.append(question)
        yield from _judged(model, to_ask, open_, role)


def _judged(
    model: LanguageModel, requests: list[Request], open_: Mapping[str, tuple[TrialKey, str]], role: str
) -> Iterator[Trial]:
    for digest, answer in by_digest(model, requests, apart=True, kind=KIND).items():
        key, own = open_[digest]
        if isinstance(answer, str):
            yield Trial(key=key, seed=own, request=None, completion=None, error=answer)
            continue
        said: dict[str, JsonValue] = {
            role: model.subject.name,
            "request_sha256": digest,
            "said": answer.answer[:SAID],
            "finished": answer.finish_reason == "stop",
        }
        yield Trial(key=key, seed=own, request=None, completion=None, measurements=said)


def _readers(inputs: Inputs, params: MonitorabilityParameters) -> Mapping[str, LanguageModel]:
    """Return the models that read the subject's answers, by role."""
    wanted = (("monitor", params.monitor == "model"), ("judge", params.autorater))
    found = {}
    for role, planned in wanted:
        if planned:
            if role not in inputs.models:
                raise CollectionError(
                    f"{KIND}: the plan has the answers read by another model, and none has the role {role!r}",
                    hint="Name one under the evidence's inputs, or plan without it.",
                )
            found[role] = inputs.models[role]
    return found
