"""Does one direction of the residual stream carry a contrast, and does what the model says next hang on it?

Estimand (Arditi et al. 2024, arXiv:2406.11717, section 2.3): r = mean over positive texts of x - mean over negative texts
of x, with x the output of a block at a token position; chosen on validation texts as the candidate whose ablation makes the
behaviour's tokens least likely, among those that can induce it and leave other texts alone. Reported on `test` and, out of
family, on `transfer`: how well projections on r separate the classes, beside a logistic probe (Goldowsky-Dill et al. 2025,
arXiv:2502.03407) and beside random directions, permuted labels and models with random weights; and what ablating and adding
r does to the log-odds of the behaviour's tokens, m = log p(R) - log(1 - p(R)).

The vector leaves as an artifact, which is confidential: it can be used to bypass the behaviour. The observations need only
the projections in the trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, as_json
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.concept_direction import collect, observations
from evidence_collectors.interpretability.concept_direction import parameters as parameters_
from evidence_collectors.interpretability.concept_direction.collect import Run
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.interpretability.concept_direction.reading import read
from evidence_collectors.interpretability.concept_direction.trials import KIND, Texts, promised, texts_of
from evidence_collectors.items.contrast import Contrast


@dataclass(frozen=True)
class DirectionCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.2"
    needs: frozenset[Capability] = frozenset({"capture", "intervene"})
    roles: Mapping[str, InputKind] = field(default_factory=dict)
    not_measured: Sequence[str] = (
        "Whether the model represents the concept: a direction separates this contrast set, which has other differences too.",
        "Behaviour beyond the next token: whole answers under intervention are another instrument's.",
        "Other directions that carry the same behaviour, and how they act together.",
        "Texts of other families, languages and lengths than those of the item set.",
        "Whether the direction survives further training or an attack on it.",
    )

    def parse(self, parameters: Parameters) -> DirectionParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: DirectionParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: DirectionParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: DirectionParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item set that cannot be read."""
        for key in promised(texts_of(items, params), params):
            yield PromisedTrial(key=key, seed=trial_seed(seed, KIND, key), request_sha256=None)

    def cost(self, params: DirectionParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will read, at most: a token for every two bytes of text, every pass to the end of the model."""
        texts = texts_of(items, params)
        passes = list(_passes(texts, params))
        return Cost.of(
            prompts=sum(times * len(read_) for times, read_ in passes),
            prompt_tokens=sum(times * sum(map(_tokens, read_)) for times, read_ in passes),
            generated_tokens=0,
            size=size,
        )

    def collect(self, inputs: Inputs, params: DirectionParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Read the model phase by phase.

        Raises:
            CollectionError: the subject's adapter only answers.
        """
        yield from collect.collected(Run(inputs.opened(), texts_of(inputs.items, params), params, seed))

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: DirectionParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations; neither the model nor the vector is needed.

        Raises:
            IntegrityError: trials that this protocol cannot have made.
        """
        return observations.observations(read(trials, params), params)


COLLECTOR = DirectionCollector()


def _passes(texts: Texts, params: DirectionParameters) -> Iterator[tuple[int, Sequence[Contrast]]]:
    """Yield how often which texts go through a model."""
    positions, candidates = len(params.positions), len(params.layers) * len(params.positions)
    fitted = (*texts.train, *texts.validation)
    yield positions, fitted
    yield 3 + 2 * candidates, texts.validation
    yield 3, texts.train
    yield 3, texts.reported
    yield 2 * params.twins, (*texts.train, *texts.reported)
    yield 3 + 2 * (1 + params.random_interventions), texts.answered


def _tokens(text: Contrast) -> int:
    return sum(len(message.content.encode()) // 2 + 16 for message in text.messages) + len(text.response.encode()) // 2
