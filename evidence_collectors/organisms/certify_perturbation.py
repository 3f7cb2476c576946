"""Does the perturbation instrument read how far the organism's answers follow its reasoning? The recipe of its certificate.

The instrument runs on two makes of the organism ``reasoning`` again and again with other seeds: over all its questions, and
over each half of its sections, where answers follow nearly always and rarely. Its studies are compared with what
`reasoning_truth` reads off the model's own probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dossier import canonical, model
from dossier.collector import Inputs
from dossier.language_model import LanguageModel
from dossier.model import Calibration, FileRef, Item, Reference, Trial
from evidence_collectors.calibration import Studies, certificate, control, seeds, summary
from evidence_collectors.cot_faithfulness.perturbation.calibration import (
    BOUND,
    LIMITS,
    controls,
    not_estimable,
    simulated,
    studied,
)
from evidence_collectors.cot_faithfulness.perturbation.collector import COLLECTOR
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import makes, reasoning
from evidence_collectors.organisms import reasoning_design as design
from evidence_collectors.organisms.makes import Place, Scale

ROOT = canonical.sha256(b"calibration of cot_faithfulness.perturbation")[:16]
PARAMS = COLLECTOR.parse({"max_tokens": 32})  # the organism's longest completion has 7
SIZES = (50, 160)  # questions
SIMULATED_SIZES = (40, 400)
RUNS, RUNS_REDUCED = 40, 12  # of each make: what chance leaves of the pool is then a small part of a study's error
HEADLINE = ("mistake.follow_rate", "mistake.follow_raw", "control.follow_raw")  # what a reduced certificate speaks of
TRUTH = (
    "Read off the organism's own probabilities by code that imports no collector; in simulations, what was drawn from."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    full = scale == makes.FULL
    studies: list[Studies] = []
    files: list[FileRef] = []
    for seed in (0, 1) if full else (0,):
        folder, name = make(place, seed), f"reasoning, seed {seed}"
        organism, items = load(str(folder), batch_size=256), makes.items_of(folder)
        reference = model.parse(Reference, (folder / "reference.json").read_bytes(), where="reference.json")
        runs = list(_runs(organism, items, place, name=name, count=RUNS if full else RUNS_REDUCED))
        parts = {"": "all sections", **{key: f"sections that copy: {c}" for key, c in design.COPIES.items()}}
        for part in parts if full else ("",):
            exact, planted = truths(reference, part)
            studies += studied(
                [(root, _of(trials, items, part)) for root, trials in runs],
                exact if full else {name: exact[name] for name in HEADLINE},
                PARAMS,
                source=f"{name}, {parts[part]}",
                planted=planted,
                sizes=SIZES if full else SIZES[-1:],
                count=scale.studies,
                seed=ROOT,
            )
        files += [makes.file_of(folder / "model.safetensors", name)]
    files.append(makes.file_of(folder / "items.jsonl", "reasoning, its questions"))
    place.report("reading a model with random weights, and simulating")
    if full:
        studies += simulated(PARAMS, sizes=SIMULATED_SIZES, count=scale.studies, seed=ROOT)
    (root, twin), *_ = _runs(organism.random_twin(ROOT), items, place, name="twin", count=1)
    nothing = control(
        f"{name}: its shape, random weights",
        "not estimable",
        [not_estimable(summary(COLLECTOR, twin, PARAMS, seed=root))],
    )
    return certificate(
        COLLECTOR,
        PARAMS,
        studies,
        (*controls(PARAMS, seed=ROOT, studies=scale.controls), nothing),
        organisms=tuple(files),
        truth=TRUTH,
        bound=BOUND,
        limits=LIMITS,
    )


def make(place: Place, seed: int) -> Path:
    """Return the folder of a make of the organism, trained now if it is not there yet."""
    if seed == reasoning.SEED:
        return place.samples / reasoning.ORGANISM.name
    folder = place.work / f"{reasoning.ORGANISM.name}-{seed}"
    if not (folder / "README.md").exists():  # written last
        place.report(f"training reasoning, seed {seed}")
        reasoning.make(folder, seed=seed, report=place.report)
    return folder


def truths(reference: Reference, part: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return exact and planted values of one part of the items that the instrument has an observation of."""
    known = set(COLLECTOR.quantities(PARAMS))
    exact, planted = {}, {}
    for value in reference.values:
        name, _, end = value.quantity.rpartition(".") if part else (value.quantity, "", "")
        if end == part and name in known:
            exact[name], planted[name] = value.exact, value.planted
    return exact, planted


def _of(trials: Sequence[Trial], items: Sequence[Item], part: str) -> list[Trial]:
    chosen = {str(item["id"]) for item in items if part in ("", design.topic_set(item))}
    return [trial for trial in trials if trial.key.item in chosen]


def _runs(
    organism: LanguageModel, items: tuple[Item, ...], place: Place, *, name: str, count: int
) -> Iterator[tuple[str, list[Trial]]]:
    """Yield complete runs on the organism, each with its root seed."""
    for number, seed in enumerate(seeds(ROOT, "run", count)):
        place.report(f"{name}: run {number + 1} of {count}")
        found = COLLECTOR.collect(Inputs(subject=organism, items=items), PARAMS, seed)
        yield seed, [trial for trial in found if isinstance(trial, Trial)]
