"""Sums over active entries are the sums over everything, whatever the chunks, the batches and the company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dossier.errors import CollectionError
from evidence_collectors.interpretability.sparse_statistics import Reading, stream
from evidence_collectors.models.dictionaries import Dictionary
from evidence_collectors.models.hf import load
from tests.evidence_collectors.models.folders import save
from tests.evidence_collectors.models.test_activations import asked

POINTS = ("model.layers.0", "model.layers.1")
TEXTS = [
    asked("alpha beta", response=" gamma"),
    asked("delta", response="xy"),
    asked("numbers 1 2 3, a longer phrase", response=" and its answer"),
    asked("end.", response="z"),
    asked("alpha", response=" beta gamma"),
]
WATCH = (3, 30, 11)
D, F = 32, 48


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(str(save(tmp_path_factory.mktemp("llama"), "llama", layers=2)), batch_size=2)


def made(seed, k=None):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return Dictionary(
        name=f"random {seed}",
        architecture="topk" if k else "jumprelu",
        w_enc=draw(D, F),
        b_enc=draw(F),
        w_dec=draw(F, D) / 8,
        b_dec=draw(D),
        threshold=None if k else draw(F).abs() * 6,
        k=k,
    )


ONE, TWO = made(1), made(2, k=4)


def dense(model, dictionary, point):
    """Everything at once, by other means: features of every token of every text, as one float64 array a text."""
    found = {}
    for batch in model.capture(TEXTS, [point]):
        for row, index in enumerate(batch.index):
            mask, answer = batch.mask[row], batch.response[row][batch.mask[row]]
            x = batch.at[point][row][mask]
            features = dictionary.encode(x)
            found[index] = (
                x.double().numpy(),
                features.double().numpy(),
                answer.numpy(),
                dictionary.decode(features, x),
            )
    return [found[index] for index in range(len(TEXTS))]


@pytest.mark.parametrize("chunk", [1, 7, 4096])
@pytest.mark.parametrize(("dictionary", "point"), [(ONE, POINTS[0]), (TWO, POINTS[1])])
def test_streamed_sums_are_the_dense_ones(model, dictionary, point, chunk):
    reading = Reading(dictionary, point, "last_prompt", watch=WATCH)
    found = stream(model, TEXTS, {"it": reading}, chunk=chunk)["it"]
    texts = dense(model, dictionary, point)
    features = np.vstack([one[1][1:] for one in texts])
    x = np.vstack([one[0][1:] for one in texts])
    assert found.tokens == len(features)
    np.testing.assert_array_equal(found.counts, (features > 0).sum(axis=0))
    np.testing.assert_allclose(found.sums, features.sum(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.squares, (features**2).sum(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.largest, features.max(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.text_active, [(one[1][1:] > 0).sum() for one in texts])
    error = [((one[0] - one[3].double().numpy())[1:] ** 2).sum() for one in texts]
    np.testing.assert_allclose(found.text_error, error, rtol=1e-5)
    spread = [((one[0][1:] - x.mean(axis=0)) ** 2).sum() for one in texts]
    np.testing.assert_allclose(found.text_spread, spread, rtol=1e-9)
    assert found.norm == pytest.approx(np.linalg.norm(x, axis=1).mean(), rel=1e-6)
    np.testing.assert_allclose(found.watched_max, [one[1][1:, list(WATCH)].max(axis=0) for one in texts], atol=1e-5)
    np.testing.assert_allclose(found.watched_mean, [one[1][1:, list(WATCH)].mean(axis=0) for one in texts], atol=1e-5)


@pytest.mark.parametrize(
    ("position", "pool"),
    [
        ("last_prompt", lambda f, answer: f[~answer][-1]),
        ("last_prompt-2", lambda f, answer: f[~answer][-3]),
        ("prompt_max", lambda f, answer: f[~answer].max(axis=0)),
        ("prompt_mean", lambda f, answer: f[~answer].mean(axis=0)),
        ("response_max", lambda f, answer: f[answer].max(axis=0)),
        ("response_mean", lambda f, answer: f[answer].mean(axis=0)),
    ],
)
@pytest.mark.parametrize("chunk", [5, 4096])
def test_features_at_a_position_are_the_dense_ones(model, position, pool, chunk):
    found = stream(model, TEXTS, {"it": Reading(ONE, POINTS[0], position, watch=WATCH)}, chunk=chunk)["it"]
    table = np.zeros((len(TEXTS), F))
    table[found.at_position.text, found.at_position.feature] = found.at_position.value
    expected = np.array([pool(one[1], one[2]) for one in dense(model, ONE, POINTS[0])])
    np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.watched, expected[:, list(WATCH)], rtol=1e-5, atol=1e-5)


def test_many_dictionaries_on_one_pass_read_what_each_reads_alone(model):
    readings = {
        "one": Reading(ONE, POINTS[0], "last_prompt", watch=WATCH),
        "two": Reading(TWO, POINTS[1], "prompt_max"),
        "again": Reading(ONE, POINTS[1], "last_prompt"),
    }
    passes = []
    capture = type(model).capture

    class Counting:
        def __getattr__(self, name):
            return getattr(model, name)

        def capture(self, texts, points):
            passes.append(points)
            return capture(model, texts, points)

    together = stream(Counting(), TEXTS, readings)
    assert passes == [POINTS]
    for name, reading in readings.items():
        alone = stream(model, TEXTS, {name: reading})[name]
        for field in ("counts", "sums", "text_error", "watched", "activations"):
            np.testing.assert_array_equal(getattr(together[name], field), getattr(alone, field))


def test_a_watch_list_is_read_without_the_other_features(model):
    whole, watched = (
        stream(model, TEXTS, {"it": Reading(ONE, POINTS[0], "prompt_mean", watch=WATCH, whole=whole)})["it"]
        for whole in (True, False)
    )
    np.testing.assert_allclose(watched.watched, whole.watched, atol=1e-6)
    assert watched.counts.size == 0
    assert watched.at_position.value.size == 0


def test_the_strongest_texts_come_first_and_silent_ones_not_at_all(model):
    found = stream(model, TEXTS, {"it": Reading(ONE, POINTS[0], "last_prompt", watch=WATCH)})["it"]
    top = found.top_texts(0, 3)
    strengths = [found.watched_max[text, 0] for text in top]
    assert strengths == sorted(strengths, reverse=True)
    assert all(strength > 0 for strength in strengths)


@pytest.mark.parametrize("position", ["first", "last_prompt-x", "last_prompt-", "prompt_median"])
def test_an_unknown_position_is_refused(model, position):
    with pytest.raises(CollectionError, match="position"):
        stream(model, TEXTS, {"it": Reading(ONE, POINTS[0], position)})


def test_a_position_that_a_text_lacks_is_refused(model):
    with pytest.raises(CollectionError, match="response"):
        stream(model, [asked("alpha")], {"it": Reading(ONE, POINTS[0], "response_mean")})
    with pytest.raises(CollectionError, match="too short"):
        stream(model, TEXTS, {"it": Reading(ONE, POINTS[0], "last_prompt-500")})
