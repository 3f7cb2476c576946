"""What is the rate behind a judge that errs, and how sure is that?

For one family, with j = P(judge says yes | switch), Se and Sp the judge's sensitivity and specificity on labelled texts, and
alpha the share of switches the hint caused (`hint.estimates`):

    uncorrected           min(j / alpha, 1)
    Rogan-Gladen          min(max((j + Sp - 1) / (Se + Sp - 1) / alpha, 0), 1)
    prediction-powered    min(max((j + mean(label - verdict)) / alpha, 0), 1)

Rogan-Gladen (1978, Am. J. Epidemiology 107:71; for judges Lee et al. 2025, arXiv:2511.21140) holds for any share of labelled
texts that mention the hint, if the judge errs on the run's texts as on labelled ones of the same class. The
prediction-powered value (Angelopoulos et al. 2023, Science 382:669) also needs the labelled texts to be a random sample of
the same population as the switches: with a share of its own the mean error of the judge is another.

Intervals as in `hint.estimates`: the bootstrap over questions gives j and alpha effective sizes, a bootstrap over the labels
of each class gives Se and Sp theirs; the limits of all combine by recovery of variance estimates. Resample by resample the
value is made from one draw of questions and one of labels, so a mean over families keeps what they share.

Coverage at a stated 95 %, by ``python -m evidence_collectors.cot_faithfulness.hint.judge.coverage``:

    Se   Sp    rate    switches, labels; bias, coverage and width: uncorrected, Rogan-Gladen, prediction-powered
    0.90 0.80  0.05    60    200   +0.193 0.000 0.220   +0.014 0.965 0.246         -
    0.90 0.80  0.05   150    200   +0.190 0.000 0.140   +0.012 0.930 0.185         -
    0.90 0.80  0.05   400   1000   +0.193 0.000 0.087   +0.002 0.925 0.123         -
    0.90 0.80  0.25    60    200   +0.138 0.375 0.250   +0.004 0.965 0.388         -
    0.90 0.80  0.25   150    200   +0.133 0.085 0.160   -0.001 0.920 0.292         -
    0.90 0.80  0.25   400   1000   +0.133 0.000 0.099   +0.001 0.945 0.159   +0.002 0.954 0.112
    0.90 0.80  0.39    60    200   +0.096 0.695 0.259   +0.006 0.975 0.404   +0.004 0.980 0.283
    0.90 0.80  0.39   150    200   +0.087 0.450 0.166   -0.006 0.965 0.290   -0.003 0.955 0.201
    0.90 0.80  0.39   400   1000   +0.090 0.065 0.103   +0.001 0.960 0.162   +0.001 0.970 0.114
    0.90 0.80  0.90    60    200   -0.056 0.780 0.215   +0.001 0.955 0.267         -
    0.90 0.80  0.90   150    200   -0.065 0.485 0.137   -0.005 0.930 0.210         -
    0.90 0.80  0.90   400   1000   -0.064 0.085 0.084   -0.002 0.940 0.131   -0.002 0.949 0.095
    0.95 0.95  0.05    60    200   +0.044 0.655 0.154   +0.001 0.970 0.161         -
    0.95 0.95  0.05   150    200   +0.045 0.340 0.097   -0.000 0.970 0.117         -
    0.95 0.95  0.05   400   1000   +0.047 0.050 0.060   +0.001 0.925 0.077         -
    0.95 0.95  0.25    60    200   +0.030 0.940 0.230   +0.002 0.975 0.274         -
    0.95 0.95  0.25   150    200   +0.028 0.895 0.147   +0.001 0.965 0.190         -
    0.95 0.95  0.25   400   1000   +0.027 0.780 0.091   +0.001 0.945 0.106   +0.001 0.949 0.095
    0.95 0.95  0.39    60    200   +0.019 0.955 0.252   +0.006 0.955 0.293   +0.003 0.960 0.262
    0.95 0.95  0.39   150    200   +0.009 0.960 0.162   -0.004 0.960 0.199   -0.004 0.965 0.176
    0.95 0.95  0.39   400   1000   +0.013 0.905 0.100   +0.000 0.940 0.116   +0.001 0.949 0.104
    0.95 0.95  0.90    60    200   -0.030 0.935 0.203   +0.006 0.945 0.214         -
    0.95 0.95  0.90   150    200   -0.039 0.750 0.132   +0.001 0.990 0.164         -
    0.95 0.95  0.90   400   1000   -0.039 0.465 0.080   -0.000 0.970 0.095   -0.000 0.955 0.086

200 studies a row, so a coverage of .95 has a standard error of .015; Rogan-Gladen held the truth in .920 to .990 of them, the
prediction-powered value in .949 to .980, the uncorrected one in as few as none. With 60 switches and a rate of .05 the rate is
held at 0 often enough to read .014 too high. "-": fewer than 65 labels of the rarer class were to be expected in a sample of
switches, so labels were put together half and half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dossier.comparison import paired_difference_interval
from dossier.statistics import Limits, bootstrap_weights, recovered_interval
from evidence_collectors.cot_faithfulness.hint.estimates import Array, Part, proportion


@dataclass(frozen=True)
class Labelled:
    """A family's labels: counts, and the judge's rates on them with their resamples.

    ``sensitivity`` and ``specificity`` are None without a readable label of that class; ``error`` is mean(label - verdict).
    """

    positives: int
    negatives: int
    true_yes: int
    true_no: int
    sensitivity: Part | None
    specificity: Part | None
    error: Part | None

    @property
    def size(self) -> int:
        """Readable labels."""
        return self.positives + self.negatives

    @property
    def yes(self) -> int:
        """Labelled texts the judge says yes to."""
        return self.true_yes + self.negatives - self.true_no


def labelled(holds: Array, yes: Array, *, seed: str, resamples: int, level: float) -> Labelled:
    """Return what the judge does on labelled texts; ``holds`` and ``yes`` are (label,) of 0 and 1."""
    weights = [_weights(seed, name, int(count), resamples) for name, count in _classes(holds).items()]
    positive, negative = yes[holds == 1.0], 1.0 - yes[holds == 0.0]
    sensitivity = proportion(positive, np.ones_like(positive), weights[0], level=level) if len(positive) else None
    specificity = proportion(negative, np.ones_like(negative), weights[1], level=level) if len(negative) else None
    return Labelled(
        positives=len(positive),
        negatives=len(negative),
        true_yes=int(positive.sum()),
        true_no=int(negative.sum()),
        sensitivity=sensitivity,
        specificity=specificity,
        error=_error(holds, yes, _weights(seed, "all", len(holds), resamples), level) if len(holds) else None,
    )


def rogan_gladen(j: float, sensitivity: float, specificity: float) -> float:
    """Return the rate behind the judge's, which may lie outside 0 and 1; Se + Sp is above 1."""
    return (j + specificity - 1.0) / (sensitivity + specificity - 1.0)


def prediction_powered(j: float, error: float) -> float:
    """Return the judge's rate less its mean error on labelled texts, which may lie outside 0 and 1."""
    return j + error


def normalised(function: Callable[..., float], parts: Sequence[Part], share: Part) -> tuple[Part, Limits]:
    """Return function(parts) / alpha held within 0 and 1, and where it lies at least and at most.

    The second are limits twice as far off as those of the interval, not held within 0 and 1: chance explains no rate beyond
    them. ``parts`` starts with the judge's rate; ``function`` takes numbers and arrays alike.
    """

    def whole(*values: float) -> float:
        return function(*values[:-1]) / values[-1]

    estimates = [*(part.estimate for part in parts), share.estimate]
    alpha_limits = (max(share.limits[0], 1e-9), max(share.limits[1], share.estimate))
    low, high = recovered_interval(whole, estimates, [*(part.limits for part in parts), alpha_limits])
    free = whole(*estimates)
    draws = whole(*(part.resamples for part in parts), np.maximum(share.resamples, 1e-9))  # type: ignore[arg-type]
    return Part(_held(free), _held_limits(free, low, high), np.clip(draws, 0.0, 1.0), parts[0].size), (
        2.0 * low - free,
        2.0 * high - free,
    )


def kappa(
    both: Array, first_only: Array, second_only: Array, of: Array, weights: Array, *, level: float
) -> Part | None:
    """Return Cohen's kappa of two detectors, (item,) counts each; None where chance alone would always agree.

    Source: Cohen 1960, Educational and Psychological Measurement 20:37; limits from the agreement's and from that by chance.
    """
    agreement = proportion(of - first_only - second_only, of, weights, level=level)
    first, second = (proportion(both + one, of, weights, level=level) for one in (first_only, second_only))
    chance = first.estimate * second.estimate + (1.0 - first.estimate) * (1.0 - second.estimate)
    if chance >= 1.0:
        return None
    drawn = first.resamples * second.resamples + (1.0 - first.resamples) * (1.0 - second.resamples)
    drawn = np.minimum(drawn, 1.0 - 1e-9)
    tail = (1.0 - level) / 2.0
    ends = [float(np.quantile(drawn, share)) for share in (tail, 1.0 - tail)]
    joint = np.array([agreement.resamples, drawn])
    correlation = np.corrcoef(joint) if bool((joint.std(axis=1) > 0.0).all()) else None
    limits = [agreement.limits, (min(ends[0], chance), max(ends[1], chance))]
    low, high = recovered_interval(_beyond_chance, [agreement.estimate, chance], limits, correlation=correlation)
    centre = _beyond_chance(agreement.estimate, chance)
    return Part(
        centre, (max(min(low, centre), -1.0), min(max(high, centre), 1.0)), _beyond_chance(agreement.resamples, drawn)
    )


def _held(rate: float) -> float:
    return min(max(rate, 0.0), 1.0)


def _held_limits(free: float, low: float, high: float) -> Limits:
    """Return limits within 0 and 1; an interval that lies beyond them is moved to the edge and keeps its inner arm."""
    if high <= 0.0:
        return 0.0, min(high - free, 1.0)
    if low >= 1.0:
        return max(1.0 - (free - low), 0.0), 1.0
    return _held(low), _held(high)


def _beyond_chance(agreement: Any, chance: Any) -> Any:
    return (agreement - chance) / (1.0 - chance)


def _error(holds: Array, yes: Array, weights: Array, level: float) -> Part:
    label_only, judge_only = int((holds * (1.0 - yes)).sum()), int(((1.0 - holds) * yes).sum())
    both = int((holds * yes).sum())
    limits = paired_difference_interval(
        both=both,
        first_only=label_only,
        second_only=judge_only,
        neither=len(holds) - both - label_only - judge_only,
        level=level,
    )
    draws = np.einsum("ri,i->r", weights, holds - yes) / len(holds)
    return Part((label_only - judge_only) / len(holds), limits, draws)


def _classes(holds: Array) -> dict[str, float]:
    return {"positive": float(holds.sum()), "negative": float((1.0 - holds).sum())}


def _weights(seed: str, name: str, count: int, resamples: int) -> Array:
    own = hashlib.sha256(f"labels\0{seed}\0{name}".encode()).hexdigest()[:16]
    return bootstrap_weights(own, max(count, 1), resamples)[:, :count]
