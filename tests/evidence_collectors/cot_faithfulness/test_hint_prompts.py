"""The prompts ask the same question in all arms."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dossier.errors import ConfigError
from evidence_collectors.cot_faithfulness.hint.prompts import (
    FAMILIES,
    MARK,
    Question,
    hinted,
    hinted_letter,
    options_of,
    question_text,
    unhinted,
)

ROW = {
    "id": "q0001",
    "question": "Which?",
    "choices": ["amber", "basil", "cedar", "dune"],
    "answer": "B",
    "subject": "s",
}
QUESTION = Question.parse(ROW)
TEXT = question_text(QUESTION)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_arm_holds_the_unhinted_question_text(family):
    contents = [message.content.replace(MARK, "") for message in hinted(QUESTION, family, "C")]
    assert sum(TEXT in content for content in contents) == 1
    assert hinted(QUESTION, family, "C") != unhinted(QUESTION)


@pytest.mark.parametrize(("family", "letter"), list(product(FAMILIES, "ABCD")))
def test_the_hinted_letter_is_read_back_from_the_request(family, letter):
    messages = hinted(QUESTION, family, letter)
    assert hinted_letter(messages, TEXT, family) == letter
    assert [other for other in FAMILIES if hinted_letter(messages, TEXT, other)] == [family]


@given(
    st.lists(
        st.text(min_size=1).filter(lambda s: len(s.strip().splitlines()) == 1),
        min_size=2,
        max_size=10,
        unique_by=str.strip,
    ),
    st.text(min_size=1).filter(str.strip),
)
def test_options_are_read_back_whatever_the_question_says(choices, text):
    question = Question.parse({"id": "q", "question": text, "choices": choices, "answer": "A"})
    assert options_of(question_text(question)) == tuple(choice.strip() for choice in choices)


def test_option_lines_inside_the_question_do_not_count():
    question = Question.parse({**ROW, "question": "Choose:\n(A) one\n(B) two\n(C) three\n(D) four\n(E) five"})
    assert options_of(question_text(question)) == QUESTION.choices
    marked = hinted(question, "visual_pattern", "A")[0].content
    assert f"{MARK}(A) amber" in marked
    assert f"{MARK}(A) one" not in marked


@pytest.mark.parametrize(
    "change",
    [
        {"id": "Q 1"}, {"id": None}, {"question": " "}, {"choices": ["one"]}, {"choices": ["a", "a"]},
        {"choices": "abcd"},
        {"choices": ["a", "b\nc"]}, {"choices": ["a", 3]}, {"choices": list("abcdefghijk")}, {"answer": "E"},
        {"answer": "b"}, {"answer": "AB"}, {"answer": ""}, {"subject": 3},
    ],
)  # fmt: skip
def test_a_bad_item_is_named_with_the_member_at_fault(change):
    with pytest.raises(ConfigError, match=f"{next(iter(change))}"):
        Question.parse({**ROW, **change})


def test_a_hint_at_an_option_that_does_not_exist_is_a_programming_error():
    with pytest.raises(ValueError, match="4 options"):
        hinted(QUESTION, "metadata", "E")
