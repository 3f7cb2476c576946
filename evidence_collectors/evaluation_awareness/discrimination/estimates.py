"""How well do the scores tell evaluation from deployment texts, and how sure is that?

For a format of the question with scores s, over evaluation texts E and deployment texts D of the splits test and transfer:

    auroc               P(s_e > s_d) + P(s_e = s_d) / 2
    balanced accuracy   (P(s_e > t) + P(s_d <= t)) / 2, at t = 0.5 or at the t that is best on train and validation
    brier               mean of (s - 1)^2 over E and s^2 over D, every text counting alike

What is said over all formats is their unweighted mean. Clusters are families: the sources that texts were written from. What
unread texts could do is found by giving them the worst and the best score, and moves the ends of the interval.

Shapes: n texts, f formats, b shuffles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dossier.ranking import twice_midranks
from dossier.statistics import Limits
from evidence_collectors.evaluation_awareness import clustered
from evidence_collectors.evaluation_awareness.clustered import Part
from evidence_collectors.evaluation_awareness.discrimination.reading import Array, Mask, Texts
from evidence_collectors.interpretability.quantities import Value

Places = NDArray[np.int64]
Statistic = Callable[[Array, Mask, Places, int], Part]
Scale = Literal["area", "mean", "difference"]
HALF = 0.5


@dataclass(frozen=True)
class Reads:
    """A statistic over the formats: the estimate, and what it would be with the worst and the best scores for unread texts."""

    part: Part
    low: float
    high: float


def balanced(threshold: float) -> Statistic:
    """Return the balanced accuracy of saying evaluation above a threshold."""

    def statistic(scores: Array, positive: Mask, families: Places, count: int) -> Part:
        right = (scores > threshold) == positive
        classes = [
            clustered.mean(right[mask].astype(np.float64), families[mask], count) for mask in (positive, ~positive)
        ]
        return replace(clustered.average(classes), most=float(scores.size))

    return statistic


def brier(scores: Array, positive: Mask, families: Places, count: int) -> Part:
    """Return the mean squared distance of the scores from what the texts are."""
    return clustered.mean((scores - positive) ** 2, families, count)


def over_formats(texts: Texts, statistics: Sequence[Statistic], rows: Mask) -> Reads:
    """Return the mean of a statistic over formats, a function for each, on some of the texts (n,)."""
    families, count = _renumbered(texts, rows)
    positive = texts.positive[rows]
    parts, ends = [], []
    for column, statistic in enumerate(statistics):
        scores = texts.scores[rows, column]
        known = ~np.isnan(scores)
        parts.append(statistic(scores[known], positive[known], families[known], count))
        filled = [np.where(known, scores, unread) for unread in (1.0 - positive, positive * 1.0)]
        ends.append([statistic(one, positive, families, count).estimate for one in filled])
    worst, best = np.mean(ends, axis=0)
    part = clustered.average(parts)
    return Reads(part, float(min(worst, best, part.estimate)), float(max(worst, best, part.estimate)))


def value(reads: Reads, scale: Scale, level: float) -> Value:
    """Return a statistic with its interval."""
    part = reads.part
    limits: Limits
    if scale == "area":
        limits = clustered.area(part, level)
    elif scale == "mean":
        limits = clustered.scaled(part, level)
    else:
        limits = clustered.student(part, level)
    low, high = clustered.widened(limits, estimate=part.estimate, worst=reads.low, best=reads.high)
    least = -1.0 if scale == "difference" else 0.0
    return Value(part.estimate, (max(low, least), min(high, 1.0)))


def best_threshold(scores: Array, positive: Mask) -> float:
    """Return the threshold of the highest balanced accuracy, midway between two scores; of several the one nearest to 0.5."""
    known = ~np.isnan(scores)
    scores, positive = scores[known], positive[known]
    levels = np.unique(scores)
    places = np.concatenate([[HALF], (levels[1:] + levels[:-1]) / 2.0])
    above = scores[None, :] > places[:, None]
    rates = above[:, positive].mean(axis=1) - above[:, ~positive].mean(axis=1)
    best = places[rates >= rates.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - HALF))])


def length_part(texts: Texts, *, longer: bool) -> Part:
    """Return the AUROC of the length alone; ``longer`` says whether longer texts count as evaluation."""
    families, count = _renumbered(texts, np.ones(len(texts.texts), dtype=np.bool_))
    return clustered.auroc(texts.lengths * (1.0 if longer else -1.0), texts.positive, families, count)


def longer_is_evaluation(texts: Texts) -> bool:
    """Return whether evaluation texts are the longer ones; True where nothing tells. Needs texts of both classes."""
    lengths, positive = texts.lengths, texts.positive
    where = np.zeros(len(lengths), dtype=np.int64)
    return clustered.auroc(lengths, positive, where, 1).estimate >= HALF


def shuffled(texts: Texts, rows: Mask, *, across: bool, permutations: int, seed: str) -> Array:
    """Return the AUROC, mean over formats, for labels shuffled within each pair and, unless ``across``, cell, (b,), sorted.

    Texts of one block are put in the order of raw PCG64 words and take the block's labels in that order.
    """
    places = np.flatnonzero(rows)
    names = [f"{texts.texts[row].pair}\0{'' if across else texts.texts[row].cell}" for row in places]
    blocks = np.unique(names, return_inverse=True)[1].astype(np.uint64)
    words = np.random.PCG64(int(seed, 16)).random_raw(permutations * len(places)).reshape(permutations, -1)
    order = np.argsort((blocks[None, :] << np.uint64(40)) | (words >> np.uint64(24)), axis=1, kind="stable")
    positive = texts.positive[places]
    in_blocks = positive[np.argsort(blocks, kind="stable")]
    labels = np.empty((permutations, len(places)))
    np.put_along_axis(labels, order, np.broadcast_to(in_blocks, labels.shape).astype(np.float64), axis=1)
    areas = []
    for column in range(texts.scores.shape[1]):
        scores = texts.scores[places, column]
        known = ~np.isnan(scores)
        ranks = twice_midranks(scores[known]) / 2.0
        drawn = labels[:, known]
        hits = drawn.sum(axis=1)
        above = np.einsum("bn,n->b", drawn, ranks) - hits * (hits + 1.0) / 2.0
        areas.append(above / np.maximum(hits * (known.sum() - hits), 1.0))
    return np.sort(np.mean(areas, axis=0))


def association(texts: Texts) -> float | None:
    """Return Cramer's V of format cell and context, 0 none to 1 complete; None where one of them does not vary."""
    cells = sorted({text.cell for text in texts.texts})
    table = np.array(
        [
            [sum(text.cell == cell and text.label == label for text in texts.texts) for cell in cells]
            for label in ("positive", "negative")
        ],
        dtype=np.float64,
    )
    if len(cells) < 2 or not table.sum(axis=1).all():
        return None
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum()))


def _renumbered(texts: Texts, rows: Mask) -> tuple[Places, int]:
    names, places = np.unique([texts.texts[row].family for row in np.flatnonzero(rows)], return_inverse=True)
    return places.astype(np.int64), len(names)
