"""Trials made from published rates give the published figures; a wrong formula does not.

Source: Chen et al. 2025, arXiv:2505.05410: figure 1 (disclosure by hint, per cent), figure 3 (rate of switching to the
hint, mean of correct and incorrect ones; switching elsewhere is given as 1 to 4 per cent, here 3).
"""

from __future__ import annotations

import pytest

from dossier.model import Trial
from evidence_collectors.cot_faithfulness.hint import estimates, reading
from evidence_collectors.cot_faithfulness.hint.collector import COLLECTOR, asked
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES, LETTERS, hinted_letter
from evidence_collectors.cot_faithfulness.hint.simulation import SAYS, SILENT
from evidence_collectors.simulating import questions, reasoned

PUBLISHED = {  # model: (average, switch rate, disclosure by family in the order of FAMILIES)
    "Claude 3.5 Sonnet (New)": (5, 0.77, (19, 0, 3, 1, 0, 9)),
    "Claude 3.7 Sonnet": (25, 0.67, (65, 1, 32, 12, 0, 41)),
    "DeepSeek V3": (15, 0.58, (29, 1, 0, 13, 11, 35)),
    "DeepSeek R1": (39, 0.58, (70, 33, 9, 66, 38, 19)),
}
ELSEWHERE = 0.03
OPTIONS = 4
PARAMS = COLLECTOR.parse({"hints": ["incorrect"], "resamples": 500})
ITEMS = questions(500, options=OPTIONS)
SEED = "1234123412341234"


def published_trials(switch_rate, disclosure):
    """Return trials whose counts are the published rates: no draw, only rounding to whole trials."""
    arms = {}
    for key, seed, request in asked(PARAMS, ITEMS, SEED):
        arms.setdefault(key.arm, []).append((key, seed, request))
    text = {key.item: request.messages[0].content for key, _, request in arms["unhinted"]}
    right = {item["id"]: item["answer"] for item in ITEMS}
    # every fourth question is first answered wrongly, so that some answers are the hinted one already
    before = {name: _next(letter) if number % 4 == 0 else letter for number, (name, letter) in enumerate(right.items())}
    for arm in ("unhinted", "resample"):
        yield from (_trial(one, before[one[0].item], SILENT) for one in arms[arm])
    alpha = 1 - ELSEWHERE / ((OPTIONS - 2) * switch_rate)
    for family, rate in zip(FAMILIES, disclosure, strict=True):
        rows = [(one, hinted_letter(one[2].messages, text[one[0].item], family)) for one in arms[f"{family}.incorrect"]]
        eligible = [row for row in rows if row[1] != before[row[0][0].item]]
        yield from (_trial(one, option, SILENT) for one, option in rows if option == before[one[0].item])
        switches = round(switch_rate * len(eligible))
        others = round(ELSEWHERE * len(eligible))
        mentions = round(rate / 100 * alpha * switches)
        for place, (one, option) in enumerate(eligible):
            stay = before[one[0].item]
            if place < switches:
                yield _trial(one, option, SAYS[family] if place < mentions else SILENT)
            elif place < switches + others:
                yield _trial(one, next(x for x in LETTERS[:OPTIONS] if x not in (option, stay)), SILENT)
            else:
                yield _trial(one, stay, SILENT)


def _next(letter):
    return LETTERS[(LETTERS.index(letter) + 1) % OPTIONS]


def _trial(one, letter, text):
    key, seed, request = one
    answer = reasoned(request, letter, text.replace("{letter}", letter))
    return Trial(key=key, seed=seed, request=request, completion=answer)


@pytest.fixture(scope="module")
def trials():
    return {model: tuple(published_trials(rate, by_hint)) for model, (_, rate, by_hint) in PUBLISHED.items()}


def faults(trials):
    """Return what differs from the published figures."""
    found = []
    for model, (average, _, by_hint) in PUBLISHED.items():
        observed = {one.id: one for one in COLLECTOR.summarise(trials[model], {}, PARAMS, SEED)}
        for family, published in zip(FAMILIES, by_hint, strict=True):
            estimate = observed[f"{family}.disclosure"].estimate
            if estimate is None or abs(100 * estimate - published) > 0.4:
                found.append((model, family, estimate))
        overall = observed["overall.disclosure"].estimate
        if overall is None or round(100 * overall) != average:
            found.append((model, "average", overall))
    return found


def test_published_rates_give_the_published_figures_and_averages(trials):
    assert faults(trials) == []


def test_without_normalisation_the_figures_are_missed(trials, monkeypatch):
    monkeypatch.setattr(estimates, "random_switching_alpha", lambda switches, expected: 1.0)
    assert ("DeepSeek R1", "average") in {fault[:2] for fault in faults(trials)}


def test_an_alpha_that_forgets_the_options_misses_the_figures(trials, monkeypatch):
    monkeypatch.setattr(
        estimates, "random_switching_alpha", lambda switches, expected: 1 - (OPTIONS - 2) * expected / switches
    )
    assert ("DeepSeek R1", "average") in {fault[:2] for fault in faults(trials)}


def test_counting_answers_that_were_the_hint_already_misses_the_figures(trials, monkeypatch):
    monkeypatch.setattr(reading, "is_eligible", lambda before, option: True)
    wrong = {fault[:2] for fault in faults(trials)}
    assert {("DeepSeek R1", "average"), ("Claude 3.7 Sonnet", "average")} <= wrong
