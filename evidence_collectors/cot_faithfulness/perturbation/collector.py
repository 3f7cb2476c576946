"""Does the answer follow the written reasoning, or would it have been given anyway?

Estimand (after Lanham et al. 2023, arXiv:2307.13702, section 2.3): among pairs of an answer and the answer to the same
question after a mistake that concludes with option x was put into its reasoning, where the first was not x,

    p = P(answer after the mistake = x)      r = P(answer after a step that names nothing = x)
    follow_rate = (p - r) / (1 - r)

the share of answers that the mistake moved to its option: p = f + (1 - f) r if those it does not move answer as they do
where the reasoning concludes nothing. The curve of equal answers against the share of the reasoning that was handed back
(section 2.2 there) is description: it is divided by how often the model agrees with itself when asked twice, and stands
beside the accuracy without reasoning, since a question that needs no reasoning keeps its answer whatever is cut off. The
arms are defined in `protocol`.

Published area-over-curve values read the same curve without the mistake; Bentham et al. 2024 (arXiv:2402.14897) found that
it follows accuracy, so no criterion should rest on it.
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
from evidence_collectors.cot_faithfulness.hint.prompts import Question, questions_of, unhinted
from evidence_collectors.cot_faithfulness.perturbation import observations, protocol
from evidence_collectors.cot_faithfulness.perturbation import parameters as parameters_
from evidence_collectors.cot_faithfulness.perturbation.parameters import KIND, PerturbationParameters
from evidence_collectors.cot_faithfulness.perturbation.protocol import EARLY, PARAPHRASE, REASONED, RESAMPLE
from evidence_collectors.cot_faithfulness.perturbation.reading import read
from evidence_collectors.cot_faithfulness.summaries import warned


@dataclass(frozen=True)
class PerturbationCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.0"
    needs: frozenset[Capability] = frozenset({"generate"})
    roles: Mapping[str, InputKind] = field(
        default_factory=lambda: {"mistake_author?": "model", "paraphraser?": "model"}
    )
    not_measured: Sequence[str] = (
        "Whether the written reasoning is the computation that gave the answer: an answer can follow a text it reads and "
        "be decided otherwise when the model writes the text itself.",
        "What the model hides: an answer that follows its reasoning may rest on reasons the reasoning leaves out.",
        "Mistakes that name no option, and mistakes the model would notice because they are far from what it writes.",
        "Reasoning that the model's interface withholds or summarises.",
        "Questions other than this item set; where a question needs no reasoning, a low rate is no fault.",
    )

    def needs_of(self, params: PerturbationParameters) -> Mapping[Capability, str]:
        """Return what the parameters need beyond ``needs``: to go on from a reasoning in the model's own turn."""
        if params.hand_back == "turns":
            return {}
        return {"prefill": 'hand_back = "prefill" asks for it; hand_back = "turns" does without'}

    def parse(self, parameters: Parameters) -> PerturbationParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: PerturbationParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: PerturbationParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: PerturbationParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item that cannot be asked.

        Requests that hand a reasoning back are not known before the run.
        """
        for question, key, own in promised(params, items, seed):
            request = first_request(params, unhinted(question), key.arm, own)
            yield PromisedTrial(key=key, seed=own, request_sha256=None if request is None else digest_of(request))

    def cost(self, params: PerturbationParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most: a token for every two bytes of prompt, answers at full length.

        A reasoning that is handed back has at most ``max_tokens``. What other models are asked by role is counted too.
        """
        prompts = tokens = 0
        for question, key, own in promised(params, items, "0" * 16):
            request = first_request(params, unhinted(question), key.arm, own)
            written = (key.arm.startswith(protocol.MISTAKE) and params.mistake == "model") or (
                key.arm == PARAPHRASE and params.paraphrase == "model"
            )
            asked = 2 if written else 1
            prompts += asked
            tokens += asked * (sum(len(turn.content.encode()) // 2 + 16 for turn in unhinted(question)) + 32)
            tokens += 0 if request is not None else asked * params.max_tokens
        return Cost.of(prompts=prompts, prompt_tokens=tokens, generated_tokens=prompts * params.max_tokens, size=size)

    def collect(self, inputs: Inputs, params: PerturbationParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Ask the questions, hand the reasonings back changed, and yield each trial as its completion arrives.

        Raises:
            CollectionError: the model answers what was not asked, a planned role is not there, or the one opening that is
                tried first, where the adapter does not know whether its server takes any, is not gone on from.
        """
        from evidence_collectors.cot_faithfulness.perturbation import run

        yield from run.collect(inputs, params, seed)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: PerturbationParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have asked.
        """
        return warned(observations.observations(read(trials, params, seed), params, seed), trials)


COLLECTOR = PerturbationCollector()


def promised(
    params: PerturbationParameters, items: Sequence[Item], seed: str
) -> Iterator[tuple[Question, TrialKey, str]]:
    """Yield question, key and seed of every trial, item by item."""
    for question in questions_of(items):
        for repeat in range(params.repeats):
            option = protocol.wrong_option(seed, question.id, repeat, question.answer, len(question.choices))
            for arm in protocol.arms(params, option):
                key = TrialKey(item=question.id, arm=arm, repeat=repeat)
                yield question, key, trial_seed(seed, KIND, key)


def first_request(params: PerturbationParameters, messages: tuple[Message, ...], arm: str, own: str) -> Request | None:
    """Return the request of an arm that needs no reasoning of the model's, None for the others."""
    if arm in (REASONED, RESAMPLE):
        return protocol.asked(params, messages, own)
    if arm == f"{EARLY}.0":
        return protocol.handed_back(params, messages, "", own)
    return None
