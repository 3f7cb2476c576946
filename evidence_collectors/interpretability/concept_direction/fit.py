"""Which layer and position carry the direction, and what is fitted there beside it?

Every candidate is judged on validation texts by what it does, not by how well it separates: ablating it must make the
behaviour less likely, adding it must make it more likely than not, and neither may disturb other texts. Everything here
sees train and validation only.

Source: Arditi et al. 2024 (arXiv:2406.11717), section 2.3 and appendix C.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dossier.errors import CollectionError
from dossier.language_model import Array, Continuation, WhiteBoxModel
from dossier.probing import LinearProbe, linear_probe, permutation_orders
from dossier.ranking import auroc
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.interpretability.concept_direction.trials import KIND, Texts
from evidence_collectors.interpretability.directions import (
    ablated,
    added,
    cosine,
    difference_of_means,
    next_token,
    next_token_logs,
    number,
    oriented,
    own_seed,
)
from evidence_collectors.interpretability.reading import (
    Matrix,
    Vector,
    mean_norms,
    random_directions,
    residuals,
)
from evidence_collectors.items.contrast import Contrast

LATE = 0.2  # share of the blocks at the end that give no candidate: a direction there writes tokens rather than decides


@dataclass(frozen=True, eq=False)
class Split:
    """Activations of one split at one layer and position, (text, d), by class."""

    positive: Matrix
    negative: Matrix

    @property
    def together(self) -> Matrix:
        """Both classes, the positive first."""
        return np.concatenate([self.positive, self.negative])

    @property
    def labels(self) -> Vector:
        """1 for each positive text, then 0 for each negative one."""
        return np.concatenate([np.ones(len(self.positive)), np.zeros(len(self.negative))])


@dataclass(frozen=True)
class Candidate:
    """What one layer and position promise on the validation texts. Log-odds and divergence in nats."""

    layer: int
    position: str
    depth: float  # share of the blocks up to and including this one
    norm: float
    bypass: float  # mean log-odds on positive texts with the direction ablated
    induce: float  # mean log-odds on negative texts with the direction added
    kl: float  # mean divergence of negative texts' next token under ablation
    plain_positive: float
    plain_negative: float
    auroc: float

    def disqualified(self, params: DirectionParameters) -> str:
        """Return why it cannot be chosen, "" where it can."""
        if self.depth > 1.0 - LATE:
            return f"it lies in the last {LATE:.0%} of the blocks"
        if not self.induce > 0.0:
            return (
                f"adding it brings the log-odds of the behaviour on negative texts from {self.plain_negative:.2f} to "
                f"{self.induce:.2f}, not above 0 (on positive texts, unchanged: {self.plain_positive:.2f})"
            )
        if not self.kl < params.kl_max:
            return f"ablating it moves negative texts by {self.kl:.3g} nats a next token, not below {params.kl_max:g}"
        return ""


@dataclass(frozen=True, eq=False)
class Probe:
    """A logistic probe on standardised activations: ``(x - mean) / scale @ weights + bias``."""

    mean: Vector
    scale: Vector
    fitted: LinearProbe

    def score(self, activations: Matrix) -> Vector:
        """Return the log-odds that the probe gives to each text."""
        scores: Vector = (activations - self.mean) / self.scale @ self.fitted.weights + self.fitted.bias
        return scores


@dataclass(frozen=True, eq=False)
class Validation:
    """The validation prompts and what the model says next to them. Log-odds in nats, means over texts."""

    positive: list[Continuation]
    negative: list[Continuation]
    token_ids: tuple[int, ...]
    plain_positive: float
    plain_negative: float
    reference: list[Array]


def prompt_of(text: Contrast) -> Continuation:
    """Return a text without its response: what the model is about to answer."""
    return replace(text.continuation(), text="")


def choose(found: Sequence[Candidate], params: DirectionParameters) -> Candidate | None:
    """Return the candidate that bypasses the behaviour most among those that qualify, the first in case of a tie."""
    qualified = [one for one in found if not one.disqualified(params)]
    return min(qualified, key=lambda one: (one.bypass, one.layer, one.position)) if qualified else None


def read_split(model: WhiteBoxModel, texts: Texts, name: str, layers: Sequence[int], position: str) -> dict[int, Split]:
    """Return the activations of ``train`` or ``validation`` at a position, by layer."""
    held = texts.train if name == "train" else texts.validation
    points = {layer: model.layout.residual[layer] for layer in layers}
    found = residuals(model, [text.continuation() for text in held], list(points.values()), position=position)
    positive = np.array([text.label == "positive" for text in held], dtype=bool)
    return {layer: Split(found[point][positive], found[point][~positive]) for layer, point in points.items()}


def validation(model: WhiteBoxModel, texts: Texts, token_ids: Sequence[int]) -> Validation:
    """Return the validation prompts with what the model would say next, unchanged.

    Raises:
        CollectionError: a class is empty, or the texts cannot be read.
    """
    positive, negative = (
        [prompt_of(text) for text in texts.of("validation", label)] for label in ("positive", "negative")
    )
    if not (positive and negative):
        raise CollectionError(
            f"{len(positive)} positive and {len(negative)} negative validation texts: no candidate can be judged"
        )
    return Validation(
        positive=positive,
        negative=negative,
        token_ids=tuple(token_ids),
        plain_positive=float(next_token(model, positive, token_ids).log_odds.mean()),
        plain_negative=float(next_token(model, negative, token_ids).log_odds.mean()),
        reference=next_token_logs(model, negative),
    )


def judge(
    model: WhiteBoxModel,
    asked: Validation,
    where: tuple[int, str],
    splits: Mapping[str, Split],
    params: DirectionParameters,
) -> Candidate:
    """Return what one candidate does on the validation texts; ``splits`` are its activations by split.

    Raises:
        CollectionError: the class means do not differ, or the intervention gives values that are not finite.
    """
    layer, position = where
    direction = difference_of_means(splits["train"].positive, splits["train"].negative)
    unit = direction / np.linalg.norm(direction)
    cut, put = ablated(model, direction), added(model.layout.residual[layer], direction, params.add_at)
    harmless = next_token(model, asked.negative, asked.token_ids, edits=cut, reference=asked.reference)
    area = auroc(splits["validation"].positive @ unit, splits["validation"].negative @ unit)
    assert area is not None, "validation() refuses an empty class"
    return Candidate(  # rounded as recorded: whoever recomputes the choice must see the same numbers
        layer=layer,
        position=position,
        depth=number((layer + 1) / len(model.layout.residual)),
        norm=number(float(np.linalg.norm(direction))),
        bypass=number(next_token(model, asked.positive, asked.token_ids, edits=cut).log_odds.mean()),
        induce=number(next_token(model, asked.negative, asked.token_ids, edits=put).log_odds.mean()),
        kl=number(harmless.divergence.mean()),
        plain_positive=number(asked.plain_positive),
        plain_negative=number(asked.plain_negative),
        auroc=number(area),
    )


@dataclass(frozen=True, eq=False)
class Fitted:
    """Everything fitted on the training texts: the direction, the probe and their nulls.

    ``random``, ``shuffled`` and ``probe_random`` are unit vectors (k, d), turned as the training labels say. The probe reads
    ``probe_position``.
    """

    direction: Vector
    probe: Probe
    probe_position: str
    random: Matrix
    shuffled: Matrix
    probe_random: Matrix
    probe_shuffled: tuple[Probe, ...]
    half_cosines: Vector
    half_cosines_shuffled: Vector
    mean_norm: float


def fit(model: WhiteBoxModel, texts: Texts, chosen: Candidate, params: DirectionParameters, seed: str) -> Fitted:
    """Return what is fitted at the chosen layer and position.

    Raises:
        CollectionError: the training texts cannot be read there, or are too few to be cut in half.
    """
    train = read_split(model, texts, "train", [chosen.layer], chosen.position)[chosen.layer]
    probe_position = "response_mean" if texts.with_responses else chosen.position
    at_probe = train
    if probe_position != chosen.position:
        at_probe = read_split(model, texts, "train", [chosen.layer], probe_position)[chosen.layer]
    width = train.positive.shape[1]
    random = random_directions(own_seed(seed, KIND, "random"), params.random_directions, width)
    orders = permutation_orders(own_seed(seed, KIND, "shuffle"), len(train.together), params.shuffles)
    point = model.layout.residual[chosen.layer]
    norms = mean_norms(model, [prompt_of(text) for text in texts.train], [point])
    halves, halves_shuffled = _half_cosines(train, params, seed)
    return Fitted(
        direction=difference_of_means(train.positive, train.negative),
        probe=fit_probe(at_probe.together, at_probe.labels, params),
        probe_position=probe_position,
        random=oriented(random, train.positive, train.negative),
        shuffled=oriented(
            np.array([_shuffled_direction(train, order) for order in orders]), train.positive, train.negative
        ),
        probe_random=oriented(random, at_probe.positive, at_probe.negative),
        probe_shuffled=tuple(fit_probe(at_probe.together, at_probe.labels[order], params) for order in orders),
        half_cosines=halves,
        half_cosines_shuffled=halves_shuffled,
        mean_norm=norms[point],
    )


def fit_probe(activations: Matrix, labels: Vector, params: DirectionParameters) -> Probe:
    """Return a ridge logistic probe on standardised activations.

    Raises:
        CollectionError: one class is empty.

    Source: Goldowsky-Dill et al. 2025 (arXiv:2502.03407), section 3.
    """
    mean, scale = activations.mean(axis=0), activations.std(axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    fitted = linear_probe((activations - mean) / scale, labels, ridge=params.probe_ridge)
    if fitted is None:
        raise CollectionError("no probe can be fitted to texts of one class")
    return Probe(mean, scale, fitted)


def _half_cosines(train: Split, params: DirectionParameters, seed: str) -> tuple[Vector, Vector]:
    """Return the cosines of directions fitted on disjoint halves of the training texts, with true and permuted labels."""
    if min(len(train.positive), len(train.negative)) < 2:
        raise CollectionError("fewer than two training texts of a class, so they cannot be cut in half")
    orders = {
        "positive": permutation_orders(own_seed(seed, KIND, "half-positive"), len(train.positive), params.half_splits),
        "negative": permutation_orders(own_seed(seed, KIND, "half-negative"), len(train.negative), params.half_splits),
        "any": permutation_orders(own_seed(seed, KIND, "half-any"), len(train.together), params.half_splits),
    }
    found, null = [], []
    for positive, negative, anyone in zip(orders["positive"], orders["negative"], orders["any"], strict=True):
        mixed = train.together[anyone]
        found.append(_cosine_of_halves(train.positive[positive], train.negative[negative]))
        null.append(_cosine_of_halves(mixed[: len(train.positive)], mixed[len(train.positive) :]))
    return np.array(found), np.array(null)


def _cosine_of_halves(positive: Matrix, negative: Matrix) -> float:
    up, low = len(positive) // 2, len(negative) // 2
    return cosine(
        difference_of_means(positive[:up], negative[:low]), difference_of_means(positive[up:], negative[low:])
    )


def _shuffled_direction(train: Split, order: Sequence[int]) -> Vector:
    labels = train.labels[order] == 1.0
    return difference_of_means(train.together[labels], train.together[~labels])
