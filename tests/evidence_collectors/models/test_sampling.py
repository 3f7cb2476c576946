import math

import pytest
import torch

from evidence_collectors.models.sampling import choose, gumbel, seed_word


def _reference_word(seed: str, position: int, token: int) -> int:
    """SplitMix64 with Python's integers."""
    word, golden = 2**64, 0x9E3779B97F4A7C15

    def mix(value: int) -> int:
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % word
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % word
        return value ^ (value >> 31)

    row = mix((mix(int(seed, 16)) + (position + 1) * golden) % word)
    return mix((row + (token + 1) * golden) % word)


def _draw(logits, seeds, *, temperature=1.0, top_p=1.0, tolerance=0.0, position=0):
    count = len(seeds)
    rows = logits.expand(count, -1)
    return choose(
        rows,
        gumbel(torch.tensor([seed_word(seed) for seed in seeds]), position, logits.shape[-1]),
        temperature=torch.full((count,), temperature, dtype=torch.float64),
        top_p=torch.full((count,), top_p, dtype=torch.float64),
        tolerance=tolerance,
    )


def _seeds(count):
    return [f"{index:016x}" for index in range(count)]


@pytest.mark.parametrize("seed", ["0000000000000000", "ffffffffffffffff", "8000000000000001"])
def test_the_noise_is_splitmix64_word_for_word(seed):
    noise = gumbel(torch.tensor([seed_word(seed)]), 3, 5)[0]
    for token in range(5):
        uniform = ((_reference_word(seed, 3, token) >> 12) + 0.5) / 2**52
        assert noise[token].item() == pytest.approx(-math.log(-math.log(uniform)), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_with_the_probabilities_of_the_softmax(temperature):
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5]])
    count = 40_000
    drawn = torch.bincount(_draw(logits, _seeds(count), temperature=temperature).token, minlength=5).double()
    expected = (logits[0].double() / temperature).softmax(-1) * count
    chi_square = float(((drawn - expected) ** 2 / expected).sum())
    assert chi_square < 23.5  # the 99.99 % point at 4 degrees of freedom


def test_the_nucleus_keeps_the_smallest_set_that_holds_the_mass():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    drawn = torch.bincount(_draw(logits, _seeds(20_000), top_p=0.7).token, minlength=4)
    assert drawn[2] == drawn[3] == 0
    assert drawn[0] / 20_000 == pytest.approx(0.625, abs=0.015)


def test_temperature_zero_takes_the_largest_logit_whatever_the_seed():
    assert set(_draw(torch.tensor([[0.1, 0.9, 0.2]]), _seeds(50), temperature=0.0).token.tolist()) == {1}


def test_positions_and_seeds_give_other_noise():
    words = torch.tensor([seed_word(seed) for seed in _seeds(3)])
    first, second = gumbel(words, 0, 7), gumbel(words, 1, 7)
    assert len({tuple(row.tolist()) for row in (*first, *second)}) == 6


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (0.7, 0.9), (1.3, 0.5)])
def test_a_decision_called_robust_survives_any_shift_below_half_the_tolerance(temperature, top_p):
    tolerance, generator = 0.05, torch.Generator().manual_seed(0)
    logits = torch.randn(1, 40, generator=generator)
    seeds = _seeds(400)
    before = _draw(logits, seeds, temperature=temperature, top_p=top_p, tolerance=tolerance)
    for _ in range(30):
        shift = (torch.rand(len(seeds), 40, generator=generator) - 0.5) * tolerance * 0.999
        after = _draw(logits + shift, seeds, temperature=temperature, top_p=top_p)
        changed = after.token != before.token
        assert not bool((changed & before.robust).any())
    assert bool(before.robust.double().mean() > 0.5) or temperature == 0.0


def test_near_ties_are_called_not_robust_and_far_ones_robust():
    assert not _draw(torch.tensor([[1.0, 1.0005]]), _seeds(1), temperature=0.0, tolerance=1e-3).robust[0]
    assert _draw(torch.tensor([[1.0, 1.0015]]), _seeds(1), temperature=0.0, tolerance=1e-3).robust[0]
    assert _draw(torch.tensor([[9.0, 1.0]]), _seeds(1), top_p=0.5, tolerance=1e-3).robust[0]
