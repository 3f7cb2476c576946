"""What could not be read, and what a number is, is said in words a reader knows; ids keep to where they are meant."""

import pytest

from dossier import faults, wording
from dossier.wording import QuantityWords, Words
from evidence_collectors.cot_faithfulness.hint.judge import prompt
from evidence_collectors.cot_faithfulness.monitorability import reading as monitorability
from evidence_collectors.cot_faithfulness.perturbation import counts as perturbation
from evidence_collectors.evaluation_awareness import answers
from evidence_collectors.evaluation_awareness.sandbagging import reading as sandbagging

COUNTED = (*answers.FAULTS, *sandbagging.FAULTS, *perturbation.KINDS, *monitorability.KINDS, *prompt.KINDS)
KNOWN = Words(groups={"behaviour": ""}, quantities={"shift": QuantityWords("How much it shifts", "Shift", main=True)})


def test_every_kind_that_an_instrument_counts_has_words_of_its_own_and_no_words_are_left_over():
    assert set(COUNTED) == set(faults.WORDS)
    assert len(set(faults.WORDS.values())) == len(faults.WORDS)
    assert not [text for text in faults.WORDS.values() if "_" in text]


def test_kinds_are_counted_in_words_most_first_and_nothing_is_counted_none():
    said = faults.counted({"no_answer": 3, "cut_off": 12, "loop": 0, "a_new_kind": 3})
    assert said == "12 cut off at the token limit, 3 a_new_kind, 3 without an answer"


def test_a_fact_that_counts_a_kind_is_named_in_words_and_any_other_keeps_its_name():
    assert faults.fact("unusable_cut_off") == faults.fact("cut_off") == "cut off at the token limit"
    assert faults.fact("unusable_pairs") == "unusable_pairs"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("behaviour.shift is not estimable: too few", "“Shift” is not estimable: too few."),
        ("the low end of behaviour.shift is 1", "The low end of “Shift” is 1."),
        ("other.behaviour.shift is not it", "Other.behaviour.shift is not it."),
        ("slot expired at noon", "slot expired at noon."),
        ("slots expire", "Slots expire."),
    ],
)
def test_a_reason_says_the_quantity_in_words_and_gives_no_id_a_capital(reason, said):
    assert KNOWN.because(reason, evidence="slot", quantity="behaviour.shift") == said


def test_a_reason_on_a_quantity_without_words_keeps_its_id_as_it_is():
    assert Words().because("q.rate is unknown", evidence="slot", quantity="q.rate") == "q.rate is unknown."


def test_a_list_whose_members_hold_commas_is_parted_by_semicolons():
    assert wording.listing(["a", "b", "c"], empty="none") == "a, b and c"
    assert wording.listing(["a, seed 0", "b", "c, seed 1"], empty="none") == "a, seed 0; b; and c, seed 1"
    assert wording.listing(["a, seed 0"], empty="none") == "a, seed 0"


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "unknown"), (0.0, "0 FLOP"), (1.4e9, "1.4 GFLOP"), (2.5e15, "2.5 PFLOP"), (3.2e19, "32 EFLOP")],
)
def test_operations_are_said_in_a_unit_that_leaves_a_number_one_can_read(value, said):
    assert wording.flops(value) == said
