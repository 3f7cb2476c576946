"""The command line: arguments, exit codes, printing; nothing else.

Exit codes: 0 ok; 1 failed, or the gate is shut where that was asked, or `run` could not collect something the plan
promises (the draft is written all the same, with the reason in it); 2 malformed input or usage, or a disk that cannot be
written; 3 indeterminate; 4 waiting for a person; 130 interrupted, resumable. Human text goes to stderr, ``--json`` to stdout.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from enum import IntEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dossier import __version__
from dossier.errors import ConfigError, DossierError, SchemaError

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


_CODES = {"passed": Exit.OK, "failed": Exit.FAILED, "indeterminate": Exit.INDETERMINATE}


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="where to leave the pack")] = Path("build/demo"),
    model: Annotated[Path, typer.Option(help="the organism to measure")] = Path("samples/organisms/hint-mcq"),
    inside: Annotated[Path, typer.Option(help="the organism to open")] = Path("samples/organisms/refusal"),
    white_box: Annotated[bool, typer.Option(help="also run the instruments that look inside")] = True,
) -> None:
    """Measure the shipped organisms, sign, verify, refuse forgeries, and replay."""
    from dossier.demo import run_demo

    raise typer.Exit(
        Exit.OK if run_demo(output, model, inside if white_box else None, collectors=_collectors()) else Exit.FAILED
    )


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="where to write")] = Path()) -> None:
    """Write a configuration to start from, labelled demo keys and the trust policy that fits them."""
    from dossier.demo import write_start

    for path in write_start(folder):
        typer.echo(f"wrote {path}", err=True)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed, what is missing, and what each missing thing is for."""
    from dossier.doctor import checks
    from dossier.terminal import print_table

    rows = checks()
    if as_json:
        _echo_json({"tool_version": f"dossier {__version__}", "parts": [asdict(row) for row in rows]})
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

    found = _collectors()
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
        _echo_json({"tool_version": f"dossier {__version__}", "collectors": listed})
    rows = [(k, c.protocol_version, c.analysis_version, ", ".join(sorted(c.needs))) for k, c in sorted(found.items())]
    print_table(("kind", "protocol", "analysis", "needs"), rows)


@app.command()
def plan(config: ConfigPath, key: KeyPath, passphrase_file: PassphraseFile = None) -> None:
    """Fix and sign what will be measured and which thresholds decide, before anything runs."""
    from dossier.terminal import print_costs
    from dossier.workspace import Workspace

    workspace = Workspace(config)
    planned = workspace.plan(workspace.load_model(), key=_key(key, passphrase_file), collectors=_collectors())
    print_costs(planned.costs)
    typer.echo(f"signed {workspace.folder / 'plan.json'}", err=True)


@app.command()
def run(
    config: ConfigPath,
    nonce: Annotated[str | None, typer.Option(help="what another party issued after the plan was signed")] = None,
    wait: Annotated[bool, typer.Option(help="wait for another run on this store")] = False,
) -> None:
    """Collect what the plan promises and draft the dossier; resumes where an earlier run stopped.

    Exits with 1, after drafting, where something promised could not be collected.
    """
    from dossier.terminal import ProgressBar, print_gate, print_not_collected
    from dossier.workspace import Workspace

    workspace = Workspace(config)
    workspace.contents()
    progress = ProgressBar()
    with progress.bar:
        dossier = workspace.run(
            workspace.load_model(), collectors=_collectors(), nonce=nonce, wait=wait, progress=progress
        )
    print_not_collected(dossier.not_collected)
    print_gate(dossier.gate)
    typer.echo(f"drafted {workspace.folder / 'dossier.pdf'}", err=True)
    raise typer.Exit(Exit.FAILED if dossier.not_collected else Exit.OK)


@app.command()
def state(
    config: ConfigPath,
    obligation: Annotated[str, typer.Option(help="id in the catalogue")],
    person: Annotated[str, typer.Option()],
    function: Annotated[str, typer.Option(help="the person's function")],
    text: Annotated[Path, typer.Option(help="file with the statement")],
    key: KeyPath,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Add what a named person states about an obligation; then draft again with `run`."""
    from dossier.attest import StatementPredicate
    from dossier.obligations import load_catalogue
    from dossier.run import utc_now
    from dossier.workspace import Workspace

    workspace = Workspace(config)
    known = [row.id for row in load_catalogue(workspace.config.regime).obligations]
    if obligation not in known:
        raise ConfigError(
            f"--obligation {obligation!r} is not in the catalogue.", hint="`dossier obligations` lists it."
        )
    try:
        words = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{text}: the statement cannot be read: {error}.") from error
    predicate = StatementPredicate(obligation=obligation, person=person, function=function, text=words, at=utc_now())
    workspace.state(predicate, key=_key(key, passphrase_file))


@app.command()
def approve(
    config: ConfigPath,
    person: Annotated[str, typer.Option()],
    function: Annotated[str, typer.Option(help="as the plan names it")],
    reason: Annotated[str, typer.Option()],
    key: KeyPath,
    reject: Annotated[bool, typer.Option("--reject", help="decide against")] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign a named person's decision over the drafted dossier."""
    from dossier import pack
    from dossier.attest import ApprovalPredicate
    from dossier.model import Dossier, parse
    from dossier.run import utc_now
    from dossier.workspace import Workspace

    workspace = Workspace(config)
    dossier = parse(Dossier, workspace.contents().get(pack.DOSSIER), where=pack.DOSSIER)
    if function not in dossier.approver_functions:
        raise ConfigError(f"--function {function!r}: the plan names {list(dossier.approver_functions)}.")
    predicate = ApprovalPredicate(
        decision="rejected" if reject else "approved",
        person=person,
        function=function,
        reason=reason,
        gate_state=dossier.gate.state,
        at=utc_now(),
    )
    workspace.approve(predicate, key=_key(key, passphrase_file))


@app.command()
def sign(config: ConfigPath, key: KeyPath, passphrase_file: PassphraseFile = None) -> None:
    """Sign the PDF and close the pack; waits (exit 4) while a named person has not decided."""
    from dossier.closing import undecided
    from dossier.workspace import Workspace

    workspace = Workspace(config)
    waiting = undecided(workspace.contents())
    if waiting:
        typer.echo(f"waiting for a decision of: {', '.join(waiting)} (`dossier approve`)", err=True)
        raise typer.Exit(Exit.WAITING)
    typer.echo(f"closed {workspace.close(key=_key(key, passphrase_file))}", err=True)


@app.command()
def verify(
    path: PackPath,
    trust: TrustPath,
    rerender: Annotated[bool, typer.Option(help="render the PDF again and compare its bytes")] = False,
    require_open: Annotated[bool, typer.Option(help="a shut gate or a rejection fails, too")] = False,
    as_json: Json = False,
) -> None:
    """Check a pack offline: signatures, digests, schemas, and every number computed again from the answers."""
    from dossier import pack
    from dossier.run import utc_now
    from dossier.terminal import print_verdict
    from dossier.verify import broken_container, verify

    policy = _trust(trust)
    again = None
    if rerender:
        from dossier.closing import rerender as again  # type: ignore[assignment]
    pack.require_pack(path)
    try:
        contents = pack.read(path)
    except ConfigError:
        raise
    except DossierError as error:
        verdict = broken_container(error, trust=policy, now=utc_now())
    else:
        verdict = verify(contents, trust=policy, collectors=_collectors(), now=utc_now(), rerender=again)
    print_verdict(verdict, name=path.name)
    if as_json:
        _print_json(verdict)
    shut = require_open and (verdict.gate is None or verdict.gate.state == "shut" or "rejected" in verdict.decisions)
    code = _CODES[verdict.verdict]
    raise typer.Exit(Exit.FAILED if code is Exit.OK and shut else code)


@app.command()
def validate(
    document: Annotated[str, typer.Argument(help="the schema's name, for example evidence.v1")],
    path: Annotated[Path, typer.Argument(help="a JSON document, or JSON Lines (.jsonl)")],
    as_json: Json = False,
) -> None:
    """Check one document against its schema. This is schemas only; `verify` is everything."""
    from dossier import schema

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    said = {"tool_version": f"dossier {__version__}", "schema": document, "path": str(path)}
    try:
        if path.suffix == ".jsonl":
            schema.validate_lines(document, data, where=str(path))
        else:
            schema.validate(document, data, where=str(path))
    except SchemaError as error:
        if as_json:
            _echo_json({**said, "valid": False, "pointer": error.pointer, "message": error.message})
        raise
    if as_json:
        _echo_json({**said, "valid": True, "pointer": None, "message": None})
    typer.echo(f"{path}: valid {document}", err=True)


@app.command()
def replay(
    path: PackPath,
    model: Annotated[Path, typer.Option(help="the model's folder")],
    nonce: Annotated[str, typer.Option(help="what the provider could not have known")],
    sample: Annotated[int, typer.Option(help="how many trials to ask again")] = 1000,
    adapter: Annotated[str, typer.Option()] = "hf",
    trust: Annotated[
        Path | None, typer.Option(help="verify the pack's bytes and signatures first, by this trust policy")
    ] = None,
    band_dtype: Annotated[str | None, typer.Option(help="second precision for the band on another platform")] = None,
    option: Annotated[
        list[str],
        typer.Option(help='an adapter\'s option as under [subject.options]: NAME=VALUE, for example device="cuda"'),
    ] = [],  # noqa: B006 typer copies it
    given: Annotated[
        list[str],
        typer.Option("--input", help="a further input: EVIDENCE.ROLE=PATH; dictionaries do not travel in a pack"),
    ] = [],  # noqa: B006 typer copies it
    as_json: Json = False,
) -> None:
    """Ask nonce-chosen trials again on the weights, at the recorded precision, and compare the answers."""
    from dossier import pack
    from dossier.config import SubjectConfig
    from dossier.documents import load_documents
    from dossier.replay import recorded_dtype
    from dossier.replay import replay as ask_again
    from dossier.terminal import print_replay
    from dossier.workspace import given_inputs, given_options, load_model

    pack.require_pack(path)
    contents = pack.read(path)
    if trust is not None and not _is_genuine(contents, trust):
        raise typer.Exit(Exit.FAILED)
    documents = load_documents(contents)
    options = given_options(option)

    def load(precision: str) -> Any:
        given = SubjectConfig(adapter=adapter, path=str(model), options={**options, "dtype": precision})
        return load_model(given, Path())

    subject = load(recorded_dtype(documents))
    band = load(band_dtype) if band_dtype else None
    result = ask_again(
        contents,
        documents,
        model=subject,
        band_model=band,
        sample=sample,
        nonce=nonce,
        collectors=_collectors(),
        inputs=given_inputs(documents.plan, given),
        pack_verified=trust is not None,
    )
    print_replay(result)
    if as_json:
        _print_json(result)
    raise typer.Exit(_CODES[result.verdict])


@app.command()
def calibrate(
    on_subject: Annotated[Path, typer.Option(help="dossier.toml: plant behaviour into copies of its subject")],
    evidence: Annotated[str, typer.Option(help="id of the evidence whose instrument is tried")],
    marker: Annotated[str, typer.Option(help="the answer that is planted for texts with the concept")],
    plants: Annotated[int, typer.Option(min=1, help="how many positive copies, and as many shams")] = 3,
    output: Annotated[Path, typer.Option(help="where to write the record")] = Path("sensitivity.json"),
) -> None:
    """Find out whether an instrument finds what was planted into the subject itself; `sensitivity` in the plan cites it."""
    from dossier import model
    from dossier.documents import parse_items
    from dossier.files import write_whole
    from dossier.workspace import Workspace
    from evidence_collectors import planted_sensitivity

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
        items=parse_items((workspace.base / piece.items).read_bytes(), where=piece.items),
        marker=marker,
        plants=plants,
        report=lambda line: typer.echo(line, err=True),
    )
    write_whole(output, model.dump(found) + b"\n")
    typer.echo(f"wrote {output}: {model.digest_of(found)[:16]}", err=True)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    """Print the version."""
    if show:
        typer.echo(f"dossier {__version__}")
        raise typer.Exit(Exit.OK)


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


def _collectors() -> dict[str, Collector[Any]]:
    import evidence_collectors

    found = {kind: evidence_collectors.load(kind) for kind in evidence_collectors.COLLECTORS}
    for entry in metadata.entry_points(group="dossier.collectors"):
        if entry.name in found:
            raise ConfigError(f"collector {entry.name!r} is installed twice; a plug-in must not take a shipped name.")
        found[entry.name] = entry.load()
    return found


def _key(path: Path, passphrase_file: Path | None) -> Any:
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


def _trust(path: Path) -> Any:
    from dossier.verify import require_readable

    file = path / "trust.json" if path.is_dir() else path
    try:
        return require_readable(file.read_bytes(), where=str(file))
    except OSError as error:
        raise ConfigError(f"{file}: the trust policy cannot be read: {error.strerror}.") from error


def _is_genuine(contents: Any, trust: Path) -> bool:
    """Check bytes and signatures (INTEGRITY and AUTHENTICITY), and print what failed."""
    from dossier.authenticity import check_signatures
    from dossier.terminal import print_findings
    from dossier.verdict import Report

    report = Report()
    check_signatures(contents, _trust(trust), report)
    print_findings([finding for finding in report.findings if finding.outcome == "failed"])
    return not report.broken


def _print_json(value: Any) -> None:
    from dossier.model import as_json

    _echo_json(as_json(value))


def _echo_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=True))
