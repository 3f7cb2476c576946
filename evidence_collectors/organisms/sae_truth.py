"""What do features of a dictionary tell of an organism, and what does taking them away do? By formula on its own activations.

No instrument takes part, nor the library the dictionary was trained with: its tensors are read as they lie in the file, and

    a = relu(z) where z > threshold, else 0,   z = (x - b_dec) W_enc + b_enc,   reconstruction a W_dec + b_dec

is computed in float64 on what the organism gives, without padding. Taking features away, or putting the reconstruction in
the activations' place, is done by running the organism's later blocks on the changed activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from evidence_collectors.organisms.direction_truth import Answered, Prompts, Vector, area, frozen

Matrix = NDArray[np.float64]
Change = Callable[[Any], Any]  # of activations (text, token, d), in float64
STRICT = 0.95  # of random sets, this share may do no more than the one a margin is over, if that one does anything


@dataclass(frozen=True, eq=False)
class Sparse:
    """The tensors of a jumprelu dictionary, in float64."""

    w_enc: Any
    b_enc: Any
    w_dec: Any
    b_dec: Any
    threshold: Any

    @staticmethod
    def of(folder: Path) -> Sparse:
        """Return the dictionary that lies in a folder."""
        held = {name: value.double() for name, value in load_file(folder / "sae_weights.safetensors").items()}
        return Sparse(held["W_enc"], held["b_enc"], held["W_dec"], held["b_dec"], held["threshold"])

    def encode(self, x: Any) -> Any:
        """Return the features (..., F) of activations (..., d)."""
        z = (x - self.b_dec) @ self.w_enc + self.b_enc
        return z.relu() * (z > self.threshold)

    def decode(self, a: Any) -> Any:
        """Return the reconstruction (..., d)."""
        return a @ self.w_dec + self.b_dec

    def without(self, features: Sequence[int]) -> Change:
        """Return the change that takes away what these features add to the reconstruction."""
        rows = list(features)
        return lambda x: x - self.encode(x)[..., rows] @ self.w_dec[rows]


@dataclass(frozen=True)
class Chosen:
    """What a run chose: features with the deviations that are their units, and random sets of features."""

    features: tuple[int, ...]
    scales: tuple[float, ...]
    random: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Texts:
    """Prompts, as tokens: by split and class, and those of neutral texts with their answers (prompt, answer)."""

    asked: Mapping[tuple[str, str], Prompts]
    answered: Answered


def sae_truths(
    model: Any, sparse: Sparse, texts: Texts, chosen: Chosen, *, layer: int, token_ids: Sequence[int]
) -> dict[str, float]:
    """Return what `interpretability.sae_features` is to measure over these texts with the features a run chose.

    Features are read at the last token of a prompt, and taken away at every token.
    """
    found = {}
    for split, prefix in (("test", ""), ("transfer", "transfer_")):
        values = [features(model, sparse, texts.asked[(split, side)], layer) for side in ("positive", "negative")]
        mine = [one[:, list(chosen.features)] for one in values]
        sums = [(one / np.array(chosen.scales)).sum(axis=1) for one in mine]
        found[f"set.{prefix}auroc"] = area(*sums)
        if split == "test":
            for place in range(len(chosen.features)):
                own = [one[:, place] for one in mine]
                found[f"feature-{place + 1}.auroc"] = area(*own)
                found[f"feature-{place + 1}.firing_rate"] = float((own[0] > 0.0).mean())
                found[f"feature-{place + 1}.effect"] = float(own[0].mean() - own[1].mean()) / chosen.scales[place]
            found["set.effect"] = float(sums[0].mean() - sums[1].mean())
        prompts = texts.asked[(split, "positive")]
        before, after = (
            log_odds(model, prompts, layer, change, token_ids) for change in (None, sparse.without(chosen.features))
        )
        falls = sorted(
            float((before - log_odds(model, prompts, layer, sparse.without(one), token_ids)).mean())
            for one in chosen.random
        )
        fall = float((before - after).mean())
        found[f"ablation.{prefix}fall"] = fall
        found[f"ablation.{prefix}fall_margin"] = fall - max(falls[int(np.ceil(STRICT * len(falls))) - 1], 0.0)
    return found | _health(model, sparse, texts, layer)


def shifts(
    model: Any,
    earlier: Any,
    sparse: Sparse,
    prompts: Prompts,
    changed: Sequence[int],
    deviations: Sequence[float],
    *,
    layer: int,
) -> dict[str, float]:
    """Return by how much these features are on average larger in a model than in an earlier one, in given deviations."""
    now, then = (features(one, sparse, prompts, layer)[:, list(changed)] for one in (model, earlier))
    moved = (now - then).mean(axis=0) / np.array(deviations)
    return {f"change-{place + 1}.shift": float(one) for place, one in enumerate(moved)}


def recall(
    model: Any, sparse: Sparse, positive: Prompts, controls: Prompts, chosen: Chosen, *, layer: int, share: float
) -> float:
    """Return the share of prompts whose chosen features add up to more than a threshold that flags this share of controls."""
    sums = [
        (features(model, sparse, prompts, layer)[:, list(chosen.features)] / np.array(chosen.scales)).sum(axis=1)
        for prompts in (positive, controls)
    ]
    return float((sums[0] > frozen(sums[1], share)).mean())


def features(model: Any, sparse: Sparse, prompts: Prompts, layer: int) -> Matrix:
    """Return all features at the last token of each prompt, (prompt, F)."""
    found = np.empty((len(prompts), len(sparse.b_enc)))
    for rows, ids in alike(prompts):
        found[rows] = sparse.encode(_before(model, ids, layer)[:, -1].double()).numpy()
    return found


def log_odds(model: Any, prompts: Prompts, layer: int, change: Change | None, token_ids: Sequence[int]) -> Vector:
    """Return log p(R) - log(1 - p(R)) of the token after each prompt, in nats, with the activations changed."""
    inside = sorted(set(token_ids))
    found = np.empty(len(prompts))
    for rows, ids in alike(prompts):
        logits = run_on(model, ids, layer, change)[:, -1]
        rest = logits.clone()
        rest[:, inside] = -float("inf")
        found[rows] = (logits[:, inside].logsumexp(dim=-1) - rest.logsumexp(dim=-1)).numpy()
    return found


def nats(model: Any, answered: Answered, layer: int, change: Change | None) -> Vector:
    """Return the mean negative log-probability of each answer's tokens, in nats, with the activations changed."""
    whole = [[*prompt, *answer] for prompt, answer in answered]
    found = np.empty(len(answered))
    for rows, ids in alike(whole):
        logs = run_on(model, ids, layer, change).log_softmax(dim=-1)
        for place, row in enumerate(rows):
            prompt, answer = answered[row]
            at = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
            found[row] = -float(logs[place, at, torch.tensor(list(answer))].mean())
    return found


def run_on(model: Any, ids: Any, layer: int, change: Change | None) -> Any:
    """Return the logits (text, token, v) of token ids (text, token) with the output of a block changed, in float64."""
    inner, hidden = model.model, _before(model, ids, layer)
    if change is not None:
        hidden = change(hidden.double()).to(hidden.dtype)
    length = ids.shape[1]
    places = torch.arange(length)[None]
    hides = torch.full((length, length), torch.finfo(hidden.dtype).min, dtype=hidden.dtype).triu(1)[None, None]
    with torch.inference_mode():
        turned = inner.rotary_emb(hidden, places)
        for block in inner.layers[layer + 1 :]:
            out = block(hidden, attention_mask=hides, position_ids=places, position_embeddings=turned)
            hidden = out[0] if isinstance(out, tuple) else out
        return model.lm_head(inner.norm(hidden)).double()


def alike(prompts: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Any]]:
    """Yield the rows and the token ids (row, token) of prompts of one length at a time: none is padded."""
    places: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(len(prompt), []).append(place)
    for rows in places.values():
        yield rows, torch.tensor([list(prompts[row]) for row in rows])


def _health(model: Any, sparse: Sparse, texts: Texts, layer: int) -> dict[str, float]:
    """Return how well the dictionary describes all texts, each without its first token."""
    read = [*(one for prompts in texts.asked.values() for one in prompts)]
    read += [[*prompt, *answer] for prompt, answer in texts.answered]
    tokens = torch.cat([_before(model, ids, layer)[:, 1:].double().flatten(0, 1) for _, ids in alike(read)])
    active = sparse.encode(tokens)
    missed, spread = (tokens - sparse.decode(active)).square().sum(), (tokens - tokens.mean(dim=0)).square().sum()
    clean, spliced, gone = (
        nats(model, texts.answered, layer, change)
        for change in (None, _but_first(lambda x: sparse.decode(sparse.encode(x))), _but_first(torch.zeros_like))
    )
    return {
        "health.l0": float((active > 0).sum() / len(tokens)),
        "health.fvu": float(missed / spread),
        "health.ce_score": float((gone - spliced).sum() / (gone - clean).sum()),
    }


def _but_first(change: Change) -> Change:
    """Return a change that leaves each text's first token as it is."""
    return lambda x: torch.cat([x[:, :1], change(x)[:, 1:]], dim=1)


def _before(model: Any, ids: Any, layer: int) -> Any:
    """Return the output (text, token, d) of block ``layer``, taken where the next block would read it."""
    with torch.inference_mode():
        return model.model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[layer + 1]
