"""The commands that make a dossier: plan, run, decide, sign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dossier.cli.shared import (
    ConfigPath,
    Exit,
    KeyPath,
    PackPath,
    PassphraseFile,
    app,
    instruments,
    signing_key,
)
from dossier.editions import Readers
from dossier.errors import ConfigError


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="where to leave the pack")] = Path("build/demo"),
    model: Annotated[Path, typer.Option(help="the organism to measure")] = Path("samples/organisms/hint-mcq"),
    inside: Annotated[Path, typer.Option(help="the organism to open")] = Path("samples/organisms/refusal"),
    reasoning: Annotated[Path, typer.Option(help="the organism that reasons")] = Path("samples/organisms/reasoning"),
    white_box: Annotated[bool, typer.Option(help="also run the instruments that look inside")] = True,
) -> None:
    """Measure the shipped organisms, sign, verify, refuse forgeries, and replay."""
    from dossier.demo import run_demo
    from dossier.demo_more import INSIDE, REASONING

    further = [*([(INSIDE, inside)] if white_box else []), (REASONING, reasoning)]
    raise typer.Exit(Exit.OK if run_demo(output, model, further, collectors=instruments()) else Exit.FAILED)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="where to write")] = Path()) -> None:
    """Write a configuration to start from, labelled demo keys and the trust policy that fits them."""
    from dossier.demo import write_start

    for path in write_start(folder):
        typer.echo(f"wrote {path}", err=True)


@app.command()
def plan(config: ConfigPath, key: KeyPath, passphrase_file: PassphraseFile = None) -> None:
    """Fix and sign what will be measured and which thresholds decide, before anything runs."""
    from dossier.terminal import print_costs
    from dossier.workspace import Workspace

    workspace = Workspace(config)
    planned = workspace.plan(workspace.load_model(), key=signing_key(key, passphrase_file), collectors=instruments())
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
            workspace.load_model(), collectors=instruments(), nonce=nonce, wait=wait, progress=progress
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
    workspace.state(predicate, key=signing_key(key, passphrase_file))


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
    workspace.approve(predicate, key=signing_key(key, passphrase_file))


@app.command()
def sign(config: ConfigPath, key: KeyPath, passphrase_file: PassphraseFile = None) -> None:
    """Sign the PDF and close the pack; waits (exit 4) while a named person has not decided."""
    from dossier.closing import undecided
    from dossier.workspace import Workspace

    workspace = Workspace(config)
    contents = workspace.contents()
    waiting = undecided(contents)
    if waiting:
        typer.echo(f"waiting for a decision of: {', '.join(waiting)} (`dossier approve`)", err=True)
        raise typer.Exit(Exit.WAITING)
    typer.echo(f"closed {workspace.close(key=signing_key(key, passphrase_file))}", err=True)
    held = contents.under("artifacts/")
    if held:
        typer.echo(
            f"It holds {len(held)} confidential members under artifacts/ (directions, searched suffixes, graphs), in plain "
            "bytes: whoever gets the pack gets them. The PDF holds no direction and no suffix; it draws some graphs and prints "
            "some answers. `dossier redact` writes an edition without those members, with the same PDF.",
            err=True,
        )


@app.command()
def redact(
    path: PackPath,
    readers: Annotated[
        Readers,
        typer.Option(
            "--for", help="authority: without confidential members. public: without trials and statements, too"
        ),
    ],
    out: Annotated[Path, typer.Option(help="where to write the edition, a zip")],
) -> None:
    """Write an edition of a closed pack that leaves members out; `verify` still checks everything that is left."""
    from dossier import editions, pack

    if out.exists():
        raise ConfigError(f"{out}: there is something already.", hint="Name another file; nothing was written.")
    pack.require_pack(path)
    whole = pack.read(path)
    edition = editions.redact(whole, readers)
    pack.write(edition.members, out)
    gone = whole.members.keys() - edition.members.keys()
    typer.echo(f"wrote {out} for {readers}: {len(gone)} of {len(whole.members)} members withheld", err=True)
    for name in sorted(gone):
        typer.echo(f"  withheld {name}", err=True)
    if any(name.startswith("trials/") for name in gone):
        typer.echo(
            "The signed PDF is in it as it is, with the few questions and answers that it prints as examples.", err=True
        )
