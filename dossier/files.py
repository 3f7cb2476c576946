"""How is a file written so that a full disk leaves the old one or the new one, and says so?

Nothing of ours is ever half there: a file is written under another name, flushed to the disk and renamed; lines are
appended unbuffered, so that no flush at closing can fail a second time and hide what happened.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dossier.errors import StoreError


def write_whole(target: Path, data: bytes) -> None:
    """Write a file by way of a temporary one beside it.

    Raises:
        StoreError: the disk is full or cannot be written; ``target`` is as it was.
    """
    with replacing(target) as temporary:
        _write_synced(temporary, data)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that takes its place at the end, if nothing was raised.

    Raises:
        StoreError: an `OSError` came up; ``target`` is as it was.
    """
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise disk_error(error, str(target)) from error
    finally:
        _remove(temporary)


def write_together(folder: Path, members: Mapping[str, bytes], *, scratch: Path) -> None:
    """Write files below ``folder`` by their relative names: all are written under ``scratch`` first, then renamed.

    ``scratch`` is a folder of the same file system outside ``folder``, where nobody takes a temporary for a member.

    Raises:
        StoreError: the disk is full or cannot be written; if so while writing, ``folder`` is as it was.
    """
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".writing-") as staged:
            temporaries = [Path(staged) / str(number) for number in range(len(members))]
            for temporary, data in zip(temporaries, members.values(), strict=True):
                _write_synced(temporary, data)
            for temporary, name in zip(temporaries, members, strict=True):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(folder / name)
    except OSError as error:
        raise disk_error(error, str(folder)) from error


def open_to_append(path: Path) -> IO[bytes]:
    """Return an unbuffered stream at the end of a file.

    Raises:
        StoreError: it cannot be opened for writing.
    """
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise disk_error(error, str(path)) from error


def append(stream: IO[bytes], line: bytes) -> None:
    """Write all of a line to a stream of `open_to_append`.

    Raises:
        StoreError: the disk is full; a part of the line may be there.
    """
    left = memoryview(line)
    try:
        while left:
            left = left[stream.write(left) :]
    except OSError as error:
        raise disk_error(error, stream.name) from error


def sync(stream: IO[bytes]) -> None:
    """Wait until what was appended lies on the disk.

    Raises:
        StoreError: it cannot be brought there.
    """
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        raise disk_error(error, stream.name) from error


def disk_error(error: OSError, where: str) -> StoreError:
    """Return what an `OSError` means to the person who must free some space."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StoreError(
        f"{where}: could not be written: {'the disk is full' if full else error.strerror or error}.",
        hint="Nothing collected so far is lost: free some space and start the same command again.",
    )


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb", buffering=0) as stream:
        left = memoryview(data)
        while left:
            left = left[stream.write(left) :]
        os.fsync(stream.fileno())


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:  # the folder itself is gone or read-only, which the first error has said
        return
