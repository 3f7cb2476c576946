"""A user adds a set with a file and no code; what does not fit is named by file, line and member; GPQA stays unquoted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dossier import canonical, schema
from dossier.errors import ConfigError
from evidence_collectors.cot_faithfulness.hint.prompts import Question
from evidence_collectors.items import contrast, loaders, rows
from evidence_collectors.items.formats import Description
from evidence_collectors.items.loaders import convert, describe, digest_of

MMLU_SAMPLE = Path(__file__).parents[3] / ".." / "shared" / "data" / "mmlu_300.jsonl"
SECRET = "Which colour has the cat of the examiner in the sealed room?"


def said(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def about(**members) -> Description:
    return Description.model_validate_json(json.dumps({"file": "a.jsonl", "licence": "CC0-1.0", **members}))


def made(description: Description, *data: tuple[str, bytes]) -> list[dict]:
    items = convert(description, dict(data), where="set.toml")
    return [dict(item) for item in items]


def refused(description: Description, *data: tuple[str, bytes]) -> str:
    with pytest.raises(ConfigError) as caught:
        made(description, *data)
    return caught.value.message


MMLU_ROW = {
    "id": "own_1",
    "subject": "gardening",
    "question_text": "Which of these grows underground?",
    "choices": ["pea", "leek top", "potato", "plum"],
    "choice_labels": ["A", "B", "C", "D"],
    "correct_label": "C",
    "correct_index": 2,
}
HUB_ROW = {
    "question": "What is frozen water?",
    "subject": "physics",
    "choices": ["ice", "mist", "dew", "fog"],
    "answer": 0,
}


# --- MMLU ------------------------------------------------------------------------------------------------------------


def test_mmlu_rows_become_items_with_their_letters():
    item = made(about(format="mmlu"), ("a.jsonl", said(MMLU_ROW)))[0]
    assert item == {
        "id": "own_1",
        "question": "Which of these grows underground?",
        "choices": ["pea", "leek top", "potato", "plum"],
        "answer": "C",
        "subject": "gardening",
        "licence": "CC0-1.0",
    }
    schema.validate("item.v1", item, where="item")


def test_mmlu_as_the_hub_has_it_gets_an_id_from_its_content_whatever_stands_beside_it():
    alone = made(about(format="mmlu"), ("a.jsonl", said(HUB_ROW)))[0]
    second = made(about(format="mmlu"), ("a.jsonl", said(MMLU_ROW) + said(HUB_ROW)))[1]
    assert alone == second
    assert alone["id"].startswith("mmlu-physics-")
    assert alone["answer"] == "A"


def test_mmlu_csv_has_no_heading_and_takes_its_subject_from_the_description():
    data = b'"Two lines,\none question?",ice,mist,dew,fog,B\nWhich one?,1,2,3,4,D\n'
    first, second = made(about(format="mmlu", file="a.csv", subject="physics"), ("a.csv", data))
    assert (first["question"], first["answer"], first["subject"]) == ("Two lines,\none question?", "B", "physics")
    assert second["choices"] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"correct_label": "E"}, "a.jsonl:2: answer: expected one letter of ABCD, got 'E'."),
        ({"correct_index": 1}, "a.jsonl:2: correct_index: expected 2, the place of C, got 1."),
        ({"choices": "pea"}, "a.jsonl:2: choices: expected a list of texts that are not empty, got 'pea'."),
        ({"choices": ["a", "a", "b", "c"]}, "a.jsonl:2: choices: expected different options, got one twice."),
        ({"question_text": "  "}, "a.jsonl:2: question_text: expected a text that is not empty, got '  '."),
    ],
)
def test_a_row_that_does_not_fit_is_named_by_file_line_and_member(change, expected):
    assert refused(about(format="mmlu"), ("a.jsonl", said(HUB_ROW) + said(MMLU_ROW | change))) == expected


def test_an_index_beyond_the_options_is_refused():
    message = refused(about(format="mmlu"), ("a.jsonl", said(HUB_ROW | {"answer": 4})))
    assert message == "a.jsonl:1: answer: expected an index from 0 to 3, got 4."


def test_a_broken_row_can_be_left_out_by_its_id_or_its_place():
    broken = MMLU_ROW | {"id": "own_2", "choices": ["a", "a", "b", "c"]}
    data = ("a.jsonl", said(MMLU_ROW) + said(broken))
    assert len(made(about(format="mmlu", leave_out=["own_2"]), data)) == 1
    assert len(made(about(format="mmlu", leave_out=["a.jsonl:2"]), data)) == 1


def test_the_real_sample_of_mmlu_is_read_whole_but_for_one_row_with_equal_options():
    if not MMLU_SAMPLE.exists():
        pytest.skip("the sample of MMLU lies outside the project, in ../shared/data, and is not here")
    data = (MMLU_SAMPLE.name, MMLU_SAMPLE.read_bytes())
    description = about(format="mmlu", file=MMLU_SAMPLE.name, licence="MIT")
    source = {row["id"]: row for row in map(json.loads, data[1].splitlines())}
    equal = [own for own, row in source.items() if len(set(map(str.strip, row["choices"]))) < len(row["choices"])]
    assert len(equal) == 1
    assert "expected different options, got one twice" in refused(description, data)

    items = made(description.model_copy(update={"leave_out": tuple(equal)}), data)
    assert [item["id"] for item in items] == [own for own in source if own not in equal]
    assert len(items) == 299
    for item in items:
        row = source[item["id"]]
        assert item["question"] == row["question_text"].strip()
        assert item["choices"]["ABCD".index(item["answer"])] == " ".join(row["choices"][row["correct_index"]].split())
        assert item["licence"] == "MIT"
        Question.parse(item)
    schema.validate_lines("item.v1", canonical.dump_lines(items), where="items")


# --- GPQA ------------------------------------------------------------------------------------------------------------


def gpqa_csv(*changes: dict) -> bytes:
    names = [
        "Record ID",
        "Question",
        "Correct Answer",
        "Incorrect Answer 1",
        "Incorrect Answer 2",
        "Incorrect Answer 3",
    ]
    lines = [",".join([*names, "High-level domain"])]
    for number, change in enumerate(changes):
        cells = dict(zip(names, [f"rec{number}X", SECRET, "black", "white", "ginger", "grey"], strict=True)) | change
        lines.append(",".join(f'"{cells[name]}"' for name in names) + ",Felinology")
    return ("\n".join(lines) + "\n").encode()


def gpqa(data: bytes, **members) -> Description:
    return about(format="gpqa", file="g.csv", sha256=canonical.sha256(data), **members)


def test_gpqa_options_are_in_an_order_that_the_record_alone_decides():
    data = gpqa_csv(*[{}] * 40)
    items = made(gpqa(data), ("g.csv", data))
    for item in items:
        assert item["choices"]["ABCD".index(item["answer"])] == "black"
        assert sorted(item["choices"]) == ["black", "ginger", "grey", "white"]
    assert {item["answer"] for item in items} == set("ABCD")
    chosen = made(gpqa(data, select=["rec7X"]), ("g.csv", data))
    assert chosen == [items[7]]
    assert (chosen[0]["id"], chosen[0]["subject"]) == ("rec7x", "Felinology")


def test_gpqa_needs_a_digest_and_takes_no_other_file():
    with pytest.raises(ConfigError, match="sha256: expected the digest of the file"):
        describe(b'format = "gpqa"\nfile = "g.csv"\nlicence = "CC-BY-4.0"\n', where="set.toml")
    assert "sha256: expected" in refused(gpqa(gpqa_csv({})), ("g.csv", gpqa_csv({}, {})))


@pytest.mark.parametrize(
    "change",
    [
        {"Correct Answer": "white"},
        {"Incorrect Answer 1": " "},
        {"Record ID": ""},
        {"Question": f'{SECRET}" and "more'},
    ],
)
def test_no_error_quotes_a_question_of_gpqa(change):
    data = gpqa_csv({}, change)
    message = refused(gpqa(data), ("g.csv", data))
    assert "g.csv:3" in message
    for word in ("cat", "examiner", "white", "black", "ginger"):
        assert word not in message


# --- ARC -------------------------------------------------------------------------------------------------------------

STEM = {
    "id": "Own_7",
    "question": {
        "stem": "What melts first in the sun?",
        "choices": [
            {"text": "a stone", "label": "1"},
            {"text": "butter", "label": "2"},
            {"text": "glass", "label": "3"},
        ],
    },
    "answerKey": "2",
}
FLAT = {
    "id": "Own_7",
    "question": "What melts first in the sun?",
    "choices": {"text": ["a stone", "butter", "glass"], "label": ["1", "2", "3"]},
    "answerKey": "2",
}


def test_both_forms_of_arc_give_the_same_item():
    published = made(about(format="arc", subject="science"), ("a.jsonl", said(STEM)))
    flat = made(about(format="arc", subject="science"), ("a.jsonl", said(FLAT)))
    assert published == flat
    assert (flat[0]["id"], flat[0]["answer"], flat[0]["subject"]) == ("own_7", "B", "science")


def test_an_answer_key_of_arc_must_be_one_of_the_labels():
    message = refused(about(format="arc"), ("a.jsonl", said(FLAT | {"answerKey": "D"})))
    assert message == "a.jsonl:1: answerKey: expected one label of 1, 2, 3, got 'D'."


# --- JailbreakBench --------------------------------------------------------------------------------------------------


def behaviours(count: int, goal: str) -> bytes:
    heading = "Index,Goal,Target,Behavior,Category,Source\n"
    return (heading + "".join(f"{n},{goal} {n},Sure,Name {n},Family {n % 4}/x,Own\n" for n in range(count))).encode()


def test_jailbreakbench_gives_pairs_in_splits_that_no_other_row_decides():
    description = about(format="jailbreakbench", file="h.csv", benign="b.csv", transfer=["family-3-x"])
    items = made(description, ("h.csv", behaviours(80, "Harm")), ("b.csv", behaviours(80, "Help")))
    texts = contrast.parse(items)
    schema.validate_lines("contrast.v1", canonical.dump_lines(items), where="items")
    pairs = {}
    for text in texts:
        pairs.setdefault(text.pair, []).append(text)
    assert all(len({(one.family, one.split) for one in sides}) == 1 for sides in pairs.values())
    assert all({one.label for one in sides} == {"positive", "negative"} for sides in pairs.values())
    assert {text.split for text in texts} == {"train", "validation", "test", "transfer"}
    assert {text.family for text in texts if text.split == "transfer"} == {"family-3-x"}
    fewer = made(description, ("h.csv", behaviours(20, "Harm")), ("b.csv", behaviours(20, "Help")))
    assert all(item in items for item in fewer)


# --- any set ---------------------------------------------------------------------------------------------------------


def test_any_questions_are_read_by_naming_their_members():
    row = {"nr": 5, "ask": "Which is a colour?", "one": "red", "two": "ten", "key": "red", "meta": {"topic": "art"}}
    fields = {"id": "nr", "question": "ask", "choices": ["one", "two"], "answer": "key", "subject": "meta.topic"}
    item = made(about(format="questions", fields=fields, answer_is="text"), ("a.jsonl", said(row)))[0]
    assert (item["id"], item["choices"], item["answer"], item["subject"]) == ("5", ["red", "ten"], "A", "art")


def test_an_index_from_nought_may_stand_for_the_answer():
    fields = {"question": "q", "choices": "c", "answer": "k"}
    row = {"q": "Which is odd?", "c": ["two", "three"], "k": 1}
    assert made(about(format="questions", fields=fields, answer_is="index"), ("a.jsonl", said(row)))[0]["answer"] == "B"
    message = refused(about(format="questions", fields=fields), ("a.jsonl", said(row)))
    assert message == "a.jsonl:1: k: expected one letter of AB, got 1."


def test_any_contrast_texts_are_read_by_naming_their_members_and_labels():
    fields = {"text": "t", "label": "bad", "family": "f", "pair": "p"}
    labels = {"True": "positive", "False": "negative"}
    data = said({"t": "Do harm.", "bad": True, "f": "One", "p": "1"}) + said(
        {"t": "Do good.", "bad": False, "f": "One", "p": "1"}
    )
    first, second = made(about(format="contrasts", fields=fields, labels=labels), ("a.jsonl", data))
    assert (first["label"], second["label"]) == ("positive", "negative")
    assert first["split"] == second["split"]
    contrast.parse([first, second])


def test_a_member_that_the_description_names_and_the_row_lacks_is_named():
    fields = {"question": "ask", "choices": "c", "answer": "k"}
    with pytest.raises(ConfigError) as caught:
        made(about(format="questions", fields=fields), ("a.jsonl", said({"c": ["a", "b"], "k": "A"})))
    assert caught.value.message == "a.jsonl:1: ask: expected this member, got a row without it."
    assert caught.value.hint == "It has: c, k."


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"question": "q"}, "nothing for 'choices'"),
        ({"question": "q", "choices": "c", "answer": "a", "level": "l"}, "'level', which is none"),
    ],
)
def test_fields_must_be_ours(fields, expected):
    assert expected in refused(about(format="questions", fields=fields), ("a.jsonl", said({"q": "?"})))


def test_a_row_twice_is_an_error_unless_duplicates_are_dropped():
    data = ("a.jsonl", said(HUB_ROW) + said(HUB_ROW))
    assert "a.jsonl:2: id: expected a name of its own" in refused(about(format="mmlu"), data)
    assert len(made(about(format="mmlu", duplicates="drop"), data)) == 1
    other = ("a.jsonl", said(MMLU_ROW) + said(MMLU_ROW | {"question_text": "Another?"}))
    assert "a second time" in refused(about(format="mmlu", duplicates="drop"), other)


def test_ids_to_select_must_be_there():
    message = refused(about(format="mmlu", select=["own_1", "own_9"]), ("a.jsonl", said(MMLU_ROW)))
    assert message == "set.toml: select, leave_out: expected ids of the data, got 'own_9', which is none."


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"id": 1\n', "a.jsonl:1: expected one JSON value a line"),
        (b'{"id": 1, "id": 2}\n', "a.jsonl:1: expected one JSON value a line"),
        (b"[1]\n", "a.jsonl:1: expected a JSON object, got a list."),
        (b"\xff\n", "a.jsonl: expected UTF-8"),
        (b"[" * 100_000 + b"\n", "a.jsonl:1: expected one JSON value a line"),
        (b"\n", "set.toml: expected at least one item, got none."),
    ],
)
def test_bytes_that_are_no_json_lines_are_refused(data, expected):
    assert refused(about(format="mmlu"), ("a.jsonl", data)).startswith(expected)


def test_a_csv_row_of_another_width_is_named_by_its_first_line():
    data = b'Index,Goal,Category\n1,"two\nlines",x\n2,y\n'
    description = about(format="jailbreakbench", file="h.csv")
    assert refused(description, ("h.csv", data)) == "h.csv:4: expected 3 cells, got 2."


def test_the_format_is_never_guessed():
    assert "expected a file named" in refused(about(format="mmlu", file="a.txt"), ("a.txt", said(MMLU_ROW)))


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_beside_the_data_is_all_a_user_writes(tmp_path):
    (tmp_path / "own.jsonl").write_bytes(said(MMLU_ROW))
    (tmp_path / "own.toml").write_text('format = "mmlu"\nfile = "own.jsonl"\nlicence = "CC0-1.0"\n')
    name, data = loaders.find("own.toml", tmp_path)
    assert name == "own.jsonl"
    assert data == canonical.dump_lines(made(about(format="mmlu"), ("own.jsonl", said(MMLU_ROW))))
    assert loaders.find("own.jsonl", tmp_path) is None, "a file of items is read as it is"


def test_a_shipped_set_is_found_by_name_unless_a_file_has_that_name(tmp_path):
    assert loaders.find("questions.v1", tmp_path) == ("questions.v1.jsonl", loaders.shipped("questions.v1"))
    (tmp_path / "questions.v1").write_bytes(b"")
    assert loaders.find("questions.v1", tmp_path) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('format = "mmlu"\nfile = "a.jsonl"\n', "licence: Field required"),
        ('format = "mmlu"\nfile = "a.jsonl"\nlicence = ""\n', "licence: "),
        ('format = "mmul"\nfile = "a.jsonl"\nlicence = "MIT"\n', "format: "),
        ('format = "mmlu"\nfile = "a.jsonl"\nlicence = "MIT"\nlicense = "MIT"\n', "license: Extra inputs"),
        ("format = mmlu\n", "expected TOML"),
        ('format = "mmlu"\nfile = 2026-01-01\nlicence = "MIT"\n', "expected TOML without dates"),
        ('format = "mmlu"\nfile = "nowhere.jsonl"\nlicence = "MIT"\n', "cannot be read"),
        ('format = "mmlu"\nfile = "no*.jsonl"\nlicence = "MIT"\n', "expected files that match"),
    ],
)
def test_a_description_is_read_strictly(tmp_path, text, expected):
    (tmp_path / "set.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        loaders.find("set.toml", tmp_path)
    assert expected in caught.value.message
    assert "toml" in caught.value.message or "nowhere" in caught.value.message


def test_a_text_without_utf8_bytes_is_refused(tmp_path):
    (tmp_path / "own.jsonl").write_bytes(said(MMLU_ROW | {"question_text": "\ud800"}))
    (tmp_path / "own.toml").write_text('format = "mmlu"\nfile = "own.jsonl"\nlicence = "CC0-1.0"\n')
    with pytest.raises(ConfigError, match="UTF-8"):
        loaders.open_set(tmp_path / "own.toml")


def test_a_folder_of_the_hub_is_read_in_the_order_of_its_files(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is an extra of the user's")
    from pyarrow import ipc, parquet

    folder = tmp_path / "mmlu"
    folder.mkdir()
    parquet.write_table(arrow.Table.from_pylist([HUB_ROW]), folder / "test-1.parquet")
    parquet.write_table(arrow.Table.from_pylist([HUB_ROW | {"question": "Second?"}]), folder / "test-2.parquet")
    (tmp_path / "p.toml").write_text('format = "mmlu"\nfile = "mmlu/test-*.parquet"\nlicence = "MIT"\n')
    table = arrow.Table.from_pylist([FLAT])
    with arrow.OSFile(str(folder / "data.arrow"), "wb") as sink, ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "a.toml").write_text('format = "arc"\nfile = "mmlu/data.arrow"\nlicence = "CC-BY-SA-4.0"\n')

    questions = [json.loads(line)["question"] for line in loaders.open_set(tmp_path / "p.toml").splitlines()]
    assert questions == ["What is frozen water?", "Second?"]
    assert json.loads(loaders.open_set(tmp_path / "a.toml"))["answer"] == "B"
    (folder / "test-2.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ConfigError, match=r"expected a parquet file"):
        loaders.open_set(tmp_path / "p.toml")


def test_without_pyarrow_a_table_is_refused_with_the_next_step(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"need pyarrow") as caught:
        list(rows.parse(b"", where="a.parquet", suffix=".parquet"))
    assert "pip install pyarrow" in caught.value.hint


def test_several_files_have_one_digest_that_names_decide_the_order_of():
    assert digest_of({"a": b"x"}) == canonical.sha256(b"x")
    assert digest_of({"a": b"x", "b": b"y"}) == digest_of({"b": b"y", "a": b"x"}) != digest_of({"a": b"y", "b": b"x"})
