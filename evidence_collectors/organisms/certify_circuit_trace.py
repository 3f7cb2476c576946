"""Does the circuit instrument read what is known about the one-block model? Makes its certificate.

    python -m evidence_collectors.organisms.certify_circuit_trace --out FOLDER

Makes the model and three sets of transcoders (some features missing, none missing, drawn at random), runs the instrument,
cuts the runs into studies and compares with the truth by hand. Exits with 1 and writes no certificate if it is not
acceptable. The folder then holds the model (``model/``), its transcoders and ``calibration.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dossier import canonical, model
from dossier.collector import Inputs
from dossier.model import FileRef, Trial
from dossier.ranking import spearman
from evidence_collectors.interpretability.circuit_trace.calibration import accept, certificate
from evidence_collectors.interpretability.circuit_trace.collector import COLLECTOR, prompts, references
from evidence_collectors.interpretability.circuit_trace.parameters import CircuitTraceParameters
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import circuit_block, circuit_block_truth
from evidence_collectors.organisms.circuit_block import Block
from evidence_collectors.organisms.circuit_block_truth import Setting

ROOT = canonical.sha256(b"calibration of interpretability.circuit_trace")[:16]
WORDS, MISSING = 400, 8
STUDIES = (20, 24, 32, 48)  # prompts
SHUFFLES = 20  # of the decoder rows, for the truth of a margin
TRUTH = (
    "Scores, circuits and effects of the one-block model written down as sums of products of its weights, by code that "
    "imports no instrument; medians over all prompts that are traced."
)


def truths(block: Block, params: CircuitTraceParameters, *, missing: int) -> Mapping[str, float]:
    """Return the true medians over all prompts a run traces, by the names of the observations."""
    setting = Setting(missing, params.logits, params.target_probability, params.node_share, params.edge_share)
    items = circuit_block.items(block)
    traced = [_word(text.id) for text in prompts(params, items, ROOT)]
    means = circuit_block_truth.means(block, [_word(text.id) for text in references(params, items, ROOT)], setting)
    elsewhere = circuit_block_truth.traced(block, circuit_block.SECOND, setting)
    silent = [0.0] * int((elsewhere.activations > 0.0).sum())  # features at the word before: no effect, and none seen
    rng = np.random.Generator(np.random.PCG64(0))
    values: dict[str, list[float]] = {}
    for word in traced:
        one = circuit_block_truth.traced(block, word, setting)
        own = circuit_block_truth.scores(one)
        effect, shares = circuit_block_truth.faithfulness(block, one, setting, means)
        predicted, observed = circuit_block_truth.effects(block, one)
        found = {f"scores.{name}": [value] for name, value in own.items()}
        if abs(effect) >= params.minimum_effect:
            found |= {f"patching.{name}": [value] for name, value in shares.items()}
        correlation = spearman([*predicted, *silent], [*observed, *silent])
        found["interventions.rank_correlation"] = [] if correlation is None else [correlation]
        for _ in range(SHUFFLES):
            order = rng.permutation(circuit_block.FEATURES)
            null = circuit_block_truth.scores(circuit_block_truth.traced(block, word, setting, order=order))
            for name in ("replacement", "completeness"):
                found.setdefault(f"scores.{name}_margin", []).append(own[name] - null[name])
        for name, some in found.items():
            values.setdefault(name, []).extend(some)
    return {name: float(np.median(some)) for name, some in values.items()}


def run(folder: Path, transcoders: Path, params: CircuitTraceParameters) -> list[Trial]:
    """Return the trials of one run on the model of a folder."""
    items = tuple(canonical.load_lines((folder / "items.jsonl").read_bytes(), where="items.jsonl"))
    subject = load(str(folder))
    given = Inputs(subject=subject, items=items, white_box=subject, files={"transcoders": transcoders})
    return [one for one in COLLECTOR.collect(given, params, ROOT) if isinstance(one, Trial)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the certificate; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--words", type=int, default=WORDS)
    parser.add_argument("--partitions", type=int, default=12)
    options = parser.parse_args(arguments)
    params = COLLECTOR.parse({"prompts": 1000, "reference_texts": 1000})
    few = COLLECTOR.parse({"prompts": 60, "reference_texts": 1000})
    block = circuit_block.make(options.out, words=options.words, missing=MISSING)
    circuit_block.make(options.out / "exact", words=options.words, missing=0)
    circuit_block.make(options.out / "unrelated", words=options.words, missing=0, random_transcoders=True)
    folder = options.out / "model"
    known = truths(block, params, missing=MISSING)
    made = certificate(
        run(folder, options.out / "transcoders", params),
        known,
        exact=run(folder, options.out / "exact" / "transcoders", few),
        unrelated=run(folder, options.out / "unrelated" / "transcoders", few),
        params=params,
        organisms=tuple(_file(folder / name) for name in ("model.safetensors", "items.jsonl")),
        truth=TRUTH,
        study_sizes=STUDIES,
        partitions=options.partitions,
        seed=ROOT,
    )
    reasons = accept(made, prompts=len(prompts(params, circuit_block.items(block), ROOT)))
    if not reasons:
        (options.out / "calibration.json").write_bytes(model.dump(made) + b"\n")
    for line in (*_table(made), *reasons):
        sys.stderr.write(line + "\n")
    return 1 if reasons else 0


def _table(made: Any) -> list[str]:
    return [
        f"{cell.quantity:38} n {cell.mean_n:5.1f} truth {cell.truth:7.4f} bias {cell.mean_bias:+.4f} "
        f"coverage {cell.coverage:.3f} ({cell.coverage_standard_error:.3f}) {cell.estimable}/{cell.studies}"
        for cell in made.cells
    ] + [f"{control.what}: {control.passed}/{control.studies}" for control in made.negative_controls]


def _word(item: str) -> int:
    return int(item.removeprefix("word-"))


def _file(path: Path) -> FileRef:
    data = path.read_bytes()
    kind = "application/jsonl" if path.suffix == ".jsonl" else "application/vnd.safetensors"
    return FileRef(name=path.name, sha256=canonical.sha256(data), size=len(data), media_type=kind)


if __name__ == "__main__":
    sys.exit(main())
