"""Answers between model and pack: nothing is lost, nothing runs twice, nothing is hidden."""

import os
import subprocess
import sys
import textwrap

import pytest

from dossier.errors import ConfigError, IntegrityError
from dossier.model import LedgerEntry, Message, Request, digest_of
from dossier.store import JournaledModel, check_ledger, open_store
from tests.planted import NOW, PlantedModel

DIGEST = "0" * 64


def entry(event="started"):
    return LedgerEntry(
        previous=DIGEST,
        at=NOW,
        event=event,
        evidence="hint",
        key=DIGEST,
        run_ordinal=1,
        plan_sha256=DIGEST,
        detail="",
    )


def requests(count):
    return [
        Request(
            messages=(Message(role="user", content=f"Question {n}?\n(A) x\n(B) y"),),
            max_tokens=9,
            temperature=1.0,
            seed=f"{n:016x}",
        )
        for n in range(count)
    ]


def test_objects_are_kept_by_digest_and_a_changed_one_is_noticed(tmp_path):
    with open_store(tmp_path, wait=False) as kept:
        digest = kept.put(b"answer")
        assert kept.get(digest) == b"answer"
        (tmp_path / "objects" / digest).write_bytes(b"other")
        with pytest.raises(IntegrityError, match="changed on disk"):
            kept.get(digest)


def test_the_ledger_is_a_chain_and_a_removed_line_breaks_it(tmp_path):
    with open_store(tmp_path, wait=False) as kept:
        for event in ("started", "aborted", "finished"):
            kept.append_ledger(entry(event))
        lines = kept.ledger().splitlines(keepends=True)
    assert [e.event for e in check_ledger(b"".join(lines), where="l")] == ["started", "aborted", "finished"]
    for forged in (
        lines[1:],
        lines[:1] + lines[2:],
        [lines[1], lines[0], lines[2]],
        [lines[0].replace(b"hint", b"hunt"), *lines[1:]],
    ):
        with pytest.raises(IntegrityError, match="chain is broken"):
            check_ledger(b"".join(forged), where="l")


def test_a_torn_last_line_is_cut_off_and_the_chain_goes_on(tmp_path):
    with open_store(tmp_path, wait=False) as kept:
        kept.append_ledger(entry())
        with (tmp_path / "ledger.jsonl").open("ab") as stream:
            stream.write(b'{"at": "2026')
        kept.append_ledger(entry("finished"))
        assert len(check_ledger(kept.ledger(), where="l")) == 2


def test_what_was_answered_is_not_asked_again(tmp_path):
    with open_store(tmp_path, wait=False) as kept:
        first = list(JournaledModel(PlantedModel(), kept).generate(requests(5)))
        again = JournaledModel(PlantedModel(fail_after=3), kept)
        second = {c.request_sha256: c for c in again.generate(requests(8))}
        assert (again.replayed, again.asked) == (5, 3)
        assert {c.request_sha256: c for c in first}.items() <= second.items()
        assert set(second) == {digest_of(request) for request in requests(8)}


def test_another_model_does_not_answer_from_the_journal(tmp_path):
    with open_store(tmp_path, wait=False) as kept:
        list(JournaledModel(PlantedModel(), kept).generate(requests(5)))
        other = JournaledModel(PlantedModel(weights="b"), kept)
        list(other.generate(requests(5)))
        assert other.replayed == 0


def test_a_torn_answer_is_asked_again(tmp_path):
    with open_store(tmp_path, wait=False) as kept:
        list(JournaledModel(PlantedModel(), kept).generate(requests(5)))
        (journal,) = (tmp_path / "journal").iterdir()
        journal.write_bytes(journal.read_bytes()[:-10])
        again = JournaledModel(PlantedModel(), kept)
        assert len(list(again.generate(requests(5)))) == 5
        assert (again.replayed, again.asked) == (4, 1)


def test_a_second_run_on_a_store_says_so(tmp_path):
    with (
        open_store(tmp_path, wait=False),
        pytest.raises(ConfigError, match="another run"),
        open_store(tmp_path, wait=False),
    ):
        pass


def test_a_waiting_run_goes_on_when_the_first_is_done(tmp_path):
    code = textwrap.dedent(f"""
        from pathlib import Path
        from dossier.store import open_store
        with open_store(Path({str(tmp_path)!r}), wait=True) as kept:
            kept.put(b"second")
    """)
    with open_store(tmp_path, wait=False) as kept:
        second = subprocess.Popen([sys.executable, "-c", code])
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=1.5)
        kept.put(b"first")
    assert second.wait(timeout=20) == 0


def on_a_small_disk(code, *, limit):
    """Run code in a process that may write no file beyond ``limit`` bytes, as on a full disk: exit code, stderr."""
    setup = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", setup + textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stderr


def test_an_answer_that_does_not_fit_on_the_disk_says_so_and_those_before_it_are_kept(tmp_path):
    code = f"""
        from pathlib import Path
        from dossier.errors import StoreError
        from dossier.store import JournaledModel, open_store
        from tests.planted import PlantedModel
        from tests.test_store import requests
        with open_store(Path({str(tmp_path)!r}), wait=False) as kept:
            try:
                list(JournaledModel(PlantedModel(), kept).generate(requests(50)))
            except StoreError as error:
                assert "could not be written" in error.message
                assert "Nothing collected so far is lost" in error.hint
                raise SystemExit(7)
    """
    assert on_a_small_disk(code, limit=5000) == (7, "")
    with open_store(tmp_path, wait=False) as kept:
        again = JournaledModel(PlantedModel(), kept)
        assert len(list(again.generate(requests(50)))) == 50
        assert again.replayed > 0
        assert again.asked > 0


def test_files_are_replaced_whole_together_or_not_at_all(tmp_path):
    (tmp_path / "pack").mkdir()
    for name in ("a.json", "b.json"):
        (tmp_path / "pack" / name).write_bytes(b"old")
    code = f"""
        from pathlib import Path
        from dossier.errors import StoreError
        from dossier.files import write_together, write_whole
        folder = Path({str(tmp_path)!r})
        for write in (
            lambda: write_together(folder / "pack", {{"a.json": b"new", "b.json": b"n" * 3000}}, scratch=folder),
            lambda: write_whole(folder / "pack/a.json", b"n" * 3000),
        ):
            try:
                write()
            except StoreError:
                continue
            raise SystemExit("it was written")
    """
    assert on_a_small_disk(code, limit=2000) == (0, "")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["a.json", "b.json", "pack"]
    assert {file.read_bytes() for file in (tmp_path / "pack").iterdir()} == {b"old"}


def test_a_store_that_cannot_be_written_is_the_operators_business(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), open_store(tmp_path / "file/store", wait=False):
        pass
