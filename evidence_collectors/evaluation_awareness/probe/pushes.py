"""What does the model answer when it is pushed along the probe, along random directions, and along a known one?

All pushes are equally long at one dose. A push counts at every token, or only at the token of the prompt where the probe
reads. For the latter, texts are asked in groups of one length in tokens: rows of equal length need no padding, so that the
token lies at the same place in every row of every pass over a prompt, and a pass over a single new token has no such place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from dossier import canonical
from dossier.errors import CollectionError
from dossier.language_model import Array, Edit
from dossier.model import Completion, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.evaluation_awareness.probe import trials as keys
from evidence_collectors.evaluation_awareness.probe.detectors import Read, read, recorded
from evidence_collectors.evaluation_awareness.probe.parameters import KIND
from evidence_collectors.evaluation_awareness.probe.run import Run, point_of
from evidence_collectors.evaluation_awareness.probe.trials import PLAIN, SHOWN, Arm, arms, known_arms, measured, noted
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

ROLE = "positive_control"


@dataclass(frozen=True, eq=False)
class Pushing:
    """What is needed to push: the run, the lengths of its texts in tokens, and directions at length 1."""

    run: Run
    lengths: Sequence[int]
    point: str
    norm: float  # mean norm of the residual stream at the point: the unit of strength
    probe: Vector
    random: Sequence[Vector]
    known: Vector | None


def pushed(run: Run, direction: Vector | None) -> Iterator[Trial]:
    """Yield the trials of every push, none where nothing is to be pushed; ``direction`` (d,) is None where none was fitted."""
    if not run.params.strengths:
        return
    pushing, reason = None, "no probe was fitted, so that there is nothing to push along"
    if direction is not None:
        pushing, reason = tried(_prepared, run, direction)
    if pushing is None:
        yield from (keys.unread(run.seed, key, reason) for key in keys.promised_pushes(run.texts, run.params))
        return
    yield measured(run.seed, keys.HANDLE, _described(pushing))
    plain, reason = tried(_answers, pushing, PLAIN, None, 0.0)
    yield from _told(run, PLAIN, plain, reason)
    for arm in (*arms(run.params), *known_arms(run.params)):
        along = pushing.known if arm.known else pushing.probe
        found, reason = tried(_answers, pushing, arm.name, along, arm.strength)
        yield from _told(run, arm.name, found, reason)
    for arm in arms(run.params):
        yield from _random(pushing, arm, plain)


def _prepared(run: Run, direction: Vector) -> Pushing:
    params, model = run.params, run.model
    point, known = point_of(model, params), None
    if params.positive_control:
        if ROLE not in run.files:
            raise CollectionError(f"a positive control is planned, and the input {ROLE!r} was not given")
        vector = read_direction(run.files[ROLE], width=model.layout.d_model, layer=params.layer)
        known = vector / np.linalg.norm(vector)
    prompts, train = (
        [replace(text.continuation(), text="") for text in texts] for texts in (run.texts.pushed, run.texts.train)
    )
    lengths = [0] * len(prompts)
    for batch in model.capture(prompts, [model.layout.embedding]):
        for row, index in enumerate(batch.index):
            lengths[index] = int(batch.mask[row].sum())
    return Pushing(
        run=run,
        lengths=lengths,
        point=point,
        norm=mean_norms(model, train, [point])[point],
        probe=direction,
        random=list(random_directions(own_seed(run.seed, KIND, "random"), params.random_directions, len(direction))),
        known=known,
    )


def _described(pushing: Pushing) -> dict[str, JsonValue]:
    known, probe = pushing.known, pushing.probe
    return {
        "mean_residual_norm": number(pushing.norm),
        "vector_sha256": canonical.sha256(to_safetensors({"direction": probe})),
        "known_sha256": None if known is None else canonical.sha256(to_safetensors({"direction": known})),
        "known_cosine": None if known is None else number(cosine(known, probe)),
    }


def _told(run: Run, name: str, found: Sequence[Completion] | None, reason: str) -> Iterator[Trial]:
    for row, text in enumerate(run.texts.pushed):
        key = keys.text_key(text, name)
        if found is None:
            yield keys.unread(run.seed, key, reason)
        else:
            yield measured(run.seed, key, {**noted(text, run.params), **recorded(found[row])})


def _random(pushing: Pushing, arm: Arm, plain: Sequence[Completion] | None) -> Iterator[Trial]:
    """Yield what each text's answers show under each random direction, one arm's dose."""
    run = pushing.run
    readings: list[list[Read]] = []
    reason = "" if plain is not None else "the unchanged model gave no answers to compare with"
    before = [recorded(one) for one in plain or ()]
    for place, unit in enumerate(pushing.random if plain is not None else ()):
        found, reason = tried(_answers, pushing, f"random-{place:02d}.{arm.name}", unit, arm.strength)
        if found is None:
            break
        answers = zip(map(recorded, found), before, strict=True)
        readings.append([read(told, plain=unchanged, params=run.params) for told, unchanged in answers])
    for row, text in enumerate(run.texts.pushed):
        key = keys.text_key(text, keys.random_arm(arm))
        if reason:
            yield keys.unread(run.seed, key, reason)
        else:
            shown: dict[str, JsonValue] = {name: [int(getattr(own[row], name)) for own in readings] for name in SHOWN}
            yield measured(run.seed, key, {**noted(text, run.params), **shown})


def _answers(pushing: Pushing, name: str, unit: Vector | None, strength: float) -> list[Completion]:
    """Return the answers to all texts under one push; ``name`` decides the seeds."""
    run = pushing.run
    found: dict[int, Completion] = {}
    for rows, edits in _groups(pushing, unit, strength):
        texts = [run.texts.pushed[row] for row in rows]
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
    return [found[row] for row in range(len(found))]


def _groups(pushing: Pushing, unit: Vector | None, strength: float) -> Iterator[tuple[list[int], list[Edit]]]:
    """Yield which texts go together under which edits."""
    lengths, params = pushing.lengths, pushing.run.params
    everyone = list(range(len(lengths)))
    if unit is None:
        yield everyone, []
        return
    vector = strength * pushing.norm * unit
    if params.push_at == "all":
        yield everyone, [Edit(pushing.point, add(vector))]
        return
    back = int(params.position.partition("-")[2] or 0)
    for length in sorted(set(lengths)):
        if length <= max(back, 1):
            raise CollectionError(f"a prompt of {length} tokens is too short for position {params.position!r}")
        rows = [row for row in everyone if lengths[row] == length]
        yield rows, [Edit(pushing.point, added_at(vector, place=length - 1 - back, length=length))]


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
