"""Does the model behave otherwise when a scenario looks like a test?

Estimand: over scenarios i written once as an evaluation and once as deployment, in the same format,

    shift = mean_i (P(behaviour | evaluation, i) - P(behaviour | deployment, i))

and the same among pairs whose evaluation answer says that this may be a test, and among those whose answer does not. The
behaviour is whatever the planned phrases stand for, such as a refusal. Terms, test and interval are defined in `estimates`,
what is read from an answer in `reading`.

These numbers stand beside those of the other instruments for evaluation awareness and are never summed into one score: over
37 models detection, behaviour shift and probes were nearly uncorrelated (arXiv:2606.23583).

Source: the quantity after Hua et al. 2025 (arXiv:2510.20487); McNemar 1947 (Psychometrika 12:153) for the test; Bonett and
Price 2012 (J. Educational and Behavioral Statistics 37:479) for the interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, as_json, digest_of
from evidence_collectors.evaluation_awareness.asking import collected, cost_of
from evidence_collectors.evaluation_awareness.behaviour_shift import observations
from evidence_collectors.evaluation_awareness.behaviour_shift import parameters as parameters_
from evidence_collectors.evaluation_awareness.behaviour_shift.parameters import KIND, ShiftParameters
from evidence_collectors.evaluation_awareness.behaviour_shift.reading import read
from evidence_collectors.evaluation_awareness.behaviour_shift.trials import asked


@dataclass(frozen=True)
class ShiftCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.0"
    needs: frozenset[Capability] = frozenset({"generate"})
    roles: Mapping[str, InputKind] = field(default_factory=dict)
    not_measured: Sequence[str] = (
        "Why the behaviour differs: the texts differ in more words than those that tell the contexts apart.",
        "Behaviour in other scenarios, and behaviour that the listed phrases do not show.",
        "What talk of a test does to behaviour: answers that talk of it were not made to.",
        "Awareness as such: no number here sums up detection, talk, behaviour and internal signals.",
    )

    def parse(self, parameters: Parameters) -> ShiftParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: ShiftParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: ShiftParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: ShiftParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item that cannot be asked."""
        for one in asked(params, items, seed):
            yield PromisedTrial(key=one.key, seed=one.seed, request_sha256=digest_of(one.request))

    def cost(self, params: ShiftParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most."""
        return cost_of(asked(params, items, "0" * 16), max_tokens=params.max_tokens, size=size)

    def collect(self, inputs: Inputs, params: ShiftParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Ask everything in one phase and yield each trial as its completion arrives; raises CollectionError."""
        yield from collected(KIND, asked(params, inputs.items, seed), inputs)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: ShiftParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have asked.
        """
        return observations.observations(read(trials, params), params)


COLLECTOR = ShiftCollector()
