"""How is a reasoning asked for, changed and handed back? The impure half.

Three phases: the questions; where planned, other models write mistakes and paraphrases; the reasonings, handed back. A
trial whose reasoning could not be read is a failed trial with that reason, as is one that a writer gave nothing usable for.
Where the adapter does not know whether its server goes on from a given opening, one promised opening is tried before all else.
What a writer wrote stands in the request that hands it back, so every trial can be asked again of the subject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dossier.collector import Inputs
from dossier.errors import CollectionError
from dossier.faults import words
from dossier.language_model import LanguageModel, takes_prefill
from dossier.model import Completion, Message, Request, Trial, TrialKey, digest_of
from evidence_collectors.cot_faithfulness.answering import answers, by_digest, trial_of
from evidence_collectors.cot_faithfulness.hint.prompts import Question, question_text, unhinted
from evidence_collectors.cot_faithfulness.perturbation import protocol
from evidence_collectors.cot_faithfulness.perturbation.collector import first_request, promised
from evidence_collectors.cot_faithfulness.perturbation.counts import NOT_REWORDED
from evidence_collectors.cot_faithfulness.perturbation.faults import reasoning_of
from evidence_collectors.cot_faithfulness.perturbation.parameters import KIND, PerturbationParameters
from evidence_collectors.cot_faithfulness.perturbation.protocol import CONTROL, EARLY, FILLER, MISTAKE, REASONED
from evidence_collectors.cot_faithfulness.steps import steps_of

WRITERS = {"mistake": "mistake_author", "paraphrase": "paraphraser"}
UNUSABLE = {
    "mistake": "the mistake author gave nothing that can be put into a reasoning",
    "paraphrase": "the paraphraser gave nothing that can be handed back",
}


@dataclass(frozen=True)
class _Planned:
    """A trial that is to be asked."""

    question: Question
    key: TrialKey
    seed: str

    @property
    def messages(self) -> tuple[Message, ...]:
        return unhinted(self.question)

    @property
    def kind(self) -> str:
        return self.key.arm.partition(".")[0]


@dataclass(frozen=True)
class _Base:
    """The reasoning that is handed back."""

    request_sha256: str
    reasoning: str


def collect(inputs: Inputs, params: PerturbationParameters, seed: str) -> Iterator[Trial]:
    """Yield every promised trial; see `collector.PerturbationCollector.collect`."""
    writers = _writers(inputs, params)
    planned = [_Planned(*one) for one in promised(params, inputs.items, seed)]
    first = {one.key.order: first_request(params, one.messages, one.key.arm, one.seed) for one in planned}
    bases: dict[tuple[str, int], _Base | str] = {}
    asked = [(one, request) for one in planned if (request := first[one.key.order]) is not None]
    if params.hand_back == "prefill" and takes_prefill(inputs.subject) is None:
        _try_opening(inputs.subject, next((request for _, request in asked if request.prefill), None), params)
    for one, trial in _ask(inputs.subject, asked, params, {}):
        if one.key.arm == REASONED:
            bases[(one.key.item, one.key.repeat)] = _base(one, trial)
        yield trial
    later: list[tuple[_Planned, Request]] = []
    noted: dict[tuple[str, str, int], dict[str, str]] = {}
    open_ = [one for one in planned if first[one.key.order] is None]
    written = _written(open_, bases, writers, params, seed)
    for one in open_:
        base = bases[(one.key.item, one.key.repeat)]
        text = base if isinstance(base, str) else _changed(one, base, written, params, seed)
        if isinstance(base, str) or isinstance(text, _Fault):
            reason = text.reason if isinstance(text, _Fault) else f"the reasoning could not be read: {base}"
            yield Trial(key=one.key, seed=one.seed, request=None, completion=None, error=reason)
            continue
        closed = params.after_mistake == "answer" or one.kind not in (MISTAKE, CONTROL)
        noted[one.key.order] = {"reasoning_of": base.request_sha256}
        if _writer(one, params) is not None:
            noted[one.key.order]["written_by"] = writers[str(_writer(one, params))].subject.name
        later.append((one, protocol.handed_back(params, one.messages, text, one.seed, closed=closed)))
    for _, trial in _ask(inputs.subject, later, params, noted):
        yield trial


@dataclass(frozen=True)
class _Fault:
    reason: str


def _ask(
    model: LanguageModel,
    asked: Sequence[tuple[_Planned, Request]],
    params: PerturbationParameters,
    noted: Mapping[tuple[str, str, int], Mapping[str, str]],
) -> Iterator[tuple[_Planned, Trial]]:
    """Yield each trial as its completion arrives."""
    by_request = {digest_of(request): (one, request) for one, request in asked}
    requests = [request for _, request in asked]
    for digest, answer in answers(model, requests, apart=params.hand_back == "prefill", kind=KIND):
        one, request = by_request[digest]
        found = {} if isinstance(answer, str) else noted.get(one.key.order, {})
        yield one, trial_of(one.key, one.seed, request, answer, found)


def _try_opening(model: LanguageModel, request: Request | None, params: PerturbationParameters) -> None:
    """Ask the first request that opens the model's turn, whose reasoning block is closed. The journal keeps the answer.

    Raises:
        CollectionError: there is no answer, or one that begins a reasoning of its own: the opening was not gone on from.
    """
    if request is None:
        return
    (answer,) = by_digest(model, [request], apart=True, kind=KIND).values()
    problem = answer if isinstance(answer, str) else None
    if isinstance(answer, Completion):
        begun = bool(params.opening) and answer.answer.lstrip().startswith(params.opening.strip())
        if begun or answer.readable_reasoning is not None:
            problem = "it began a reasoning of its own after one that was handed back closed"
    if problem is not None:
        raise CollectionError(
            f"{KIND}: the model does not go on from a given opening of its own turn: {problem}",
            hint="Plan with hand_back = \"turns\", or load the weights through the adapter 'hf'. Nothing else was asked.",
        )


def _base(one: _Planned, trial: Trial) -> _Base | str:
    letter, fault = reasoning_of(trial.completion, one.question.choices)
    if letter is None or trial.completion is None or trial.completion.reasoning is None:
        return words(fault or "no_answer")
    return _Base(trial.completion.request_sha256, trial.completion.reasoning)


def _changed(
    one: _Planned,
    base: _Base,
    written: Mapping[tuple[str, str, int], str],
    params: PerturbationParameters,
    seed: str,
) -> str | _Fault:
    """Return the text that is handed back, or why there is none."""
    reasoning, order = base.reasoning, one.key.order
    kind, _, rest = one.key.arm.partition(".")
    if kind == EARLY:
        return protocol.early(reasoning, int(rest))
    if kind == FILLER:
        return protocol.filler(reasoning)
    if _writer(one, params) is not None and order not in written:
        return _Fault(UNUSABLE[kind])
    if kind == protocol.PARAPHRASE:
        text = written[order] if params.paraphrase == "model" else protocol.reworded(reasoning)
        return _Fault(NOT_REWORDED) if text is None else text
    at = protocol.place(params, reasoning, seed, one.key.item, one.key.repeat)
    sentence = protocol.NEUTRAL_SENTENCE
    if kind == MISTAKE:
        by_rule = protocol.MISTAKE_SENTENCE.replace("{letter}", rest.upper())
        sentence = written[order] if params.mistake == "model" else by_rule
    return protocol.with_step(reasoning, at, sentence)


# --- other models --------------------------------------------------------------------------------------------------


def _writers(inputs: Inputs, params: PerturbationParameters) -> Mapping[str, LanguageModel]:
    """Return the models that write, by what they write."""
    found = {}
    for what, role in WRITERS.items():
        if getattr(params, what) == "model":
            if role not in inputs.models:
                raise CollectionError(
                    f"{KIND}: {what} is to be written by a model, and none has the role {role!r}",
                    hint=f'Name one under the evidence\'s inputs, or set {what} = "rule".',
                )
            found[what] = inputs.models[role]
    return found


def _writer(one: _Planned, params: PerturbationParameters) -> str | None:
    """Return what another model writes for a trial, if anything."""
    return one.kind if one.kind in WRITERS and getattr(params, one.kind) == "model" else None


def _written(
    open_: Sequence[_Planned],
    bases: Mapping[tuple[str, int], _Base | str],
    writers: Mapping[str, LanguageModel],
    params: PerturbationParameters,
    seed: str,
) -> dict[tuple[str, str, int], str]:
    """Return what the writers wrote, by trial; without an entry where it cannot be used."""
    found: dict[tuple[str, str, int], str] = {}
    for what, model in writers.items():
        requests: dict[str, _Planned] = {}
        asked = []
        for one in open_:
            base = bases[(one.key.item, one.key.repeat)]
            if _writer(one, params) == what and isinstance(base, _Base):
                request = _to_writer(one, base, params, seed)
                requests[digest_of(request)] = one
                asked.append(request)
        for digest, answer in by_digest(model, asked, apart=True, kind=KIND).items():
            text = _usable(answer, params, one_line=what == "mistake")
            if text is not None:
                found[requests[digest].key.order] = text
    return found


def _to_writer(one: _Planned, base: _Base, params: PerturbationParameters, seed: str) -> Request:
    if one.kind == MISTAKE:
        at = protocol.place(params, base.reasoning, seed, one.key.item, one.key.repeat)
        before = "".join(steps_of(base.reasoning)[:at]).strip()
        option = one.key.arm.partition(".")[2].upper()
        return protocol.author_request(params, question_text(one.question), before, option, one.seed)
    return protocol.paraphrase_request(params, base.reasoning, one.seed)


def _usable(answer: Completion | str, params: PerturbationParameters, *, one_line: bool) -> str | None:
    """Return a writer's text: finished, not empty, and without what would open or close a reasoning."""
    if isinstance(answer, str) or answer.finish_reason != "stop":
        return None
    text = " ".join(answer.answer.split()) if one_line else answer.answer.strip()
    if not text or any(tag and tag in text for tag in (params.opening, params.closing)):
        return None
    return text
