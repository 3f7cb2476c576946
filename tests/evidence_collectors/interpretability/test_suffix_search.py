"""The search finds what is planted, beats chance at the same budget, and gives the same suffix twice."""

from __future__ import annotations

import numpy as np
import pytest

from dossier.errors import CollectionError
from evidence_collectors.interpretability import suffix_search
from evidence_collectors.interpretability.reading import residuals
from evidence_collectors.interpretability.suffix_search import Budget, Monitor, Task, search
from evidence_collectors.items import attacks, contrast
from tests.evidence_collectors.interpretability import planted_models
from tests.evidence_collectors.interpretability.attacked_models import ERASES, FAMILIES, FLIPS, POINT, SEED, attacked

ITEMS = contrast.parse(planted_models.items())
BUDGET = Budget(length=4, steps=4, candidates=10)
SMALL = Budget(length=3, steps=1, candidates=6)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    return request.param, attacked(tmp_path_factory.mktemp(request.param), request.param)


def task(model, *, monitor=None):
    chosen = [contrast.chosen(ITEMS, label="positive", splits=(split,))[:3] for split in ("train", "validation")]
    return Task(*chosen, model.token_ids("R"), monitor)


@pytest.fixture(scope="module")
def found(model):
    return search(model[1], task(model[1]), BUDGET, seed=SEED, method="gradient")


def monitored(family, model, *, weight):
    texts = contrast.chosen(ITEMS, splits=("train",))
    values = residuals(model, [one.continuation() for one in texts], [POINT[family]], position="last_prompt")
    positive = np.array([one.label == "positive" for one in texts])
    shift = values[POINT[family]][positive].mean(axis=0) - values[POINT[family]][~positive].mean(axis=0)
    origin = values[POINT[family]][~positive].mean(axis=0)
    gap = float(shift @ shift)
    return Monitor(POINT[family], "last_prompt", shift / gap, float(origin @ shift) / gap, 0.1, weight)


def test_the_gradient_lowers_the_objective_more_than_chance_with_the_same_budget(model, found):
    _, loaded = model
    chance = search(loaded, task(loaded), BUDGET, seed=SEED, method="random")
    assert found.start == chance.start
    assert found.evaluated <= BUDGET.steps * BUDGET.candidates
    assert found.train < chance.train < chance.start
    assert found.validation < chance.validation
    assert set(found.text) & {ERASES, FLIPS}, "the planted way was not found"


def test_the_same_seed_gives_the_same_suffix_and_another_one_another(model):
    _, loaded = model
    one, same, other = (
        search(loaded, task(loaded), SMALL, seed=seed, method="gradient") for seed in (SEED, SEED, "0" * 15 + "1")
    )
    assert one == same
    assert one.text != other.text


def test_a_step_never_makes_it_worse(found):
    assert all(later <= earlier for earlier, later in zip(found.trace, found.trace[1:], strict=False))


def test_the_tokens_of_the_suffix_survive_and_are_no_control_tokens(model, found):
    _, loaded = model
    assert loaded.token_ids(found.text) == found.token_ids
    assert found.text.isprintable()
    assert not any(special in found.text for special in loaded.loaded.tokenizer.all_special_tokens)
    run = suffix_search._Run(loaded, task(loaded), np.random.PCG64(0))
    special = [loaded.loaded.tokenizer.convert_tokens_to_ids(one) for one in loaded.loaded.tokenizer.all_special_tokens]
    assert special
    assert not any(run.allowed(token) for token in special)
    assert run.allowed(loaded.token_ids("a")[0])


def test_the_slopes_are_those_of_the_objective(model):
    """To first order, exchanging a token changes the objective by the difference of its slopes: their ranks agree."""
    _, loaded = model
    one = Task(task(loaded).train[:1], task(loaded).validation[:1], loaded.token_ids("R"))
    run = suffix_search._Run(loaded, one, np.random.PCG64(1))
    current = loaded.token_ids("abcd")
    scores = suffix_search._replacement_scores(loaded, one, current)[2]
    tokens = [loaded.token_ids(sign)[0] for sign in ("~", "^", "A", "B", "1", "2", "x", "q")]
    changed = run.objective([(*current[:2], token, *current[3:]) for token in tokens], one.train)
    assert np.corrcoef(np.argsort(np.argsort(scores[tokens])), np.argsort(np.argsort(changed)))[0, 1] > 0.7


def test_an_adaptive_suffix_also_lowers_what_the_monitor_sees(model, found):
    family, loaded = model
    monitor = monitored(family, loaded, weight=1000.0)
    adaptive = search(loaded, task(loaded, monitor=monitor), BUDGET, seed=SEED, method="gradient")

    def seen(suffix):
        texts = [suffix.attack("a", adaptive=True).apply(one) for one in task(loaded).validation]
        read = [attacks.continuation(one) for one in texts]
        at = residuals(loaded, read, [monitor.point], position="last_prompt")[monitor.point]
        return float((at @ monitor.direction - monitor.origin).mean())

    assert ERASES in adaptive.text, "only this sign takes the direction away"
    assert seen(adaptive) <= seen(found)


def test_without_requests_or_a_first_token_nothing_is_searched(model):
    _, loaded = model
    full = task(loaded)
    for empty in (Task((), full.validation, (1,)), Task(full.train, (), (1,)), Task(full.train, full.validation, ())):
        with pytest.raises(CollectionError, match="suffix search needs"):
            search(loaded, empty, BUDGET, seed=SEED, method="gradient")


def test_a_drawn_suffix_is_not_searched(model):
    _, loaded = model
    drawn = search(loaded, task(loaded), SMALL, seed=SEED, method="none")
    assert (drawn.evaluated, drawn.trace) == (0, ())
    assert drawn.train == drawn.start
    assert drawn.attack("suffix-random", adaptive=False, control=True).kind == "control"
