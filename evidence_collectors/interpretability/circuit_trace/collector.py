"""Through which features does a prompt reach its answer, and does the model bear out what that graph says?

Estimands, per prompt, of the attribution graph A (row-normalised absolute direct effects in the local replacement model,
targets weighted by w): replacement = I(tokens) / (I(tokens) + I(errors)) and completeness = sum (I + w)(1 - errors' share of
a row) / sum (I + w), I = w A + w A^2 + ... (Ameisen et al. 2025, "Circuit Tracing"); of the pruned circuit C, with the rest
mean-ablated in the running model: faithfulness (m(C) - m(nothing)) / (m(everything) - m(nothing)), and the same of its
complement (Marks et al. 2024, arXiv:2403.19647). What is reported is the median over prompts.

Controls in every run: the same graph with shuffled decoders, a random circuit of the same size, permuted interventions,
circuits of unrelated prompts. Before any prompt is traced a self-test checks that the graph adds up to the logits.

Arms: ``self-test`` once, ``trace`` once a prompt. The graphs come from circuit-tracer (extra ``circuits``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.errors import CollectionError, ConfigError
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, TrialKey, as_json
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.circuit_trace import observations as found
from evidence_collectors.interpretability.circuit_trace import parameters as parameters_
from evidence_collectors.interpretability.circuit_trace import reading
from evidence_collectors.interpretability.circuit_trace.parameters import KIND, CircuitTraceParameters
from evidence_collectors.interpretability.circuit_trace.reading import SELF_TEST, TRACE
from evidence_collectors.items import contrast
from evidence_collectors.items.contrast import Contrast, Split

PATCHED = 8  # passes of the patching of one prompt
BACKWARD = 3  # a node's backward pass and its share of the repeated forward pass, in forward passes


@dataclass(frozen=True)
class CircuitTraceCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.1"
    needs: frozenset[Capability] = frozenset({"capture", "intervene"})
    roles: Mapping[str, InputKind] = field(default_factory=lambda: {"transcoders": "file"})
    not_measured: Sequence[str] = (
        "Why the model attends where it does: attention patterns and norm scales are frozen in every graph.",
        "What a feature means: features are numbered, and no label is given to any.",
        "Computation that the transcoders do not reconstruct; its share stands beside every graph as error.",
        "Prompts other than those traced: a graph is of one prompt, and a circuit found on some need not be used on others.",
        "Whether another set of transcoders would show the same circuit.",
    )

    def parse(self, parameters: Parameters) -> CircuitTraceParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: CircuitTraceParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: CircuitTraceParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return found.quantities(params)

    def expected(self, params: CircuitTraceParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for items that cannot be traced."""
        keys = [_SELF_TEST, *(_key(text) for text in prompts(params, items, seed))]
        for key in keys:
            yield PromisedTrial(key=key, seed=trial_seed(seed, KIND, key), request_sha256=None)

    def cost(self, params: CircuitTraceParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most: a token for every two bytes, each node of a graph as three passes."""
        chosen = [*prompts(params, items, "0" * 16), *references(params, items, "0" * 16)]
        tokens = sum(sum(len(message.content.encode()) // 2 + 16 for message in text.messages) for text in chosen)
        passes = PATCHED + params.interventions + 2 * BACKWARD * (params.feature_nodes + params.logits)
        return Cost.of(prompts=len(chosen) * passes, prompt_tokens=tokens * passes, generated_tokens=0, size=size)

    def collect(self, inputs: Inputs, params: CircuitTraceParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Test the bench, then trace prompt by prompt; what fails is a failed trial.

        Raises:
            CollectionError: circuit-tracer is missing, or the subject or the transcoders cannot be opened.
        """
        from evidence_collectors.interpretability.circuit_trace import run as run

        texts = prompts(params, inputs.items, seed)
        bench = run.open_bench(inputs, params, references=references(params, inputs.items, seed), traced=texts)
        try:
            tested = as_json(run.self_test(bench, texts[0]))
        except CollectionError as error:
            for key in (_SELF_TEST, *map(_key, texts)):
                yield _failed(key, seed, f"the self-test failed: {error.message}")
            return
        yield _trial(_SELF_TEST, seed, tested)
        arrays: dict[str, Any] = {}
        for text in texts:
            try:
                measured, document, circuit = run.trace(bench, text, params, trial_seed(seed, KIND, _key(text)))
            except CollectionError as error:
                yield _failed(_key(text), seed, error.message)
                continue
            arrays |= circuit
            yield _trial(_key(text), seed, measured)
            yield document
        yield from run.artifact(arrays)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: CircuitTraceParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have made.
        """
        return found.observations(reading.read(trials, settings=params.settings), params, seed)


COLLECTOR = CircuitTraceCollector()


def prompts(params: CircuitTraceParameters, items: Sequence[Item], seed: str) -> tuple[Contrast, ...]:
    """Return the texts that are traced, in an order drawn from the seed; matched texts stay together.

    Raises:
        ConfigError: no text of the planned splits and labels, or an item that is none or is there twice.
    """
    texts = [text for text in _texts(items, params.traced) if text.label in params.labels]
    if not texts:
        raise ConfigError(
            f"{KIND}: no item has a split in {list(params.traced)} and a label in {list(params.labels)}",
            hint="Name the splits and labels of the items file in 'traced' and 'labels'.",
        )
    return tuple(sorted(texts, key=lambda text: (_rank(text.pair or text.id, seed), text.id)))[: params.prompts]


def references(params: CircuitTraceParameters, items: Sequence[Item], seed: str) -> tuple[Contrast, ...]:
    """Return the texts whose means an ablated node is set to, drawn from the seed.

    Raises:
        ConfigError: fewer than two texts of the planned splits.
    """
    texts = _texts(items, params.reference)
    if len(texts) < 2:
        raise ConfigError(f"{KIND}: {len(texts)} items have a split in {list(params.reference)}; 2 or more are needed")
    return tuple(sorted(texts, key=lambda text: (_rank(text.id, seed), text.id)))[: params.reference_texts]


_SELF_TEST = TrialKey(item=SELF_TEST, arm=SELF_TEST, repeat=0)


def _texts(items: Sequence[Item], splits: Sequence[Split]) -> tuple[Contrast, ...]:
    texts = contrast.parse(items)
    names = [text.id for text in texts]
    if len(set(names)) != len(names) or SELF_TEST in names:
        raise ConfigError(f"{KIND}: every item needs an id of its own, and none may be {SELF_TEST!r}")
    return contrast.chosen(texts, splits=splits)


def _rank(name: str, seed: str) -> str:
    return trial_seed(seed, KIND, TrialKey(item=name, arm="draw", repeat=0))


def _key(text: Contrast) -> TrialKey:
    return TrialKey(item=text.id, arm=TRACE, repeat=0)


def _trial(key: TrialKey, seed: str, measured: Mapping[str, Any]) -> Trial:
    return Trial(key=key, seed=trial_seed(seed, KIND, key), request=None, completion=None, measurements=measured)


def _failed(key: TrialKey, seed: str, reason: str) -> Trial:
    return Trial(key=key, seed=trial_seed(seed, KIND, key), request=None, completion=None, error=reason)
