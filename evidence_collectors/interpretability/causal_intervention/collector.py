"""Does pushing the model along one direction change what it does, more than any push of that size would?

Estimand: for texts asked plain and changed, the difference of the rates at which the answer shows a behaviour, by listed
phrases. Changes: the direction is taken out of everything that writes into the residual stream (`ablate`, Arditi et al.
2024, arXiv:2406.11717), added to a block's output (`add`) or set there (`clamp`), at doses of both signs in units of the mean
residual norm. Controls at equal norm: random directions, differences of means of neutral texts, random features of a
dictionary. Beside it the log-odds of the behaviour's first tokens, how often the answer degenerates, and what neutral texts
lose.

The direction is the difference of means on the training texts, or comes from a file that `interpretability.concept_direction`
wrote. With phrases of a misaligned answer as markers, and a direction of evaluation awareness pushed against, the change on
positive texts is the rise of the misaligned rate under inhibition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, as_json
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.causal_intervention import collect, observations
from evidence_collectors.interpretability.causal_intervention import parameters as parameters_
from evidence_collectors.interpretability.causal_intervention.handle import Run
from evidence_collectors.interpretability.causal_intervention.parameters import KIND, InterventionParameters
from evidence_collectors.interpretability.causal_intervention.reading import read
from evidence_collectors.interpretability.causal_intervention.trials import arms, controls, promised, texts_of
from evidence_collectors.items.contrast import Contrast


def _roles() -> Mapping[str, InputKind]:
    return {"direction?": "file", "dictionary?": "file"}


@dataclass(frozen=True)
class InterventionCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.3"
    needs: frozenset[Capability] = frozenset({"generate", "capture", "intervene"})
    roles: Mapping[str, InputKind] = field(default_factory=_roles)
    not_measured: Sequence[str] = (
        "Whether the direction stands for the concept: what moves when it is pushed may be more than the concept.",
        "Behaviour that the listed phrases do not show; no judge read the answers.",
        "Whether the behaviour comes back over several turns, or after further training.",
        "Other directions that carry the same behaviour, and how they act together.",
        "Abilities beyond the neutral texts of this item set.",
    )

    def parse(self, parameters: Parameters) -> InterventionParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: InterventionParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: InterventionParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: InterventionParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item set that cannot be read."""
        for key in promised(texts_of(items, params), params):
            yield PromisedTrial(key=key, seed=trial_seed(seed, KIND, key), request_sha256=None)

    def cost(self, params: InterventionParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most: a token for every two bytes of text, every answer at full length."""
        texts = texts_of(items, params)
        planned = arms(params)
        controlled = sum(arm.controlled for arm in planned) * len(list(controls(params)))
        answers = (1 + len(planned)) * len(texts.asked) + controlled * len(texts.controlled(params))
        tokens = 2 * (1 + len(planned)) * sum(map(_tokens, texts.asked))
        tokens += 2 * controlled * sum(map(_tokens, texts.controlled(params)))
        tokens += 2 * sum(map(_tokens, texts.train)) + sum(map(_tokens, texts.neutral_fit))
        tokens += 2 * len(planned) * sum(map(_tokens, texts.neutral_asked))
        return Cost.of(
            prompts=2 * answers, prompt_tokens=tokens, generated_tokens=answers * params.max_tokens, size=size
        )

    def collect(self, inputs: Inputs, params: InterventionParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Change the model and ask, phase by phase.

        Raises:
            CollectionError: the subject's adapter only answers.
        """
        texts = texts_of(inputs.items, params)
        yield from collect.collected(Run(inputs.opened(), texts, inputs.files, params, seed))

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: InterventionParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations; neither the model nor the vector is needed.

        Raises:
            IntegrityError: trials that this protocol cannot have made.
        """
        return observations.observations(read(trials, params), params)


COLLECTOR = InterventionCollector()


def _tokens(text: Contrast) -> int:
    return sum(len(message.content.encode()) // 2 + 16 for message in text.messages) + len(text.response.encode()) // 2
