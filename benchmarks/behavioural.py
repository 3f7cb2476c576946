"""How long do the behavioural instruments take, each on the shipped organism made for it? ``python -m benchmarks.behavioural``.

Every instrument collects one complete run over all shipped items, with the parameters its certificate was made with, and
summarises it; loading the model is counted. Wall-clock seconds, with as many threads as PyTorch takes by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks import measuring
from benchmarks.generation import SAMPLES
from dossier import canonical
from dossier.collector import Inputs
from dossier.model import Trial
from evidence_collectors import CERTIFICATES, load
from evidence_collectors.calibration import summary
from evidence_collectors.evaluation_awareness.probe import pushes
from evidence_collectors.recipes.makes import Place, opened

SEED = canonical.sha256(b"time of the behavioural instruments")[:16]
ORGANISMS: Mapping[str, str] = MappingProxyType(
    {
        "cot_faithfulness.hint": "hint-mcq",
        "cot_faithfulness.monitorability": "hint-mcq",
        "cot_faithfulness.perturbation": "reasoning",
        "evaluation_awareness.behaviour_shift": "awareness",
        "evaluation_awareness.discrimination": "awareness",
        "evaluation_awareness.probe": "evaluation-bottleneck",
        "evaluation_awareness.sandbagging": "password-locked",
        "evaluation_awareness.verbalised": "awareness",
    }
)


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description="Time the behavioural instruments.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    path = options.out or measuring.result_path("behavioural-cpu")
    cases = [_case(kind, organism) for kind, organism in ORGANISMS.items()]
    result = {
        "date": measuring.date(),
        "machine": {
            "platform": platform.platform(),
            "cores": len(os.sched_getaffinity(0)),
            "load_average": os.getloadavg()[0],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers")},
        },
        "seconds": round(sum(case["seconds"] for case in cases), 1),
        "cases": cases,
    }
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['seconds']} s in all; {path}")
    return 0


def _case(kind: str, organism: str) -> dict[str, Any]:
    collector, recipe = load(kind), import_module(CERTIFICATES[kind].partition(":")[0])
    before = time.perf_counter()
    made = opened(SAMPLES / organism, organism)
    with tempfile.TemporaryDirectory() as folder:
        files, params = {}, getattr(recipe, "PARAMS", None)
        if params is None:  # the probe is pushed along, and beside it a direction that is known to work
            params = recipe.PUSH
            files[pushes.ROLE] = recipe.known_direction(made, Place(SAMPLES, Path(folder), print))
        inputs = Inputs(subject=made.model, items=made.items, white_box=made.model, files=files)
        trials = [one for one in collector.collect(inputs, params, SEED) if isinstance(one, Trial)]
    found = summary(collector, trials, params, seed=SEED)
    seconds = round(time.perf_counter() - before, 1)
    estimated = sum(one.estimate is not None for one in found.values())
    print(f"{kind} on {organism}: {seconds} s, {len(trials)} trials, {estimated} of {len(found)} quantities estimated")
    return {
        "kind": kind,
        "organism": organism,
        "trials": len(trials),
        "failed_trials": sum(one.error is not None for one in trials),
        "quantities": len(found),
        "estimated": estimated,
        "seconds": seconds,
    }


if __name__ == "__main__":
    raise SystemExit(main())
