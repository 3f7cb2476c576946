"""What does the same way look like on other models? The demo's further dossiers, each on an organism of its own.

Inside an organism with a planted refusal: a direction, an intervention, sparse features, traced circuits and their stability
under attack, reduced to what two cores do in a minute. One attack of the plan is the shortcut that was planted: the instruments
must flag it, so its criterion fails. On an organism that reasons before it answers: whether the answer follows the reasoning,
and what a reader of the reasoning can catch.
"""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dossier import pack
from dossier.attest import ApprovalPredicate, Trust
from dossier.collector import Collector
from dossier.files import write_whole
from dossier.keys import DemoKeys
from dossier.run import utc_now
from dossier.terminal import ProgressBar, print_costs, print_gate, print_verdict
from dossier.verify import verify
from dossier.workspace import Workspace


@dataclass(frozen=True)
class Further:
    """A further dossier: its folder, its configuration among the templates, and the kind of each piece of evidence."""

    folder: str
    template: str
    pieces: Mapping[str, str]
    says: str
    about: str


INSIDE = Further(
    "inside",
    "start_inside.toml",
    MappingProxyType(
        {
            "direction": "interpretability.concept_direction",
            "intervention": "interpretability.causal_intervention",
            "features": "interpretability.sae_features",
            "circuit": "interpretability.circuit_trace",
            "stability": "interpretability.adversarial_stability",
        }
    ),
    "Open another model: what it computes, and whether that holds under a planted attack",
    "the dossier about the inside of a second model",
)
REASONING = Further(
    "reasoning",
    "start_reasoning.toml",
    MappingProxyType({"perturbation": "cot_faithfulness.perturbation", "monitor": "cot_faithfulness.monitorability"}),
    "Change another model's reasoning: does its answer follow, and what can a reader catch",
    "the dossier about the reasoning of a third one",
)


def run_further(
    further: Further,
    output: Path,
    model: Path,
    *,
    keys: DemoKeys,
    trust: Trust,
    scope: tuple[str, str],
    collectors: Mapping[str, Collector[Any]],
) -> bool:
    """Plan, run, decide, close and verify into a folder under ``output``; return whether it was verified."""
    folder = output / further.folder
    write_whole(folder / "dossier.toml", _configuration(further, folder, model, scope).encode())
    workspace = Workspace(folder / "dossier.toml")
    subject = workspace.load_model()
    print_costs(workspace.plan(subject, key=keys.provider, collectors=collectors).costs)
    progress = ProgressBar()
    with progress.bar:
        dossier = workspace.run(subject, collectors=collectors, nonce=None, wait=False, progress=progress)
    print_gate(dossier.gate)
    workspace.approve(demo_decision(dossier.gate.state, dossier.approver_functions[0]), key=keys.approver)
    path = workspace.close(key=keys.provider)
    verdict = verify(pack.read(path), trust=trust, collectors=collectors, now=utc_now())
    print_verdict(verdict, name=path.name)
    return verdict.verdict == "passed"


def demo_decision(gate: Any, function: str) -> ApprovalPredicate:
    """Return the decision a demo's person takes: approved if the gate is open, else rejected."""
    return ApprovalPredicate(
        decision="approved" if gate == "open" else "rejected",
        person="A. Demo",
        function=function,
        reason=f"Demo: the gate is {gate}.",
        gate_state=gate,
        at=utc_now(),
    )


def certificate_line(kind: str, model: Path, folder: Path) -> str:
    """Return the line of a configuration in ``folder`` that names the certificate of a kind, "" if none is shipped.

    Certificates lie beside the organisms: ``samples/calibration/KIND.json`` for ``samples/organisms/NAME``.
    """
    path = model.resolve().parent.parent / "calibration" / f"{kind}.json"
    relative = Path(os.path.relpath(path, folder.resolve())).as_posix()
    return f'calibration = "{relative}"\n' if path.exists() else ""


def _configuration(further: Further, folder: Path, model: Path, scope: tuple[str, str]) -> str:
    relative = Path(os.path.relpath(model.resolve(), folder.resolve())).as_posix()
    text = importlib.resources.files("dossier.templates").joinpath(further.template).read_text(encoding="utf-8")
    for piece, kind in further.pieces.items():
        text = text.replace(f"{{{piece}_calibration}}\n", certificate_line(kind, model, folder))
    text = text.replace("{model_path}", relative).replace("{model_name}", model.name)
    return text.replace("{classes}", scope[0]).replace("{signatory}", scope[1])
