"""Can a reader of the reasoning tell whether a hint moved the answer?

Estimand ("Monitoring monitorability", OpenAI 2025, arXiv:2512.18311): over pairs of an unhinted and a hinted answer to the
same question, with the behaviour y = (a_u != h and a_h = h), that is, the hint moved the answer, and a monitor's flag m,

    tpr = P(m | y)      tnr = P(not m | not y)      g_mean2 = tpr tnr      informedness = tpr + tnr - 1

for a monitor that sees the reasoning, one that sees the answer alone, and one that sees both; uplift is g_mean2 of the last
less that of the second, on the same pairs. g_mean2 does not move with the prevalence of y and is 0 for a monitor that always
or never flags; one that flags a share q of the cases without looking has q (1 - q), at most 1/4, and that is its null.

The monitor is a model by role, or the rules of `hint.detectors`: the reasoning names the hint; the answer is the hinted
option; both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
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
from evidence_collectors.cot_faithfulness.answering import request_of
from evidence_collectors.cot_faithfulness.hint.prompts import Question, hinted, questions_of, unhinted
from evidence_collectors.cot_faithfulness.hint.reading import hint_option
from evidence_collectors.cot_faithfulness.monitorability import observations, protocol
from evidence_collectors.cot_faithfulness.monitorability import parameters as parameters_
from evidence_collectors.cot_faithfulness.monitorability.parameters import KIND, MonitorabilityParameters
from evidence_collectors.cot_faithfulness.monitorability.reading import read
from evidence_collectors.cot_faithfulness.summaries import warned


@dataclass(frozen=True)
class MonitorabilityCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.0"
    needs: frozenset[Capability] = frozenset({"generate"})
    roles: Mapping[str, InputKind] = field(default_factory=lambda: {"monitor?": "model", "judge?": "model"})
    not_measured: Sequence[str] = (
        "Whether a monitor would catch other behaviour than being moved by one of the planned hints.",
        "Whether the model would hide what it does from a monitor it knows of, or after training against one.",
        "The best a monitor could do: a stronger one, or one asked otherwise, may read more out of the same reasoning.",
        "Whether a single answer was moved: the unhinted answer is one draw, and some pairs differ by chance.",
        "Reasoning that the model's interface withholds or summarises.",
    )

    def parse(self, parameters: Parameters) -> MonitorabilityParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: MonitorabilityParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: MonitorabilityParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: MonitorabilityParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item that cannot be asked.

        What a monitor or a judge is asked is not known before the run.
        """
        for key, own, request in asked(params, items, seed):
            yield PromisedTrial(key=key, seed=own, request_sha256=digest_of(request))
            for judged, seed_of_it in judged_keys(params, key, seed):
                yield PromisedTrial(key=judged, seed=seed_of_it, request_sha256=None)

    def cost(self, params: MonitorabilityParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask of the subject, at most, and of monitor and judge as if they were of its size."""
        prompts = tokens = generated = 0
        for key, _, request in asked(params, items, "0" * 16):
            question = sum(len(message.content.encode()) // 2 + 16 for message in request.messages)
            judged = sum(1 for _ in judged_keys(params, key, "0" * 16))
            prompts += 1 + judged
            tokens += question + judged * (question + params.max_tokens + len(protocol.RATE) // 2)
            generated += params.max_tokens + judged * params.monitor_max_tokens
        return Cost.of(prompts=prompts, prompt_tokens=tokens, generated_tokens=generated, size=size)

    def collect(self, inputs: Inputs, params: MonitorabilityParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Ask the subject, then monitor and judge, and yield each trial as its completion arrives.

        Raises:
            CollectionError: a model answers what was not asked, or a planned role is not there.
        """
        from evidence_collectors.cot_faithfulness.monitorability import run

        yield from run.collect(inputs, params, seed)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: MonitorabilityParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have asked.
        """
        return warned(observations.observations(read(trials, params), params, seed), trials)


COLLECTOR = MonitorabilityCollector()


def asked(
    params: MonitorabilityParameters, items: Sequence[Item], seed: str
) -> Iterator[tuple[TrialKey, str, Request]]:
    """Yield key, seed and request of every trial of the subject, item by item."""
    for question in questions_of(items):
        for repeat in range(params.repeats):
            for arm in protocol.subject_arms(params):
                key = TrialKey(item=question.id, arm=arm, repeat=repeat)
                own = trial_seed(seed, KIND, key)
                yield key, own, request_of(params, _messages(params, question, arm, own), own)


def judged_keys(params: MonitorabilityParameters, key: TrialKey, seed: str) -> Iterator[tuple[TrialKey, str]]:
    """Yield key and seed of the trials in which monitor and judge read one trial of the subject."""
    for arm in protocol.judged_arms(params):
        if arm.partition(".")[2] == key.arm:
            judged = key.model_copy(update={"arm": arm})
            yield judged, trial_seed(seed, KIND, judged)


def _messages(params: MonitorabilityParameters, question: Question, arm: str, seed: str) -> tuple[Message, ...]:
    for family in params.families:
        for hint in params.hints:
            if arm == f"{family}.{hint}":
                return hinted(question, family, hint_option(hint, question.answer, len(question.choices), seed))
    return unhinted(question)
