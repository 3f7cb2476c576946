"""Does what is monitored inside the model stay when a text is reworded to get past it, and does the behaviour stay?

Estimand, for attack a and positive texts x of a contrast set, with u the direction frozen on clean training texts:
retention rho_a = mean u . a(x) / mean u . x, negatives at the origin; beside it the classes' AUROC under the same attack,
the recall at the threshold frozen on clean texts, and the rate of the behaviour in answers. So four cases can be told apart:
both stay; the inside goes and the behaviour stays; both go; and the inside stays while the behaviour flips, which a monitor
would see and a reader of the answer would not. Attacks: the frozen suite of `items.attacks`, the plan's own, and suffixes
searched with the model's own gradients on training texts (`suffix_search`); benign edits are the control.

Source: metrics after Arditi et al. 2024 (arXiv:2406.11717), section 5; the idea that a monitor can stay or go under an attack
after Bailey et al. 2024 (arXiv:2412.09565).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Artifact, Cost, InputKind, Inputs
from dossier.language_model import Capability, ModelSize
from dossier.model import Item, Observation, Parameters, PromisedTrial, Trial, as_json, digest_of
from evidence_collectors.interpretability.adversarial_stability import observations as observed
from evidence_collectors.interpretability.adversarial_stability import parameters as parameters_
from evidence_collectors.interpretability.adversarial_stability.parameters import KIND, StabilityParameters, labels
from evidence_collectors.interpretability.adversarial_stability.reading import read
from evidence_collectors.interpretability.adversarial_stability.trials import promised, texts_of
from evidence_collectors.items.attacks import Attack

_GROWTH = 3  # an encoded text has at most about three times the tokens


@dataclass(frozen=True)
class StabilityCollector:
    """The instrument; it holds nothing but its names."""

    kind: str = KIND
    protocol_version: str = "1.0"
    analysis_version: str = "1.2"
    needs: frozenset[Capability] = frozenset({"generate", "capture", "gradients"})
    roles: Mapping[str, InputKind] = field(
        default_factory=lambda: {"direction?": "file", "dictionary?": "file", "core?": "file", "transcoders?": "file"}
    )
    not_measured: Sequence[str] = (
        "Attacks outside the planned list; conversations of several turns; attacks on the training data or the weights.",
        "Whether an answer that lost the behaviour helps anyone: answers are counted by markers, nobody judged them.",
        "Whether the monitored direction causes the behaviour; that is another instrument.",
        "Behaviour that comes back after the first answer.",
    )

    def parse(self, parameters: Parameters) -> StabilityParameters:
        """Return the parameters with defaults filled in; raises ConfigError."""
        return parameters_.parse(parameters)

    def dump(self, params: StabilityParameters) -> Parameters:
        """Return the parameters as JSON, complete."""
        parameters: Parameters = as_json(params)
        return parameters

    def quantities(self, params: StabilityParameters) -> Sequence[str]:
        """Return the ids of the observations, in the order `summarise` gives them."""
        return observed.quantities(params)

    def expected(self, params: StabilityParameters, items: Sequence[Item], seed: str) -> Iterable[PromisedTrial]:
        """Yield every trial that is promised; raises ConfigError for an item that cannot be asked.

        Requests under a searched suffix are not known before the run.
        """
        for key, own, asked in promised(params, items, seed):
            yield PromisedTrial(key=key, seed=own, request_sha256=None if asked is None else digest_of(asked))

    def cost(self, params: StabilityParameters, items: Sequence[Item], size: ModelSize | None) -> Cost:
        """Return what a run will ask, at most: two passes a text and arm, the searches, and every answer at full length.

        A pass with a gradient counts as three; a token for every two bytes.
        """
        texts = texts_of(items)
        read_texts = [*texts.train, *texts.validation, *texts.reported]
        sizes = {text.id: _tokens(text.messages) for text in read_texts}
        arms = [None, *labels(params)]
        passes = sum(
            2 * (_wrapped(sizes[text.id], arm)) for arm in arms for text in (*texts.train, *texts.reported)
        ) + 2 * sum(sizes[text.id] for text in texts.validation)
        passes += sum(sizes.values()) if params.twin else 0
        mean = sum(sizes.values()) / max(len(sizes), 1) + params.search_length
        each = params.search_items * (params.search_candidates + 3 + 1)
        passes += int(mean * each * params.search_steps * sum(one != "random" for one in params.searches))
        answers = len(texts.asked) * len(arms) if params.generate else 0
        asked = sum(_wrapped(sizes[text.id], arm) for arm in arms for text in texts.asked) if params.generate else 0
        prompts = 2 * len(arms) * (len(texts.train) + len(texts.reported)) + 2 * len(texts.validation) + answers
        return Cost.of(
            prompts=prompts, prompt_tokens=passes + asked, generated_tokens=answers * params.max_tokens, size=size
        )

    def collect(self, inputs: Inputs, params: StabilityParameters, seed: str) -> Iterator[Trial | Artifact]:
        """Read the texts clean and under every attack, search the planned suffixes, and ask for answers.

        Raises:
            CollectionError: the subject cannot be opened, or an input by role is missing or unusable.
        """
        from evidence_collectors.interpretability.adversarial_stability import run

        yield from run.collect(inputs, params, seed)

    def summarise(
        self, trials: Sequence[Trial], artifacts: Mapping[str, bytes], params: StabilityParameters, seed: str
    ) -> tuple[Observation, ...]:
        """Return the observations.

        Raises:
            IntegrityError: trials that this protocol cannot have given.
        """
        return observed.observations(read(trials, params), params)


COLLECTOR = StabilityCollector()


def _tokens(messages: Sequence[object]) -> int:
    return sum(len(getattr(message, "content", "").encode()) // 2 + 16 for message in messages)


def _wrapped(tokens: int, arm: Attack | None) -> int:
    if arm is None:
        return tokens
    growth = _GROWTH if arm.transform in ("base64", "spaced") else 1
    return growth * tokens + len((arm.before + arm.after + arm.prefill).encode()) // 2
