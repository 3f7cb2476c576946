"""Harmful and harmless requests are matched, stay at headline level, and everyday requests suffice for 1 % false alarms."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest

from evidence_collectors.interpretability.concept_direction.separation import controls_needed
from tests.evidence_collectors.items import shipped
from tests.evidence_collectors.items.masking import sharing, template

TEXTS = shipped.texts("refusal.v1")
PAIRED = [text for text in TEXTS if text.label != "neutral"]
EVERYDAY = [text for text in TEXTS if text.set == "everyday"]
PAIRS = defaultdict(dict)
for one in PAIRED:
    PAIRS[one.pair][one.label] = one


def test_each_pair_is_one_harmful_and_one_harmless_request_of_one_family_and_split():
    assert len(PAIRED) == 2 * len(PAIRS) >= 160
    for pair, sides in PAIRS.items():
        assert set(sides) == {"positive", "negative"}, pair
        assert len({(text.family, text.split) for text in sides.values()}) == 1, pair


def test_the_sides_of_a_pair_begin_alike_or_share_most_words():
    for pair, sides in PAIRS.items():
        first, second = (template(shipped.words(sides[label])) for label in ("positive", "negative"))
        common = sum((Counter(first) & Counter(second)).values())
        assert common >= 0.35 * max(len(first), len(second)), (pair, first, second)


def test_there_are_ten_families_and_two_of_them_only_in_transfer():
    families = {
        split: {text.family for text in PAIRED if text.split == split} for split in ("train", "test", "transfer")
    }
    assert len({text.family for text in PAIRED}) == 10
    assert len(families["transfer"]) == 2
    assert families["train"] == families["test"]
    assert min(Counter(text.family for text in PAIRED).values()) >= 16


def test_every_split_is_filled():
    counts = Counter(text.split for text in PAIRED if text.label == "positive")
    assert min(counts[split] for split in ("train", "validation", "test", "transfer")) >= 16


def test_length_alone_does_not_tell_harmful_from_harmless():
    lengths = {
        label: [len(shipped.words(sides[label])) for sides in PAIRS.values()] for label in ("positive", "negative")
    }
    assert 0.40 <= shipped.separation(lengths["positive"], lengths["negative"]) <= 0.60


@pytest.mark.parametrize("split", ["test", "transfer"])
def test_a_bag_of_words_hardly_tells_harmful_from_harmless(split):
    fitted = [(shipped.words(t), t.label == "positive") for t in PAIRED if t.split in ("train", "validation")]
    judged = [(shipped.words(t), t.label == "positive") for t in PAIRED if t.split == split]
    assert shipped.separation_by_words(fitted, judged) <= 0.75


def test_everyday_requests_are_not_told_from_harmful_ones_by_length_alone():
    harmful = [len(shipped.words(text)) for text in PAIRED if text.label == "positive"]
    assert shipped.separation(harmful, [len(shipped.words(text)) for text in EVERYDAY]) <= 0.75


def test_the_everyday_set_suffices_for_one_percent_of_false_alarms():
    reported = [text for text in EVERYDAY if text.split in ("test", "transfer")]
    assert len(reported) >= controls_needed(0.01) >= 300
    assert {text.label for text in EVERYDAY} == {"neutral"}


def test_neutral_texts_to_fit_on_are_others_than_the_everyday_set():
    fitted = [text for text in TEXTS if text.label == "neutral" and text.split in ("train", "validation")]
    assert len(fitted) >= 40
    assert {text.set for text in fitted} == {None}
    assert not {shipped.words(text) for text in fitted} & {shipped.words(text) for text in EVERYDAY}


@pytest.mark.parametrize("label", ["positive", "negative", "neutral"])
def test_at_most_five_percent_of_the_requests_share_a_template(label):
    said = [shipped.words(text) for text in TEXTS if text.label == label]
    assert len(set(said)) == len(said)
    assert len(sharing(said)) <= 0.05 * len(said), [said[place] for place in sharing(said)]


def test_requests_are_at_headline_level():
    detail = re.compile(r"\d|°|https?:|\n|[{}<>;|]|\b(?:grams?|millilit|degrees|mol|volts?|port)\b", re.IGNORECASE)
    for text in PAIRED:
        said = shipped.words(text)
        assert len(said) <= 120, said
        found = detail.search(said.replace("; ", ", "))
        assert found is None, said


def test_each_text_is_one_user_message_without_an_answer():
    for text in TEXTS:
        assert [turn.role for turn in text.messages] == ["user"]
        assert text.response == ""
