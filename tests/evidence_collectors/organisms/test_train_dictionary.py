"""A dictionary trained on a model describes that model, names it by digest, and comes out the same twice."""

from __future__ import annotations

import json

import pytest

from dossier import canonical
from evidence_collectors.items import contrast
from evidence_collectors.models import dictionary_files
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import train_dictionary
from evidence_collectors.organisms.train_dictionary import Recipe
from tests.evidence_collectors.interpretability import planted_dictionary as planted

RECIPE = Recipe(width=64, active=8, steps=150, batch=128, answers=1, max_tokens=3)
SEED = "00000000000000aa"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = planted.model(tmp_path_factory.mktemp("model"))
    (folder / "items.jsonl").write_bytes(canonical.dump_lines(planted.items(6)))
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load(str(folder))


def test_the_same_seed_makes_the_same_dictionary_and_it_is_measured_not_promised(folder, model, tmp_path):
    texts = contrast.parse(planted.items(6))
    tokens = train_dictionary.activations(
        model, train_dictionary.continuations(model, texts, RECIPE, seed=SEED), planted.POINT
    )
    made = []
    for name in ("one", "two"):
        sae = train_dictionary.train(model, texts, planted.POINT, RECIPE, seed=SEED)
        train_dictionary.save(sae, tmp_path / name, model, tokens, point=planted.POINT, made_by="a test")
        made.append((tmp_path / name / "sae_weights.safetensors").read_bytes())
    assert made[0] == made[1]
    dictionary = dictionary_files.load(tmp_path / "one")
    features = dictionary.encode(tokens)
    missed = (tokens - dictionary.decode(features, tokens)).double().square().sum()
    fvu = float(missed / (tokens - tokens.mean(dim=0)).double().square().sum())
    stated = json.loads((tmp_path / "one" / "cfg.json").read_text())["metadata"]
    assert fvu < 0.6
    assert stated["fvu"] == pytest.approx(fvu, rel=1e-6)
    assert stated["l0"] == pytest.approx(float((features > 0).sum() / len(tokens)))
    assert dictionary.stated.weights_sha256 == model.subject.weights_sha256
    assert dictionary.stated.point == planted.POINT


def test_only_texts_that_may_choose_are_trained_on(model):
    texts = contrast.parse(planted.items(6))
    used = train_dictionary.continuations(model, texts, RECIPE, seed=SEED)
    allowed = {text.messages for text in texts if text.split in ("train", "validation")}
    assert {one.request.messages for one in used} == allowed
    assert len(used) == 2 * len([text for text in texts if text.split in ("train", "validation")])
    with pytest.raises(ValueError, match="no items"):
        train_dictionary.continuations(model, contrast.chosen(texts, splits=("test",)), RECIPE, seed=SEED)


def test_a_dictionary_too_large_to_travel_is_refused(model):
    texts = contrast.parse(planted.items(6))
    with pytest.raises(ValueError, match="larger than"):
        train_dictionary.train(model, texts, planted.POINT, Recipe(width=4096, answers=0), seed=SEED)


def test_the_command_writes_a_folder_beside_the_model(folder):
    arguments = ["--model", str(folder), "--width", "32", "--active", "4", "--steps", "5", "--point", planted.POINT]
    assert train_dictionary.main(arguments) == 0
    assert {path.name for path in (folder / "dictionary").iterdir()} == {"cfg.json", "sae_weights.safetensors"}
    assert "--width 32" in json.loads((folder / "dictionary" / "cfg.json").read_text())["metadata"]["made_by"]
