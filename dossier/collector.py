"""What is an instrument? The contract every collector keeps.

``collect`` is the only step of the whole system that is not a pure function. `expected`, `cost` and `summarise` import no
torch, touch no file, clock, network or global state, so that a verifier without the model can run them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from dossier import canonical
from dossier.errors import CollectionError
from dossier.language_model import Capability, LanguageModel, ModelSize, WhiteBoxModel, takes_prefill
from dossier.model import Environment, Item, Observation, Parameters, PlannedEvidence, PromisedTrial, Trial

P = TypeVar("P")
InputKind = Literal["file", "model"]

FIRST_RUN = 1  # repeated runs of one plan are for a later version; the ordinal is in the key already


@dataclass(frozen=True)
class Cost:
    """What a run will ask, at most, known before any model is loaded. Token counts are upper estimates."""

    prompts: int
    prompt_tokens: int
    generated_tokens: int
    forward_flops: (
        float | None
    )  # 2 x active parameters x tokens (Kaplan et al. 2020, section 2.1); None if size unknown

    @staticmethod
    def of(*, prompts: int, prompt_tokens: int, generated_tokens: int, size: ModelSize | None) -> Cost:
        """Return the cost with its FLOPs filled in from the model's size."""
        flops = None if size is None else 2.0 * size.active_parameters * (prompt_tokens + generated_tokens)
        return Cost(prompts, prompt_tokens, generated_tokens, flops)


@dataclass(frozen=True)
class Artifact:
    """Bytes that go with the trials: safetensors or JSON, never pickle. ``name`` is a file name."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True)
class Inputs:
    """What `collect` may touch: the subject, its items, and further models and files by role, as the plan names them.

    ``subject`` answers through the journal. ``white_box`` is the same model opened, None where its adapter cannot; what is
    read from it is read again when a run resumes. ``files`` are files or folders whose digests were compared with the
    plan's.
    """

    subject: LanguageModel
    items: Sequence[Item]
    white_box: WhiteBoxModel | None = None
    models: Mapping[str, LanguageModel] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    def opened(self) -> WhiteBoxModel:
        """Return the subject opened. Raises CollectionError where its adapter only answers."""
        if self.white_box is None:
            raise CollectionError(
                "this instrument reads the model's computation, and the subject's adapter only answers",
                hint="Load the weights through the adapter 'hf', or one of your own with the capability 'capture'.",
            )
        return self.white_box


class Collector(Protocol[P]):
    """An instrument with a kind, a protocol version and an analysis version.

    ``protocol_version`` says what is asked and enters the evidence key; ``analysis_version`` says how answers become
    observations and can be run again without a model. Both are ``major.minor``.
    """

    @property
    def kind(self) -> str:
        """For example ``cot_faithfulness.hint``."""
        ...

    @property
    def protocol_version(self) -> str:
        """What is asked."""
        ...

    @property
    def analysis_version(self) -> str:
        """How answers become observations."""
        ...

    @property
    def needs(self) -> frozenset[Capability]:
        """What the subject's adapter must be able to do, whatever the parameters.

        An instrument whose parameters ask for more has a method ``needs_of(params)``, which maps each further capability to
        the parameter that asks for it and the one that does without, in words.
        """
        ...

    @property
    def roles(self) -> Mapping[str, InputKind]:
        """Which further inputs the instrument takes, by role; a role it can do without ends in ``?``."""
        ...

    @property
    def not_measured(self) -> Sequence[str]:
        """Sentences for the verdict page: what a reader might think this instrument says, and it does not."""
        ...

    def parse(self, parameters: Parameters) -> P:
        """Return the parameters with defaults filled in.

        Raises:
            ConfigError: an unknown or impossible parameter.
        """
        ...

    def dump(self, params: P) -> Parameters:
        """Return the parameters as JSON, complete: ``parse(dump(p)) == p``. This is what the plan records."""
        ...

    def quantities(self, params: P) -> Sequence[str]:
        """Return the ids of the observations `summarise` will give, so that a criterion on another one is an error."""
        ...

    def expected(self, params: P, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised. Pure. Raises ConfigError for an item it cannot ask."""
        ...

    def cost(self, params: P, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most. Pure."""
        ...

    def collect(self, inputs: Inputs, params: P, seed: str) -> Iterator[Trial | Artifact]:
        """Ask the model and yield what came back, each trial as soon as it is known, in any order."""
        ...

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: P, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations. Pure, torch-free, and the same for any order of trials."""
        ...


def lacking(collector: Collector[P], model: LanguageModel, params: P) -> str:
    """Return what a model's adapter is known to lack for an instrument, in a sentence; "" where it lacks nothing."""
    able = set(model.capabilities)
    if takes_prefill(model) is not False:
        able.add("prefill")
    chosen: Mapping[Capability, str] = getattr(collector, "needs_of", lambda _: {})(params)
    missing = sorted((collector.needs | set(chosen)) - able)
    ways = "; ".join(chosen[capability] for capability in missing if capability in chosen)
    how = f" ({ways})" if ways else ""
    return f"{collector.kind} needs {missing}, which this model's adapter lacks{how}." if missing else ""


def evidence_key(planned: PlannedEvidence, *, subject_sha256: str, seed: str, environment: Environment) -> str:
    """Return the key of a run: the same key means the same measurement, so it is not run twice."""
    return canonical.digest(
        {
            "kind": planned.kind,
            "protocol_version": planned.protocol_version,
            "parameters": dict(planned.parameters),
            "subject_sha256": subject_sha256,
            "seed": seed,
            "items_sha256": planned.items.sha256,
            "inputs": {role: reference.sha256 for role, reference in planned.inputs.items()},
            "dtype": environment.dtype,
            "quantisation": environment.quantisation,
            "engine": environment.engine,
            "run_ordinal": FIRST_RUN,
        }
    )
