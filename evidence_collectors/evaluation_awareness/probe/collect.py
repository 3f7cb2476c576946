"""How is the probe read off a model? One phase after the other; a phase that fails leaves failed trials.

Whatever a phase promised and could not read becomes a trial with the reason, and what was read before stays. Everything is
fitted on training texts; nothing is selected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from dossier import canonical
from dossier.collector import Artifact
from dossier.language_model import WhiteBoxModel
from dossier.model import Trial
from dossier.probing import first_component_share, permutation_orders
from evidence_collectors.evaluation_awareness.probe import baselines, pushes
from evidence_collectors.evaluation_awareness.probe import trials as keys
from evidence_collectors.evaluation_awareness.probe.parameters import KIND
from evidence_collectors.evaluation_awareness.probe.run import Run, point_of
from evidence_collectors.evaluation_awareness.probe.trials import ALL, fits, measured, noted, unread
from evidence_collectors.interpretability.directions import difference_of_means, number, own_seed, rounded, tried
from evidence_collectors.interpretability.reading import Matrix, Vector, mean_norms, residuals, to_safetensors

VECTOR = "direction.safetensors"
Rows = dict[str, Matrix]  # split -> (text, d)


@dataclass(frozen=True, eq=False)
class Fit:
    """What was fitted on some training texts: a unit vector (d,), and those of permuted labels (k, d)."""

    direction: Vector
    shuffled: Matrix


def collected(run: Run) -> Iterator[Trial | Artifact]:
    """Yield every promised trial, and the direction as an artifact."""
    parity, reason = tried(run.model.parity)
    found: Rows | None = None
    if parity is None:
        yield unread(run.seed, keys.SELF_TEST, reason)
    else:
        layout = run.model.layout
        told: dict[str, JsonValue] = {"parity": number(parity), "d_model": layout.d_model}
        yield measured(run.seed, keys.SELF_TEST, {**told, "blocks": len(layout.residual)})
        found, reason = tried(_activations, run, run.model)
    yield measured(run.seed, keys.FORMATS, _formats(run))
    fitted: dict[str, Fit] = {}
    for fit in fits(run.params):
        own, why = (None, reason) if found is None else tried(_fit, run, found["train"], fit)
        key = keys.fit_key(fit)
        if own is None:
            yield unread(run.seed, key, why)
            continue
        fitted[fit] = own
        if fit == ALL:
            yield from _artifact(run, own)
        yield measured(run.seed, key, _fit_told(run, fit, own))
    yield from _spectra(run, found, reason)
    yield from _scores(run, found, fitted, reason)
    yield from _twins(run, fitted, reason)
    yield from pushes.pushed(run, fitted[ALL].direction if ALL in fitted else None)


def _activations(run: Run, model: WhiteBoxModel) -> Rows:
    point, position = point_of(model, run.params), run.params.position
    found: Rows = {}
    for split in keys.SPLITS:
        texts = [text.continuation() for text in run.texts.of(split)]
        nothing = np.empty((0, model.layout.d_model))
        found[split] = residuals(model, texts, [point], position=position)[point] if texts else nothing
    return found


def _fit(run: Run, train: Matrix, fit: str) -> Fit:
    """Return the difference of means of a fit's training texts, and the same for permuted labels.

    Raises:
        CollectionError: a context has no text, or the means do not differ.
    """
    chosen = {text.id for text in run.texts.fitted_on(fit)}
    rows = np.array([text.id in chosen for text in run.texts.train], dtype=bool)
    labels = np.array([text.label == "positive" for text in run.texts.train], dtype=bool)[rows]
    at = train[rows]
    direction = difference_of_means(at[labels], at[~labels])
    orders = permutation_orders(own_seed(run.seed, KIND, f"shuffle-{fit}"), len(at), run.params.shuffles)
    shuffled = np.array([difference_of_means(at[labels[order]], at[~labels[order]]) for order in orders])
    return Fit(direction / np.linalg.norm(direction), shuffled / np.linalg.norm(shuffled, axis=1, keepdims=True))


def _fit_told(run: Run, fit: str, own: Fit) -> dict[str, JsonValue]:
    texts = run.texts.fitted_on(fit)
    return {
        "evaluation": sum(text.label == "positive" for text in texts),
        "deployment": sum(text.label == "negative" for text in texts),
        "vector_sha256": canonical.sha256(to_safetensors({"direction": own.direction})),
    }


def _artifact(run: Run, own: Fit) -> Iterator[Artifact]:
    """Yield the direction as `interpretability.causal_intervention` reads it; nothing where the norm cannot be read."""
    point = point_of(run.model, run.params)
    norms, _ = tried(mean_norms, run.model, [text.continuation() for text in run.texts.train], [point])
    if norms is not None:
        arrays = {
            "direction": own.direction,
            "layer": np.array([run.params.layer], dtype=np.int64),
            "mean_residual_norm": np.array([norms[point]]),
        }
        yield Artifact(VECTOR, "application/vnd.safetensors", to_safetensors(arrays))


def _formats(run: Run) -> dict[str, JsonValue]:
    """Return, by split and format cell, how many texts each context has: evaluation, deployment."""
    return {
        split: {
            cell: [
                sum(text.set == cell and text.label == label for text in run.texts.of(split))
                for label in ("positive", "negative")
            ]
            for cell in run.params.cells
        }
        for split in keys.SPLITS
    }


def _spectra(run: Run, found: Rows | None, reason: str) -> Iterator[Trial]:
    for split in keys.REPORTED:
        share = None if found is None or len(found[split]) < 2 else first_component_share(found[split])
        key = keys.spectrum_key(split)
        if share is None:
            yield unread(run.seed, key, reason or f"the activations of the split {split!r} do not vary, or are too few")
        else:
            yield measured(run.seed, key, {"first_component_share": number(share)})


def _scores(run: Run, found: Rows | None, fitted: Mapping[str, Fit], reason: str) -> Iterator[Trial]:
    """Yield each reported text's score by every fit, by the text baselines and by the nulls."""
    with_response = run.params.position == "response_mean"
    text_of = {text.id: baselines.shown(text, with_response=with_response) for text in run.texts.reported}
    readers = {}
    for fit in fitted:
        own = run.texts.fitted_on(fit)
        shown = [baselines.shown(text, with_response=with_response) for text in own]
        readers[fit] = baselines.fitted(shown, [text.label == "positive" for text in own])
    for split in keys.REPORTED:
        for row, text in enumerate(run.texts.of(split)):
            key = keys.text_key(text, "score")
            if found is None or not fitted:
                yield unread(run.seed, key, reason or "nothing could be fitted on the training texts")
                continue
            at = found[split][row]
            told = noted(text, run.params)
            for fit, own_fit in fitted.items():
                told[f"{fit}.probe"] = number(float(at @ own_fit.direction))
                told[f"{fit}.length"] = readers[fit].length(text_of[text.id])
                told[f"{fit}.words"] = number(readers[fit].words(text_of[text.id]))
                told[f"{fit}.shuffled"] = [*rounded(own_fit.shuffled @ at)]
            yield measured(run.seed, key, told)


def _twins(run: Run, fitted: Mapping[str, Fit], reason: str) -> Iterator[Trial]:
    """Yield each text's score on models with random weights, where the same was fitted on the same training texts."""
    scores: dict[str, list[Vector]] = {fit: [] for fit in fitted}
    why = "" if fitted else reason or "nothing could be fitted on the training texts"
    for place in range(run.params.twins if fitted else 0):
        one, why = tried(_twin, run, list(fitted), own_seed(run.seed, KIND, "twin", repeat=place))
        if one is None:
            break
        for fit, column in one.items():
            scores[fit].append(column)
    ordered = [text for split in keys.REPORTED for text in run.texts.of(split)]
    for row, text in enumerate(ordered):
        key = keys.text_key(text, "twin")
        if why:
            yield unread(run.seed, key, why)
        else:
            told: dict[str, JsonValue] = {
                fit: [*rounded([column[row] for column in columns])] for fit, columns in scores.items()
            }
            yield measured(run.seed, key, {**noted(text, run.params), **told})


def _twin(run: Run, names: list[str], seed: str) -> dict[str, Vector]:
    found = _activations(run, run.model.random_twin(seed))
    reported = np.concatenate([found[split] for split in keys.REPORTED])
    return {fit: reported @ _fit(run, found["train"], fit).direction for fit in names}
