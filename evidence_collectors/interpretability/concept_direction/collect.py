"""How is a concept direction read off a model? One phase after the other; a phase that fails leaves failed trials.

Whatever a phase promised and could not read becomes a trial with the reason, and what was read before stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import JsonValue

from dossier import canonical
from dossier.collector import Artifact
from dossier.errors import CollectionError
from dossier.language_model import WhiteBoxModel
from dossier.model import Trial
from dossier.probing import first_component_share
from evidence_collectors.interpretability.concept_direction import trials as keys
from evidence_collectors.interpretability.concept_direction.effects import log_odds_trials
from evidence_collectors.interpretability.concept_direction.fit import (
    Candidate,
    Fitted,
    Split,
    Validation,
    choose,
    fit,
    fit_probe,
    judge,
    read_split,
    validation,
)
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.interpretability.concept_direction.trials import KIND, Texts, measured, unread
from evidence_collectors.interpretability.directions import (
    difference_of_means,
    first_tokens,
    number,
    oriented,
    own_seed,
    rounded,
    tried,
)
from evidence_collectors.interpretability.reading import Matrix, Vector, residuals, to_safetensors

VECTOR = "direction.safetensors"
NONE_QUALIFIED = "no candidate qualified, so there is no direction to report on"
Projected = Mapping[str, Matrix]  # name -> (text, k)


@dataclass(frozen=True)
class Run:
    """One run: the model opened, its texts, what was asked for."""

    model: WhiteBoxModel
    texts: Texts
    params: DirectionParameters
    seed: str


def collected(run: Run) -> Iterator[Trial | Artifact]:
    """Yield every promised trial, and the direction as an artifact."""
    tokens, reason = tried(first_tokens, run.model, run.params.behaviour_tokens)
    yield _self_test(run, tokens, reason)
    asked = None
    if tokens is not None:
        asked, reason = tried(validation, run.model, run.texts, tokens)
    found: list[Candidate] = []
    for position in run.params.positions:
        for trial, candidate in _candidates(run, asked, reason, position):
            yield trial
            found += [] if candidate is None else [candidate]
    chosen, fitted, reason = choose(found, run.params), None, NONE_QUALIFIED
    if chosen is not None:
        fitted, reason = tried(fit, run.model, run.texts, chosen, run.params, run.seed)
    if chosen is None or fitted is None or tokens is None:
        yield from _nothing(run, reason)
        return
    artifact = _artifact(chosen, fitted)
    yield artifact
    yield measured(run.seed, keys.SELECTED, _selected(chosen, fitted, artifact))
    yield from _spectra(run, chosen)
    yield from _projections(run, chosen, fitted)
    yield from _twins(run, chosen, fitted)
    yield from log_odds_trials(run.model, run.texts, run.params, run.seed, (chosen.layer, fitted.direction, tokens))


def _self_test(run: Run, tokens: Sequence[int] | None, reason: str) -> Trial:
    parity = None
    if tokens is not None:
        parity, reason = tried(run.model.parity)
    if parity is None or tokens is None:
        return unread(run.seed, keys.SELF_TEST, reason)
    layout = run.model.layout
    return measured(
        run.seed,
        keys.SELF_TEST,
        {
            "parity": number(parity),
            "behaviour_token_ids": list(tokens),
            "d_model": layout.d_model,
            "blocks": len(layout.residual),
        },
    )


def _candidates(
    run: Run, asked: Validation | None, reason: str, position: str
) -> Iterator[tuple[Trial, Candidate | None]]:
    """Yield the trial of every layer at a position, and the candidate where there is one."""
    blocks = len(run.model.layout.residual)
    layers = [layer for layer in run.params.layers if layer < blocks]
    splits: dict[str, Mapping[int, Split]] = {}
    for name in ("train", "validation") if asked is not None else ():
        found, why = tried(read_split, run.model, run.texts, name, layers, position)
        if found is None:
            reason = why
            break
        splits[name] = found
    for layer in run.params.layers:
        candidate, why = None, reason
        if layer >= blocks:
            why = f"the model has {blocks} blocks, so there is no block {layer}"
        elif len(splits) == 2:
            own = {name: by_layer[layer] for name, by_layer in splits.items()}
            candidate, why = tried(judge, run.model, asked, (layer, position), own, run.params)
        key = keys.candidate_key(layer, position)
        if candidate is None:
            yield unread(run.seed, key, why), None
        else:
            yield measured(run.seed, key, {**asdict(candidate), **_sizes(run.texts)}), candidate


def _sizes(texts: Texts) -> dict[str, JsonValue]:
    return {
        f"{split}_{label}": len(texts.of(split, label))
        for split in ("train", "validation")
        for label in ("positive", "negative")
    }


def _nothing(run: Run, reason: str) -> Iterator[Trial]:
    """Yield every trial after the candidates as unread."""
    before = {keys.SELF_TEST, *(keys.candidate_key(*where) for where in keys.candidates(run.params))}
    for key in keys.promised(run.texts, run.params):
        if key not in before:
            yield unread(run.seed, key, reason)


def _artifact(chosen: Candidate, fitted: Fitted) -> Artifact:
    """Return the direction as `causal_intervention` reads it: the difference of means, its block, the unit of strength."""
    arrays = {
        "direction": fitted.direction,
        "layer": np.array([chosen.layer], dtype=np.int64),
        "mean_residual_norm": np.array([fitted.mean_norm]),
    }
    return Artifact(VECTOR, "application/vnd.safetensors", to_safetensors(arrays))


def _selected(chosen: Candidate, fitted: Fitted, artifact: Artifact) -> dict[str, JsonValue]:
    return {
        "layer": chosen.layer,
        "position": chosen.position,
        "probe_position": fitted.probe_position,
        "norm": chosen.norm,
        "mean_residual_norm": number(fitted.mean_norm),
        "vector_sha256": canonical.sha256(artifact.data),
        "half_cosines": [*rounded(fitted.half_cosines)],
        "half_cosines_shuffled": [*rounded(fitted.half_cosines_shuffled)],
    }


def _spectra(run: Run, chosen: Candidate) -> Iterator[Trial]:
    for split in keys.REPORTED:
        key = keys.spectrum_key(split)
        share, reason = tried(_first_share, run, chosen, split)
        if share is None:
            yield unread(run.seed, key, reason)
        else:
            yield measured(run.seed, key, {"first_component_share": number(share)})


def _first_share(run: Run, chosen: Candidate, split: str) -> float:
    texts = [text for text in run.texts.reported if text.split == split and text.label != "neutral"]
    if len(texts) < 2:
        raise CollectionError(f"{len(texts)} texts in the split {split!r}: their spread is not known")
    share = first_component_share(_read(run.model, run, chosen.layer, chosen.position, texts))
    if share is None:
        raise CollectionError(f"the activations of the split {split!r} do not vary")
    return share


def _read(model: WhiteBoxModel, run: Run, layer: int, position: str, texts: Sequence[Any]) -> Matrix:
    point = model.layout.residual[layer]
    return residuals(model, [text.continuation() for text in texts], [point], position=position)[point]


def _projections(run: Run, chosen: Candidate, fitted: Fitted) -> Iterator[Trial]:
    found, reason = tried(_projected, run, chosen, fitted)
    yield from _by_text(run, "projection", found, reason)


def _projected(run: Run, chosen: Candidate, fitted: Fitted) -> Projected:
    at = _read(run.model, run, chosen.layer, chosen.position, run.texts.reported)
    probed = at
    if fitted.probe_position != chosen.position:
        probed = _read(run.model, run, chosen.layer, fitted.probe_position, run.texts.reported)
    return {
        "direction": (at @ (fitted.direction / np.linalg.norm(fitted.direction)))[:, None],
        "probe": fitted.probe.score(probed)[:, None],
        "random": at @ fitted.random.T,
        "shuffled": at @ fitted.shuffled.T,
        "probe_random": probed @ fitted.probe_random.T,
        "probe_shuffled": np.stack([probe.score(probed) for probe in fitted.probe_shuffled], axis=1),
    }


def _twins(run: Run, chosen: Candidate, fitted: Fitted) -> Iterator[Trial]:
    """Yield every text's reading on models with random weights, where the same was fitted on the same training texts."""
    found, reason = [], ""
    for number_ in range(run.params.twins):
        one, reason = tried(_twin, run, chosen, fitted, own_seed(run.seed, KIND, "twin", repeat=number_))
        if one is None:
            break
        found.append(one)
    whole = None
    if len(found) == run.params.twins:
        whole = {name: np.stack([one[name] for one in found], axis=1) for name in ("direction", "probe")}
    yield from _by_text(run, "twin", whole, reason)


def _twin(run: Run, chosen: Candidate, fitted: Fitted, seed: str) -> Mapping[str, Vector]:
    twin = run.model.random_twin(seed)
    train = read_split(twin, run.texts, "train", [chosen.layer], chosen.position)[chosen.layer]
    at = _read(twin, run, chosen.layer, chosen.position, run.texts.reported)
    at_probe, probed = train, at
    if fitted.probe_position != chosen.position:
        at_probe = read_split(twin, run.texts, "train", [chosen.layer], fitted.probe_position)[chosen.layer]
        probed = _read(twin, run, chosen.layer, fitted.probe_position, run.texts.reported)
    direction = difference_of_means(train.positive, train.negative)
    (unit,) = oriented(direction[None], train.positive, train.negative)
    return {
        "direction": at @ unit,
        "probe": fit_probe(at_probe.together, at_probe.labels, run.params).score(probed),
    }


def _by_text(run: Run, arm: str, found: Projected | None, reason: str) -> Iterator[Trial]:
    for row, text in enumerate(run.texts.reported):
        key = keys.text_key(text, arm)
        if found is None:
            yield unread(run.seed, key, reason)
            continue
        scores: dict[str, JsonValue] = {name: [*rounded(values[row])] for name, values in found.items()}
        what: dict[str, JsonValue] = {
            "label": text.label,
            "split": text.split,
            "control": run.texts.is_control(text),
        }
        yield measured(run.seed, key, {**what, **scores})
