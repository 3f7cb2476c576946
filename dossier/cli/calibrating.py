"""The command that tries instruments where the truth is known: certificates, and plants in the subject itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dossier.cli.shared import Exit, app, instruments
from dossier.errors import ConfigError


@app.command()
def calibrate(
    kinds: Annotated[
        list[str] | None, typer.Argument(help="instruments to certify, as `dossier collectors` names them")
    ] = None,
    all_kinds: Annotated[bool, typer.Option("--all", help="certify every instrument that has a recipe")] = False,
    reduced: Annotated[
        bool, typer.Option("--reduced", help="few studies, the shipped organism only; writes nothing")
    ] = False,
    samples: Annotated[Path, typer.Option(help="the shipped organisms")] = Path("samples/organisms"),
    work: Annotated[Path, typer.Option(help="where further organisms are trained and found again")] = Path(
        "build/calibration"
    ),
    certificates: Annotated[Path, typer.Option(help="where certificates lie")] = Path("samples/calibration"),
    page: Annotated[Path | None, typer.Option(help="write all certificates as a Markdown page")] = None,
    on_subject: Annotated[
        Path | None, typer.Option(help="dossier.toml: plant behaviour into copies of its subject instead")
    ] = None,
    evidence: Annotated[str, typer.Option(help="with --on-subject: id of the evidence whose instrument is tried")] = "",
    marker: Annotated[str, typer.Option(help="with --on-subject: the answer that is planted")] = "",
    plants: Annotated[int, typer.Option(min=1, help="how many positive copies, and as many shams")] = 3,
    output: Annotated[Path, typer.Option(help="with --on-subject: where to write the record")] = Path(
        "sensitivity.json"
    ),
) -> None:
    """Try instruments where the truth is known.

    On organisms it makes a certificate, which the plan cites as `calibration`. With --on-subject it plants behaviour into
    copies of the subject and makes a record that the plan cites as `sensitivity`. Exits with 1 where a certificate is not
    good enough; it is then not written, and an earlier one stays.
    """
    if on_subject is not None:
        _plant(on_subject, evidence=evidence, marker=marker, plants=plants, output=output)
        return
    asked = _asked(kinds or [], all_kinds=all_kinds)
    if not asked and page is None:
        raise ConfigError("nothing to calibrate.", hint="Name instruments, or say --all; --page alone writes the page.")
    refused = [kind for kind in asked if not _certify(kind, reduced, samples, work, certificates)]
    if page is not None:
        _write_page(page, certificates)
    raise typer.Exit(Exit.FAILED if refused else Exit.OK)


def _asked(kinds: list[str], *, all_kinds: bool) -> list[str]:
    from evidence_collectors import CERTIFICATES

    unknown = [kind for kind in kinds if kind not in CERTIFICATES]
    if unknown:
        known = "an instrument without a recipe for a certificate" if unknown[0] in instruments() else "unknown"
        raise ConfigError(f"{unknown[0]!r} is {known}; there are recipes for: {', '.join(sorted(CERTIFICATES))}.")
    return sorted(CERTIFICATES) if all_kinds else kinds


def _certify(kind: str, reduced: bool, samples: Path, work: Path, certificates: Path) -> bool:
    from dossier import model
    from dossier.files import write_whole
    from dossier.terminal import print_calibration
    from evidence_collectors import certify

    def report(line: str) -> None:
        typer.echo(f"{kind}: {line}", err=True)

    made, faults = certify(kind, reduced=reduced, samples=samples, work=work, report=report)
    print_calibration(made, faults)
    if not faults and not reduced:
        path = certificates / f"{kind}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, model.dump(made) + b"\n")
        report(f"wrote {path}")
    return not faults


def _write_page(page: Path, certificates: Path) -> None:
    from dossier import schema
    from dossier.calibration_report import markdown
    from dossier.files import write_whole
    from dossier.model import Calibration, parse

    found = {}
    for path in sorted(certificates.glob("*.json")):
        data = path.read_bytes().rstrip(b"\n")
        schema.validate("calibration.v1", data, where=str(path))
        found[path.as_posix()] = parse(Calibration, data, where=str(path))
    if not found:
        raise ConfigError(f"{certificates}: no certificates lie there.", hint="`dossier calibrate --all` makes them.")
    write_whole(page, markdown(found).encode())
    typer.echo(f"wrote {page}: {len(found)} certificates", err=True)


def _plant(on_subject: Path, *, evidence: str, marker: str, plants: int, output: Path) -> None:
    """Find out whether an instrument finds what was planted into the subject itself."""
    from dossier import model
    from dossier.calibration_report import planted_counts
    from dossier.documents import parse_items
    from dossier.files import write_whole
    from dossier.inputs import read_items
    from dossier.workspace import Workspace
    from evidence_collectors import planted_sensitivity

    if not evidence or not marker:
        raise ConfigError(
            "--on-subject needs --evidence (an id of the plan) and --marker (the answer that is planted)."
        )
    workspace = Workspace(on_subject)
    piece = next((one for one in workspace.config.evidence if one.id == evidence), None)
    if piece is None:
        raise ConfigError(
            f"{on_subject}: no evidence {evidence!r}; it has {[one.id for one in workspace.config.evidence]}."
        )
    found = planted_sensitivity(
        piece.kind,
        workspace.load_model(),
        parameters=piece.parameters,
        items=parse_items(read_items(piece.items, workspace.base)[1], where=piece.items),
        marker=marker,
        plants=plants,
        report=lambda line: typer.echo(line, err=True),
    )
    write_whole(output, model.dump(found) + b"\n")
    typer.echo(planted_counts(found), err=True)
    typer.echo(f"wrote {output}: {model.digest_of(found)[:16]}", err=True)
