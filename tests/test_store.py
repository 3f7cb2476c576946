"""Answers between model and pack: nothing is lost, nothing runs twice, nothing is hidden."""

import errno
import os
import subprocess
import sys
import textwrap

import pytest

from dossier import store
from dossier.errors import CollectionError, ConfigError, IntegrityError
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


def test_a_full_disk_loses_nothing_and_says_what_to_do(tmp_path, monkeypatch):
    class FullDisk:
        name = "journal"

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CollectionError, match="the disk is full") as caught:
        store._append(FullDisk(), b"line", sync=False)
    assert "Nothing collected so far is lost" in caught.value.hint


def test_a_store_that_cannot_be_written_is_the_operators_business(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), open_store(tmp_path / "file/store", wait=False):
        pass
