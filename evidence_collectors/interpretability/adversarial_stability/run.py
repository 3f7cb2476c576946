"""How is a model read under each attack? The impure half: passes, searches and answers, as trials.

A phase that fails (activations that are not finite, a text beyond the context) leaves its promised trials with the reason;
the other phases go on, and what was read is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import JsonValue

from dossier.collector import Artifact, Inputs
from dossier.errors import CollectionError
from dossier.language_model import NO_COMPLETION
from dossier.model import Completion, Request, Trial, TrialKey, digest_of
from evidence_collectors.interpretability.adversarial_stability import measures as measures
from evidence_collectors.interpretability.adversarial_stability.activations import (
    Frame,
    Read,
    arm_trials,
    labels_of,
    measured_trial,
)
from evidence_collectors.interpretability.adversarial_stability.measures import Direction
from evidence_collectors.interpretability.adversarial_stability.parameters import (
    CLEAN,
    KIND,
    SEARCHED,
    StabilityParameters,
    planned,
)
from evidence_collectors.interpretability.adversarial_stability.read import Run, read_texts, unread
from evidence_collectors.interpretability.adversarial_stability.roles import opened_roles
from evidence_collectors.interpretability.adversarial_stability.search import searched
from evidence_collectors.interpretability.adversarial_stability.trials import (
    SELF_TEST,
    TWIN,
    answer_keys,
    arms,
    question,
    texts_of,
)
from evidence_collectors.interpretability.directions import first_tokens, number, own_seed
from evidence_collectors.interpretability.reading import random_directions, residuals, to_safetensors
from evidence_collectors.items.attacks import Attack, continuation


def collect(inputs: Inputs, params: StabilityParameters, seed: str) -> Iterator[Trial | Artifact]:
    """Yield every promised trial, and what is kept confidential: the direction and the suffixes that were found.

    Raises:
        CollectionError: the subject cannot be opened, or an input by role is missing or unusable.
    """
    model = inputs.opened()
    openers = first_tokens(model, params.openers or params.markers)
    frame = Frame(params, texts_of(inputs.items), seed)
    run = Run(frame, inputs, model, opened_roles(inputs, params), openers)
    yield measured_trial(run.frame, SELF_TEST, {"parity": number(model.parity())})
    try:
        clean = read_texts(run, CLEAN, None)
        direction = _fit(run, clean)
    except CollectionError as error:
        yield from unread(run, arms(params), error)
        yield from _answers(run, {CLEAN: None, **{one.name: one for one in planned(params)}})
        return
    yield Artifact(
        "direction.safetensors", "application/vnd.safetensors", to_safetensors({"direction": direction.unit})
    )
    yield from arm_trials(run.frame, CLEAN, clean, clean, direction)
    known: dict[str, Attack | None] = {CLEAN: None, **{one.name: one for one in planned(params)}}
    yield from searched(run, clean, direction, known)
    for name, attack in known.items():
        if attack is not None:
            try:
                attacked = read_texts(run, name, attack)
            except CollectionError as error:
                yield from unread(run, (name,), error)
            else:
                yield from arm_trials(run.frame, name, attacked, clean, direction)
    yield from _answers(run, known)
    yield from _twin(run)


# --- passes --------------------------------------------------------------------------------------------------------


def _fit(run: Run, clean: Read) -> Direction:
    train = clean.rows(run.texts.train)
    width = clean.values.shape[1]
    random = random_directions(own_seed(run.seed, KIND, "random"), run.params.random_directions, width)
    return measures.fit(clean.values[train], labels_of(run.texts.train), given=run.roles.direction, random=random)


def _twin(run: Run) -> Iterator[Trial]:
    """Yield what the same recipe finds in random weights: projections of the reported texts on a direction fitted there."""
    if not run.params.twin:
        return
    try:
        twin = run.model.random_twin(own_seed(run.seed, KIND, "twin"))
        texts = run.texts.read_under(CLEAN)
        asked = [continuation(text) for text in texts]
        values = residuals(twin, asked, [run.params.point], position=run.params.position)[run.params.point]
        place = {text.id: row for row, text in enumerate(texts)}
        train, reported = ([place[text.id] for text in part] for part in (run.texts.train, run.texts.reported))
        none = np.zeros((0, values.shape[1]))
        direction = measures.fit(values[train], labels_of(run.texts.train), given=None, random=none)
        found = direction.projections(values[reported])
    except CollectionError as error:
        yield measured_trial(run.frame, TWIN, {}, error=error.message)
        return
    labels = labels_of(run.texts.reported)
    scores: dict[str, JsonValue] = {}
    for name, side in (("positive", labels), ("negative", ~labels)):
        scores[name] = [*sorted(number(one) for one in found[side])]
    yield measured_trial(run.frame, TWIN, scores)


# --- answers -------------------------------------------------------------------------------------------------------


def _answers(run: Run, known: Mapping[str, Attack | None]) -> Iterator[Trial]:
    """Yield the answers of every arm; those under a searched suffix without the request, which holds it."""
    if not run.params.generate:
        return
    for arm in arms(run.params):
        keys = list(answer_keys(run.texts, arm, run.seed))
        if arm not in known:
            for key, own, _ in keys:
                yield Trial(key=key, seed=own, request=None, completion=None, error="the suffix was not found")
            continue
        asked = [(key, own, question(text, known[arm], run.params, own)) for key, own, text in keys]
        withheld = arm in SEARCHED.values()
        try:
            found = {one.request_sha256: one for one in run.inputs.subject.generate([one for *_, one in asked])}
            reason = NO_COMPLETION
        except CollectionError as error:
            found, reason = {}, error.message
        for key, own, request in asked:
            yield _answer(key, own, request, found.get(digest_of(request)), reason, withheld=withheld)


def _answer(
    key: TrialKey, seed: str, request: Request, completion: Completion | None, reason: str, *, withheld: bool
) -> Trial:
    if completion is None:
        return Trial(key=key, seed=seed, request=None if withheld else request, completion=None, error=reason)
    if withheld:
        text = (completion.reasoning or "") + completion.answer
        return Trial(
            key=key,
            seed=seed,
            request=None,
            completion=None,
            measurements={"request_sha256": completion.request_sha256, "answer": text},
        )
    return Trial(key=key, seed=seed, request=request, completion=completion)


# --- helpers -------------------------------------------------------------------------------------------------------
