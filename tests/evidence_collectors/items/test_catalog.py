"""The catalogue names every shipped set by digest, and nothing is shipped that it does not name."""

from __future__ import annotations

import json
import re

import pytest

from dossier import canonical, schema
from dossier.errors import IntegrityError
from evidence_collectors.items import loaders

SHAPES = {"questions": "item.v1", "contrasts": "contrast.v1"}
SETS = sorted(loaders.catalog())


def test_the_catalogue_names_three_sets():
    assert SETS == ["awareness.v1", "questions.v1", "refusal.v1"]


@pytest.mark.parametrize("name", SETS)
def test_digest_count_and_licence_of_a_set_are_those_of_its_file(name):
    one = loaders.catalog()[name]
    data = (loaders.FOLDER / one.file).read_bytes()
    rows = list(canonical.load_lines(data, where=one.file))
    assert (canonical.sha256(data), len(rows)) == (one.sha256, one.count)
    assert {row["licence"] for row in rows} == {one.licence} == {"Apache-2.0"}
    assert canonical.dump_lines(rows) == data, "canonical bytes, so that an edit cannot hide"


@pytest.mark.parametrize("name", SETS)
def test_each_row_of_a_set_keeps_its_schema(name):
    one = loaders.catalog()[name]
    schema.validate_lines(SHAPES[one.kind], loaders.shipped(name), where=one.file)


@pytest.mark.parametrize("name", SETS)
def test_ids_of_a_set_are_different(name):
    ids = [row["id"] for row in canonical.load_lines(loaders.shipped(name), where=name)]
    assert len(set(ids)) == len(ids)


def test_companions_are_there_by_digest():
    for one in loaders.catalog().values():
        for name, digest in one.companions.items():
            assert canonical.sha256((loaders.FOLDER / name).read_bytes()) == digest, name


def test_no_data_file_lies_there_uncatalogued():
    named = {loaders.CATALOG.name, "attacks.v1.json"}  # the attack suite has a digest and tests of its own
    for one in loaders.catalog().values():
        named |= {one.file, *one.companions}
    assert {path.name for path in loaders.FOLDER.iterdir() if path.suffix in (".json", ".jsonl")} == named


def test_a_changed_file_is_not_handed_out(tmp_path, monkeypatch):
    one = loaders.catalog()["refusal.v1"]
    data = (loaders.FOLDER / one.file).read_bytes()
    (tmp_path / one.file).write_bytes(data.replace(b"bird box", b"bird bath"))
    monkeypatch.setattr(loaders, "FOLDER", tmp_path)
    with pytest.raises(IntegrityError, match=r"refusal\.v1\.jsonl"):
        loaders.shipped("refusal.v1")


def test_no_set_holds_text_of_a_public_one_by_its_canary_or_name():
    known = re.compile(
        rb"canary GUID|BENCHMARK DATA SHOULD NEVER|MMLU|GPQA|HellaSwag|TruthfulQA|HarmBench|AdvBench", re.I
    )
    for name in SETS:
        assert not known.search(loaders.shipped(name)), name


def test_the_catalogue_is_plain_json():
    assert json.loads(loaders.CATALOG.read_text(encoding="utf-8"))["licence"] == "Apache-2.0"
