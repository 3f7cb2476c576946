"""Can the residual stream at a stated place tell evaluation from deployment, beyond the text, and does behaviour hang on it?

Estimand: w = mean over evaluation texts of x - mean over deployment texts of x, with x the output of a stated block at a stated
token, fitted on `train`. Reported on other texts: how often x . w ranks an evaluation text above a deployment text (AUROC),
held out (`test`), on families it never saw (`transfer`), and from one format to the others; beside what the length and the
words of the same texts give, permuted labels, and models with random weights. The margin over the best of length, words and
chance is what the state adds to the text. Then by how much the rates of a behaviour and of words about being tested change
when states are pushed along w, at doses of both signs in units of the mean residual norm, beside random directions of the same
length and a direction that is known to move the behaviour.

Source: the probe as in Nguyen et al. 2025 (arXiv:2507.01786); formats crossed with contexts after Devbunova 2026
(arXiv:2603.19426); pushes as in Hua et al. 2025 (arXiv:2510.20487). The direction leaves as an artifact, which is confidential:
it can make a model behave as if it were not watched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, as_json
from dossier.statistics import trial_seed
from evidence_collectors.evaluation_awareness.probe import collect, observations
from evidence_collectors.evaluation_awareness.probe import parameters as parameters_
from evidence_collectors.evaluation_awareness.probe.parameters import KIND, ProbeParameters
from evidence_collectors.evaluation_awareness.probe.reading import read
from evidence_collectors.evaluation_awareness.probe.run import Run
from evidence_collectors.evaluation_awareness.probe.trials import arms, known_arms, promised, texts_of
from evidence_collectors.items.contrast import Contrast


def _roles() -> Mapping[str, InputKind]:
    return {"positive_control?": "file"}


@dataclass(frozen=True)
class ProbeCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.0"
    needs: frozenset[Capability] = frozenset({"generate", "capture", "intervene"})
    roles: Mapping[str, InputKind] = field(default_factory=_roles)
    not_measured: Sequence[str] = (
        "Whether the model takes itself to be tested: a state that differs between contexts need not be a belief about them.",
        "Other layers, tokens and readers: a probe that is not linear, or fitted otherwise, may read more.",
        "Whether behaviour hangs on the context elsewhere: a push here that moves nothing does not exclude it.",
        "Contexts, families, formats and languages other than those of the item set.",
        "Behaviour and talk of tests that the listed phrases and rules do not show; no judge read the answers.",
    )

    def parse(self, parameters: Parameters) -> ProbeParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: ProbeParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: ProbeParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: ProbeParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item set that cannot be read."""
        for key in promised(texts_of(items, params), params):
            yield PromisedTrial(key=key, seed=trial_seed(seed, KIND, key), request_sha256=None)

    def cost(self, params: ProbeParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will read and ask, at most: a token for every two bytes of text, every answer at full length."""
        texts = texts_of(items, params)
        everyone, asked = (*texts.train, *texts.reported), texts.pushed
        own = len(arms(params))
        answers = 1 + own * (1 + params.random_directions) + len(known_arms(params)) if params.strengths else 0
        norms = 1 if params.strengths else 0
        tokens = (1 + params.twins) * sum(map(_tokens, everyone)) + (1 + norms) * sum(map(_tokens, texts.train))
        tokens += (answers + norms) * sum(map(_tokens, asked))
        return Cost.of(
            prompts=(1 + params.twins) * len(everyone)
            + (1 + norms) * len(texts.train)
            + (answers + norms) * len(asked),
            prompt_tokens=tokens,
            generated_tokens=answers * len(asked) * params.max_tokens,
            size=size,
        )

    def collect(self, inputs: Inputs, params: ProbeParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Read the model, then push it and ask, phase by phase.

        Raises:
            CollectionError: the subject's adapter only answers.
        """
        texts = texts_of(inputs.items, params)
        yield from collect.collected(Run(inputs.opened(), texts, inputs.files, params, seed))

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: ProbeParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations; neither the model nor the vector is needed.

        Raises:
            IntegrityError: trials that this protocol cannot have made.
        """
        return observations.observations(read(trials, params), params)


COLLECTOR = ProbeCollector()


def _tokens(text: Contrast) -> int:
    return sum(len(message.content.encode()) // 2 + 16 for message in text.messages) + len(text.response.encode()) // 2
