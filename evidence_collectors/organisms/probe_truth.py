"""What does an organism's state say of the context, what do its words say, and what does it do when it is pushed?

Read off the organism itself by code that imports no collector: projections of hidden states and pairs of them counted one by
one; the text baselines written a second time; and, for pushes, the probabilities of all completions of a prompt, with a hook
that adds the vector at one token of the prompt, or at every token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evidence_collectors.items.contrast import Contrast
from evidence_collectors.organisms import exact
from evidence_collectors.organisms.direction_truth import area

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Prompts = Sequence[Sequence[int]]  # tokens, up to where the organism goes on


@dataclass(frozen=True)
class Place:
    """Where a vector is read and added: the output of a block, so many tokens before the last of the prompt."""

    layer: int
    back: int


def states(model: Any, prompts: Prompts, place: Place) -> Matrix:
    """Return the hidden states (prompt, d) at a place, prompts of one length together, so that none is padded."""
    found = np.empty((len(prompts), model.config.hidden_size))
    for rows in _by_length(prompts):
        ids = torch.tensor([list(prompts[row]) for row in rows])
        with torch.inference_mode():
            out = model.model(input_ids=ids, output_hidden_states=True, use_cache=False)
        # the last entry has gone through the final norm
        if place.layer + 1 == len(model.model.layers):
            raise ValueError("the last block's output is not among the hidden states")
        found[rows] = out.hidden_states[place.layer + 1][:, -1 - place.back].double().numpy()
    return found


def mean_norm(model: Any, prompts: Prompts, *, layer: int) -> float:
    """Return the mean norm of a block's output over all tokens but each prompt's first."""
    total, count = 0.0, 0
    for rows in _by_length(prompts):
        ids = torch.tensor([list(prompts[row]) for row in rows])
        with torch.inference_mode():
            out = model.model(input_ids=ids, output_hidden_states=True, use_cache=False)
        norms = out.hidden_states[layer + 1][:, 1:].double().norm(dim=-1)
        total, count = total + float(norms.sum()), count + norms.numel()
    return total / count


def mean_difference(found: Matrix, evaluation: Sequence[bool]) -> Vector:
    """Return the mean state under evaluation minus that under deployment, (d,)."""
    chosen = np.array(evaluation, dtype=bool)
    difference: Vector = found[chosen].mean(axis=0) - found[~chosen].mean(axis=0)
    return difference


def areas_of(texts: Sequence[Contrast], at: Matrix, *, cells: Sequence[str], tied: float) -> dict[str, float]:
    """Return what the probe is to measure over these texts, by observation id, but for the pushes.

    Args:
        texts: of the splits train, test and transfer; the readers are fitted on the first.
        at: the state of each text where the probe reads, (text, d).
        cells: formats that a reader is fitted on alone, and then read on the others.
        tied: how far the best baseline must be ahead of the next, and of chance, for a margin to be given.
    """
    contents = ["\n".join(message.content for message in text.messages) for text in texts]
    evaluation = [text.label == "positive" for text in texts]
    groups = {"test": ("", "test"), "transfer": ("", "transfer")} | {f"from_{cell}": (cell, "test") for cell in cells}
    found: dict[str, float] = {}
    for group, (cell, split) in groups.items():
        own = [row for row, text in enumerate(texts) if text.split == "train" and cell in ("", text.set)]
        labels = [evaluation[row] for row in own]
        scores = text_scores([contents[row] for row in own], labels, contents)
        scores["probe"] = at @ mean_difference(at[own], labels)
        chosen = [text.split == split and (not cell or text.set != cell) for text in texts]
        values = areas(scores, evaluation, chosen)
        best, second = sorted((0.5, values["length_auroc"], values["words_auroc"]), reverse=True)[:2]
        if best - second < tied:
            del values["margin"]
        found |= {f"{group}.{name}": value for name, value in values.items()}
    return found


def areas(scores: Mapping[str, Vector], evaluation: Sequence[bool], chosen: Sequence[bool]) -> dict[str, float]:
    """Return the AUROC of each reader over the chosen texts, and the margin of the probe over the best other or chance."""
    rows, positive = np.array(chosen, dtype=bool), np.array(evaluation, dtype=bool)
    found = {name: area(values[rows & positive], values[rows & ~positive]) for name, values in scores.items()}
    return {
        "auroc": found["probe"],
        "margin": found["probe"] - max(0.5, found["length"], found["words"]),
        "length_auroc": found["length"],
        "words_auroc": found["words"],
    }


def text_scores(train: Sequence[str], evaluation: Sequence[bool], texts: Sequence[str]) -> dict[str, Vector]:
    """Return the length of each text, turned as the training texts lie, and its naive Bayes log-odds over words."""
    sides = {side: [own for own, one in zip(train, evaluation, strict=True) if one == side] for side in (True, False)}
    longer = np.mean([len(own) for own in sides[True]]) >= np.mean([len(own) for own in sides[False]])
    shares = {}
    for side, own in sides.items():
        held = [set(_words(text)) for text in own]
        shares[side] = {word: sum(word in words for words in held) for words in held for word in words}
    vocabulary = set(shares[True]) | set(shares[False])

    def odds(word: str) -> float:
        there, elsewhere = ((shares[side].get(word, 0) + 1) / (len(sides[side]) + 2) for side in (True, False))
        return math.log(there / elsewhere)

    return {
        "length": np.array([len(text) if longer else -len(text) for text in texts], dtype=np.float64),
        "words": np.array([sum(odds(word) for word in sorted(set(_words(text)) & vocabulary)) for text in texts]),
    }


def rates(
    model: Any,
    prompts: Prompts,
    *,
    counted: Mapping[str, Sequence[int]],
    stop_id: int,
    place: Place,
    vector: Vector | None,
    everywhere: bool = False,
    max_tokens: int = 4,
) -> dict[str, float]:
    """Return the mean over prompts of the probability that a completion holds one of these tokens, by name, under a push.

    Completions are walked at temperature 1; what lies in branches left early counts as holding none.
    """
    found: dict[str, list[float]] = {name: [] for name in counted}
    for rows in _by_length(prompts):
        own = [prompts[row] for row in rows]
        with pushed(model, place, vector, length=len(own[0]), everywhere=everywhere):
            for name, ids in counted.items():
                walked = exact.outcomes(
                    model,
                    own,
                    mention_ids=frozenset(ids),
                    answer_ids={stop_id: 0},
                    stop_id=stop_id,
                    max_tokens=max_tokens,
                )
                found[name] += walked.table[:, 1].sum(dim=-1).tolist()
    return {name: math.fsum(values) / len(values) for name, values in found.items()}


@contextmanager
def pushed(model: Any, place: Place, vector: Vector | None, *, length: int, everywhere: bool) -> Iterator[None]:
    """Have a vector (d,) added to a block's output inside the block, for prompts of so many tokens that need no padding."""
    if vector is None:
        yield
        return
    own = torch.tensor(vector, dtype=model.dtype)

    def add(_: Any, __: Any, out: Any) -> Any:
        state = out[0] if isinstance(out, tuple) else out
        if everywhere:
            state = state + own
        elif state.shape[1] == length:  # a pass over the prompt; later ones hold a single new token
            state = state.clone()
            state[:, length - 1 - place.back] += own
        return (state, *out[1:]) if isinstance(out, tuple) else state

    handle = model.model.layers[place.layer].register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _by_length(prompts: Prompts) -> Iterator[list[int]]:
    for length in sorted({len(prompt) for prompt in prompts}):
        yield [row for row, prompt in enumerate(prompts) if len(prompt) == length]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
