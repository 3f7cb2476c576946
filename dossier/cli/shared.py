"""What do the commands share? The app, exit codes, options that several take, and what they read and print."""

from __future__ import annotations

import json
import os
from enum import IntEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dossier.errors import ConfigError

if TYPE_CHECKING:
    from dossier.collector import Collector

PASSPHRASE = "DOSSIER_PASSPHRASE"  # noqa: S105 the name of an environment variable

app = typer.Typer(
    help="Measure a language model, and hand the measurements over so that they can be checked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigPath = Annotated[Path, typer.Argument(help="dossier.toml")]
PackPath = Annotated[Path, typer.Argument(help="a pack: zip or folder")]
KeyPath = Annotated[Path, typer.Option("--key", help="signing key: PKCS#12 or PEM with its certificate")]
PassphraseFile = Annotated[Path | None, typer.Option(help=f"file with the key's passphrase (else ${PASSPHRASE})")]
TrustPath = Annotated[Path, typer.Option("--trust", help="trust policy: trust.json or the folder it lies in")]
Json = Annotated[bool, typer.Option("--json", help="print the document on stdout")]


class Exit(IntEnum):
    """The contract with scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INDETERMINATE = 3
    WAITING = 4
    INTERRUPTED = 130


VERDICT_CODES = {"passed": Exit.OK, "failed": Exit.FAILED, "indeterminate": Exit.INDETERMINATE}


def instruments() -> dict[str, Collector[Any]]:
    """Return the installed instruments by kind: ours, and those of other packages."""
    import evidence_collectors

    found = {kind: evidence_collectors.load(kind) for kind in evidence_collectors.COLLECTORS}
    for entry in metadata.entry_points(group="dossier.collectors"):
        if entry.name in found:
            raise ConfigError(f"collector {entry.name!r} is installed twice; a plug-in must not take a shipped name.")
        found[entry.name] = entry.load()
    return found


def signing_key(path: Path, passphrase_file: Path | None) -> Any:
    """Return the key of a file; the passphrase comes from a file or the environment."""
    from dossier.keys import load_key

    if passphrase_file is not None:
        try:
            passphrase: bytes | None = passphrase_file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise ConfigError(f"{passphrase_file}: the passphrase cannot be read: {error.strerror}.") from error
    else:
        value = os.environ.get(PASSPHRASE)
        passphrase = value.encode() if value else None
    return load_key(path, passphrase)


def trust_policy(path: Path) -> Any:
    """Return the trust policy of a file or folder."""
    from dossier.verify import require_readable

    file = path / "trust.json" if path.is_dir() else path
    try:
        return require_readable(file.read_bytes(), where=str(file))
    except OSError as error:
        raise ConfigError(f"{file}: the trust policy cannot be read: {error.strerror}.") from error


def print_json(value: Any) -> None:
    """Print a document on stdout."""
    from dossier.model import as_json

    echo_json(as_json(value))


def echo_json(document: Any) -> None:
    """Print JSON on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=True))
