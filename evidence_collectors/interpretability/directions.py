"""How is a direction fitted, taken out and put in, and what does the next token then look like?

What the instruments on directions share. Shapes: n texts, d the width of the residual stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from dossier.errors import CollectionError
from dossier.language_model import Array, Continuation, Edit, WhiteBoxModel
from dossier.model import TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.reading import Matrix, Vector, ablate, add

T = TypeVar("T")

DIGITS = 7  # significant digits of recorded numbers: what float32 activations carry


@dataclass(frozen=True, eq=False)
class NextToken:
    """What the model would say next: log-odds (n,) of the behaviour's tokens, and divergence (n,) from a reference, in nats."""

    log_odds: Vector
    divergence: Vector


def difference_of_means(positive: Matrix, negative: Matrix) -> Vector:
    """Return the mean of the positive texts' activations minus that of the negative ones, in float64, (d,).

    Raises:
        CollectionError: a class is empty, or the means do not differ.

    Source: Arditi et al. 2024 (arXiv:2406.11717), section 2.3.
    """
    if not (len(positive) and len(negative)):
        raise CollectionError(
            f"no difference of means from {len(positive)} positive and {len(negative)} negative texts"
        )
    found: Vector = positive.mean(axis=0) - negative.mean(axis=0)
    if not np.isfinite(found).all() or not np.linalg.norm(found) > 0.0:
        raise CollectionError("the class means do not differ, so there is no direction between them")
    return found


def oriented(directions: Matrix, positive: Matrix, negative: Matrix) -> Matrix:
    """Return unit vectors (k, d) along the directions, turned so that the positive texts lie higher on average."""
    units: Matrix = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    turn = np.where(units @ (positive.mean(axis=0) - negative.mean(axis=0)) < 0.0, -1.0, 1.0)
    turned: Matrix = units * turn[:, None]
    return turned


def cosine(left: Vector, right: Vector) -> float:
    """Return the cosine of two vectors that are not zero."""
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


def ablated(model: WhiteBoxModel, direction: Vector) -> list[Edit]:
    """Return the edits that keep a direction out of the residual stream: x - u u^T x at whatever writes into it.

    At the embedding and at every attention, MLP and block output, as in Arditi et al. 2024, section 2.4. The block outputs
    matter where a norm follows the attention or the MLP (Gemma 2): it brings the direction back.
    """
    layout = model.layout
    return [
        Edit(point, ablate(direction)) for point in (layout.embedding, *layout.attention, *layout.mlp, *layout.residual)
    ]


def added(point: str, vector: Vector, where: Literal["all", "last_prompt"] = "all") -> list[Edit]:
    """Return the edit that adds a vector to the output of one block, at every position or at the prompt's last."""
    return [Edit(point, add(vector), where)]


def next_token(
    model: WhiteBoxModel,
    texts: Sequence[Continuation],
    token_ids: Sequence[int],
    *,
    edits: Sequence[Edit] = (),
    reference: Sequence[Array] = (),
) -> NextToken:
    """Return log p(R) - log(1 - p(R)) and, against a reference of log-probabilities, KL(reference || this), for each text.

    Without a reference the divergence is NaN.

    Source: Arditi et al. 2024 (arXiv:2406.11717), section 2.4 and appendix C.
    """
    inside = list(dict.fromkeys(token_ids))
    odds, divergence = np.empty(len(texts)), np.full(len(texts), np.nan)
    for batch in model.capture(texts, [], edits=edits, logits=True):
        logits = batch.logits.double()
        rest = logits.clone()
        rest[:, inside] = -float("inf")
        found = (logits[:, inside].logsumexp(dim=-1) - rest.logsumexp(dim=-1)).cpu().numpy()
        logs = logits.log_softmax(dim=-1)
        for row, index in enumerate(batch.index):
            odds[index] = found[row]
            if reference:
                plain = reference[index].to(logs.device).double()
                divergence[index] = float((plain.exp() * (plain - logs[row])).sum())
    if not np.isfinite(odds).all():
        raise CollectionError("the log-odds of the behaviour's tokens are not finite")
    return NextToken(odds, divergence)


def next_token_logs(model: WhiteBoxModel, texts: Sequence[Continuation]) -> list[Array]:
    """Return each text's log-probabilities of the next token without an edit, (v,) each: what divergences refer to."""
    found: list[Array] = [None] * len(texts)
    for batch in model.capture(texts, [], logits=True):
        for row, index in enumerate(batch.index):
            found[index] = batch.logits[row].float().log_softmax(dim=-1).cpu()
    return found


def first_tokens(model: WhiteBoxModel, texts: Sequence[str]) -> tuple[int, ...]:
    """Return the first token of each text, each once, in order.

    Raises:
        CollectionError: a text without tokens.
    """
    found = []
    for text in texts:
        ids = model.token_ids(text)
        if not ids:
            raise CollectionError(f"{text!r} has no token in this model's vocabulary")
        found.append(ids[0])
    return tuple(dict.fromkeys(found))


def tried(function: Callable[..., T], *arguments: Any) -> tuple[T | None, str]:
    """Return what a function gives, or None and why it could not: one phase that fails takes no other with it."""
    try:
        return function(*arguments), ""
    except CollectionError as error:
        return None, error.message


def own_seed(seed: str, kind: str, what: str, *, repeat: int = 0) -> str:
    """Return a seed for one kind of draw, independent of every trial's."""
    return trial_seed(seed, kind, TrialKey(item="draw", arm=what, repeat=repeat))


def rounded(values: Vector | Sequence[float]) -> list[float]:
    """Return numbers to `DIGITS` significant digits, as they are recorded."""
    return [number(value) for value in values]


def number(value: float) -> float:
    """Return a number to `DIGITS` significant digits; a negative zero becomes zero."""
    return float(f"{float(value):.{DIGITS}g}") + 0.0
