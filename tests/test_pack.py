"""Reading packs from hostile senders, and the manifest."""

import hashlib
import hmac
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dossier import pack
from dossier.errors import ConfigError, IntegrityError
from dossier.model import Manifest, parse
from tests.test_store import on_a_small_disk

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}(/[a-z0-9][a-z0-9_-]{0,8}){0,2}\.json", fullmatch=True)
MEMBERS = st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=6)


@given(MEMBERS)
def test_a_pack_reads_back_as_it_was_written(tmp_path_factory, members):
    path = tmp_path_factory.mktemp("pack") / "pack.zip"
    pack.write(members, path)
    assert pack.read(path).members == members


def test_the_same_members_give_the_same_zip(tmp_path):
    pack.write({"b.json": b"2", "a.json": b"1"}, tmp_path / "one.zip")
    pack.write({"a.json": b"1", "b.json": b"2"}, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_full_disk_leaves_the_old_zip_and_no_half_of_a_new_one(tmp_path):
    pack.write({"a.json": b"{}"}, tmp_path / "pack.zip")
    code = f"""
        import os
        from pathlib import Path
        from dossier import pack
        from dossier.errors import StoreError
        try:
            pack.write({{"a.json": os.urandom(9000)}}, Path({str(tmp_path)!r}) / "pack.zip")
        except StoreError:
            raise SystemExit(7)
    """
    assert on_a_small_disk(code, limit=4000) == (7, "")
    assert [file.name for file in tmp_path.iterdir()] == ["pack.zip"]
    assert pack.read(tmp_path / "pack.zip").members == {"a.json": b"{}"}


def test_a_folder_reads_as_its_zip_does(tmp_path):
    (tmp_path / "folder/trials").mkdir(parents=True)
    (tmp_path / "folder/trials/a.jsonl").write_bytes(b"1\n")
    assert pack.read(tmp_path / "folder").members == {"trials/a.jsonl": b"1\n"}


def make_zip(path, names, *, data=b"{}", method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "/etc/passwd",
        "a//b.json",
        "A.json",
        "a\\b.json",
        "c:/x.json",
        "a/../b.json",
        "ü.json",
        "a/",
        " a",
    ],
)
def test_names_that_could_leave_the_pack_or_collide_are_refused(tmp_path, name):
    with pytest.raises(IntegrityError, match="not a member name"):
        pack.read(make_zip(tmp_path / "p.zip", [name]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(tmp_path):
    with pytest.raises(IntegrityError, match="twice"):
        pack.read(make_zip(tmp_path / "p.zip", ["a.json", "a.json"]))


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    path = make_zip(tmp_path / "p.zip", ["a.json"], data=b"\0" * 50_000_000, method=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(IntegrityError, match="bomb"):
        pack.read(path)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "MAX_MEMBERS", 3)
    with pytest.raises(IntegrityError, match="at most 3"):
        pack.read(make_zip(tmp_path / "p.zip", ["a", "b", "c", "d"]))


def test_an_unknown_compression_is_refused(tmp_path):
    with pytest.raises(IntegrityError, match="method we do not read"):
        pack.read(make_zip(tmp_path / "p.zip", ["a.json"], method=zipfile.ZIP_BZIP2))


def test_a_link_in_a_folder_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.json").symlink_to("/etc/hostname")
    with pytest.raises(IntegrityError, match="link or special file"):
        pack.read(tmp_path / "folder")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_what_is_no_zip_is_the_callers_mistake(tmp_path, content):
    (tmp_path / "p.zip").write_bytes(content)
    with pytest.raises(ConfigError, match="expected a pack"):
        pack.read(tmp_path / "p.zip")


def test_a_damaged_member_is_named(tmp_path):
    path = make_zip(tmp_path / "p.zip", ["a.json"], data=b"0123456789")
    data = bytearray(path.read_bytes())
    data[data.index(b"0123456789")] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"a\.json"):
        pack.read(path)


def tree_of_rfc6962(leaves):
    """The recursive definition, as the RFC gives it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = tree_of_rfc6962(leaves[:split]), tree_of_rfc6962(leaves[split:])
    return hashlib.sha256(b"\1" + left + right).digest()


@given(st.lists(st.binary(max_size=10).filter(lambda b: not set(b) & set(b"\n\r\v\f\x1c\x1d\x1e\x85")), max_size=40))
def test_the_merkle_root_is_that_of_rfc_6962_over_salted_lines(lines):
    data = b"".join(line + b"\n" for line in lines)
    salt = "ab" * 32
    leaves = [
        hashlib.sha256(b"\0" + hmac.digest(bytes.fromhex(salt), str(i).encode(), "sha256") + line + b"\n").digest()
        for i, line in enumerate(lines)
    ]
    assert pack.merkle_root(data, salt=salt) == tree_of_rfc6962(leaves).hex()


def test_the_manifest_lists_every_member_with_its_class():
    members = pack.build_manifest(
        {"dossier.json": b"{}", "trials/a.jsonl": b"1\n"}, confidentiality={"trials": "authority"}
    )
    entries = {entry.path: entry for entry in parse(Manifest, members["manifest.json"], where="m").files}
    assert set(entries) == {"dossier.json", "trials/a.jsonl", "salts.json"}
    assert entries["trials/a.jsonl"].confidentiality == "authority"
    assert entries["trials/a.jsonl"].merkle_root is not None
    assert entries["salts.json"].confidentiality == "confidential"
    assert entries["dossier.json"].merkle_root is None


def test_the_manifest_does_not_cover_what_is_signed_after_it():
    assert [pack.covered(n) for n in ("manifest.json", "dossier.pdf", "attestation.dsse.json", "approvals/x")] == [
        False
    ] * 4
    assert pack.covered("dossier.json")
