"""Every shipped question has one right option, shown by a second derivation; wording, letters and lengths give nothing away."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from scipy.special import chdtrc

from evidence_collectors.cot_faithfulness.hint.prompts import LETTERS, Question, options_of, question_text
from evidence_collectors.items import loaders
from tests.evidence_collectors.items import shipped
from tests.evidence_collectors.items.derivations import MINUS, algebra, derived, num, syllogism
from tests.evidence_collectors.items.masking import sharing, template

ROWS = shipped.rows("questions.v1")
CHECKS = {
    row["id"]: row["derivation"]
    for row in map(json.loads, (loaders.FOLDER / "questions.v1.checks.jsonl").read_bytes().splitlines())
}
SUBJECTS = sorted({row["subject"] for row in ROWS})


def right(row):
    return row["choices"][LETTERS.index(row["answer"])]


def wrong(row):
    return [choice for letter, choice in zip(LETTERS, row["choices"], strict=False) if letter != row["answer"]]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_second_derivation_finds_the_answer_and_refutes_every_other_option(subject):
    for row in ROWS:
        if row["subject"] == subject:
            expected = [letter == row["answer"] for letter in LETTERS[: len(row["choices"])]]
            assert derived(CHECKS[row["id"]], row) == expected, (row["id"], row["question"], row["choices"])


def test_every_question_has_a_derivation_and_every_derivation_a_question():
    assert [row["id"] for row in ROWS] == list(CHECKS)


def test_a_derivation_notices_a_wrong_key():
    row = next(row for row in ROWS if row["id"] == "arithmetic-1-01")
    exchanged = {**row, "choices": ["54" if choice == "56" else choice for choice in row["choices"]]}
    assert not any(derived(CHECKS[row["id"]], exchanged))


def test_no_derivation_only_repeats_the_answer():
    for row in ROWS:
        assert CHECKS[row["id"]].strip() not in (repr(right(row)), f"o == {right(row)!r}"), row["id"]


def test_there_are_several_hundred_questions_over_a_range_of_subjects_and_levels():
    levels = Counter(row["id"].split("-")[-2] for row in ROWS)
    assert len(ROWS) >= 400
    assert len(SUBJECTS) >= 12
    assert min(Counter(row["subject"] for row in ROWS).values()) >= 10
    assert set(levels) == {"1", "2", "3", "4"}
    assert min(levels.values()) >= 40
    assert all(row["id"].startswith(row["subject"] + "-") for row in ROWS)


def test_at_most_five_percent_of_the_questions_share_a_template():
    alike = sharing([row["question"] for row in ROWS])
    assert len(alike) <= 0.05 * len(ROWS), [ROWS[place]["id"] for place in alike]


def test_the_masking_finds_questions_made_from_one_template():
    made = ["What is the capital of Chad?", "What is the capital of Costa Rica?", "How many sides has a kite?"]
    counted = ["If 3 pens cost 2 euros, what do 9 cost?", "If 14 pens cost 20 euros, what do 21 cost?"]
    assert sharing(made) == [0, 1]
    assert sharing(counted) == [0, 1]
    assert template("Solve x + 14 = 31.") == template("Solve y + 2 = 5.")


def test_the_letter_of_the_answer_is_uniform():
    counts = Counter(row["answer"] for row in ROWS if len(row["choices"]) == 4)
    expected = sum(counts.values()) / 4
    statistic = sum((counts[letter] - expected) ** 2 / expected for letter in "ABCD")
    assert chdtrc(3, statistic) > 0.05


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_letter_is_right_in_most_questions_of_a_subject(subject):
    counts = Counter(row["answer"] for row in ROWS if row["subject"] == subject)
    assert max(counts.values()) <= 0.6 * sum(counts.values())


def test_the_right_option_is_neither_the_longest_nor_the_shortest_too_often():
    longest = sum(len(right(row)) > max(map(len, wrong(row))) for row in ROWS)
    shortest = sum(len(right(row)) < min(map(len, wrong(row))) for row in ROWS)
    assert longest <= 0.25 * len(ROWS)  # chance, ties aside
    assert shortest <= 0.25 * len(ROWS)
    lengths = shipped.separation([len(right(row)) for row in ROWS], [len(one) for row in ROWS for one in wrong(row)])
    assert 0.45 <= lengths <= 0.55


def test_every_question_can_be_asked_by_the_hint_instrument():
    for row in ROWS:
        question = Question.parse(row)
        assert options_of(question_text(question)) == question.choices == tuple(row["choices"])


def test_questions_are_different_and_tidy():
    assert len({row["question"] for row in ROWS}) == len(ROWS)
    for row in ROWS:
        for text in (row["question"], *row["choices"]):
            assert text == text.strip(), row["id"]
            assert "\t" not in text, row["id"]


def test_the_helpers_of_the_derivations_read_what_stands_there():
    assert (num("1,600"), num(f"{MINUS}0.5 tokens"), num("12 m²"), float(num("3/8"))) == (1600, -0.5, 12, 0.375)
    assert algebra(f"3x(2y + 3) {MINUS} x²", x=2, y=1) == 26
    assert syllogism("all robin bird; all bird animal", "all robin animal")
    assert not syllogism("all robin bird; all bird animal", "all animal robin")
    with pytest.raises(ValueError, match="not one number"):
        num("2 h 15 min")
