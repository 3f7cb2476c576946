"""Items come from a file, from a shipped set by its name, or from a description of a set the user has."""

from __future__ import annotations

import json

import pytest

from dossier.errors import ConfigError
from dossier.inputs import read_items
from evidence_collectors.items.loaders import catalog


def test_a_shipped_set_goes_by_its_name(tmp_path):
    for name, shipped in catalog().items():
        file, data = read_items(name, tmp_path)
        assert file == shipped.file
        assert len(data.splitlines()) == shipped.count


def test_a_file_of_the_same_name_goes_first_and_any_other_is_read_as_it_is(tmp_path):
    (tmp_path / "questions.v1").write_bytes(b"mine\n")
    assert read_items("questions.v1", tmp_path) == ("questions.v1", b"mine\n")
    (tmp_path / "own.jsonl").write_bytes(b"{}\n")
    assert read_items("own.jsonl", tmp_path) == ("own.jsonl", b"{}\n")


def test_a_description_beside_the_data_needs_no_code(tmp_path):
    row = {"question": "What is 2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1, "subject": "arithmetic"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "mine.toml").write_text('format = "mmlu"\nfile = "mine.jsonl"\nlicence = "CC0-1.0"\n')
    name, data = read_items("mine.toml", tmp_path)
    (item,) = [json.loads(line) for line in data.splitlines()]
    assert (name, item["answer"], item["licence"]) == ("mine.jsonl", "B", "CC0-1.0")


def test_what_is_nowhere_is_an_error_that_names_the_path(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.jsonl: cannot be read"):
        read_items("nothing.jsonl", tmp_path)
