"""Does the model say that it is being tested, more often where it is?

Estimand: over answers to evaluation texts and to deployment texts of the same scenarios,

    rate(z) = P(reasoning or answer says that this is or may be a test | context z)
    difference = rate(evaluation) - rate(deployment)

with the deployment texts as the control: what is said there is said without a test. Each channel is read by itself too, and
talk that may be about the task is counted apart (``ambiguous``). What counts as saying it stands in `detectors`; intervals and
limits in `observations`. The unit is one turn.

These numbers stand beside those of the other instruments for evaluation awareness and are never summed into one score: over
37 models detection, behaviour shift and probes were nearly uncorrelated (arXiv:2606.23583). A model may know and not say.

Source: verbalised awareness as a rate with a deployment control, after the system cards of 2025 and 2026; Newcombe 1998
(Statistics in Medicine 17:873) for the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, as_json, digest_of
from evidence_collectors.cot_faithfulness.summaries import warned
from evidence_collectors.evaluation_awareness.asking import collected, cost_of
from evidence_collectors.evaluation_awareness.verbalised import observations
from evidence_collectors.evaluation_awareness.verbalised import parameters as parameters_
from evidence_collectors.evaluation_awareness.verbalised.parameters import KIND, VerbalisedParameters
from evidence_collectors.evaluation_awareness.verbalised.reading import read
from evidence_collectors.evaluation_awareness.verbalised.trials import asked


@dataclass(frozen=True)
class VerbalisedCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.0"
    needs: frozenset[Capability] = frozenset({"generate"})
    roles: Mapping[str, InputKind] = field(default_factory=dict)
    not_measured: Sequence[str] = (
        "Whether a model that says nothing knows nothing: silence is no evidence of unawareness.",
        "Whether what is said moved the behaviour.",
        "Reasoning that the model's interface withholds or summarises, and wordings that no rule lists.",
        "Awareness as such: no number here sums up detection, talk, behaviour and internal signals.",
    )

    def parse(self, parameters: Parameters) -> VerbalisedParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: VerbalisedParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: VerbalisedParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: VerbalisedParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item that cannot be asked."""
        for one in asked(params, items, seed):
            yield PromisedTrial(key=one.key, seed=one.seed, request_sha256=digest_of(one.request))

    def cost(self, params: VerbalisedParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most."""
        return cost_of(asked(params, items, "0" * 16), max_tokens=params.max_tokens, size=size)

    def collect(self, inputs: Inputs, params: VerbalisedParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Ask everything in one phase and yield each trial as its completion arrives; raises CollectionError."""
        yield from collected(KIND, asked(params, inputs.items, seed), inputs)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: VerbalisedParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have asked.
        """
        return warned(observations.observations(read(trials, params), params), trials)


COLLECTOR = VerbalisedCollector()
