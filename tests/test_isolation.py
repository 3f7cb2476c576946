"""The verifier needs no model, no torch, no renderer, no network; and starts fast."""

import os
import subprocess
import sys
import textwrap
import time

import pytest

from dossier import pack
from dossier.model import dump
from tests.planted import world

GUARD = """
import socket, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "weasyprint", "jinja2", "pikepdf", "fontTools", "sae_lens"}:
            raise ImportError(f"{name} must not be needed here")
sys.meta_path.insert(0, Refuse())
def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened")
socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
"""


@pytest.fixture
def written(tmp_path):
    pack.write(world().pack.members, tmp_path / "pack.zip")
    (tmp_path / "trust.json").write_bytes(dump(world().trust))
    return tmp_path


def run_guarded(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, "-c", GUARD + textwrap.dedent(code), *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_verifier_runs_with_sockets_blocked_and_torch_unimportable(written):
    code = "from dossier.cli import main; main()"
    result = run_guarded(code, "verify", written / "pack.zip", "--trust", written)
    # the sample's freshness is judged by the clock, its genuineness is not
    assert "RECOMPUTATION passed" in " ".join(result.stderr.split())
    assert result.returncode == 0, result.stderr


def test_listing_instruments_imports_no_torch():
    result = run_guarded("from dossier.cli import main; main()", "collectors")
    assert result.returncode == 0, result.stderr
    assert "cot_faithfulness.hint" in result.stderr


def test_the_guard_itself_works():
    assert run_guarded("import torch").returncode != 0
    assert "a socket was opened" in run_guarded("import socket; socket.create_connection(('127.0.0.1', 1))").stderr


def seconds(code):
    """The best of three starts of an interpreter, in seconds."""
    times = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.monotonic() - started)
    return min(times)


def test_importing_the_verifier_and_an_instrument_takes_under_1_5_s_or_four_times_the_import_of_numpy_and_scipy():
    """The cold start alone: imports, no pack. On an idle machine 0.8 s, where numpy and scipy alone took 0.4 s.

    How long a verification takes beyond that depends on the pack: about 3 s for the 4,480 trials of the demo's.
    """
    arithmetic = seconds("import numpy, scipy.special")
    verifier = seconds(
        "import dossier.cli, dossier.verify, dossier.pack, dossier.sign, dossier.terminal, evidence_collectors; "
        "evidence_collectors.load('cot_faithfulness.hint')"
    )
    assert verifier < max(1.5, 4 * arithmetic), (verifier, arithmetic)
