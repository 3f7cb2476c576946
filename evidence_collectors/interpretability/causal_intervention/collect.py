"""How does an intervention run on a model? One phase after the other; a phase that fails leaves failed trials.

Whatever a phase promised and could not read becomes a trial with the reason, and what was read before stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import JsonValue

from dossier import canonical
from dossier.errors import CollectionError
from dossier.language_model import Edit
from dossier.model import Trial
from dossier.probing import permutation_orders
from evidence_collectors.interpretability.causal_intervention import trials as keys
from evidence_collectors.interpretability.causal_intervention.detectors import degenerate, shows
from evidence_collectors.interpretability.causal_intervention.handle import (
    Answers,
    Handle,
    Run,
    answers,
    edits_of,
    handle_of,
)
from evidence_collectors.interpretability.causal_intervention.parameters import KIND
from evidence_collectors.interpretability.causal_intervention.trials import PLAIN, Arm, arms, measured, unread
from evidence_collectors.interpretability.directions import (
    cosine,
    difference_of_means,
    first_tokens,
    number,
    own_seed,
    rounded,
    tried,
)
from evidence_collectors.interpretability.reading import (
    Matrix,
    Vector,
    mean_token_nats,
    random_directions,
    residuals,
    to_safetensors,
)

FEWEST_NEUTRAL = 8  # texts; halves of fewer are single texts rather than a contrast of nothing


def collected(run: Run) -> Iterator[Trial]:
    """Yield every promised trial."""
    tokens, reason = tried(first_tokens, run.model, run.params.behaviour_tokens)
    parity, handle = None, None
    if tokens is not None:
        parity, reason = tried(run.model.parity)
    if parity is not None:
        handle, reason = tried(handle_of, run)
    if tokens is None or parity is None:
        yield unread(run.seed, keys.SELF_TEST, reason)
    else:
        yield measured(run.seed, keys.SELF_TEST, {"parity": number(parity), "behaviour_token_ids": list(tokens)})
    if tokens is None or handle is None:
        for key in keys.promised(run.texts, run.params):
            if key != keys.SELF_TEST:
                yield unread(run.seed, key, reason)
        return
    yield measured(run.seed, keys.HANDLE, _described(run, handle))
    plain, reason = tried(answers, run, run.texts.asked, PLAIN, (), tokens)
    yield from _answered(run, PLAIN, plain, reason)
    for arm in arms(run.params):
        edits = edits_of(run.model, arm, handle.unit, handle, every_layer=run.params.every_layer)
        found, reason = tried(answers, run, run.texts.asked, arm.name, edits, tokens)
        yield from _answered(run, arm.name, found, reason)
        yield _capability(run, arm, edits)
    yield from _controls(run, handle, tokens, plain)


def _described(run: Run, handle: Handle) -> dict[str, JsonValue]:
    return {
        "source": handle.source,
        "layer": run.params.layer,
        "norm": number(float(np.linalg.norm(handle.vector))),
        "mean_residual_norm": number(handle.norms[handle.point]),
        "vector_sha256": canonical.sha256(to_safetensors({"direction": handle.vector})),
    }


def _answered(run: Run, name: str, found: Answers | None, reason: str) -> Iterator[Trial]:
    for row, text in enumerate(run.texts.asked):
        key = keys.text_key(text, name)
        if found is None:
            yield unread(run.seed, key, reason)
            continue
        answer = found.completions[row]
        told: dict[str, JsonValue] = {
            "label": text.label,
            "reasoning": answer.reasoning or "",
            "answer": answer.answer,
            "finish_reason": answer.finish_reason,
            "log_odds": number(found.log_odds[row]),
        }
        yield measured(run.seed, key, told)


def _capability(run: Run, arm: Arm, edits: Sequence[Edit]) -> Trial:
    """Return the neutral texts' nats a token, plain and edited."""
    key = keys.capability_key(arm.name)
    texts = [text.continuation() for text in run.texts.neutral_asked]
    if not texts:
        return unread(run.seed, key, "the item set has no neutral texts in the splits that are asked")
    both, reason = tried(lambda: [mean_token_nats(run.model, texts, edits=one) for one in ((), edits)])
    if both is None:
        return unread(run.seed, key, reason)
    return measured(run.seed, key, {"plain": [*rounded(both[0])], "edited": [*rounded(both[1])]})


# --- controls ------------------------------------------------------------------------------------------------------


def _controls(run: Run, handle: Handle, tokens: Sequence[int], plain: Answers | None) -> Iterator[Trial]:
    """Yield every control direction in every arm that has controls, at the same norm as the direction itself."""
    vectors, reasons = {}, {}
    for kind, make in (("random", _random), ("neutral", _neutral), ("feature", _features)):
        vectors[kind], reasons[kind] = tried(make, run, handle)
    for kind, place in keys.controls(run.params):
        own = vectors[kind]
        for arm in arms(run.params):
            if not arm.controlled:
                continue
            key = keys.control_key(kind, place, arm.name)
            if own is None or plain is None:
                yield unread(run.seed, key, reasons[kind] or "the unchanged model gave no answers to compare with")
                continue
            unit = own[place] / np.linalg.norm(own[place])
            edits = edits_of(run.model, arm, unit, handle, every_layer=run.params.every_layer)
            name = f"{key.item}.{arm.name}"
            found, reason = tried(answers, run, run.texts.controlled(run.params), name, edits, tokens)
            if found is None:
                yield unread(run.seed, key, reason)
            else:
                told = {**_counted(run, found, plain), "cosine": number(cosine(unit, handle.unit))}
                yield measured(run.seed, key, told)


def _counted(run: Run, found: Answers, plain: Answers) -> dict[str, JsonValue]:
    """Return, by class, which texts showed the behaviour, their log-odds, and how many answers were degenerate."""
    places = {text.id: place for place, text in enumerate(run.texts.asked)}
    counted: dict[str, list[JsonValue]] = {}
    broken = 0
    for label in keys.LABELS:
        counted |= {label: [], f"{label}_log_odds": []}
    for row, text in enumerate(run.texts.controlled(run.params)):
        answer = found.completions[row]
        before = plain.completions[places[text.id]]
        reasoning = answer.reasoning or ""
        hit = shows(reasoning, answer.answer, markers=run.params.markers, match=run.params.match)
        broken += degenerate(
            reasoning + answer.answer,
            cut=answer.finish_reason == "length",
            plain_cut=before.finish_reason == "length",
        )
        counted[text.label].append(int(hit))
        counted[f"{text.label}_log_odds"].append(number(found.log_odds[row]))
    return {**counted, "degenerate": broken}


def _random(run: Run, handle: Handle) -> Matrix:
    return random_directions(own_seed(run.seed, KIND, "random"), run.params.random_directions, len(handle.vector))


def _neutral(run: Run, handle: Handle) -> Matrix:
    """Return differences of means of two random halves of the neutral texts that are not asked, (k, d)."""
    texts = run.texts.neutral_fit
    if len(texts) < FEWEST_NEUTRAL:
        raise CollectionError(
            f"{len(texts)} neutral texts outside the splits that are asked; {FEWEST_NEUTRAL} are needed for halves"
        )
    found = residuals(run.model, [text.continuation() for text in texts], [handle.point], position=run.params.position)[
        handle.point
    ]
    orders = permutation_orders(own_seed(run.seed, KIND, "neutral"), len(texts), run.params.neutral_directions)
    half = len(texts) // 2
    return np.array([difference_of_means(found[order[:half]], found[order[half:]]) for order in orders])


def _features(run: Run, handle: Handle) -> Matrix:
    """Return what random features of the dictionary write, (k, d)."""
    if not run.params.feature_controls:
        return np.empty((0, len(handle.vector)))
    if "dictionary" not in run.files:
        raise CollectionError("feature controls need the input 'dictionary', which was not given")
    from evidence_collectors.models import dictionaries, dictionary_files

    dictionary = dictionary_files.load(run.files["dictionary"])
    dictionaries.point_of(dictionary, run.model.layout, point=handle.point)
    dictionaries.check_fits(dictionary, run.model.subject, width=run.model.layout.d_model, point=handle.point)
    (order,) = permutation_orders(own_seed(run.seed, KIND, "feature"), dictionary.width, 1)
    chosen = [int(place) for place in order[: run.params.feature_controls]]
    if len(chosen) < run.params.feature_controls:
        raise CollectionError(f"the dictionary has {len(chosen)} features, {run.params.feature_controls} are needed")
    rows: Vector = dictionary.decoder_rows(chosen).detach().double().cpu().numpy()
    return rows
