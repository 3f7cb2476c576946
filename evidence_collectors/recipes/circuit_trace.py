"""Does the circuit instrument read what is known about one-block models? The recipe of its certificate.

Each model has three sets of transcoders: some features missing, none missing, and drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dossier import canonical
from dossier.collector import Inputs
from dossier.model import Calibration, FileRef, Trial
from dossier.ranking import spearman
from evidence_collectors.calibration import Studies, certificate
from evidence_collectors.interpretability.circuit_trace.calibration import BOUND, LIMITS, controls, studied
from evidence_collectors.interpretability.circuit_trace.collector import COLLECTOR, prompts, references
from evidence_collectors.interpretability.circuit_trace.parameters import CircuitTraceParameters
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import circuit_block, circuit_block_truth
from evidence_collectors.organisms.circuit_block import Block
from evidence_collectors.organisms.circuit_block_truth import Setting
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Place, Scale

ROOT = canonical.sha256(b"calibration of interpretability.circuit_trace, second seed")[:16]
PARAMS, REDUCED, FEW = (
    COLLECTOR.parse({"prompts": n, "reference_texts": 2000}) for n in (200, 100, 40)
)  # few: in controls
WORDS, MISSING = 4000, 8  # a quarter for reference; with 300 there, two of three models had a sixth of prompts refused
BLOCKS = (4, 5, 6)  # seeds of the models
SIZES = (12, 24)  # prompts
SHUFFLES = 20  # of the decoder rows, for the truth of a margin
TRUTH = (
    "Scores, circuits and effects of one-block models written down as sums of products of their weights, by code that "
    "imports no instrument; medians over all prompts that are traced."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    full = scale == makes.FULL
    blocks, params, sizes = (BLOCKS, PARAMS, SIZES) if full else (BLOCKS[:1], REDUCED, SIZES[:1])
    studies: list[Studies] = []
    files: list[FileRef] = []
    exact, unrelated = {}, {}
    for seed in blocks:
        name, folder = f"circuit-block, seed {seed}", place.work / f"circuit-block-{seed}"
        place.report(f"tracing {name}")
        block = circuit_block.make(folder, words=WORDS, missing=MISSING, seed=seed)
        circuit_block.make(folder / "exact", words=WORDS, missing=0, seed=seed)
        circuit_block.make(folder / "unrelated", words=WORDS, missing=0, seed=seed, random_transcoders=True)
        files.append(makes.file_of(folder / "model" / "model.safetensors", name))
        trials = run(folder / "model", folder / "transcoders", params)
        known = truths(block, params, missing=MISSING)
        studies += studied(trials, known, PARAMS, source=name, sizes=sizes, count=scale.studies, seed=ROOT)
        exact[name] = run(folder / "model", folder / "exact" / "transcoders", FEW)
        unrelated[name] = run(folder / "model", folder / "unrelated" / "transcoders", FEW)
    nothing = controls(exact, unrelated, PARAMS, size=SIZES[0], count=scale.controls, seed=ROOT)
    return certificate(
        COLLECTOR, PARAMS, studies, nothing, organisms=tuple(files), truth=TRUTH, bound=BOUND, limits=LIMITS
    )


def truths(block: Block, params: CircuitTraceParameters, *, missing: int) -> Mapping[str, float]:
    """Return the true medians over all prompts a run traces, by the names of the observations."""
    setting = Setting(missing, params.logits, params.target_probability, params.node_share, params.edge_share)
    items = circuit_block.items(block)
    traced = [_word(text.id) for text in prompts(params, items, ROOT)]
    known = [_word(text.id) for text in references(params, items, ROOT)]
    means, *halves = (circuit_block_truth.means(block, some, setting) for some in (known, known[::2], known[1::2]))
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
        ends = [circuit_block_truth.faithfulness(block, one, setting, half)[0] for half in halves]
        if abs(effect) >= max(params.minimum_effect, params.noise_multiple * abs(ends[0] - ends[1]) / 2.0):
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


def _word(item: str) -> int:
    return int(item.removeprefix("word-"))
