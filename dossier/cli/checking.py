"""The commands that check what another made: verify, validate, replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dossier import __version__
from dossier.cli.shared import (
    VERDICT_CODES,
    Exit,
    Json,
    PackPath,
    TrustPath,
    app,
    echo_json,
    instruments,
    print_json,
    trust_policy,
)
from dossier.errors import ConfigError, DossierError, SchemaError


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

    policy = trust_policy(trust)
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
        verdict = verify(contents, trust=policy, collectors=instruments(), now=utc_now(), rerender=again)
    print_verdict(verdict, name=path.name)
    if as_json:
        print_json(verdict)
    shut = require_open and (verdict.gate is None or verdict.gate.state == "shut" or "rejected" in verdict.decisions)
    code = VERDICT_CODES[verdict.verdict]
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
            echo_json({**said, "valid": False, "pointer": error.pointer, "message": error.message})
        raise
    if as_json:
        echo_json({**said, "valid": True, "pointer": None, "message": None})
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
        collectors=instruments(),
        inputs=given_inputs(documents.plan, given),
        pack_verified=trust is not None,
    )
    print_replay(result)
    if as_json:
        print_json(result)
    raise typer.Exit(VERDICT_CODES[result.verdict])


def _is_genuine(contents: Any, trust: Path) -> bool:
    """Check bytes and signatures (INTEGRITY and AUTHENTICITY), and print what failed."""
    from dossier.authenticity import check_signatures
    from dossier.terminal import print_findings
    from dossier.verdict import Report

    report = Report()
    check_signatures(contents, trust_policy(trust), report)
    print_findings([finding for finding in report.findings if finding.outcome == "failed"])
    return not report.broken
