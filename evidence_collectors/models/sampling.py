"""Which token comes next? The same one for the same request, however the batch was cut.

The Gumbel-max rule: the next token is ``argmax_v (logit_v + T * g_v)`` with independent standard Gumbel ``g_v``, which
draws from softmax(logit / T) exactly; T = 0 is greedy decoding by the same formula. The noise is a pure function of
(request seed, position, token id), so a row carries no generator state and its neighbours cannot shift it.

What a batch *can* shift is the logits: float32 kernels sum in another order for another shape. Such a shift matters
only where two tokens are nearly tied, and the gap between the two best scores is below a small t with probability at
most about t / T, whatever the size of the vocabulary. `choose` therefore reports every decision that a shift of half of
``tolerance`` could change; the decoder takes those again on the row alone.

Source: Gumbel-max after Maddison, Tarlow, Minka 2014 (arXiv:1411.0030), section 2; SplitMix64 after Steele, Lea, Flood
2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

SAMPLER = "gumbel-max-splitmix64-1"  # enters the subject's generation digest; change it with any change to the choices
_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed word
_MIX_1 = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_MIX_2 = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB
_WORD = 1 << 64


@dataclass(frozen=True)
class Choice:
    """Next tokens of a batch: ``token`` (row,) and whether each is ``robust`` (row,) to the tolerance."""

    token: Any
    robust: Any


def choose(logits: Any, noise: Any, *, temperature: Any, top_p: Any, tolerance: float) -> Choice:
    """Return the next token of each row.

    Args:
        logits: (row, vocabulary), any float type.
        noise: standard Gumbel (row, vocabulary), float64.
        temperature: (row,), 0 or more; 0 is greedy.
        top_p: (row,), in (0, 1]; the smallest set of most probable tokens that holds this mass stays in the race.
        tolerance: in units of logits; decisions closer than this are not robust.
    """
    exact = logits.double()
    scores = exact + temperature[:, None] * noise
    if not bool(((temperature > 0) & (top_p < 1)).any()):
        best = scores.topk(2, dim=-1)
        return Choice(best.indices[:, 0], best.values[:, 0] - best.values[:, 1] >= tolerance)
    slack = tolerance / temperature.clamp(
        min=1e-3
    )  # a shift of the logits moves the nucleus' mass by at most this much
    inside = scores.masked_fill(exact < _cutoff(exact, temperature, top_p)[:, None], -torch.inf)
    perhaps = scores.masked_fill(exact < _cutoff(exact, temperature, top_p + slack)[:, None] - tolerance, -torch.inf)
    winner = inside.argmax(dim=-1)
    best = perhaps.topk(2, dim=-1)
    leads = (best.indices[:, 0] == winner) & (best.values[:, 0] - best.values[:, 1] >= tolerance)
    before = _mass_before(exact, winner, temperature, tolerance)
    stays = (top_p >= 1) | (temperature == 0) | (before == 0) | (before < top_p - slack)
    return Choice(winner, leads & stays)


def gumbel(seeds: Any, position: int, vocabulary: int) -> Any:
    """Return standard Gumbel noise (row, vocabulary) in float64, a pure function of seed, position and token id.

    ``seeds`` is (row,) int64, see `seed_word`; ``position`` counts generated tokens from 0.
    """
    row = _mix(_mix(seeds) + _signed((position + 1) * 0x9E3779B97F4A7C15))
    token = torch.arange(1, vocabulary + 1, dtype=torch.int64, device=seeds.device)
    word = _mix(row[:, None] + token[None, :] * _GOLDEN)
    uniform = _shift(word, 12).double().add_(0.5).mul_(2.0**-52)  # never 0, never 1: 53 significant bits
    return uniform.log_().neg_().log_().neg_()


def seed_word(seed: str) -> int:
    """Return a request's seed, 16 hexadecimal digits, as a signed 64-bit word."""
    return _signed(int(seed, 16))


def _mass_before(logits: Any, token: Any, temperature: Any, tolerance: float) -> Any:
    """Return the probability (row,) of all other tokens that could stand before ``token`` in the order of logits."""
    probability = (logits / torch.where(temperature > 0, temperature, 1.0)[:, None]).softmax(dim=-1)
    own = logits.gather(1, token[:, None])
    ahead = (logits > own - tolerance).scatter(1, token[:, None], False)
    return (probability * ahead).sum(dim=-1)


def _cutoff(logits: Any, temperature: Any, top_p: Any) -> Any:
    """Return the smallest logit (row,) in the nucleus; minus infinity where nothing is cut off."""
    cut = (temperature > 0) & (top_p < 1)
    ordered = logits.sort(dim=-1, descending=True).values
    probability = (ordered / torch.where(cut, temperature, 1.0)[:, None]).softmax(dim=-1)
    kept = (probability.cumsum(dim=-1) - probability < top_p[:, None]).sum(dim=-1).clamp(min=1)
    smallest = ordered.gather(1, kept[:, None] - 1)[:, 0]
    return torch.where(cut, smallest, -torch.inf)


def _mix(word: Any) -> Any:
    """SplitMix64's finaliser on int64 tensors; multiplication wraps."""
    word = _shift(word, 30).bitwise_xor_(word).mul_(_MIX_1)
    word = _shift(word, 27).bitwise_xor_(word).mul_(_MIX_2)
    return _shift(word, 31).bitwise_xor_(word)


def _shift(word: Any, bits: int) -> Any:
    """Logical right shift of int64 tensors."""
    return (word >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word
