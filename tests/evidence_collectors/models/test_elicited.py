"""Copies with noise on their weights or after training: what every adapter with the capabilities perturb and tune must keep."""

import copy

import numpy as np
import pytest
import torch

from dossier.errors import CollectionError
from dossier.language_model import Continuation
from dossier.model import Message, Request
from evidence_collectors.models import elicited, hf
from tests.evidence_collectors import conformance
from tests.evidence_collectors.models import folders

SEED, OTHER = "00000000000000aa", "00000000000000ab"
FAMILIES = ("llama", "qwen2", "gpt_neox", "gemma2")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return folders.save(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def model(path):
    return hf.load(str(path), batch_size=8)


def _request(text):
    return Request(messages=(Message(role="user", content=text),), max_tokens=16, temperature=1.0, seed=SEED)


SHOWN = Continuation(_request("alpha"), " beta gamma")


def _tuned(model, *, steps=6, rate=3e-3, seed=SEED):
    return model.tuned([SHOWN], steps=steps, learning_rate=rate, seed=seed)


def _nats(model):
    return -sum(next(iter(model.logprobs([SHOWN]))))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_copy_is_named_by_what_was_done_and_leaves_its_model_alone(family, tmp_path):
    model = hf.load(str(folders.save(tmp_path / family, family)), batch_size=8)
    assert {"perturb", "tune"} <= model.capabilities
    before = copy.deepcopy(model.loaded.model.state_dict())
    made = {
        what: (one, again)
        for what, one, again in (
            ("noise", *(model.perturbed(seed=SEED, strength=0.1) for _ in range(2))),
            ("trained", *(_tuned(model, steps=2) for _ in range(2))),
        )
    }
    for what, (one, again) in made.items():
        assert one.subject == again.subject
        assert what in one.subject.name
        assert one.subject.weights_sha256 != model.subject.weights_sha256
        assert one.subject.tokenizer_sha256 == model.subject.tokenizer_sha256
        assert not any(weight.requires_grad for weight in one.loaded.model.parameters())
    after = model.loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert _nats(made["trained"][0]) < _nats(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_is_as_strong_as_declared_on_every_matrix_and_on_nothing_else(family, tmp_path):
    model = hf.load(str(folders.save(tmp_path / family, family, width=64))).loaded.model
    noisy = elicited.with_noise(model, seed=SEED, strength=0.3)
    for name, weight in model.named_parameters():
        added = noisy.get_parameter(name) - weight
        if weight.dim() < 2:
            assert torch.equal(added, torch.zeros_like(added)), name
        else:
            assert float(added.std() / weight.std()) == pytest.approx(0.3, rel=0.06), name
            assert abs(float(added.mean() / weight.std())) < 0.03, name


def test_tied_matrices_stay_tied(path):
    model = hf.load(str(path)).loaded.model
    model.config.tie_word_embeddings = True
    model.tie_weights()
    noisy = elicited.with_noise(model, seed=SEED, strength=0.3)
    assert noisy.lm_head.weight is noisy.model.embed_tokens.weight
    added = noisy.lm_head.weight - model.lm_head.weight
    assert float(added.std() / model.lm_head.weight.std()) == pytest.approx(0.3, rel=0.05)


def test_a_copy_answers_alike_at_every_batch_size(path):
    asked = conformance.requests(4, words=folders.WORDS)
    for change in (lambda model: model.perturbed(seed=SEED, strength=0.2), lambda model: _tuned(model, steps=2)):
        conformance.check_batch_size_and_order_change_nothing(
            lambda size, change=change: change(hf.load(str(path), batch_size=size)), asked
        )


def test_no_noise_is_the_same_model_and_seeds_and_strengths_differ(model):
    assert model.perturbed(seed=SEED, strength=0.0).subject.weights_sha256 == model.subject.weights_sha256
    digests = [
        model.perturbed(seed=seed, strength=strength).subject.weights_sha256
        for seed, strength in ((SEED, 0.1), (OTHER, 0.1), (SEED, 0.2))
    ]
    assert len(set(digests)) == 3


def test_noise_is_drawn_by_our_own_code_whatever_the_chunks(monkeypatch):
    whole = np.concatenate([part for _, part in elicited._gaussian("x", 1000)])
    monkeypatch.setattr(elicited, "_CHUNK", 7)
    parts = list(elicited._gaussian("x", 1000))
    assert [start for start, _ in parts] == list(range(0, 1000, 7))
    assert np.array_equal(np.concatenate([part for _, part in parts]), whole)
    assert abs(whole.mean()) < 0.1
    assert whole.std() == pytest.approx(1.0, abs=0.07)
    assert whole[:3].tolist() == pytest.approx([0.6289207473059577, -0.7187071619504894, -1.2600525988483389], rel=1e-9)


def test_training_learns_the_demonstration_and_its_end_step_by_step(model):
    nats = [_nats(_tuned(model, steps=steps)) for steps in (1, 4, 12)]
    assert _nats(model) > nats[0] > nats[1] > nats[2]
    greedy = SHOWN.request.model_copy(update={"temperature": 0.0})
    (said,) = _tuned(model, steps=30, rate=1e-2).generate([greedy])
    assert said.answer == SHOWN.text
    assert said.finish_reason == "stop"


def test_where_training_begins_is_drawn_from_the_seed_and_from_nothing_else(model):
    torch.manual_seed(1)
    one = _tuned(model, steps=2).subject
    torch.manual_seed(2)
    assert _tuned(model, steps=2).subject == one
    assert _tuned(model, steps=2, seed=OTHER).subject.weights_sha256 != one.weights_sha256


def test_global_randomness_is_left_as_it_was(model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model.perturbed(seed=SEED, strength=0.1)
    _tuned(model, steps=1)
    assert torch.equal(torch.rand(3), expected)


def test_demonstrations_of_several_lengths_are_learned_together(model):
    shown = [SHOWN, Continuation(_request("a longer phrase, and more of it"), "x")]
    taught = model.tuned(shown, steps=20, learning_rate=3e-3, seed=SEED)
    for one in shown:
        before, after = (-sum(next(iter(each.logprobs([one])))) for each in (model, taught))
        assert after < before


def test_a_half_precision_model_can_be_changed(path):
    model = hf.load(str(path), dtype="bfloat16")
    assert model.perturbed(seed=SEED, strength=0.1).subject.weights_sha256 != model.subject.weights_sha256
    taught = _tuned(model, steps=8)
    learned = {weight.dtype for name, weight in taught.loaded.model.named_parameters() if "lora" in name}
    assert learned == {torch.float32}
    assert _nats(taught) < _nats(model)


def test_training_that_diverges_is_an_error(model):
    with pytest.raises(CollectionError, match="diverged"):
        _tuned(model, steps=20, rate=1e30)


def test_a_copy_that_does_not_fit_is_an_error(model, monkeypatch):
    def full(_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(elicited.copy, "deepcopy", full)
    for change in (lambda: model.perturbed(seed=SEED, strength=0.1), lambda: _tuned(model)):
        with pytest.raises(CollectionError, match="does not fit"):
            change()
