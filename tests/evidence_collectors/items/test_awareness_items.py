"""Context and format are crossed, matched texts differ in the cue alone; neither length nor a word tells contexts apart."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from tests.evidence_collectors.items import shipped
from tests.evidence_collectors.items.masking import sharing

TEXTS = shipped.texts("awareness.v1")
FORMATS = ("benchmark", "chat")
CONTEXTS = {"positive": "evaluation", "negative": "deployment"}
SCENARIOS = defaultdict(dict)
for one in TEXTS:
    SCENARIOS[one.pair][one.label, one.set] = one


def parts(text):
    """Return the paragraphs of a text; a system message is one."""
    return [part for turn in text.messages for part in turn.content.split("\n\n")]


def cue(label, cells):
    """Return what the two formats of a context share."""
    shared = set(parts(cells[label, "benchmark"])) & set(parts(cells[label, "chat"]))
    assert len(shared) == 1
    return shared.pop()


def tokens(text):
    return re.findall(r"[a-z']+", text.lower())


def test_each_scenario_fills_the_four_cells_once():
    assert len(SCENARIOS) >= 80
    assert len(TEXTS) == 4 * len(SCENARIOS) >= 320
    for pair, cells in SCENARIOS.items():
        assert set(cells) == {(label, form) for label in CONTEXTS for form in FORMATS}, pair
        assert len({(text.family, text.split) for text in cells.values()}) == 1, pair
        for (label, form), text in cells.items():
            assert text.id == f"{pair}-{CONTEXTS[label]}-{form}"


def test_within_a_format_matched_texts_differ_in_the_cue_alone():
    for pair, cells in SCENARIOS.items():
        for form in FORMATS:
            evaluation, deployment = parts(cells["positive", form]), parts(cells["negative", form])
            differing = [(one, other) for one, other in zip(evaluation, deployment, strict=True) if one != other]
            assert differing == [(cue("positive", cells), cue("negative", cells))], pair
            roles = [[turn.role for turn in cells[label, form].messages] for label in CONTEXTS]
            assert roles[0] == roles[1], pair


def test_within_a_context_matched_texts_differ_in_the_task_alone():
    for cells in SCENARIOS.values():
        for label in CONTEXTS:
            first, second = parts(cells[label, "benchmark"]), parts(cells[label, "chat"])
            assert len(first) == len(second) == 2
            assert sum(one == other for one, other in zip(first, second, strict=True)) == 1


def test_the_place_of_the_cue_varies_and_is_the_same_in_all_cells_of_a_scenario():
    places = Counter()
    for cells in SCENARIOS.values():
        found = {(len(text.messages), parts(text).index(cue(text.label, cells))) for text in cells.values()}
        assert len(found) == 1
        places[found.pop()] += 1
    assert set(places) == {(1, 0), (1, 1), (2, 0)}
    assert min(places.values()) >= 20


@pytest.mark.parametrize("form", FORMATS)
def test_length_alone_does_not_tell_the_contexts_apart(form):
    lengths = {
        label: [len(shipped.words(text)) for text in TEXTS if (text.label, text.set) == (label, form)]
        for label in CONTEXTS
    }
    assert 0.40 <= shipped.separation(lengths["positive"], lengths["negative"]) <= 0.60


def test_within_scenarios_the_evaluation_cue_is_about_as_often_the_longer_one():
    longer = Counter()
    for cells in SCENARIOS.values():
        one, other = len(cue("positive", cells)), len(cue("negative", cells))
        longer[(one > other) - (one < other)] += 1
        assert abs(one - other) <= 0.15 * max(one, other)
    assert abs(longer[1] - longer[-1]) <= 0.25 * len(SCENARIOS)


def test_no_single_word_tells_the_contexts_apart():
    held = {label: Counter() for label in CONTEXTS}
    for cells in SCENARIOS.values():
        for label in CONTEXTS:
            held[label].update(set(tokens(cue(label, cells))))
    shares = {
        word: (held["positive"][word] - held["negative"][word]) / len(SCENARIOS)
        for word in {*held["positive"], *held["negative"]}
    }
    worst = max(shares, key=lambda word: abs(shares[word]))
    assert abs(shares[worst]) <= 0.25, (worst, shares[worst])


@pytest.mark.parametrize("split", ["test", "transfer"])
def test_a_bag_of_words_tells_the_contexts_apart_no_better_than_the_decision_record_says(split):
    fitted = [(shipped.words(t), t.label == "positive") for t in TEXTS if t.split in ("train", "validation")]
    judged = [(shipped.words(t), t.label == "positive") for t in TEXTS if t.split == split]
    assert shipped.separation_by_words(fitted, judged) <= 0.75


def test_the_bag_of_words_finds_a_set_with_a_give_away_word():
    given = [(shipped.words(t) + (" benchmark" if t.label == "positive" else ""), t.label == "positive") for t in TEXTS]
    assert shipped.separation_by_words(given, given) > 0.95


def test_no_phrase_of_three_words_marks_the_evaluation_context():
    phrases = Counter()
    for cells in SCENARIOS.values():
        spoken = tokens(cue("positive", cells))
        phrases.update(set(zip(spoken, spoken[1:], spoken[2:], strict=False)))
    assert max(phrases.values()) <= 0.05 * len(SCENARIOS), phrases.most_common(3)


@pytest.mark.parametrize("label", CONTEXTS)
def test_cues_share_no_template(label):
    cues = [cue(label, cells) for cells in SCENARIOS.values()]
    assert len(sharing(cues)) <= 0.05 * len(cues)


@pytest.mark.parametrize("form", FORMATS)
def test_tasks_share_no_template(form):
    tasks = [
        next(p for p in parts(cells["positive", form]) if p != cue("positive", cells)) for cells in SCENARIOS.values()
    ]
    assert len(sharing(tasks)) <= 0.05 * len(tasks)


def test_a_chat_has_no_marks_of_a_benchmark():
    marks = re.compile(r"\n|^(?:Question|Query|Problem|Input|Answer|Task)\b|\b(?:Answer|Output|Label|Result):")
    for text in TEXTS:
        if text.set == "chat":
            task = next(p for p in parts(text) if p != cue(text.label, SCENARIOS[text.pair]))
            assert not marks.search(task), text.id


def test_every_split_is_filled_and_transfer_has_kinds_of_cue_of_its_own():
    splits = Counter(cells["positive", "chat"].split for cells in SCENARIOS.values())
    assert {name: count >= 15 for name, count in splits.items()} == dict.fromkeys(
        ("train", "validation", "test", "transfer"), True
    )
    kinds = {split: {text.family for text in TEXTS if text.split == split} for split in splits}
    assert len(kinds["transfer"]) == 2
    assert kinds["train"] == kinds["validation"] == kinds["test"]
    assert not kinds["transfer"] & kinds["train"]


def test_no_two_scenarios_have_a_cue_or_a_task_in_common():
    seen = Counter(part for cells in SCENARIOS.values() for part in {p for text in cells.values() for p in parts(text)})
    assert max(seen.values()) == 1
    assert all(first != second for first, second in pairwise(sorted(seen)))
