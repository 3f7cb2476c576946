"""Transcoders are trained on some splits, measured on others, and come out the same every time."""

from __future__ import annotations

import json

import pytest

from dossier.errors import ConfigError
from evidence_collectors.models import transcoders
from evidence_collectors.organisms import train_transcoders
from evidence_collectors.organisms.train_transcoders import Recipe
from tests.evidence_collectors.models.folders import WORDS, save

RECIPE = Recipe(width=64, k=16, steps=150, copies=2)


def items(path, splits=("train", "train", "validation")):
    rows = [
        {
            "id": f"text-{index}",
            "messages": [{"role": "user", "content": f"{WORDS[index % 9]} {WORDS[(3 * index + 1) % 9]}"}],
            "label": "neutral",
            "family": "any",
            "split": splits[index % len(splits)],
            "licence": "Apache-2.0",
            "response": "",
            "pair": None,
            "set": None,
        }
        for index in range(18)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_training_explains_more_of_the_mlps_on_texts_it_did_not_see_and_is_deterministic(tmp_path, family):
    folder = save(tmp_path / "model", family)
    given = items(tmp_path / "items.jsonl")
    made = [
        train_transcoders.make(folder, given, tmp_path / name, RECIPE, report=lambda _: None) for name in ("a", "b")
    ]
    assert made[0] == made[1]
    assert transcoders.load(tmp_path / "a").settings == made[0]
    assert made[0].l0 == (16.0, 16.0)
    untrained = train_transcoders.make(
        folder, given, tmp_path / "c", Recipe(width=64, k=16, steps=1, copies=0), report=lambda _: None
    )
    assert all(own < 0.8 * before for own, before in zip(made[0].fvu, untrained.fvu, strict=True))


def test_an_architecture_without_known_points_and_items_without_splits_are_refused(tmp_path):
    given = items(tmp_path / "items.jsonl")
    with pytest.raises(ConfigError, match="no points are known"):
        train_transcoders.make(save(tmp_path / "neox", "gpt_neox"), given, tmp_path / "t", RECIPE, report=print)
    alone = items(tmp_path / "alone.jsonl", splits=("train",))
    with pytest.raises(ConfigError, match="splits"):
        train_transcoders.make(save(tmp_path / "llama"), alone, tmp_path / "t", RECIPE, report=print)
