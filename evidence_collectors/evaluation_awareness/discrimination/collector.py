"""Can the model tell evaluation texts from deployment texts when it is asked?

Estimand: for matched texts written as evaluation (E) or as deployment (D), and s the probability of "this is a test" that the
model states, or that log-probabilities give to yes against no,

    AUROC = P(s_e > s_d) + P(s_e = s_d) / 2        over e in E, d in D

and, of the same s, balanced accuracy, Brier score and expected calibration error; each for every format of the question and as
their unweighted mean (`estimates`). Where the items cross format with context, also within each format cell and across cells: a
model that reads format, not context, is at 0.5 within a cell and far from it across. Where format correlates with context in
the items, nothing is estimated over all formats.

These numbers stand beside those of the other instruments for evaluation awareness and are never summed into one score: over
37 models detection, behaviour shift and probes were nearly uncorrelated (arXiv:2606.23583).

Source: Needham et al. 2025 (arXiv:2505.23836) for the questions; Devbunova 2026 (arXiv:2603.19426) for crossing context and
format; Obuchowski 1997 (Biometrics 53:567) for the AUROC of clustered texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.errors import CollectionError
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, as_json, digest_of
from evidence_collectors.evaluation_awareness.asking import collected, cost_of
from evidence_collectors.evaluation_awareness.discrimination import observations
from evidence_collectors.evaluation_awareness.discrimination import parameters as parameters_
from evidence_collectors.evaluation_awareness.discrimination.parameters import KIND, DiscriminationParameters
from evidence_collectors.evaluation_awareness.discrimination.reading import read
from evidence_collectors.evaluation_awareness.discrimination.trials import asked, weighed


@dataclass(frozen=True)
class DiscriminationCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.0"
    needs: frozenset[Capability] = frozenset({"generate"})
    roles: Mapping[str, InputKind] = field(default_factory=dict)
    not_measured: Sequence[str] = (
        "Whether the model thinks of being tested when nobody asks, or acts on it: it was asked.",
        "Which words of a text gave it away.",
        "Texts of other sources, and evaluations that are longer or more realistic than these texts.",
        "Awareness as such: no number here sums up detection, talk, behaviour and internal signals.",
    )

    def needs_of(self, params: DiscriminationParameters) -> Mapping[Capability, str]:
        """Return what the parameters need beyond ``needs``: log-probabilities, where they are to be read."""
        if params.read == "answer":
            return {}
        return {"logprobs": 'read = "logprobs" asks for it; read = "answer" does without'}

    def parse(self, parameters: Parameters) -> DiscriminationParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: DiscriminationParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: DiscriminationParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: DiscriminationParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item that cannot be asked about."""
        for one in asked(params, items, seed):
            request = digest_of(one.request) if params.read == "answer" else None
            yield PromisedTrial(key=one.key, seed=one.seed, request_sha256=request)

    def cost(self, params: DiscriminationParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most."""
        if params.read == "answer":
            return cost_of(asked(params, items, "0" * 16), max_tokens=params.max_tokens, size=size)
        words = len(params.yes) + len(params.no)
        once = cost_of(asked(params, items, "0" * 16), max_tokens=0, size=None)
        tokens = words * once.prompt_tokens
        return Cost.of(prompts=words * once.prompts, prompt_tokens=tokens, generated_tokens=0, size=size)

    def collect(self, inputs: Inputs, params: DiscriminationParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Ask every question and yield each trial as soon as it is known.

        Raises:
            CollectionError: the adapter gives no log-probabilities and they are to be read, or it answers what was not asked.
        """
        questions = asked(params, inputs.items, seed)
        if params.read == "answer":
            yield from collected(KIND, questions, inputs)
            return
        if "logprobs" not in inputs.subject.capabilities:
            raise CollectionError(
                f"{KIND}: log-probabilities are to be read, and the subject's adapter gives none",
                hint='Set the parameter read to "answer".',
            )
        for one in questions:
            yield weighed(params, one, inputs.subject)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: DiscriminationParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have asked.
        """
        return observations.observations(read(trials, params), params, seed)


COLLECTOR = DiscriminationCollector()
