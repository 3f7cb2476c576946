"""What does an organism do with a direction taken out of its weights, or added to them? Read off its own probabilities.

No instrument takes part, and no hook: ablating is done to the weights that write into the residual stream, W - u u^T W, and
adding to the bias of the last map of a block. For Llama-shaped organisms, whose blocks add what attention and MLP give.

Source: Arditi et al. 2024 (arXiv:2406.11717), section 4.1 (the weight form).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Prompts = Sequence[Sequence[int]]  # tokens, up to where the organism goes on
Answered = Sequence[tuple[Sequence[int], Sequence[int]]]  # tokens of prompts and of their answers


def direction_truths(
    model: Any,
    prompts: Mapping[tuple[str, str], Prompts],
    controls: Prompts,
    *,
    layer: int,
    vector: Vector,
    token_ids: Sequence[int],
    share: float,
) -> dict[str, float]:
    """Return what `interpretability.concept_direction` is to measure over these prompts, by observation id.

    ``prompts`` are by (split, class). The direction is read at the last token of the prompt and added at every token. The
    threshold of the recall flags at most this ``share`` of the ``controls``.
    """
    threshold = frozen(projections(model, controls, layer, vector), share)
    found = {}
    for split in sorted({split for split, _ in prompts}):
        sides = [projections(model, prompts[(split, side)], layer, vector) for side in ("positive", "negative")]
        found[f"{split}.direction_auroc"] = area(*sides)
        found[f"{split}.direction_recall"] = float((sides[0] > threshold).mean())
    cut, put = orthogonalised(model, vector), pushed(model, layer, vector)
    positive, negative = prompts[("test", "positive")], prompts[("test", "negative")]
    before, after = (log_odds(one, positive, token_ids) for one in (model, cut))
    plain, raised = (log_odds(one, negative, token_ids) for one in (model, put))
    return {
        **found,
        "test.bypass": float(after.mean()),
        "test.bypass_drop": float((before - after).mean()),
        "test.induce": float(raised.mean()),
        "test.induce_rise": float((raised - plain).mean()),
        "test.divergence": float(divergence(model, cut, negative).mean()),
    }


def intervention_truths(
    model: Any,
    prompts: Mapping[str, Prompts],
    answered: Answered,
    *,
    layer: int,
    vector: Vector,
    pushes: Mapping[str, float],
    token_ids: Sequence[int],
) -> dict[str, float]:
    """Return what `interpretability.causal_intervention` is to measure over these prompts at temperature 1.

    ``prompts`` are by class, ``answered`` neutral ones with their answers, ``pushes`` the signed lengths of what each arm of
    `add` adds. Holds where an answer shows the behaviour exactly if it begins with one of ``token_ids``: where every marker is
    one token and counts at the start.
    """
    unit = vector / np.linalg.norm(vector)
    changed = {"ablate": orthogonalised(model, vector)}
    changed |= {arm: pushed(model, layer, length * unit) for arm, length in pushes.items()}
    before = nats(model, answered)
    found = {f"{arm}.capability": float((nats(other, answered) - before).mean()) for arm, other in changed.items()}
    for label, asked in prompts.items():
        plain = log_odds(model, asked, token_ids)
        found[f"baseline.rate_{label}"] = float(_chances(plain).mean())
        for arm, other in changed.items():
            odds = log_odds(other, asked, token_ids)
            found[f"{arm}.rate_{label}"] = float(_chances(odds).mean())
            found[f"{arm}.change_{label}"] = float((_chances(odds) - _chances(plain)).mean())
            found[f"{arm}.log_odds_{label}"] = float((odds - plain).mean())
    return found


def orthogonalised(model: Any, direction: Vector) -> Any:
    """Return a copy of a Llama-shaped model that cannot write along a direction (d,)."""
    changed = copy.deepcopy(model)
    unit = torch.tensor(direction / np.linalg.norm(direction), dtype=torch.float64)
    with torch.no_grad():
        tied = changed.lm_head.weight is changed.model.embed_tokens.weight
        if tied:  # reading must stay as it is
            changed.lm_head.weight = torch.nn.Parameter(changed.lm_head.weight.detach().clone())
        embedding = changed.model.embed_tokens.weight
        embedding.copy_(embedding - (embedding.double() @ unit)[:, None] * unit)
        for block in changed.model.layers:
            for part in (block.self_attn.o_proj, block.mlp.down_proj):
                part.weight.copy_(part.weight - torch.outer(unit, unit @ part.weight.double()))
    return changed


def pushed(model: Any, layer: int, vector: Vector) -> Any:
    """Return a copy of a Llama-shaped model whose block ``layer`` adds a vector (d,) to its output at every token."""
    changed = copy.deepcopy(model)
    part = changed.model.layers[layer].mlp.down_proj
    bias = torch.tensor(vector, dtype=part.weight.dtype)
    part.bias = torch.nn.Parameter(bias if part.bias is None else part.bias + bias)
    return changed


def log_odds(model: Any, prompts: Prompts, token_ids: Sequence[int]) -> Vector:
    """Return log p(R) - log(1 - p(R)) of the token after each prompt, in nats, each prompt alone."""
    inside = sorted(set(token_ids))
    found = []
    for prompt in prompts:
        chances = last_logits(model, prompt).double().softmax(dim=-1)
        share = float(chances[inside].sum())
        found.append(np.log(share) - np.log1p(-share))
    return np.array(found)


def nats(model: Any, answered: Answered) -> Vector:
    """Return the mean negative log-probability of each answer's tokens, in nats, each text alone."""
    found = []
    for prompt, answer in answered:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0].double()
        said = logits.log_softmax(dim=-1)[len(prompt) - 1 : -1]
        found.append(-float(said[torch.arange(len(answer)), torch.tensor(list(answer))].mean()))
    return np.array(found)


def divergence(model: Any, changed: Any, prompts: Prompts) -> Vector:
    """Return KL(model || changed) of the token after each prompt, in nats."""
    found = []
    for prompt in prompts:
        plain, other = (last_logits(one, prompt).double().log_softmax(dim=-1) for one in (model, changed))
        found.append(float((plain.exp() * (plain - other)).sum()))
    return np.array(found)


def area(positive: Vector, negative: Vector) -> float:
    """Return the share of pairs of a positive above a negative score, ties half, by counting every pair."""
    difference = positive[:, None] - negative[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def frozen(scores: Vector, share: float) -> float:
    """Return the least of the scores above which at most this share of them lies."""
    return float(min(one for one in scores if float((scores > one).mean()) <= share))


def projections(model: Any, prompts: Prompts, layer: int, direction: Vector) -> Vector:
    """Return the output of block ``layer`` at the last token of each prompt along a direction (d,)."""
    unit = torch.tensor(direction / np.linalg.norm(direction), dtype=torch.float64)
    found = []
    for prompt in prompts:
        with torch.inference_mode():
            out = model.model(input_ids=torch.tensor([list(prompt)]), output_hidden_states=True, use_cache=False)
        found.append(float(out.hidden_states[layer + 1][0, -1].double() @ unit))
    return np.array(found)


def last_logits(model: Any, prompt: Sequence[int]) -> Any:
    """Return the logits (v,) after a prompt."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(prompt)]), use_cache=False).logits[0, -1]


def _chances(odds: Vector) -> Vector:
    chances: Vector = 1.0 / (1.0 + np.exp(-odds))
    return chances
