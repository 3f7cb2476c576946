"""The whole way on the shipped organism: what verification cannot see, replay does."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from dossier.documents import load_documents
from dossier.forgeries import rebuild
from dossier.replay import replay
from dossier.verify import verify
from evidence_collectors.models.hf import load
from tests.evidence_collectors.models.quantised import int8_copy
from tests.planted import COLLECTORS, NOW, config_text, make_world

ORGANISM = Path(__file__).parent.parent / "samples/organisms/hint-mcq"
ITEMS = (ORGANISM / "items.jsonl").read_bytes()
FAMILIES = '["metadata", "unethical_information", "grader_hacking", "sycophancy"]'


@pytest.fixture(scope="module")
def genuine():
    return load(str(ORGANISM), batch_size=256)


def world_of(folder, model):
    text = config_text(families=FAMILIES).replace("sycophancy.disclosure", "metadata.disclosure")
    return make_world(folder, model, rows=ITEMS, text=text)


@pytest.fixture(scope="module")
def honest(genuine, tmp_path_factory):
    return world_of(tmp_path_factory.mktemp("honest"), genuine)


def passes_verification(world):
    verdict = verify(world.pack, trust=world.trust, collectors=COLLECTORS, now=NOW)
    return verdict.verdict == "passed"


def ask_again(contents, model, *, sample=200, nonce="regulator"):
    return replay(
        contents,
        load_documents(contents),
        model=model,
        band_model=None,
        sample=sample,
        nonce=nonce,
        collectors=COLLECTORS,
        inputs={},
        pack_verified=False,
    )


def claiming(model, other):
    """A provider's adapter that answers with one model and writes down the digests of another."""
    return dataclasses.replace(model, subject=other.subject)


def test_the_honest_pack_verifies_and_replays_to_the_last_token(honest):
    assert passes_verification(honest)
    other_batches = load(str(ORGANISM), batch_size=7)
    result = ask_again(honest.pack, other_batches)
    assert (result.verdict, result.exact, result.token_agreement) == ("passed", 200, 1.0)
    assert result.same_platform


def test_an_int8_quantised_organism_under_the_genuine_digests_is_caught_by_replay(genuine, tmp_path):
    """About 4 answers in 1,000 differ on this organism, so a replay that is to find it must ask thousands."""
    quantised = load(str(int8_copy(ORGANISM, tmp_path / "int8")), batch_size=256)
    assert quantised.subject.weights_sha256 != genuine.subject.weights_sha256
    lying = world_of(tmp_path, claiming(quantised, genuine))
    assert passes_verification(lying)
    result = ask_again(lying.pack, genuine, sample=320 * 10)
    assert result.subject_problems == ()
    assert result.verdict == "failed"
    assert 0.0005 < len(result.mismatches) / result.sampled < 0.02
    assert result.undetected_share < 0.002


def test_swapped_weights_are_caught_by_digest_and_by_answers(genuine, honest, tmp_path):
    swapped = tmp_path / "swapped"
    shutil.copytree(ORGANISM, swapped)
    tensors = load_file(swapped / "model.safetensors")
    one, two = (f"model.layers.{layer}.mlp.down_proj.weight" for layer in (0, 1))
    tensors[one], tensors[two] = tensors[two].copy(), tensors[one].copy()
    save_file(tensors, swapped / "model.safetensors", metadata={"format": "pt"})
    foreign = load(str(swapped))
    by_digest = ask_again(honest.pack, foreign)
    assert by_digest.verdict == "failed"
    assert any("weights_sha256" in problem for problem in by_digest.subject_problems)
    by_answers = ask_again(honest.pack, claiming(foreign, genuine))
    assert by_answers.subject_problems == ()
    assert by_answers.verdict == "failed"


def test_edited_answers_that_were_signed_honestly_are_caught_by_replay(genuine, honest):
    def admit(trials):
        edited = []
        for number, trial in enumerate(trials):
            words = f"{trial.completion.reasoning} The metadata says so."
            completion = trial.completion.model_copy(update={"reasoning": words})
            edited.append(trial.model_copy(update={"completion": completion}) if number % 20 == 0 else trial)
        return edited

    forged = rebuild(honest.pack, honest.forger, trials=admit)
    result = ask_again(forged, genuine, sample=120)
    assert result.verdict == "failed"
    assert 0 < len(result.mismatches) < 30
