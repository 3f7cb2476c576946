"""Where do answers lie between the model and the pack, so that no crash loses one?

    <store>/
      lock                      held while a run writes; a second run waits or says so
      ledger.jsonl              hash-chained, append only: every start, abort and finish
      journal/<model>.jsonl     every answer of a model, by request digest
      objects/<sha256>          evidence, trials and artefacts, by digest
      runs/<key>                the digest of the evidence a key gave: same key, no second run

Appends are written line by line, unbuffered, so ``kill -9`` loses at most the line being written; a torn last line is
cut off at the next start. Everything else is written to a temporary file and renamed.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dossier import canonical
from dossier.errors import ConfigError, IntegrityError
from dossier.files import append, disk_error, open_to_append, sync, write_whole
from dossier.language_model import Capability, Continuation, LanguageModel, ModelSize
from dossier.model import Completion, Environment, LedgerEntry, Request, Subject, digest_of, dump, parse

GENESIS = "0" * 64


class Store:
    """An open store. Use `open_store`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            for folder in ("journal", "objects", "runs"):
                (path / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, str(path)) from error

    def put(self, data: bytes) -> str:
        """Keep some bytes and return their digest.

        Raises:
            StoreError: the disk is full.
        """
        digest = canonical.sha256(data)
        target = self.path / "objects" / digest
        if not target.exists():
            write_whole(target, data)
        return digest

    def get(self, digest: str) -> bytes:
        """Return kept bytes.

        Raises:
            IntegrityError: they are gone or changed.
        """
        try:
            data = (self.path / "objects" / digest).read_bytes()
        except OSError as error:
            raise IntegrityError(f"{self.path}: object {digest[:16]}… cannot be read: {error.strerror}.") from error
        if canonical.sha256(data) != digest:
            raise IntegrityError(f"{self.path}: object {digest[:16]}… was changed on disk.")
        return data

    def finished(self, key: str) -> str | None:
        """Return the digest of the evidence a key gave, if it ran to the end."""
        target = self.path / "runs" / key
        return target.read_text().strip() if target.exists() else None

    def finish(self, key: str, evidence_sha256: str) -> None:
        """Record which evidence a key gave."""
        write_whole(self.path / "runs" / key, evidence_sha256.encode() + b"\n")

    def ledger(self) -> bytes:
        """Return the ledger's bytes, without a line that a crash tore."""
        target = self.path / "ledger.jsonl"
        _cut_torn_line(target)
        return target.read_bytes() if target.exists() else b""

    def append_ledger(self, entry: LedgerEntry) -> None:
        """Append an entry whose ``previous`` is filled in here.

        Raises:
            StoreError: the disk is full.
        """
        target = self.path / "ledger.jsonl"
        lines = self.ledger().splitlines()
        previous = canonical.sha256(lines[-1]) if lines else GENESIS
        with open_to_append(target) as stream:
            append(stream, dump(entry.model_copy(update={"previous": previous})) + b"\n")
            sync(stream)


@contextmanager
def open_store(path: Path, *, wait: bool) -> Iterator[Store]:
    """Open a store for one run at a time.

    Raises:
        ConfigError: another run holds it and ``wait`` is False, or the folder cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("a+")
    except OSError as error:
        raise ConfigError(f"{path}: the store cannot be written: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ConfigError(
                f"{path}: another run is writing to this store.", hint="Wait for it, or pass --wait."
            ) from error
        yield Store(path)


class JournaledModel:
    """A `LanguageModel` that answers from the journal what was asked before, and writes down what was not.

    ``asked`` and ``replayed`` count completions, for progress. What else the model can do passes through unjournaled.
    """

    def __init__(self, model: LanguageModel, store: Store) -> None:
        self._model = model
        environment = model.environment
        name = canonical.digest(
            {
                "subject": digest_of(model.subject),
                "engine": environment.engine,
                "dtype": environment.dtype,
                "quantisation": environment.quantisation,
                "device": environment.device,
            }
        )
        self._path = store.path / "journal" / f"{name}.jsonl"
        self.asked = 0
        self.replayed = 0

    @property
    def subject(self) -> Subject:
        """The inner model's subject."""
        return self._model.subject

    @property
    def environment(self) -> Environment:
        """The inner model's environment."""
        return self._model.environment

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The inner model's capabilities."""
        return self._model.capabilities

    @property
    def size(self) -> ModelSize | None:
        """The inner model's size."""
        return self._model.size

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield journaled completions first, then the others as the model gives them, each written down before.

        Raises:
            StoreError: an answer cannot be written down.
        """
        wanted = {digest_of(request): request for request in requests}
        known = self._read()
        for digest in wanted.keys() & known.keys():
            self.replayed += 1
            yield known[digest]
        missing = [request for digest, request in wanted.items() if digest not in known]
        if not missing:
            return
        with open_to_append(self._path) as stream:
            for completion in self._model.generate(missing):
                append(stream, dump(completion) + b"\n")
                self.asked += 1
                yield completion
            sync(stream)

    def logprobs(self, continuations: Iterable[Continuation]) -> Iterator[tuple[float, ...]]:
        """Ask the inner model; log-probabilities are not journaled."""
        return self._model.logprobs(continuations)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def _read(self) -> dict[str, Completion]:
        _cut_torn_line(self._path)
        data = self._path.read_bytes() if self._path.exists() else b""
        completions = (parse(Completion, line, where=str(self._path)) for line in data.splitlines())
        return {completion.request_sha256: completion for completion in completions}


def check_ledger(data: bytes, *, where: str) -> tuple[LedgerEntry, ...]:
    """Return a ledger's entries.

    Raises:
        SchemaError: a line is not an entry.
        IntegrityError: the chain is broken: a line was changed, removed or inserted.
    """
    previous = GENESIS
    entries = []
    for number, line in enumerate(data.splitlines(), start=1):
        entry = parse(LedgerEntry, line, where=f"{where}:{number}")
        if entry.previous != previous:
            raise IntegrityError(f"{where}:{number}: the chain is broken; a line before it was changed or removed.")
        previous = canonical.sha256(line)
        entries.append(entry)
    return tuple(entries)


def _cut_torn_line(path: Path) -> None:
    """Cut off a last line without a line feed: a crash came in the middle of writing it."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        try:
            with path.open("r+b") as stream:
                stream.truncate(whole)
        except OSError as error:
            raise disk_error(error, str(path)) from error
