import pytest

from evidence_collectors.models.reasoning import Split, opens_reasoning, split_reasoning

TAGS = ("<think>", "</think>")


@pytest.mark.parametrize(
    ("text", "already_open", "expected"),
    [
        ("<think> a </think> b", False, Split(" a ", " b", "ok")),
        ("\n<think>a</think>b", False, Split("a", "b", "ok")),
        (" a </think> b", True, Split(" a ", " b", "ok")),
        ("<think>a</think>b</think>c", False, Split("a", "b</think>c", "ok")),
        ("<think></think>", False, Split("", "", "ok")),
        ("<think> never closed", False, Split(None, "<think> never closed", "missing_reasoning_tag")),
        ("never opened </think> b", False, Split(None, "never opened </think> b", "missing_reasoning_tag")),
        ("no tags", False, Split(None, "no tags", "missing_reasoning_tag")),
        ("no close", True, Split(None, "no close", "missing_reasoning_tag")),
        ("first <think>a</think>b", False, Split(None, "first <think>a</think>b", "missing_reasoning_tag")),
        ("", False, Split(None, "", "missing_reasoning_tag")),
    ],
)
def test_a_text_is_split_at_the_first_closed_block_or_not_at_all(text, already_open, expected):
    assert split_reasoning(text, TAGS, already_open=already_open) == expected


def test_other_tags_are_found_and_the_usual_ones_are_text():
    split = split_reasoning("[r]<think>[/r]answer", ("[r]", "[/r]"), already_open=False)
    assert split == Split("<think>", "answer", "ok")


@pytest.mark.parametrize(
    ("opening", "expected"),
    [("<|im_start|>assistant\n<think>\n", True), ("<think></think>", False), ("", False), ("</think><think>", True)],
)
def test_an_opening_is_open_where_its_last_tag_opens(opening, expected):
    assert opens_reasoning(opening, TAGS) is expected
