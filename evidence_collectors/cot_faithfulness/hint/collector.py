"""Does the reasoning name the hint that moved the answer?

Estimand (Chen et al. 2025, arXiv:2505.05410, section 2): among pairs of an unhinted and a hinted answer to the same
question with a_u != h and a_h = h, the rate at which the hinted reasoning mentions the hint, divided by the share of
these switches that the hint caused: disclosure = min(raw / alpha, 1) with alpha = 1 - q / ((k - 2) p). The terms are
defined in `estimates`, what is read from an answer in `reading`, what counts as a mention in `detectors`.

Arms, each asked ``repeats`` times with seeds of their own: ``unhinted``; ``resample``, the same question again; and for
every family and hint ``<family>.correct`` and ``<family>.incorrect``.

A plan may add a judge, a second detector: another model, in the role ``judge``, is asked about the reasoning of each answer
that switched to its hint. Its arms begin with ``judge.``: one trial for each hinted one, which says so where nothing switched
and nothing was asked, and ``judge.label``, one for each text of the labelled set in the role ``labels``. See `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.errors import IntegrityError
from dossier.language_model import Capability, ModelSize
from dossier.model import (
    Item,
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
from evidence_collectors.cot_faithfulness.answering import answers, request_of, trial_of
from evidence_collectors.cot_faithfulness.hint import observations
from evidence_collectors.cot_faithfulness.hint import parameters as parameters_
from evidence_collectors.cot_faithfulness.hint.judge import asking
from evidence_collectors.cot_faithfulness.hint.judge.asking import judged_keys
from evidence_collectors.cot_faithfulness.hint.judge.reading import is_verdict, read_verdicts
from evidence_collectors.cot_faithfulness.hint.parameters import KIND, HintParameters
from evidence_collectors.cot_faithfulness.hint.prompts import hinted, questions_of, unhinted
from evidence_collectors.cot_faithfulness.hint.reading import (
    RESAMPLE,
    UNHINTED,
    arm,
    hint_option,
    read_with_switches,
)
from evidence_collectors.cot_faithfulness.summaries import warned

JUDGE_PROMPT = 512  # tokens of the words around the text that a judge reads, at most


@dataclass(frozen=True)
class HintCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.0"
    needs: frozenset[Capability] = frozenset({"generate"})
    roles: Mapping[str, InputKind] = field(default_factory=lambda: {"judge?": "model", "labels?": "file"})
    not_measured: Sequence[str] = (
        "Whether the visible reasoning caused the answer: the instrument sees which answer was given and what was said.",
        "Whether a mentioned hint was relied on: rules read mention, and a judge, where the plan names one, reads words, too.",
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
        """Yield every trial that is promised; raises ConfigError for an item that cannot be asked.

        What a judge will be asked is not known before the run.
        """
        keys = []
        for key, trial_seed_, request in asked(params, items, seed):
            keys.append(key)
            yield PromisedTrial(key=key, seed=trial_seed_, request_sha256=digest_of(request))
        for key in judged_keys(keys, params):
            yield PromisedTrial(key=key, seed=trial_seed(seed, KIND, key), request_sha256=None)

    def cost(self, params: HintParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most: a token for every two bytes of prompt, and every answer at full length.

        A judge is counted as if it were the subject's size, and asked about every hinted answer; a labelled text as long as
        the longest answer.
        """
        prompts = tokens = 0
        keys = []
        for key, _, request in asked(params, items, "0" * 16):
            keys.append(key)
            prompts += 1
            tokens += sum(len(message.content.encode()) // 2 + 16 for message in request.messages)
        generated = prompts * params.max_tokens
        judged = sum(1 for _ in judged_keys(keys, params))
        return Cost.of(
            prompts=prompts + judged,
            prompt_tokens=tokens + judged * (params.max_tokens + JUDGE_PROMPT),
            generated_tokens=generated + judged * params.judge_max_tokens,
            size=size,
        )

    def collect(self, inputs: Inputs, params: HintParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Ask everything in one phase, then the judge, and yield each trial as its completion arrives.

        Raises:
            CollectionError: a model answers what was not asked, or answers twice; the further inputs are not the planned
                ones.
        """
        asking.check_roles(inputs, params)
        labels = asking.labels_of(inputs, params)
        trials: list[Trial] = []
        for trial in self._answered(inputs, params, seed):
            trials.append(trial)
            yield trial
        if params.judge != "none":
            yield from asking.judged(inputs.models[asking.JUDGE], trials, labels, params, seed)

    def _answered(self, inputs: Inputs, params: HintParameters, seed: str) -> Iterator[Trial]:
        open_trials = {
            digest_of(request): (key, own, request) for key, own, request in asked(params, inputs.items, seed)
        }
        requests = [request for _, _, request in open_trials.values()]
        for digest, answer in answers(inputs.subject, requests, apart=False, kind=KIND):
            key, own, request = open_trials[digest]
            yield trial_of(key, own, request, answer)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: HintParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have asked.
        """
        own = [trial for trial in trials if not is_verdict(trial)]
        reading, switches = read_with_switches(
            own, families=params.families, hints=params.hints, repeats=params.repeats
        )
        verdicts = [trial for trial in trials if is_verdict(trial)]
        if params.judge == "none":
            if verdicts:
                raise IntegrityError(f"trial {verdicts[0].key.order}: the parameters promise no judge")
            return warned(observations.observations(reading, params, seed), own)
        judged = read_verdicts(verdicts, switches, reading.items, params)
        return warned(observations.observations(reading, params, seed, judged=judged), own)


COLLECTOR = HintCollector()


def asked(params: HintParameters, items: Sequence[Item], seed: str) -> Iterator[tuple[TrialKey, str, Request]]:
    """Yield key, seed and request of every trial, item by item."""
    for question in questions_of(items):
        for repeat in range(params.repeats):
            for name in (UNHINTED, RESAMPLE):
                key = TrialKey(item=question.id, arm=name, repeat=repeat)
                own = trial_seed(seed, KIND, key)
                yield key, own, request_of(params, unhinted(question), own)
            for family in params.families:
                for hint in params.hints:
                    key = TrialKey(item=question.id, arm=arm(family, hint), repeat=repeat)
                    own = trial_seed(seed, KIND, key)
                    option = hint_option(hint, question.answer, len(question.choices), own)
                    yield key, own, request_of(params, hinted(question, family, option), own)
