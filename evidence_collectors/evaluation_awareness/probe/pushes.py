"""What does the model answer when it is pushed along the probe, along random directions, and along a known one?

All pushes are equally long at one dose. A push counts at every token, or only at the token of the prompt where the probe
reads. For the latter, texts are asked in groups of one length in tokens: rows of equal length need no padding, so that the
token lies at the same place in every row of every pass over a prompt, and a pass over a single new token has no such place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from dossier import canonical
from dossier.errors import CollectionError
from dossier.language_model import Array, Edit, WhiteBoxModel
from dossier.model import Completion, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.evaluation_awareness.probe import trials as keys
from evidence_collectors.evaluation_awareness.probe.detectors import Read, read
from evidence_collectors.evaluation_awareness.probe.parameters import KIND, ProbeParameters
from evidence_collectors.evaluation_awareness.probe.trials import PLAIN, Arm, Texts, arms, known_arms, measured, noted
from evidence_collectors.interpretability.causal_intervention.handle import read_direction
from evidence_collectors.interpretability.directions import cosine, number, own_seed, tried
from evidence_collectors.interpretability.reading import (
    Change,
    Vector,
    add,
    completions,
    mean_norms,
    random_directions,
    to_safetensors,
)
from evidence_collectors.items.contrast import Contrast

ROLE = "positive_control"


@dataclass(frozen=True, eq=False)
class Pushing:
    """What is needed to push: the model, texts with their lengths in tokens, and directions at length 1."""

    model: WhiteBoxModel
    texts: Sequence[Contrast]
    lengths: Sequence[int]
    params: ProbeParameters
    seed: str
    point: str
    norm: float  # mean norm of the residual stream at the point: the unit of strength
    probe: Vector
    random: Sequence[Vector]
    known: Vector | None


def pushed(
    model: WhiteBoxModel,
    texts: Texts,
    files: Mapping[str, Path],
    params: ProbeParameters,
    seed: str,
    direction: Vector | None,
) -> Iterator[Trial]:
    """Yield the trials of every push, none where nothing is to be pushed; ``direction`` (d,) is None where none was fitted."""
    if not params.strengths:
        return
    run, reason = None, "no probe was fitted, so that there is nothing to push along"
    if direction is not None:
        run, reason = tried(_prepared, model, texts, files, params, seed, direction)
    if run is None:
        for key in keys.promised(texts, params):
            if key == keys.HANDLE or key.arm in _arm_names(params):
                yield keys.unread(seed, key, reason)
        return
    yield measured(seed, keys.HANDLE, _described(run))
    plain, reason = tried(_answers, run, PLAIN, None, 0.0)
    yield from _told(run, PLAIN, plain, reason)
    for arm in (*arms(params), *known_arms(params)):
        along = run.known if arm.known else run.probe
        found, reason = tried(_answers, run, arm.name, along, arm.strength)
        yield from _told(run, arm.name, found, reason)
    for arm in arms(params):
        yield from _random(run, arm, plain)


def _arm_names(params: ProbeParameters) -> frozenset[str]:
    own = [arm.name for arm in arms(params)]
    return frozenset((PLAIN, *own, *(arm.name for arm in known_arms(params)), *(f"random.{name}" for name in own)))


def _prepared(
    model: WhiteBoxModel,
    texts: Texts,
    files: Mapping[str, Path],
    params: ProbeParameters,
    seed: str,
    direction: Vector,
) -> Pushing:
    point = model.layout.residual[params.layer]
    known = None
    if params.positive_control:
        if ROLE not in files:
            raise CollectionError(f"a positive control is planned, and the input {ROLE!r} was not given")
        vector = read_direction(files[ROLE], width=model.layout.d_model, layer=params.layer)
        known = vector / np.linalg.norm(vector)
    prompts = [replace(text.continuation(), text="") for text in texts.pushed]
    norms = mean_norms(model, [replace(text.continuation(), text="") for text in texts.train], [point])
    lengths = [0] * len(prompts)
    for batch in model.capture(prompts, [model.layout.embedding]):
        for row, index in enumerate(batch.index):
            lengths[index] = int(batch.mask[row].sum())
    return Pushing(
        model=model,
        texts=texts.pushed,
        lengths=lengths,
        params=params,
        seed=seed,
        point=point,
        norm=norms[point],
        probe=direction,
        random=list(random_directions(own_seed(seed, KIND, "random"), params.random_directions, len(direction))),
        known=known,
    )


def _described(run: Pushing) -> dict[str, JsonValue]:
    return {
        "mean_residual_norm": number(run.norm),
        "vector_sha256": canonical.sha256(to_safetensors({"direction": run.probe})),
        "known_sha256": None if run.known is None else canonical.sha256(to_safetensors({"direction": run.known})),
        "known_cosine": None if run.known is None else number(cosine(run.known, run.probe)),
    }


def _told(run: Pushing, name: str, found: Sequence[Completion] | None, reason: str) -> Iterator[Trial]:
    for row, text in enumerate(run.texts):
        key = keys.text_key(text, name)
        if found is None:
            yield keys.unread(run.seed, key, reason)
            continue
        told: dict[str, JsonValue] = {
            "reasoning": found[row].reasoning or "",
            "answer": found[row].answer,
            "finish_reason": found[row].finish_reason,
        }
        yield measured(run.seed, key, {**noted(text, run.params), **told})


def _random(run: Pushing, arm: Arm, plain: Sequence[Completion] | None) -> Iterator[Trial]:
    """Yield what each text's answers show under each random direction, one arm's dose."""
    readings: list[list[Read]] = []
    reason = "" if plain is not None else "the unchanged model gave no answers to compare with"
    for place, unit in enumerate(run.random if plain is not None else ()):
        found, reason = tried(_answers, run, f"random-{place:02d}.{arm.name}", unit, arm.strength)
        if found is None:
            break
        assert plain is not None
        readings.append([read(one, plain=before, params=run.params) for one, before in zip(found, plain, strict=True)])
    for row, text in enumerate(run.texts):
        key = keys.text_key(text, f"random.{arm.name}")
        if reason:
            yield keys.unread(run.seed, key, reason)
            continue
        told: dict[str, JsonValue] = {
            name: [int(getattr(own[row], name)) for own in readings] for name in ("behaviour", "verbalised", "valid")
        }
        yield measured(run.seed, key, {**noted(text, run.params), **told})


def _answers(run: Pushing, name: str, unit: Vector | None, strength: float) -> list[Completion]:
    """Return the answers to all texts under one push; ``name`` decides the seeds."""
    found: dict[int, Completion] = {}
    for rows, edits in _groups(run, unit, strength):
        texts = [run.texts[row] for row in rows]
        seeds = [trial_seed(run.seed, KIND, TrialKey(item=text.id, arm=name, repeat=0)) for text in texts]
        answers = completions(
            run.model,
            texts,
            seeds=seeds,
            max_tokens=run.params.max_tokens,
            temperature=run.params.temperature,
            edits=edits,
        )
        found |= dict(zip(rows, answers, strict=True))
    return [found[row] for row in range(len(run.texts))]


def _groups(run: Pushing, unit: Vector | None, strength: float) -> Iterator[tuple[list[int], list[Edit]]]:
    """Yield which texts go together under which edits."""
    everyone = list(range(len(run.texts)))
    if unit is None:
        yield everyone, []
    elif run.params.push_at == "all":
        yield everyone, [Edit(run.point, add(strength * run.norm * unit))]
    else:
        back = int(run.params.position.partition("-")[2] or 0)
        for length in sorted(set(run.lengths)):
            if length <= max(back, 1):
                raise CollectionError(f"a prompt of {length} tokens is too short for position {run.params.position!r}")
            rows = [row for row in everyone if run.lengths[row] == length]
            change = added_at(strength * run.norm * unit, place=length - 1 - back, length=length)
            yield rows, [Edit(run.point, change)]


def added_at(vector: Vector, *, place: int, length: int) -> Change:
    """Return the change that adds a vector (d,) at one place of prompts of so many tokens, and nowhere in later passes."""
    change = add(vector)

    def changed(value: Array) -> Array:
        if value.shape[1] < length:  # a new token: the prompt is in the cache
            return value
        found = value.clone()
        found[:, place] = change(value[:, place])
        return found

    return changed
