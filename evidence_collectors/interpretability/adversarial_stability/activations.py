"""How do activations that were read become the trials of an arm? Arrays in, small numbers out; no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from dossier.errors import CollectionError
from dossier.model import Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.adversarial_stability import measures as measures
from evidence_collectors.interpretability.adversarial_stability.measures import Direction, Labels
from evidence_collectors.interpretability.adversarial_stability.parameters import CLEAN, KIND, StabilityParameters
from evidence_collectors.interpretability.adversarial_stability.trials import SHIFT, Texts
from evidence_collectors.interpretability.directions import cosine, difference_of_means, number, own_seed
from evidence_collectors.interpretability.reading import Matrix, Vector
from evidence_collectors.items.contrast import Contrast, chosen

Measured = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Frame:
    """What is fixed before anything is read."""

    params: StabilityParameters
    texts: Texts
    seed: str


@dataclass(frozen=True, eq=False)
class Read:
    """What was read of some texts in one arm: (n, d) at the point, (n, F) features, (n, node) of the core, (n,) nats."""

    texts: tuple[Contrast, ...]
    values: Matrix
    features: NDArray[np.floating]
    core: Matrix
    log_odds: Vector
    unexplained: float | None = None  # share of the variance that a dictionary of features leaves, on clean texts

    def rows(self, wanted: Sequence[Contrast]) -> list[int]:
        """Return where these texts are."""
        place = {text.id: row for row, text in enumerate(self.texts)}
        return [place[text.id] for text in wanted]


def arm_trials(frame: Frame, arm: str, read: Read, clean: Read, direction: Direction) -> Iterator[Trial]:
    """Yield the trials of one arm: each text, and what all of them say together."""
    projections = direction.projections(read.values)
    beside = (*frame.texts.reported, *(chosen(frame.texts.validation, label="negative") if arm == CLEAN else ()))
    null = measures.random_rows(direction, read.values[read.rows(beside)])
    random = dict(zip((text.id for text in beside), null, strict=True))
    without = _without(frame, read, clean, direction) if arm != CLEAN else {}
    for row, text in enumerate(read.texts):
        measured: dict[str, JsonValue] = {
            "positive": text.label == "positive",
            "split": text.split,
            "projection": number(projections[row]),
            "log_odds": number(read.log_odds[row]),
        }
        if text.id in random:
            measured["random"] = [*random[text.id]]
        if text.id in without:
            measured["without"] = without[text.id]
        yield measured_trial(frame, TrialKey(item=text.id, arm=arm, repeat=0), measured)
    key = TrialKey(item=SHIFT, arm=arm, repeat=0)
    try:
        yield measured_trial(
            frame, key, _clean_step(frame, clean) if arm == CLEAN else _step(frame, read, clean, direction, arm)
        )
    except CollectionError as error:
        yield measured_trial(frame, key, {}, error=error.message)


def _without(frame: Frame, read: Read, clean: Read, direction: Direction) -> dict[str, float | None]:
    """Return, by text, the cosine of its split's shift without it."""
    found: dict[str, float | None] = {}
    for texts in (frame.texts.reported, frame.texts.train):
        cosines = measures.cosines_without(*_compared(frame, texts, read, clean, direction))
        found |= {text.id: number(one) if np.isfinite(one) else None for text, one in zip(texts, cosines, strict=True)}
    return found


def _step(frame: Frame, read: Read, clean: Read, direction: Direction, arm: str) -> Measured:
    reported, labels = frame.texts.reported, labels_of(frame.texts.reported)
    here, there, train = read.rows(reported), clean.rows(reported), read.rows(frame.texts.train)
    shift = difference_of_means(*sides(clean.values[there], labels))
    refit = difference_of_means(*sides(read.values[train], labels_of(frame.texts.train)))
    compared = [_compared(frame, texts, read, clean, direction) for texts in (reported, frame.texts.train)]
    positive = [row for row, text in zip(here, reported, strict=True) if text.label == "positive"]
    clean_positive = clean.rows(chosen(reported, label="positive"))
    return {
        "shift_cosine": measures.shift_cosine(*compared[0]),
        "shift_uncorrected": number(
            cosine(difference_of_means(*sides(read.values[here], labels)), shift),
        ),
        "shift_permuted": list(
            measures.permuted_cosines(
                read.values[here],
                labels,
                shift,
                seed=own_seed(frame.seed, KIND, f"permuted.{arm}"),
                count=frame.params.permutations,
            )
        ),
        "refit_cosine": measures.shift_cosine(*compared[1]),
        "refit_uncorrected": number(cosine(refit, direction.unit)),
        "refit_random": [number(abs(float(refit @ one)) / float(np.linalg.norm(refit))) for one in direction.random],
        "top": list(measures.top_features(read.features[here], labels, frame.params.top_k)),
        "core": list(
            measures.kept_share(clean.core[clean_positive].mean(axis=0), read.core[positive].mean(axis=0))
            if len(positive)
            else []
        ),
        "core_nodes": read.core.shape[1],
    }


def _compared(
    frame: Frame, texts: Sequence[Contrast], read: Read, clean: Read, direction: Direction
) -> tuple[Matrix, Labels, Matrix | Vector]:
    """Return attacked activations, labels, and what their shift is compared with.

    Against the same texts clean; a direction that was given, and not fitted on these training texts, is compared itself.
    """
    fixed = direction.given and all(text.split == "train" for text in texts)
    against = direction.unit if fixed else clean.values[clean.rows(texts)]
    return read.values[read.rows(texts)], labels_of(texts), against


def _clean_step(frame: Frame, clean: Read) -> Measured:
    reported, labels = frame.texts.reported, labels_of(frame.texts.reported)
    rows = clean.rows(reported)
    if not rows:
        raise CollectionError("no positive or negative text in the splits that are reported")
    features, halves = clean.features[rows], _halves(labels)
    top = [measures.top_features(features[half], labels[half], frame.params.top_k) for half in halves]
    return {
        "width": clean.values.shape[1],
        "features": int(features.shape[1]),
        **({} if clean.unexplained is None else {"dictionary_fvu": clean.unexplained}),
        "first_component_share": measures.first_component_share(clean.values[rows]),
        "top": list(measures.top_features(features, labels, frame.params.top_k)),
        "top_first_half": list(top[0]),
        "top_second_half": list(top[1]),
    }


def measured_trial(frame: Frame, key: TrialKey, measured: Measured, *, error: str | None = None) -> Trial:
    """Return a trial that holds numbers only."""
    own = trial_seed(frame.seed, KIND, key)
    return Trial(key=key, seed=own, request=None, completion=None, measurements=measured, error=error)


def labels_of(texts: Sequence[Contrast]) -> Labels:
    """Return which texts are positive."""
    return np.array([text.label == "positive" for text in texts], dtype=np.bool_)


def sides(values: Matrix, labels: Labels) -> tuple[Matrix, Matrix]:
    """Return the rows of the positive and of the negative texts."""
    return values[labels], values[~labels]


def _halves(labels: Labels) -> tuple[Labels, Labels]:
    """Return two halves of the texts, each with every second positive and every second negative one."""
    first = np.zeros(len(labels), dtype=np.bool_)
    for side in (True, False):
        first[np.flatnonzero(labels == side)[::2]] = True
    return first, ~first
