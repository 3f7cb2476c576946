"""The one-block model is a Llama that transformers runs, and its truths are those of its own logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evidence_collectors.items import contrast
from evidence_collectors.models import transcoders
from evidence_collectors.organisms import circuit_block
from evidence_collectors.organisms import circuit_block_truth as truth

SETTING = truth.Setting(missing=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("block")
    return folder, circuit_block.make(folder, words=40, missing=8)


def test_transformers_gives_the_logits_the_truth_is_made_of(made):
    folder, block = made
    model = AutoModelForCausalLM.from_pretrained(folder / "model", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", local_files_only=True)
    for item in circuit_block.items(block)[:5]:
        ids = tokenizer.encode(item["messages"][0]["content"], add_special_tokens=False)
        assert len(ids) == 3
        with torch.no_grad():
            chances = model(torch.tensor([ids])).logits[0, -1].double().softmax(dim=-1).numpy()
        word = int(item["id"].removeprefix("word-"))
        one = truth.traced(block, word, SETTING)
        assert list(np.argsort(-chances)[: len(one.targets)]) == list(one.targets)
        np.testing.assert_allclose(chances[one.targets], one.chances, atol=1e-5)


def test_the_files_are_the_same_each_time(made, tmp_path):
    circuit_block.make(tmp_path, words=40, missing=8)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "model" / name).read_bytes() == (made[0] / "model" / name).read_bytes(), name


def test_the_rows_of_the_hand_worked_graph_add_up_to_the_logits(made):
    _, block = made
    for word in (2, 9, 30):
        one = truth.traced(block, word, SETTING)
        h = one.word + one.written.sum(axis=0) + one.error
        logits = block.unembedding @ (h / np.sqrt((h**2).mean() + circuit_block.EPSILON))
        rows = one.by_feature.sum(axis=1) + one.by_error + one.by_word
        np.testing.assert_allclose(rows, (logits - logits.mean())[one.targets], atol=1e-9)


def test_nothing_missing_is_no_error_and_more_missing_is_more(made):
    _, block = made
    shares = [
        np.mean(
            [
                truth.scores(truth.traced(block, word, truth.Setting(missing=lost)))["error_share"]
                for word in range(2, 30)
            ]
        )
        for lost in (0, 4, 12)
    ]
    assert shares[0] == pytest.approx(0.0, abs=1e-12)
    assert shares[0] < shares[1] < shares[2]


def test_items_are_a_contrast_set_and_transcoders_load(made):
    folder, block = made
    texts = contrast.parse(circuit_block.items(block))
    assert {text.split for text in texts} == {"train", "test"}
    assert {text.label for text in texts} == {"positive", "negative"}
    held = transcoders.load(folder / "transcoders")
    np.testing.assert_allclose(held.layers[0].decoder[:24], block.decoder[:24], atol=1e-7)
    assert not held.layers[0].decoder[24:].any()
