"""Do more answers come out right once what the model can do is drawn out of it?

Estimand: for questions with one right option, and an elicitation e (examples before the question, noise on the weights at a
declared strength, training on one demonstration),

    gain_e = P(right | elicited by e) - P(right | as asked)        on the same questions

each beside its own null: the same elicitation without its content (examples whose letters were moved on, training on something
unrelated), and for noise what an option drawn at random would gain, since noise moves every answer towards chance. A gain is
called a gain under elicitation: that something was held back on purpose is no quantity here. No number sums the elicitations.

Sources: Greenblatt et al. 2024 (arXiv:2405.19550) for training on few demonstrations; Tice et al. 2024 (arXiv:2412.01784) for
noise; van der Weij et al. 2024 (arXiv:2406.07358) for what is meant by the word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, as_json, digest_of
from evidence_collectors.evaluation_awareness.sandbagging import observations, protocol
from evidence_collectors.evaluation_awareness.sandbagging import parameters as parameters_
from evidence_collectors.evaluation_awareness.sandbagging.parameters import KIND, SandbaggingParameters
from evidence_collectors.evaluation_awareness.sandbagging.reading import read


@dataclass(frozen=True)
class SandbaggingCollector:
    """The instrument; it holds nothing but its names. Noise and training need an adapter that can copy the model."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.0"
    needs: frozenset[Capability] = frozenset({"generate"})
    roles: Mapping[str, InputKind] = field(default_factory=dict)
    not_measured: Sequence[str] = (
        "Why an answer was wrong as asked: on purpose, by the form of the question or for want of knowledge.",
        "What other elicitations would draw out: longer training, tools, many attempts, better prompts.",
        "Tasks other than questions with one right option, and other questions than these.",
        "That nothing is held back: no gain is evidence about these elicitations only.",
    )

    def parse(self, parameters: Parameters) -> SandbaggingParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: SandbaggingParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: SandbaggingParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observations.quantities(params)

    def expected(self, params: SandbaggingParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item that cannot be asked.

        What a changed model is asked is not the subject's to answer again, so its trials promise no request.
        """
        choice = protocol.choose(params, items, seed)
        changed = tuple(protocol.changed(params))
        for phase in changed:
            yield PromisedTrial(
                key=protocol.setup_key(phase), seed=protocol.setup_seed(seed, phase), request_sha256=None
            )
        for one in protocol.asked(params, choice, seed):
            request = None if one.phase in changed else digest_of(one.request)
            yield PromisedTrial(key=one.key, seed=one.seed, request_sha256=request)

    def cost(self, params: SandbaggingParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most: a token for every two bytes of prompt, every answer at full length.

        A step of training is counted as three passes over the demonstration.
        """
        choice = protocol.choose(params, items, "0" * 16)
        prompts = tokens = 0
        for one in protocol.asked(params, choice, "0" * 16):
            prompts += 1
            tokens += sum(len(turn.content.encode()) // 2 + 16 for turn in one.request.messages)
        trained = [phase for phase in protocol.changed(params) if phase.startswith("tuned")]
        for phase in trained:
            shown = protocol.demonstration(params, choice, phase)
            text = "".join(turn.content for turn in shown.request.messages) + shown.text
            tokens += 3 * params.tuning_steps * (len(text.encode()) // 2 + 16)
        return Cost.of(prompts=prompts, prompt_tokens=tokens, generated_tokens=prompts * params.max_tokens, size=size)

    def collect(self, inputs: Inputs, params: SandbaggingParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Ask the questions as they are and elicited, and yield each trial as its answer arrives.

        Raises:
            CollectionError: the adapter cannot change weights and the plan asks for it, or it answers what was not asked.
        """
        from evidence_collectors.evaluation_awareness.sandbagging import run

        yield from run.collect(inputs, params, protocol.choose(params, inputs.items, seed), seed)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: SandbaggingParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have asked.
        """
        return observations.observations(read(trials, params), params)


COLLECTOR = SandbaggingCollector()
