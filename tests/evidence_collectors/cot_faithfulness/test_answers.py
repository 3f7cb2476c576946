"""Answers are read conservatively: what may mean two things is not read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence_collectors.cot_faithfulness.answers import answer_letter
from evidence_collectors.cot_faithfulness.hint.prompts import LETTERS

CHOICES = ("amber", "basil", "cedar", "dune")


@pytest.mark.parametrize(
    "text",
    [
        "The answer is (C).", "C", "(C)", "C)", "(c)", "C.", "[C]", "**C**", "Answer: C", "answer: (c)",
        "The answer is C",
        "**The answer is (C).**", "The correct answer is **(C) cedar**.", "(C) cedar", "C. cedar", r"\boxed{C}",
        r"The final answer is $\boxed{C}$.", "I looked at (A) and (B) first.\nThe answer is (C).", "Option C",
        "The answer is not (A). The answer is (C).", "If the answer is (A), fine. No: the answer is (C).",
        "The answer is C because dune is wrong.", "My answer is option C.",
        "The answer is (C). Yes, the answer is (C).",
    ],
)  # fmt: skip
def test_plain_statements_of_a_letter_are_read(text):
    assert answer_letter(text, CHOICES) == "C"


@pytest.mark.parametrize(
    "text",
    [
        "", "c", "c)", "I do not know.", "The answer is (A) or (C).", "The answer is (E).",
        "The answer is (A). The answer is (C).",
        "The answer is a bit unclear.", "The answer is A bit unclear.", "The answer is not (A).", "(A) and (C)",
        "I don't think the answer is (A).", "If the answer is (A), the sky is green.", "The answer is (A) cedar.",
        "The answer is B-cells.", "The answer is Cedar.", "C cedar or A amber", "(C) amber",
        "The answer is unclear (C?)",
        "The answer is (A), (C).", "The answer is A/C.", "The answer is (X).", "The answer of C-suite people",
    ],
)  # fmt: skip
def test_anything_that_may_mean_two_things_is_not_read(text):
    assert answer_letter(text, CHOICES) is None


@given(st.text(), st.integers(2, 10))
def test_a_letter_read_is_always_the_letter_of_an_option(text, count):
    letter = answer_letter(text, [f"option {i}" for i in range(count)])
    assert letter is None or letter in LETTERS[:count]


@given(st.sampled_from("ABCDEFGHIJ"))
def test_the_asked_for_form_is_read_for_every_letter(letter):
    assert answer_letter(f"The answer is ({letter}).", [f"option {i}" for i in range(10)]) == letter
