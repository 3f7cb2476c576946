"""The command line: arguments, exit codes, printing; nothing else.

Exit codes: 0 ok; 1 failed, or the gate is shut where that was asked, or `run` could not collect something the plan
promises (the draft is written all the same, with the reason in it); 2 malformed input or usage, or a disk that cannot be
written; 3 indeterminate; 4 waiting for a person; 130 interrupted, resumable. Human text goes to stderr, ``--json`` to stdout.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

# In the order of the help.
from dossier.cli import making  # isort: split

from dossier.cli import checking  # isort: split

from dossier.cli import calibrating, listing
from dossier.cli.shared import Exit, app
from dossier.errors import ConfigError, DossierError

__all__ = ["Exit", "app", "calibrating", "checking", "listing", "main", "making"]


def main() -> None:
    """Run the command line; every `DossierError`, and what the machine refuses, becomes a message and exit code 2."""
    try:
        app(standalone_mode=True)
    except DossierError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        from dossier.doctor import extra_of

        extra = extra_of(error.name or "")
        if extra is None:
            raise
        _fail(ConfigError(f"this needs {error.name}, which is not installed.", hint=f"pip install dossier[{extra}]"))
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        _fail(DossierError(f"{where}{error.strerror or error}.", hint="Nothing that was finished before is lost."))
    except SystemExit as stop:
        if stop.code == Exit.INTERRUPTED:  # typer ends a Ctrl-C silently
            typer.echo("interrupted; the same command resumes", err=True)
        raise


def _fail(error: DossierError) -> NoReturn:
    from dossier.terminal import print_error

    print_error(error)
    sys.exit(Exit.USAGE)
