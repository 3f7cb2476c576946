"""Which sparse features of the model respond to a contrast set, and does the behaviour depend on them?

Estimands, for the ``top_k`` features that correlate most with the label on the splits that choose, read on the others:
AUROC of the set's score (the sum of its features in units of their deviation) between positives and negatives; its margin
over the strictest null; and the ablation effect, the mean over positives of

    log-odds of the behaviour tokens before - after x <- x - sum over the set of a_f(x) W_dec[f],

beside the same with random features of like firing rate and strength. The dictionary's health is measured on the same
texts. A feature is named by its number: what it "means" is not claimed. Sources: Marks et al. 2024 (arXiv:2403.19647) for
ablation of features; Karvonen et al. 2025 (SAEBench, arXiv:2503.09532) for the health measures; Heap et al. 2025
(arXiv:2501.17727) for why random weights must be read beside; Kantamneni et al. 2025 (arXiv:2502.16681) for the dense probe.

Arms: ``subject`` (self-test), ``selected`` and ``changed`` (a trial a feature), ``census``, and a trial an item: ``read``,
``twin``, ``ablate``, ``fidelity``, ``baseline``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.errors import CollectionError, ConfigError
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, TrialKey, as_json
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.sae_features import choosing, observations, phases
from evidence_collectors.interpretability.sae_features import parameters as parameters_
from evidence_collectors.interpretability.sae_features import setup as setup_
from evidence_collectors.interpretability.sae_features import trials as trials_
from evidence_collectors.interpretability.sae_features.parameters import KIND, SaeFeaturesParameters
from evidence_collectors.interpretability.sae_features.setup import Key, Learned, Measured, Setup
from evidence_collectors.items import contrast
from evidence_collectors.items.contrast import Contrast

LEARNED = ("subject", "selected", "changed")  # arms of the first phase: what is chosen before anything is reported
LATER = ("read", "twin", "ablate", "behaviour", "fidelity", "baseline")  # one phase each; the census goes with `read`


@dataclass(frozen=True)
class SaeFeaturesCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.2"
    needs: frozenset[Capability] = frozenset({"capture", "intervene"})
    roles: Mapping[str, InputKind] = field(default_factory=lambda: {"dictionary": "file", "baseline?": "model"})
    not_measured: Sequence[str] = (
        "Whether the concept is absent: a dictionary lacks features, and a feature that was not found proves nothing.",
        "What a feature means to the model; it is named by its number and by the texts it responds to.",
        "Features that carry the concept in other layers, or in this one after what was found is taken away.",
        "Concepts other than this contrast set, and texts unlike it.",
        "Whether another dictionary, trained with another seed, would hold the same features; many are not shared.",
    )

    def parse(self, parameters: Parameters) -> SaeFeaturesParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: SaeFeaturesParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: SaeFeaturesParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: SaeFeaturesParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for items that cannot be asked."""
        for key in promised(params, _texts(items, params)):
            yield PromisedTrial(key=key, seed=trial_seed(seed, KIND, key), request_sha256=None)

    def cost(self, params: SaeFeaturesParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return how many texts are read, at most, with a token for every two bytes."""
        texts = _texts(items, params)
        choose, report = setup_.choosing(texts), setup_.reporting(texts, params)
        passes = [*choose, *report] * (3 if params.compare else 2)  # subject, twin, baseline
        if params.behaviour_tokens:
            passes += [*setup_.ablated(texts)] * (2 + params.random_sets) + [*setup_.unasked(texts)]
        passes += [*setup_.spliced(texts, params)] * 3
        tokens = sum(
            len(text.response.encode()) // 2 + sum(len(turn.content.encode()) // 2 + 16 for turn in text.messages)
            for text in passes
        )
        return Cost.of(prompts=len(passes), prompt_tokens=tokens, generated_tokens=0, size=size)

    def collect(self, inputs: Inputs, params: SaeFeaturesParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Choose on some texts, then read the others, phase by phase.

        What a phase promised and could not read becomes trials with an error; the other phases still run.

        Raises:
            CollectionError: the model cannot be opened, or the dictionary cannot be read or belongs to another model.
        """
        texts = _texts(inputs.items, params)
        setup = setup_.prepare(inputs, texts, params, seed)
        keys = list(promised(params, texts))
        learned: Learned | None = None
        problem = ""
        try:
            learned, measured = choosing.learn(setup)
        except CollectionError as error:
            problem, measured = error.message, {}
        yield from _trials(keys, LEARNED, measured, problem, seed)
        asked = {key.arm for key in keys}
        for arm in (one for one in LATER if one in asked):
            measured, problem_here = _attempt(arm, setup, learned, problem)
            yield from _trials(keys, ("census", arm) if arm == "read" else (arm,), measured, problem_here, seed)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: SaeFeaturesParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have asked.
        """
        return observations.observations(trials_.read(trials, params), params, seed)


COLLECTOR = SaeFeaturesCollector()


def promised(params: SaeFeaturesParameters, texts: Sequence[Contrast]) -> Iterator[TrialKey]:
    """Yield the key of every trial."""
    yield TrialKey(item="self-test", arm="subject", repeat=0)
    yield from (TrialKey(item=f"feature-{place + 1}", arm="selected", repeat=0) for place in range(params.top_k))
    if params.compare:
        yield from (TrialKey(item=f"change-{place + 1}", arm="changed", repeat=0) for place in range(params.changes))
    yield TrialKey(item="dictionary", arm="census", repeat=0)
    report = setup_.reporting(texts, params)
    for arm in ("read", "twin", *(("baseline",) if params.compare else ())):
        yield from (TrialKey(item=text.id, arm=arm, repeat=0) for text in report)
    if params.behaviour_tokens:
        yield from (TrialKey(item=text.id, arm="ablate", repeat=0) for text in setup_.ablated(texts))
        yield from (TrialKey(item=text.id, arm="behaviour", repeat=0) for text in setup_.unasked(texts))
    yield from (TrialKey(item=text.id, arm="fidelity", repeat=0) for text in setup_.spliced(texts, params))


def _texts(items: Sequence[Item], params: SaeFeaturesParameters) -> tuple[Contrast, ...]:
    """Return the contrast set; a class without items leaves its numbers not estimable."""
    texts = contrast.parse(items)
    ids = [text.id for text in texts]
    if len(set(ids)) != len(ids):
        raise ConfigError(f"{KIND}: an item's id is there twice", hint="Give every item an id of its own.")
    if params.position.startswith("response") and not all(text.response for text in texts):
        raise ConfigError(f"{KIND}: position {params.position!r} needs a response in every item")
    if params.control_set and not any(text.set == params.control_set for text in texts):
        raise ConfigError(f"{KIND}: no item is in the control set {params.control_set!r}")
    return texts


def _attempt(arm: str, setup: Setup, learned: Learned | None, problem: str) -> tuple[Measured, str]:
    """Return what a phase measured, or why it measured nothing."""
    if learned is None:
        return {}, problem
    try:
        return phases.PHASES[arm](setup, learned), ""
    except CollectionError as error:
        return {}, error.message


def _trials(
    keys: Sequence[TrialKey], arms: Sequence[str], measured: Measured, problem: str, seed: str
) -> Iterator[Trial]:
    """Yield the promised trials of some arms, with an error where nothing was measured."""
    for key in keys:
        if key.arm not in arms:
            continue
        found = measured.get(Key(key.item, key.arm))
        error = None if found is not None else problem or "there was nothing to measure"
        yield Trial(
            key=key,
            seed=trial_seed(seed, KIND, key),
            request=None,
            completion=None,
            measurements=found or {},
            error=error,
        )
