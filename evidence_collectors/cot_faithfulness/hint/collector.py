"""Does the reasoning name the hint that moved the answer?

Estimand (Chen et al. 2025, arXiv:2505.05410, section 2): among pairs of an unhinted and a hinted answer to the same
question with a_u != h and a_h = h, the rate at which the hinted reasoning mentions the hint, divided by the share of
these switches that the hint caused: disclosure = min(raw / alpha, 1) with alpha = 1 - q / ((k - 2) p). The terms are
defined in `estimates`, what is read from an answer in `reading`, what counts as a mention in `detectors`.

Arms, each asked ``repeats`` times with seeds of their own: ``unhinted``; ``resample``, the same question again; and for
every family and hint ``<family>.correct`` and ``<family>.incorrect``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.errors import CollectionError, ConfigError
from dossier.language_model import Capability, ModelSize
from dossier.model import (
    Item,
    Message,
    Observation,
    Parameters,
    PromisedTrial,
    Request,
    Trial,
    TrialKey,
    as_json,
    digest_of,
)
from dossier.statistics import trial_seed
from evidence_collectors.cot_faithfulness.hint import observations
from evidence_collectors.cot_faithfulness.hint import parameters as parameters_
from evidence_collectors.cot_faithfulness.hint.parameters import HintParameters
from evidence_collectors.cot_faithfulness.hint.prompts import Question, hinted, unhinted
from evidence_collectors.cot_faithfulness.hint.reading import RESAMPLE, UNHINTED, arm, hint_option, read

KIND = "cot_faithfulness.hint"


@dataclass(frozen=True)
class HintCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.0"
    needs: frozenset[Capability] = frozenset({"generate"})
    roles: Mapping[str, InputKind] = field(default_factory=dict)
    not_measured: Sequence[str] = (
        "Whether the visible reasoning caused the answer: the instrument sees which answer was given and what was said.",
        "Whether a mentioned hint was relied on: the detector reads mention by rule, no judge read the reasoning.",
        "Hints other than the planned families and wordings, and questions other than this item set.",
        "Reasoning that the model's interface withholds or summarises.",
        "Why a hint goes unmentioned; an unmentioned hint is not evidence of an intent to conceal.",
    )

    def parse(self, parameters: Parameters) -> HintParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: HintParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: HintParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: HintParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item that cannot be asked."""
        for key, trial_seed_, request in asked(params, items, seed):
            yield PromisedTrial(key=key, seed=trial_seed_, request_sha256=digest_of(request))

    def cost(self, params: HintParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most: a token for every two bytes of prompt, and every answer at full length."""
        prompts = tokens = 0
        for _, _, request in asked(params, items, "0" * 16):
            prompts += 1
            tokens += sum(len(message.content.encode()) // 2 + 16 for message in request.messages)
        return Cost.of(prompts=prompts, prompt_tokens=tokens, generated_tokens=prompts * params.max_tokens, size=size)

    def collect(self, inputs: Inputs, params: HintParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Ask everything in one phase and yield each trial as its completion arrives.

        Raises:
            CollectionError: the model answers what was not asked, or answers twice.
        """
        open_trials = {
            digest_of(request): (key, own, request) for key, own, request in asked(params, inputs.items, seed)
        }
        requests = [request for _, _, request in open_trials.values()]
        for completion in inputs.subject.generate(requests):
            if completion.request_sha256 not in open_trials:
                raise CollectionError(
                    f"{KIND}: a completion for request {completion.request_sha256[:16]}..., which was not asked or is "
                    "already answered",
                    hint="The adapter must yield one completion per request and name it by digest.",
                )
            key, own, request = open_trials.pop(completion.request_sha256)
            yield Trial(key=key, seed=own, request=request, completion=completion)
        for key, own, request in open_trials.values():
            yield Trial(key=key, seed=own, request=request, completion=None, error="the model gave no completion")

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: HintParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have asked.
        """
        reading = read(trials, families=params.families, hints=params.hints, repeats=params.repeats)
        return observations.observations(reading, params, seed)


COLLECTOR = HintCollector()


def asked(params: HintParameters, items: Sequence[Item], seed: str) -> Iterator[tuple[TrialKey, str, Request]]:
    """Yield key, seed and request of every trial, item by item."""
    seen: set[str] = set()
    for item in items:
        question = Question.parse(item)
        if question.id in seen:
            raise ConfigError(f"item {question.id!r} is there twice", hint="Give every item an id of its own.")
        seen.add(question.id)
        for repeat in range(params.repeats):
            for name in (UNHINTED, RESAMPLE):
                key = TrialKey(item=question.id, arm=name, repeat=repeat)
                own = trial_seed(seed, KIND, key)
                yield key, own, _request(params, unhinted(question), own)
            for family in params.families:
                for hint in params.hints:
                    key = TrialKey(item=question.id, arm=arm(family, hint), repeat=repeat)
                    own = trial_seed(seed, KIND, key)
                    option = hint_option(hint, question.answer, len(question.choices), own)
                    yield key, own, _request(params, hinted(question, family, option), own)


def _request(params: HintParameters, messages: tuple[Message, ...], seed: str) -> Request:
    return Request(
        messages=messages,
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        seed=seed,
    )
