"""On a GPU the adapter answers and reads as on a CPU. Skipped where there is none; ``pytest -m gpu`` runs these alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dossier.language_model import Continuation
from evidence_collectors.interpretability.directions import ablated, added, next_token, next_token_logs
from evidence_collectors.interpretability.reading import residuals
from evidence_collectors.interpretability.sparse_statistics import Reading, stream
from evidence_collectors.items import contrast
from evidence_collectors.models.activations import Batching
from evidence_collectors.models.hf import load
from tests.evidence_collectors import conformance
from tests.evidence_collectors.interpretability.planted_models import items, plant
from tests.evidence_collectors.interpretability.test_sparse_statistics import ONE, TWO
from tests.evidence_collectors.interpretability.test_sparse_statistics import TEXTS as READ
from tests.evidence_collectors.models.folders import save

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FAMILIES = ("llama", "qwen2", "gemma2", "gpt_neox")
WORDS = ("one", "two", "three", "four", "five")
ASKED = conformance.requests(40, words=WORDS)
TEXTS = [one.continuation() for one in contrast.parse(items(train=8, validation=0, test=0, transfer=0, neutral=0))]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return save(tmp_path_factory.mktemp(request.param), request.param)


def test_one_answer_at_every_batch_size_and_order(folder):
    conformance.check_all(lambda rows: load(str(folder), device="cuda", batch_size=rows), ASKED)


def test_the_weights_have_the_digest_they_have_on_a_cpu(folder):
    found = [load(str(folder), device=device).subject.weights_sha256 for device in ("cpu", "cuda")]
    assert found[0] == found[1]


def test_activations_are_those_of_the_engine_and_of_a_cpu(folder):
    there, here = load(str(folder), device="cuda"), load(str(folder))
    assert there.parity() < 1e-5
    points = list(there.layout.residual)
    found = [residuals(one, TEXTS, points, position="last_prompt") for one in (there, here)]
    for point in points:
        assert found[0][point] == pytest.approx(found[1][point], abs=1e-3)


def test_gradients_are_those_of_a_cpu(folder):
    read = []
    for device in ("cuda", "cpu"):
        model = load(str(folder), device=device)
        points = list(model.layout.residual)
        (batch,) = model.capture(READ[:1], points, objective=lambda logits: logits[:, 0] - logits[:, 1])
        read.append([batch.gradients[point].cpu() for point in points])
    for there, here in zip(*read, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dictionary", [ONE, TWO], ids=["jumprelu", "topk"])
def test_a_dictionary_kept_on_the_cpu_reads_a_model_on_a_gpu(folder, dictionary):
    read = []
    for device in ("cuda", "cpu"):
        model = load(str(folder), device=device, batch_size=2)
        wanted = Reading(
            dictionary, model.layout.residual[0], "prompt_max", watch=(3, 30, 11) if dictionary is ONE else ()
        )
        read.append(stream(model, READ, {"it": wanted})["it"])
    there, here = read
    assert np.abs(there.counts - here.counts).sum() <= 1
    assert there.sums == pytest.approx(here.sums, rel=1e-3, abs=1e-3)
    assert there.watched == pytest.approx(here.watched, rel=1e-3, abs=1e-3)
    assert there.text_error == pytest.approx(here.text_error, rel=1e-3)
    assert here.counts.sum() > 0


def test_answers_under_an_edit_are_those_of_a_cpu(folder):
    """In float32 the two differ by rounding alone, which decides a near tie now and then."""
    found = []
    for device in ("cuda", "cpu"):
        model = load(str(folder), device=device, batch_size=16)
        edits = added(model.layout.residual[0], np.linspace(-2.0, 2.0, model.layout.d_model))
        found.append({one.request_sha256: one.token_ids for one in model.generate_edited(ASKED, edits)})
    assert sum(found[0][digest] != found[1][digest] for digest in found[1]) <= 1


def test_copies_with_other_weights_are_those_of_a_cpu(tmp_path):
    made = save(tmp_path, "llama")
    lessons = [Continuation(ASKED[0], "one"), Continuation(ASKED[1], "two three")]
    there, here = (load(str(made), device=device) for device in ("cuda", "cpu"))
    assert there.random_twin("5").subject == here.random_twin("5").subject
    for one, other in (
        (there.perturbed(seed="5", strength=0.1), here.perturbed(seed="5", strength=0.1)),
        (
            there.tuned(lessons, steps=3, learning_rate=1e-3, seed="5"),
            here.tuned(lessons, steps=3, learning_rate=1e-3, seed="5"),
        ),
    ):
        weights = dict(other.loaded.model.named_parameters())
        for name, weight in one.loaded.model.named_parameters():
            torch.testing.assert_close(weight.cpu(), weights[name], rtol=1e-3, atol=1e-4)


def test_ablating_does_on_a_gpu_what_it_does_on_a_cpu(tmp_path):
    planted = plant(tmp_path, "llama")
    read = []
    for device in ("cuda", "cpu"):
        model = load(str(planted.folder), device=device)
        edits = ablated(model, planted.direction * 5.0)
        reference = next_token_logs(model, TEXTS)
        read.append(next_token(model, TEXTS, model.token_ids("R"), edits=edits, reference=reference).log_odds)
    assert read[0] == pytest.approx(read[1], abs=1e-2)
    assert np.ptp(read[1]) > 0.0


def test_bfloat16_answers_alike_whatever_the_company_or_says_that_it_cannot(folder):
    """In bfloat16 near ties may be decided otherwise; the share of answers that change with the batch is what is stated."""
    alone, batched = (
        conformance.answers(load(str(folder), device="cuda", dtype="bfloat16", batch_size=rows), ASKED)
        for rows in (1, 32)
    )
    changed = sum(alone[digest].token_ids != batched[digest].token_ids for digest in alone)
    assert changed <= len(alone) // 4, f"{changed} of {len(alone)} answers changed with the batch size"
    assert load(str(folder), device="cuda", dtype="bfloat16").environment.same_completion.startswith("Not claimed")


def test_the_environment_names_the_card_and_float32_is_not_rounded(folder):
    found = load(str(folder), device="cuda").environment
    assert torch.cuda.get_device_name() in found.device
    assert found.versions["float32_matmul"] == "highest"


def test_a_batch_that_does_not_fit_is_halved(folder, monkeypatch):
    model = load(str(folder), device="cuda", batch_size=64)
    whole = model.loaded.model.forward

    def small(*arguments, **options):
        ids = options.get("input_ids", arguments[0] if arguments else None)
        if ids is not None and ids.shape[0] > 16:
            raise torch.OutOfMemoryError("planted")
        return whole(*arguments, **options)

    monkeypatch.setattr(model.loaded.model, "forward", small)
    assert len(conformance.answers(model, ASKED)) == len(ASKED)
    model = replace(model, batching=Batching(64))
    found = list(model.capture([Continuation(one, "") for one in ASKED], [], logits=True))
    assert sorted(index for batch in found for index in batch.index) == list(range(len(ASKED)))
    assert model.environment.batch_size == 16
