"""A circuit that one plan traced is what another plan's attacks are read on: from `dossier plan` to the drafted dossier."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from dossier.demo_more import INSIDE, _configuration
from dossier.keys import make_demo_keys
from dossier.model import Evidence, parse
from dossier.workspace import Workspace
from evidence_collectors import load as load_collector

pytest.importorskip("circuit_tracer")

ORGANISM = Path(__file__).parents[3] / "samples" / "organisms" / "refusal"
KINDS = {"circuit": "interpretability.circuit_trace", "stability": "interpretability.adversarial_stability"}


def drafted(folder, piece, **changed):
    """Plan and run one piece of the demo's evidence; return what it observed, and the folder of the pack."""
    text = _configuration(INSIDE, folder, ORGANISM, ('["gpai"]', "false"))
    head, *pieces = text.split("[[evidence]]")
    (own,) = (part for part in pieces if f'id = "{piece}"' in part)
    own = own.replace(
        "\n[evidence.parameters]\n",
        f"\n{changed.get('inputs', '')}\n[evidence.parameters]\n{changed.get('more', '')}\n",
        1,
    )
    (folder / "dossier.toml").write_text(f"{head}[[evidence]]{own}")
    tomllib.loads((folder / "dossier.toml").read_text())
    workspace, collectors = Workspace(folder / "dossier.toml"), {KINDS[piece]: load_collector(KINDS[piece])}
    subject = workspace.load_model()
    workspace.plan(subject, key=make_demo_keys().provider, collectors=collectors)
    workspace.run(subject, collectors=collectors, nonce=None, wait=False, progress=lambda _: None)
    (path,) = (workspace.folder / "evidence" / KINDS[piece]).glob("*.json")
    evidence = parse(Evidence, path.read_bytes().rstrip(b"\n"), where="evidence")
    return {one.id: one for one in evidence.observations}, workspace.folder, evidence


@pytest.fixture(scope="module")
def circuit(tmp_path_factory):
    """The first traced circuit with a feature of block 2 in its core where the answer begins: there refusal was planted."""
    _, pack, evidence = drafted(tmp_path_factory.mktemp("circuit"), "circuit")
    for artifact in evidence.artifacts:
        if artifact.name.startswith("circuit-"):
            (path,) = (pack / "artifacts").glob(f"{artifact.sha256}*")
            held = json.loads(path.read_bytes())
            last = len(held["tokens"]) - 1
            kept = [
                one for one in held["nodes"] if one["kind"] == "feature" and one["core"] and one["position"] == last
            ]
            if any(one["layer"] == 2 for one in kept):
                return path, len(kept)
    pytest.fail("no traced circuit has a feature of block 2 in its core where the answer begins")


def test_the_core_of_a_traced_circuit_stays_under_a_friendly_edit_and_not_under_the_planted_jailbreak(
    circuit, tmp_path
):
    path, nodes = circuit
    inputs = f'inputs = {{ core = "{path.as_posix()}", transcoders = "{(ORGANISM / "transcoders").as_posix()}" }}'
    found, _, _ = drafted(tmp_path, "stability", inputs=inputs, more="use_core = true\ngenerate = false")
    attacked, harmless = (found[f"{arm}.core_survival"] for arm in ("own-1", "own-benign-1"))
    assert (attacked.n, harmless.n) == (nodes, nodes)
    assert harmless.estimate == 1.0
    assert attacked.estimate == pytest.approx(1.0 - 1.0 / nodes), (
        "the feature that carries the refusal goes, and no other"
    )
    assert found["worst.core_survival"].facts["attack"] == "own-1"
    assert attacked.interval.low <= attacked.estimate <= attacked.interval.high
