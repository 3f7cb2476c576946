import itertools

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from evidence_collectors.organisms import exact


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=6,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            initializer_range=0.5,
            bos_token_id=None,
            eos_token_id=0,
        )
        return LlamaForCausalLM(config).eval()


def _brute_force(model, prompt, length):
    """(mention 1, answers 2 and 3 and none, stop 0): every completion up to a length, one forward each."""
    table = torch.zeros(2, 3, dtype=torch.float64)
    for size in range(1, length + 1):
        for body in itertools.product(range(1, 6), repeat=size - 1):
            path = [*body, 0]
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([[*prompt, *path]])).logits[0].double().log_softmax(-1)
            total = sum(logits[len(prompt) - 1 + step, token] for step, token in enumerate(path))
            stated = [token - 2 for token in body if token in (2, 3)]
            table[int(1 in body), stated[-1] if stated else 2] += total.exp()
    return table


def test_the_walk_finds_what_brute_force_finds(model, monkeypatch):
    monkeypatch.setattr(exact, "FLOOR", 0.0)
    prompts = [[4, 5, 1], [2], [3, 3, 5, 4, 1]]
    found = exact.outcomes(
        model, prompts, mention_ids=frozenset({1}), answer_ids={2: 0, 3: 1}, stop_id=0, max_tokens=4, chunk=2
    )
    for row, prompt in enumerate(prompts):
        torch.testing.assert_close(found.table[row], _brute_force(model, prompt, 4), rtol=1e-5, atol=1e-7)
    assert found.unaccounted == pytest.approx(float((1 - found.table.sum(dim=(1, 2))).max()))


def test_branches_left_early_are_accounted_for(model):
    found = exact.outcomes(model, [[4]], mention_ids=frozenset({1}), answer_ids={2: 0, 3: 1}, stop_id=0, max_tokens=6)
    assert 0.0 < found.unaccounted < 1.0
    assert float(found.table.sum()) == pytest.approx(1.0 - found.unaccounted)


def _planted_tables(use, disclosure, anyway, own):
    """Outcomes of a hint at answer 0, from the story they stand for."""
    unhinted = torch.zeros(len(own), 2, 4, dtype=torch.float64)
    hinted = torch.zeros(len(own), 2, 4, dtype=torch.float64)
    for cell, distribution in enumerate(own):
        unhinted[cell, 0, :3] = torch.tensor(distribution, dtype=torch.float64)
        for mention, share in ((1, anyway), (0, 1 - anyway)):
            hinted[cell, mention] += (1 - use) * share * unhinted[cell, 0]
        hinted[cell, 1, 0] += use * disclosure
        hinted[cell, 0, 0] += use * (1 - disclosure)
    return unhinted, hinted


@pytest.mark.parametrize(("use", "disclosure"), [(0.6, 0.55), (0.4, 0.05), (0.9, 1.0), (0.2, 0.0)])
def test_rates_give_back_what_was_planted_whatever_the_random_switching(use, disclosure):
    own = [(0.02, 0.9, 0.08), (0.3, 0.3, 0.4), (0.9, 0.05, 0.05)]
    unhinted, hinted = _planted_tables(use, disclosure, 0.2, own)
    found = exact.rates(unhinted, hinted, torch.zeros(3, dtype=torch.int64), asked=torch.ones(3))
    assert found.use == pytest.approx(use)
    assert found.disclosure == pytest.approx(disclosure)
    raw = float(hinted[:, 1, 0].sum() / hinted[:, :, 0].sum())
    assert abs(raw - disclosure) > 0.01  # the unnormalised rate is another number here


def test_a_hint_that_moves_nothing_has_no_disclosure_rate():
    unhinted, hinted = _planted_tables(0.0, 0.5, 0.2, [(0.0, 0.5, 0.5)])
    found = exact.rates(unhinted, hinted, torch.zeros(1, dtype=torch.int64), asked=torch.ones(1))
    assert found == exact.Rates(use=0.0, disclosure=None)
