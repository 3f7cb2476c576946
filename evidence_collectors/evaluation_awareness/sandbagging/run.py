"""How does an elicitation run? Phase by phase: first the model as it is, then each changed copy of it, one at a time.

A copy that cannot be made, or that breaks down, leaves failed trials for all that was promised of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from pydantic import JsonValue

from dossier.collector import Inputs
from dossier.errors import CollectionError
from dossier.language_model import AlterableModel, Capability, LanguageModel
from dossier.model import Completion, Trial, digest_of
from evidence_collectors.cot_faithfulness.answering import answers, trial_of
from evidence_collectors.evaluation_awareness.sandbagging import protocol
from evidence_collectors.evaluation_awareness.sandbagging.parameters import KIND, Elicitation, SandbaggingParameters
from evidence_collectors.evaluation_awareness.sandbagging.protocol import Asked, Choice

NEEDS: Mapping[Elicitation, Capability] = {"noise": "perturb", "tuning": "tune"}


def collect(inputs: Inputs, params: SandbaggingParameters, choice: Choice, seed: str) -> Iterator[Trial]:
    """Yield every promised trial; ``seed`` is that of the answers.

    Raises:
        CollectionError: the adapter cannot change weights and the plan asks for it, or it answers what was not asked.
    """
    missing = [one for one in params.elicitations if one in NEEDS and NEEDS[one] not in inputs.subject.capabilities]
    if missing:
        raise CollectionError(
            f"{KIND}: {' and '.join(missing)} change weights, which the subject's adapter cannot do",
            hint="Set elicitations = [\"few_shot\"], or load the weights through the adapter 'hf'.",
        )
    altered = set(protocol.changed(params))
    promised = list(protocol.asked(params, choice, seed))
    yield from _as_is(inputs, [one for one in promised if one.phase not in altered])
    for phase in protocol.changed(params):
        yield from _changed(inputs, params, choice, phase, [one for one in promised if one.phase == phase])


def _as_is(inputs: Inputs, asked: Sequence[Asked]) -> Iterator[Trial]:
    """Ask the model as it is; its answers can be replayed one by one."""
    waiting = {digest_of(one.request): one for one in asked}
    requests = [one.request for one in asked]
    for digest, answer in answers(inputs.subject, requests, apart=inputs.white_box is not None, kind=KIND):
        one = waiting[digest]
        yield trial_of(one.key, one.seed, one.request, answer)


def _changed(
    inputs: Inputs, params: SandbaggingParameters, choice: Choice, phase: str, asked: Sequence[Asked]
) -> Iterator[Trial]:
    """Ask a changed copy; what it says is measured and cannot be asked of the subject again."""
    key, own = protocol.setup_key(phase), protocol.setup_seed(choice.root, phase)
    done: set[tuple[str, str, int]] = set()
    try:
        model, noted = _altered(inputs, params, choice, phase)
        yield Trial(key=key, seed=own, request=None, completion=None, measurements=noted)
        done.add(key.order)
        waiting = {digest_of(one.request): one for one in asked}
        for digest, answer in answers(model, [one.request for one in asked], apart=True, kind=KIND):
            one = waiting[digest]
            done.add(one.key.order)
            yield _measured(one, answer)
    except CollectionError as error:
        if key.order not in done:
            yield Trial(key=key, seed=own, request=None, completion=None, error=error.message)
        for one in asked:
            if one.key.order not in done:
                yield _measured(one, error.message)


def _altered(
    inputs: Inputs, params: SandbaggingParameters, choice: Choice, phase: str
) -> tuple[LanguageModel, dict[str, JsonValue]]:
    """Return a changed copy and what was done."""
    subject, seed = cast("AlterableModel", inputs.opened()), protocol.setup_seed(choice.root, phase)
    if phase.startswith("noise_"):
        strength = int(phase.partition(".")[0].removeprefix("noise_")) / 100.0
        noisy = subject.perturbed(seed=seed, strength=strength)
        return noisy, {"weights_sha256": noisy.subject.weights_sha256, "strength": strength}
    shown = protocol.demonstration(params, choice, phase)
    tuned = subject.tuned([shown], steps=params.tuning_steps, learning_rate=params.tuning_rate, seed=seed)
    noted: dict[str, JsonValue] = {"weights_sha256": tuned.subject.weights_sha256}
    if "logprobs" in subject.capabilities and "logprobs" in tuned.capabilities:
        for when, model in (("before", subject), ("after", tuned)):
            noted[f"nats_{when}"] = -sum(next(iter(model.logprobs([shown]))))
    return tuned, noted


def _measured(one: Asked, answer: Completion | str) -> Trial:
    if isinstance(answer, str):
        return Trial(key=one.key, seed=one.seed, request=None, completion=None, error=answer)
    told: dict[str, JsonValue] = {
        "answer": answer.answer,
        "reasoning": answer.reasoning,
        "parse": answer.parse,
        "finish_reason": answer.finish_reason,
    }
    return Trial(key=one.key, seed=one.seed, request=None, completion=None, measurements=told)
