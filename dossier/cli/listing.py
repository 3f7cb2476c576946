"""The commands that list what there is: instruments, obligations, installed parts, the version."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from dossier import __version__
from dossier.cli.shared import (
    Exit,
    Json,
    app,
    echo_json,
    instruments,
)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed, what is missing, and what each missing thing is for."""
    from dossier.doctor import checks
    from dossier.terminal import print_table

    rows = checks()
    if as_json:
        echo_json({"tool_version": f"dossier {__version__}", "parts": [asdict(row) for row in rows]})
    print_table(("part", "found", "for"), [(row.name, row.found or "missing", row.purpose) for row in rows])
    raise typer.Exit(Exit.OK if all(row.found or not row.base for row in rows) else Exit.FAILED)


@app.command()
def obligations(regime: Annotated[str, typer.Argument()] = "eu_ai_act", as_json: Json = False) -> None:
    """List the catalogue of obligations."""
    from dossier.obligations import catalogue_bytes, load_catalogue
    from dossier.terminal import print_table

    if as_json:
        sys.stdout.buffer.write(catalogue_bytes(regime))
        return
    rows = load_catalogue(regime).obligations
    print_table(("id", "reference", "title"), [(row.id, row.legal_ref, row.title) for row in rows])


@app.command()
def collectors(as_json: Json = False) -> None:
    """List the instruments that are installed."""
    from dossier.terminal import print_table

    found = instruments()
    if as_json:
        listed = [
            {
                "kind": kind,
                "protocol_version": one.protocol_version,
                "analysis_version": one.analysis_version,
                "needs": sorted(one.needs),
            }
            for kind, one in sorted(found.items())
        ]
        echo_json({"tool_version": f"dossier {__version__}", "collectors": listed})
    rows = [(k, c.protocol_version, c.analysis_version, ", ".join(sorted(c.needs))) for k, c in sorted(found.items())]
    print_table(("kind", "protocol", "analysis", "needs"), rows)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    """Print the version."""
    if show:
        typer.echo(f"dossier {__version__}")
        raise typer.Exit(Exit.OK)
