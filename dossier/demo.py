"""What does the whole way look like, once, in two minutes? Plan, run, decide, sign, verify, refuse forgeries, replay.

Everything is done with labelled demo keys on a small model whose behaviour is known by construction.
"""

from __future__ import annotations

import importlib.resources
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dossier import pack
from dossier.attest import Plane, Trust, trusted
from dossier.collector import Collector
from dossier.demo_more import Further, certificate_line, demo_decision, run_further
from dossier.documents import load_documents
from dossier.errors import ConfigError, DossierError
from dossier.files import write_whole
from dossier.forgeries import BY_KEY_HOLDER, Forger, flipped_byte
from dossier.keys import DemoKeys, make_demo_keys, save_key
from dossier.model import Evidence, Trial, dump
from dossier.pack import Pack
from dossier.replay import replay
from dossier.run import utc_now
from dossier.terminal import (
    ProgressBar,
    console,
    finding_line,
    plain,
    print_costs,
    print_gate,
    print_replay,
    print_verdict,
)
from dossier.verdict import Verdict
from dossier.verify import verify
from dossier.workspace import Workspace, load_model

MARK = ".dossier-demo"  # only a folder with this file is ever cleared
SHOWN = ("trials deleted", "an observation changed", "a criterion loosened after the run", "the gate opened")
REPLAYED = 1000
# classes and whether the Code was signed, as TOML; a user's own declaration starts from the lesser one
MODEST_SCOPE, DEMO_SCOPE = ('["gpai"]', "false"), ('["gpai", "gpai_systemic_risk"]', "true")
NO_MODEL = 'path = "FOLDER"  # fill in: a folder with config.json, safetensors, a tokenizer and a chat template'
NO_ITEMS = 'items = "FILE.jsonl"  # fill in: one question a line, as schemas/item.v1.json says'
REQUIRED: tuple[Plane, ...] = (
    "INTEGRITY",
    "AUTHENTICITY",
    "SCHEMA",
    "RECOMPUTATION",
    "FRESHNESS",
    "POLICY",
)  # TIME needs a time stamp


def write_start(folder: Path, *, model: Path = Path("samples/organisms/hint-mcq")) -> tuple[Path, ...]:
    """Write ``dossier.toml``, labelled demo keys and the trust policy that fits them; return what was written.

    Where ``model`` does not exist, the configuration leaves the paths to a model and its items as comments to fill in.

    Raises:
        ConfigError: something of it is there already; nothing is overwritten.
    """
    return _write_start(folder, model, make_demo_keys(), scope=MODEST_SCOPE)


def run_demo(
    output: Path,
    model: Path,
    further: Sequence[tuple[Further, Path]],
    *,
    collectors: Mapping[str, Collector[Any]],
) -> bool:
    """Do the whole way into ``output``; return whether everything went as it must.

    ``further`` are more dossiers, each with the organism it is about.

    Raises:
        ConfigError: ``output`` is a folder with something else in it, or there is no model.
    """
    started = time.monotonic()
    for folder in (model, *(organism for _, organism in further)):
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no model here.", hint="Run this in the project's folder, or pass --model.")
    _clear(output)
    keys = make_demo_keys()
    _write_start(output, model, keys, scope=DEMO_SCOPE)
    workspace = Workspace(output / "dossier.toml")
    subject = workspace.load_model()

    _say(1, "Plan: fix and sign what will be measured, and which thresholds decide")
    print_costs(workspace.plan(subject, key=keys.provider, collectors=collectors).costs)
    _say(2, "Run: ask the model, write the answers down, compute the observations")
    progress = ProgressBar()
    with progress.bar:
        dossier = workspace.run(subject, collectors=collectors, nonce=None, wait=False, progress=progress)
    print_gate(dossier.gate)
    _say(3, "Decide: a named person signs a decision; the gate only informs it")
    workspace.approve(demo_decision(dossier.gate.state, dossier.approver_functions[0]), key=keys.approver)
    _say(4, "Close: sign the PDF and the pack")
    path = workspace.close(key=keys.provider)
    contents = pack.read(path)

    _say(5, "Verify: offline, every number computed again from the answers")
    trust = trust_of(keys)
    verdict = verify(contents, trust=trust, collectors=collectors, now=utc_now())
    print_verdict(verdict, name=path.name)
    _say(6, "Forge: a flipped byte, then a provider who holds every key and signs the forgery honestly")
    refused = _try_forgeries(contents, trust=trust, keys=keys, collectors=collectors)
    _say(7, "Replay: ask the weights again, trials picked by a nonce")
    replayed = replay(
        contents,
        load_documents(contents),
        model=load_model(workspace.config.subject, workspace.base),
        band_model=None,
        sample=REPLAYED,
        nonce=secrets.token_hex(8),
        collectors=collectors,
        inputs=workspace.load_inputs(),
        pack_verified=verdict.verdict == "passed",
    )
    print_replay(replayed)
    passed = verdict.verdict == "passed" and refused and replayed.verdict == "passed"
    for number, (one, organism) in enumerate(further, start=8):
        _say(number, one.says)
        passed &= run_further(one, output, organism, keys=keys, trust=trust, scope=DEMO_SCOPE, collectors=collectors)
    _print_end(output, time.monotonic() - started, further=[one for one, _ in further])
    return passed


def resummarise(
    evidence: Evidence, trials: Sequence[Trial], *, collector: Collector[Any], artifacts: Mapping[str, bytes]
) -> Evidence:
    """Return the evidence with its observations computed again, as a forger does after changing trials.

    Where the instrument refuses the forged trials, the old observations stay: a forger would not give up there.
    """
    params = collector.parse(evidence.parameters)
    try:
        observations = collector.summarise(trials, artifacts, params, evidence.root_seed)
    except DossierError:
        return evidence
    return evidence.model_copy(update={"observations": observations})


def _try_forgeries(contents: Pack, *, trust: Trust, keys: DemoKeys, collectors: Mapping[str, Collector[Any]]) -> bool:
    """Return whether every forgery shown was refused."""
    forger = Forger(
        keys.provider,
        keys.approver,
        lambda evidence, trials: resummarise(evidence, trials, collector=collectors[evidence.kind], artifacts={}),
    )
    trials = contents.under("trials/")[0]
    forged = [("a byte flipped in the trials", flipped_byte(contents, trials, position=100))]
    forged += [(forgery.name, forgery.forge(contents, forger)) for forgery in BY_KEY_HOLDER if forgery.name in SHOWN]
    outcomes = []
    for name, candidate in forged:
        verdict = verify(candidate, trust=trust, collectors=collectors, now=utc_now())
        outcomes.append(verdict.verdict == "failed")
        _print_forgery(name, verdict)
    return all(outcomes)


def _print_forgery(name: str, verdict: Verdict) -> None:
    first = next((finding for finding in verdict.findings if finding.outcome == "failed"), None)
    found = "NOT FOUND" if first is None else f"{first.plane}: {finding_line(first)}"
    console().print(f"  {name:36} {'refused' if verdict.verdict == 'failed' else 'ACCEPTED'}  {plain(found)[:150]}")


def _write_start(folder: Path, model: Path, keys: DemoKeys, *, scope: tuple[str, str]) -> tuple[Path, ...]:
    config = folder / "dossier.toml"
    paths = (config, folder / "keys/demo-provider.pem", folder / "keys/demo-approver.pem", folder / "trust/trust.json")
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path}: is there already; nothing was overwritten.", hint="Choose an empty folder.")
    relative = Path(os.path.relpath(model.resolve(), folder.resolve())).as_posix()
    extra = f'reference = "{relative}/reference.json"\n' if (model / "reference.json").exists() else ""
    extra += certificate_line("cot_faithfulness.hint", model, folder)
    template = importlib.resources.files("dossier.templates").joinpath("start.toml").read_text(encoding="utf-8")
    if not model.is_dir():
        template = template.replace('path = "{model_path}"', f"# {NO_MODEL}").replace(
            'items = "{model_path}/items.jsonl"', f"# {NO_ITEMS}"
        )
    name = model.name if model.is_dir() else "a model"
    text = template.replace("{model_name}", name).replace("{model_path}", relative).replace("{extra}\n", extra)
    text = text.replace("{classes}", scope[0]).replace("{signatory}", scope[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(config, text.encode())
    save_key(keys.provider, paths[1], passphrase=None)
    save_key(keys.approver, paths[2], passphrase=None)
    write_whole(paths[3], dump(trust_of(keys)) + b"\n")
    return paths


def trust_of(keys: DemoKeys) -> Trust:
    """Return the trust policy for a set of demo keys."""
    from cryptography.hazmat.primitives.serialization import Encoding

    provider = trusted(keys.provider, name="DEMO provider", functions=("plan", "statement", "attestation", "pdf"))
    approver = trusted(keys.approver, name="DEMO approver", functions=("approval", "statement"))
    root = keys.root.public_bytes(Encoding.PEM).decode()
    return Trust(keys=(provider, approver), certificate_roots_pem=(root,), required_planes=REQUIRED)


def _clear(output: Path) -> None:
    """Empty a folder of an earlier demo; refuse any other."""
    if output.exists() and any(output.iterdir()) and not (output / MARK).exists():
        raise ConfigError(f"{output}: has something in it that no demo wrote.", hint="Choose another --output.")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    (output / MARK).write_text("`dossier demo` may clear this folder.\n")


def _say(number: int, text: str) -> None:
    out = console()
    out.print()
    out.print(f"{number}  {text}", style="bold")


def _print_end(output: Path, seconds: float, *, further: Sequence[Further]) -> None:
    out = console()
    out.print(f"\nTook {seconds:.0f} s. Open next:", style="bold")
    files = {
        output / "dossier.pdf": "the dossier, as a person reads it",
        output / "pack.zip": "everything in it, as a program checks it",
        **{output / one.folder / "dossier.pdf": one.about for one in further},
    }
    width = max(len(str(path)) for path in files)
    for path, what in files.items():
        out.print(f"  {path!s:{width}}  {what}")
    out.print(f"  dossier verify {output / 'pack.zip'} --trust {output / 'trust'}")
