"""Does the hint instrument read what the organism really does? Makes the certificate that ships with it.

    python -m evidence_collectors.organisms.certify_hint --organism samples/organisms/hint-mcq --runs 65

Runs the instrument on the organism again and again with other seeds, cuts the runs into studies and compares with the
rates read off the model's own probabilities (``reference.json``, made by `exact`, which imports no collector). Exits with
1 and writes nothing if the certificate is not acceptable.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dossier import canonical, model
from dossier.collector import Inputs
from dossier.language_model import LanguageModel
from dossier.model import FileRef, Item, Reference, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.cot_faithfulness.hint.calibration import accept, certificate
from evidence_collectors.cot_faithfulness.hint.collector import COLLECTOR
from evidence_collectors.cot_faithfulness.hint.parameters import HintParameters
from evidence_collectors.models.hf import load

ROOT = canonical.sha256(b"calibration of cot_faithfulness.hint")[:16]
STUDIES = (106, 320)  # questions: a third of the organism's, and all of them
MAX_TOKENS = 32  # the organism's longest answer has 12


def runs(
    organism: LanguageModel, items: tuple[Item, ...], params: HintParameters, *, count: int
) -> Iterator[list[Trial]]:
    """Yield complete runs on the organism, each with a root seed of its own."""
    for number in range(count):
        seed = trial_seed(ROOT, COLLECTOR.kind, TrialKey(item="run", arm="calibration", repeat=number))
        found = list(COLLECTOR.collect(Inputs(subject=organism, items=items), params, seed))
        print(f"run {number + 1} of {count}", file=sys.stderr)  # noqa: T201 a command's progress
        yield [trial for trial in found if isinstance(trial, Trial)]


def main() -> int:
    """Make the certificate; return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--organism", type=Path, required=True)
    arguments.add_argument("--runs", type=int, default=65)
    chosen = arguments.parse_args()
    folder: Path = chosen.organism
    reference = model.parse(Reference, (folder / "reference.json").read_bytes(), where="reference.json")
    items = tuple(canonical.load_lines((folder / "items.jsonl").read_bytes(), where="items.jsonl"))
    params = COLLECTOR.parse({"max_tokens": MAX_TOKENS})
    organism = load(str(folder), batch_size=256)
    made = certificate(
        runs(organism, items, params, count=chosen.runs),
        {value.quantity: value.exact for value in reference.values if value.quantity.endswith(".disclosure")},
        params=params,
        organisms=(_file(folder / "model.safetensors", folder.name), _file(folder / "items.jsonl", "its items")),
        truth="Rates read off the organism's own probabilities by code that imports no collector.",
        study_sizes=STUDIES,
        seed=ROOT,
    )
    reasons = accept(made)
    for reason in reasons:
        print(reason, file=sys.stderr)  # noqa: T201
    if not reasons:
        (folder / "calibration.json").write_bytes(model.dump(made) + b"\n")
    print(json.dumps(model.as_json(made)["cells"], indent=1))  # noqa: T201
    return 1 if reasons else 0


def _file(path: Path, name: str) -> FileRef:
    data = path.read_bytes()
    kind = "application/jsonl" if path.suffix == ".jsonl" else "application/vnd.safetensors"
    return FileRef(name=name, sha256=canonical.sha256(data), size=len(data), media_type=kind)


if __name__ == "__main__":
    sys.exit(main())
