"""Schemas, two validators and the pydantic models accept and refuse alike; nothing is ever fetched."""

from __future__ import annotations

import copy
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dossier
from dossier import attest, canonical, editions, model, schema
from dossier.errors import DossierError, SchemaError
from evidence_collectors import COLLECTORS, load

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).parent.parent
MODELS: dict[str, type[model.Value]] = {
    "plan.v1": model.Plan,
    "trial.v1": model.Trial,
    "evidence.v1": model.Evidence,
    "calibration.v1": model.Calibration,
    "reference.v1": model.Reference,
    "sensitivity.v1": model.Sensitivity,
    "catalogue.v1": model.Catalogue,
    "dossier.v1": model.Dossier,
    "manifest.v1": model.Manifest,
    "ledger_entry.v1": model.LedgerEntry,
    "trust.v1": attest.Trust,
    "edition.v1": editions.Edition,
}
# Read in parts by dossier.attest (envelope.v1), by its instrument (item.v1, contrast.v1) or after its schema (salts.v1);
# written and never read (verdict.v1, replay.v1).
WITHOUT_MODEL = {"envelope.v1", "item.v1", "contrast.v1", "salts.v1", "verdict.v1", "replay.v1"}
PREDICATES = {uri: predicate for predicate, uri in attest.PREDICATES.items()}

Path_ = tuple[str | int, ...]


def accepts(reader: Callable[[], object]) -> bool:
    try:
        reader()
    except DossierError:
        return False
    return True


def by_jsonschema(document: str, data: bytes) -> bool:
    return accepts(lambda: schema.validate(document, data, where="x"))


def by_jsonschema_rs(document: str, data: bytes) -> bool:
    return accepts(lambda: valid_in_bulk(document, canonical.loads(data, where="x")))


def valid_in_bulk(document: str, value: Any) -> None:
    if not all(schema._shipped_bulk(name).is_valid(value) for name in names(document, value)):
        raise SchemaError("refused")


def names(document: str, value: Any) -> tuple[str, ...]:
    return schema._names(document, value, schema.shipped())


def verdicts(document: str, data: bytes) -> set[bool]:
    """What each reader says to a text, without the words, which take the time."""
    try:
        value = canonical.loads(data, where="x")
    except SchemaError:
        return {False}
    said = {all(schema._shipped_reference(name).is_valid(value) for name in names(document, value))}
    said |= {all(schema._shipped_bulk(name).is_valid(value) for name in names(document, value))}
    return said if document in WITHOUT_MODEL else said | {by_pydantic(document, data)}


def by_pydantic(document: str, data: bytes) -> bool:
    if document == "statement.v1":
        return accepts(lambda: read_statement(data))
    return accepts(lambda: model.parse(MODELS[document], data, where="x"))


def read_statement(data: bytes) -> None:
    value = canonical.loads(data, where="x")
    named = value.get("predicateType") if isinstance(value, dict) else None
    attest.parse_statement(PREDICATES.get(str(named), attest.ApprovalPredicate), data, where="x")


def files(quality: str) -> list[Any]:
    found = sorted(CORPUS.glob(f"*/{quality}/*.json"))
    return [pytest.param(path.parent.parent.name, path, id=f"{path.parent.parent.name}-{path.stem}") for path in found]


# --- the corpus ----------------------------------------------------------------------------------------------------


def test_every_document_has_good_and_bad_examples() -> None:
    for quality in ("good", "bad"):
        assert {path.parent.parent.name for path in CORPUS.glob(f"*/{quality}/*.json")} == set(schema.documents()) - {
            name for name in schema.documents() if name.startswith("evidence/")
        }


@pytest.mark.parametrize(("document", "path"), files("good"))
def test_all_readers_accept_a_good_document(document: str, path: Path) -> None:
    data = path.read_bytes()
    assert schema.errors(document, canonical.loads(data, where="x")) == ()
    assert by_jsonschema_rs(document, data)
    assert document in WITHOUT_MODEL or by_pydantic(document, data)


def test_every_instrument_has_a_schema_with_good_and_bad_examples() -> None:
    schemas = {name for name in schema.documents() if name.startswith("evidence/")}
    assert schemas == {f"evidence/{kind}.v1" for kind in COLLECTORS}
    for name in schemas:
        assert all(list((CORPUS / name / quality).glob("*.json")) for quality in ("good", "bad"))


@pytest.mark.parametrize("path", sorted((CORPUS / "evidence").glob("*/*/*.json")), ids=lambda path: path.stem)
def test_evidence_is_checked_against_the_schema_of_its_kind_too(path: Path) -> None:
    name, good = f"evidence/{path.parent.parent.name}", path.parent.name == "good"
    value = canonical.loads(path.read_bytes(), where="x")
    special = schema.errors(name, value)
    assert (special == ()) == schema._shipped_bulk(name).is_valid(value) == good
    if f"evidence/{value['kind']}.v1" == name:
        assert by_jsonschema("evidence.v1", path.read_bytes()) == good


@pytest.mark.parametrize("kind", sorted(COLLECTORS))
def test_the_schema_of_an_instrument_knows_its_parameters_and_quantities(kind: str) -> None:
    properties = schema.shipped()[f"evidence/{kind}.v1"]["properties"]
    (example, *_) = sorted((CORPUS / "evidence" / f"{kind}.v1" / "good").glob("*.json"))
    collector = load(kind)
    params = collector.parse(json.loads(example.read_text())["parameters"])
    assert set(properties["parameters"]["properties"]) == set(collector.dump(params))
    pattern = properties["observations"]["items"]["properties"]["id"]["pattern"]
    assert all(re.fullmatch(pattern, quantity) for quantity in collector.quantities(params))


@pytest.mark.parametrize(("document", "path"), files("bad"))
def test_all_readers_refuse_a_bad_document(document: str, path: Path) -> None:
    data = path.read_bytes()
    assert not by_jsonschema(document, data)
    assert not by_jsonschema_rs(document, data)
    assert document in WITHOUT_MODEL or not by_pydantic(document, data)


DOCUMENTS = [*MODELS, "statement.v1", *sorted(WITHOUT_MODEL)]


# --- mutations of good documents -----------------------------------------------------------------------------------

WRONG = (None, True, -1, 0.5, 10**15, "", "0.5", [], {}, {"a": 1})


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from places(member, (*path, key))


def look(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def changed(value: Any, path: Path_, new: Any) -> Any:
    if not path:
        return new
    other = copy.copy(value)
    other[path[0]] = changed(value[path[0]], path[1:], new)
    return other


def without(value: Any, path: Path_) -> Any:
    holder = look(value, path[:-1])
    return changed(value, path[:-1], {name: kept for name, kept in holder.items() if name != path[-1]})


def wrong_values(value: Any) -> Iterator[Any]:
    yield from WRONG
    if isinstance(value, str):
        yield from (value.upper(), f"{value}\n", value[:-1], f"{value}é")
    if isinstance(value, list) and value:
        yield [*value, None]


def mutations(value: Any) -> Iterator[Any]:
    """Every place of a document with every wrong value, and every object with an unknown member."""
    for path in places(value):
        here = look(value, path)
        yield from (changed(value, path, new) for new in wrong_values(here))
        if isinstance(here, dict):
            yield changed(value, path, {**here, "unknown": 1})


MAPS = {"parameters", "measurements", "facts", "versions", "inputs", "applies_from", "salts"}  # no key must be there


def drops(value: Any) -> Iterator[tuple[Path_, Any]]:
    """Every document that lacks one member."""
    for path in places(value):
        if path and isinstance(path[-1], str):
            yield path, without(value, path)


def fullest(document: str) -> list[Any]:
    return [
        canonical.loads(path.read_bytes(), where="x") for path in sorted((CORPUS / document / "good").glob("*.json"))
    ]


def optional_members() -> set[str]:
    """Members that a pydantic model fills in where they are missing."""
    seen: set[str] = set()
    todo: list[type[model.Value]] = [model.Value]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind.__module__ in {model.__name__, attest.__name__, editions.__name__}:
            seen |= {name for name, member in kind.model_fields.items() if not member.is_required()}
    return seen


@pytest.mark.parametrize("document", DOCUMENTS)
def test_all_readers_agree_on_every_mutation_of_a_good_document(document: str) -> None:
    refused = 0
    for value in fullest(document):
        for mutant in mutations(value):
            data = json.dumps(mutant).encode()
            said = verdicts(document, data)
            assert len(said) == 1, data
            refused += said == {False}
    assert refused > 50


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_missing_member_is_refused_wherever_the_schema_has_one(document: str) -> None:
    lenient = optional_members()
    for value in fullest(document):
        for path, mutant in drops(value):
            data = json.dumps(mutant).encode()
            expected = len(path) > 1 and path[-2] in MAPS
            assert by_jsonschema(document, data) == by_jsonschema_rs(document, data) == expected, path
            if document not in WITHOUT_MODEL and path[-1] not in lenient:
                assert by_pydantic(document, data) == expected, path


@pytest.mark.parametrize("document", MODELS)
def test_the_models_refuse_a_missing_member_even_where_python_may_leave_it_out(document: str) -> None:
    lenient = optional_members()
    dropped = [drop for value in fullest(document) for drop in drops(value)]
    missing = [mutant for path, mutant in dropped if path[-1] in lenient and not set(path[:-1]) & MAPS]
    assert missing
    assert not any(by_pydantic(document, json.dumps(mutant).encode()) for mutant in missing)


TEXTS = {
    "a duplicate key": lambda text: text.replace(b"{", b'{"twice": 1, "twice": 2, ', 1),
    "NaN": lambda text: re.sub(rb"(?<=: )[0-9.]+(?=[,\s])", b"NaN", text, count=1),
    "a fraction on a whole number": lambda text: re.sub(rb"(?<=: )([0-9]+)(?=[,\s])", rb"\1.0", text, count=1),
    "an exponent": lambda text: re.sub(rb"(?<=: )([0-9]+)(?=[,\s])", rb"\1e0", text, count=1),
    "an integer beyond 2**53 - 1": lambda text: re.sub(rb"(?<=: )[0-9]+(?=[,\s])", b"9007199254740992", text, count=1),
    "a lone surrogate": lambda text: re.sub(rb'(?<=: ")', rb"\\udc00", text, count=1),
    "a byte that is not UTF-8": lambda text: re.sub(rb'(?<=: ")', b"\xff", text, count=1),
    "a comment": lambda text: text.replace(b"{", b"{ /* */", 1),
    "a comma too many": lambda text: re.sub(rb"\n\}\s*$", b",\n}", text),
    "something after the end": lambda text: text + b"{}",
}


@pytest.mark.parametrize("fault", TEXTS)
@pytest.mark.parametrize("document", MODELS)
def test_texts_that_parsers_read_differently_reach_no_validator(document: str, fault: str) -> None:
    for path in sorted((CORPUS / document / "good").glob("*.json")):
        text = path.read_bytes()
        broken = TEXTS[fault](text)
        if broken == text:
            continue
        assert not by_jsonschema(document, broken)
        assert not by_jsonschema_rs(document, broken)
        assert not by_pydantic(document, broken)


# --- the schema files ----------------------------------------------------------------------------------------------


def subschemas(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from subschemas(member)


@pytest.mark.parametrize("name", sorted(schema.shipped()))
def test_a_schema_stays_in_the_portable_subset(name: str) -> None:
    shipped = schema.shipped()[name]
    assert shipped["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for part in subschemas(shipped):
        assert not {"format", "multipleOf", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef"} & set(part)
        if isinstance(part.get("pattern"), str):
            pattern = part["pattern"]
            assert re.fullmatch(r"\^[ -~]*\$", pattern)
            assert not re.search(r"\\[dDwWsSpPbB]|\(\?[^:]", pattern), pattern
            assert "$" not in pattern[:-1]
        if part.get("type") == "integer":
            assert -canonical.MAX_INTEGER <= part["minimum"] <= part["maximum"] <= canonical.MAX_INTEGER
        if isinstance(part.get("$ref"), str):
            assert re.fullmatch(r"(\.\./)?([a-z_]+\.v1\.json)?(#/\$defs/[a-z_]+)?", part["$ref"])


@pytest.mark.parametrize("name", sorted(schema.shipped()))
def test_every_object_is_closed_and_every_member_described(name: str) -> None:
    shipped = schema.shipped()
    for part in subschemas(shipped[name]):
        if part.get("type") == "object" and "properties" in part:
            assert part["additionalProperties"] is False
        for member in part.get("properties", {}).values() if part.get("type") == "object" else ():
            target = member.get("$ref", "")
            assert "description" in member or described(shipped, name, target), (name, member)


def described(shipped: schema.Schemas, name: str, target: str) -> bool:
    file, _, place = target.partition("#/$defs/")
    source = shipped[file.removesuffix(".json")] if file else shipped[name]
    return bool(place) and "description" in source["$defs"][place]


def test_patterns_and_limits_are_those_of_the_models() -> None:
    shared = schema.shipped()["common.v1"]["$defs"]
    for alias, name in ((model.Digest, "digest"), (model.Seed, "seed"), (model.Slug, "slug"), (model.Kind, "kind")):
        assert alias.__metadata__[0].pattern == shared[name]["pattern"]
    assert model.Text.__metadata__[0].max_length == shared["text"]["maxLength"]


# --- what is released stays ----------------------------------------------------------------------------------------


def digests() -> dict[str, str]:
    files = sorted((ROOT / "schemas").rglob("*.v*.json"))
    return {path.relative_to(ROOT / "schemas").as_posix(): canonical.sha256(path.read_bytes()) for path in files}


def broken_promises(frozen: dict[str, str], now: dict[str, str], *, version: str) -> list[str]:
    """Released schemas that changed or went; from version 1.0.0, also those that no release holds fast."""
    changed_or_gone = [name for name, digest in frozen.items() if now.get(name) != digest]
    return changed_or_gone + ([name for name in now if name not in frozen] if int(version.split(".")[0]) >= 1 else [])


def test_the_list_of_schemas_is_complete_and_current() -> None:
    listed = json.loads((ROOT / "schemas" / "released.json").read_text())
    assert listed["current"] == digests(), "write this into released.json: " + json.dumps(digests(), indent=2)


def test_no_released_schema_has_changed() -> None:
    listed = json.loads((ROOT / "schemas" / "released.json").read_text())
    assert broken_promises(listed["frozen"], digests(), version=dossier.__version__) == []


def test_a_changed_a_lost_and_an_unlisted_schema_would_be_noticed() -> None:
    now = {"a.v1.json": "1", "b.v1.json": "2"}
    assert broken_promises({"a.v1.json": "1"}, now, version="0.9.0") == []
    assert broken_promises({"a.v1.json": "0"}, now, version="0.9.0") == ["a.v1.json"]
    assert broken_promises({"c.v1.json": "0"}, now, version="0.9.0") == ["c.v1.json"]
    assert broken_promises({"a.v1.json": "1"}, now, version="1.0.0") == ["b.v1.json"]
    assert broken_promises(now, now, version="1.0.0") == []


# --- nothing is fetched --------------------------------------------------------------------------------------------


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def hostile(reference: str) -> schema.Schemas:
    return {
        "plan.v1": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"{schema.BASE_URI}plan.v1.json",
            "$ref": reference,
        }
    }


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("scheme", ["http", "https", "file", "relative"])
def test_a_reference_to_elsewhere_is_an_error_and_never_fetched(scheme: str, tmp_path: Path) -> None:
    anything_goes = tmp_path / "yes.json"
    anything_goes.write_text("{}")
    reference = {"file": anything_goes.as_uri(), "relative": "yes.json"}.get(scheme, f"{scheme}://127.0.0.1:9/yes.json")
    with pytest.raises(SchemaError, match=r"schema plan\.v1: cannot be used"):
        schema.errors("plan.v1", {}, schemas=hostile(reference))
    with pytest.raises(SchemaError, match=r"schema plan\.v1: cannot be used"):
        schema.bulk_validator("plan.v1", hostile(reference))


def test_a_document_cannot_bring_its_own_schema() -> None:
    value = {**fullest("plan.v1")[0], "$schema": "https://example.invalid/anything"}
    (only,) = schema.errors("plan.v1", value)
    assert only.message.startswith('the member "$schema" is unknown')


# --- broken schemas ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "not strict JSON"),
        ('{"$id": "x", "$id": "y"}', "duplicate key"),
        ("[]", r"its \$id is not"),
        ('{"$id": "https://schemas.dossier.invalid/other.v1.json"}', r"its \$id is not"),
    ],
)
def test_a_schema_file_that_does_not_parse_is_named(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "mine.v1.json").write_text(text)
    with pytest.raises(SchemaError, match=rf"schema mine\.v1.*{what}"):
        schema.read_schemas(tmp_path)


def test_a_schema_that_breaks_its_meta_schema_is_named() -> None:
    broken = {"mine.v1": {"$id": f"{schema.BASE_URI}mine.v1.json", "type": "text"}}
    with pytest.raises(SchemaError, match=r"schema mine\.v1"):
        schema.errors("mine.v1", 1, schemas=broken)
    with pytest.raises(SchemaError, match=r"schema mine\.v1"):
        schema.bulk_validator("mine.v1", broken)


def test_an_unknown_document_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(SchemaError, match=r"plan\.v9") as caught:
        schema.validate("plan.v9", b"{}", where="x")
    assert "plan.v1" in caught.value.hint


# --- messages ------------------------------------------------------------------------------------------------------


def fault(document: str, name: str) -> SchemaError:
    with pytest.raises(SchemaError) as caught:
        schema.validate(document, (CORPUS / document / "bad" / f"{name}.json").read_bytes(), where="mine.json")
    return caught.value


@pytest.mark.parametrize(
    ("document", "name", "pointer", "message"),
    [
        ("plan.v1", "missing_subject", "", 'mine.json/: the member "subject" is missing'),
        ("plan.v1", "count_as_text", "/evidence/0/item_count", 'expected integer, got "10"'),
        ("plan.v1", "negative_count", "/evidence/0/item_count", "expected at least 0, got -1"),
        ("plan.v1", "unknown_role", "/provider/roles/0", 'expected one of "provider", "deployer", got "importer"'),
        ("plan.v1", "other_schema_version", "/schema_version", 'expected "plan.v1", got "plan.v2"'),
        ("plan.v1", "digest_with_trailing_newline", "/catalogue_sha256", "64 lower-case hexadecimal digits, got"),
        ("plan.v1", "placed_on_a_day_that_does_not_exist", "/scope/placed_on_market", 'Only days that exist, got "2026-99-99"'),
        ("plan.v1", "no_classes", "/scope/classes", "expected at least 1 entries, got []"),
        ("evidence.v1", "infinite_estimate", "", "Infinity is not JSON"),
        ("statement.v1", "decision_maybe", "/predicate/decision", 'expected one of "approved", "rejected", got "maybe"'),
    ],
)  # fmt: skip
def test_a_message_says_what_where_expected_and_got(document: str, name: str, pointer: str, message: str) -> None:
    error = fault(document, name)
    assert error.pointer == pointer
    assert "mine.json" in error.message
    assert message in error.message
    assert error.hint


def test_a_misspelt_member_is_answered_with_the_right_one() -> None:
    value = fullest("ledger_entry.v1")[0]
    value["detial"] = value.pop("detail")
    assert [fault.message for fault in schema.errors("ledger_entry.v1", value)] == [
        'the member "detail" is missing',
        'the member "detial" is unknown; did you mean detail?',
    ]


def test_a_pointer_escapes_what_rfc_6901_says() -> None:
    value = fullest("evidence.v1")[0]
    value["environment"]["versions"]["a/b~c"] = 1
    assert [fault.pointer for fault in schema.errors("evidence.v1", value)] == ["/environment/versions/a~1b~0c"]


def test_hostile_text_is_shown_escaped_and_short() -> None:
    value = {**fullest("ledger_entry.v1")[0], "event": "\x1b[31m" + "é" * 10_000}
    (only,) = schema.errors("ledger_entry.v1", value)
    assert "\x1b" not in only.message
    assert "\\u001b[31m" in only.message
    assert len(only.message) < 300


# --- JSON Lines ----------------------------------------------------------------------------------------------------


def test_lines_are_counted_and_the_line_at_fault_is_named() -> None:
    good = canonical.encode(fullest("trial.v1")[0]) + b"\n"
    assert schema.validate_lines("trial.v1", b"", where="t.jsonl") == 0
    assert schema.validate_lines("trial.v1", good * 3, where="t.jsonl") == 3
    bad = good.replace(b'"temperature":0.7', b'"temperature":70')
    with pytest.raises(SchemaError, match=r"t\.jsonl:3/request/temperature|t\.jsonl:3/request: ") as caught:
        schema.validate_lines("trial.v1", good * 2 + bad + good, where="t.jsonl")
    assert caught.value.pointer.startswith("/request")


@pytest.mark.parametrize("tail", [b"{", b"\n", b'{"a": NaN}\n'])
def test_lines_that_are_not_strict_json_are_refused(tail: bytes) -> None:
    good = canonical.encode(fullest("trial.v1")[0]) + b"\n"
    with pytest.raises(SchemaError, match=r"t\.jsonl"):
        schema.validate_lines("trial.v1", good + tail, where="t.jsonl")


def test_importing_the_module_loads_neither_validator() -> None:
    code = "import sys, dossier.schema; print([m for m in ('jsonschema', 'jsonschema_rs') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"
