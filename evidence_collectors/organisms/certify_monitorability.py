"""Does the monitorability instrument read how well a monitor does on the organism? The recipe of its certificate.

The instrument runs on two makes of the organism ``reasoning`` again and again with other seeds; its studies are compared with
what `reasoning_truth` reads off the model's own probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator

from dossier import canonical, model
from dossier.collector import Inputs
from dossier.language_model import LanguageModel
from dossier.model import Calibration, FileRef, Item, Reference, Trial
from evidence_collectors.calibration import Studies, certificate, control, seeds, summary
from evidence_collectors.cot_faithfulness.monitorability.calibration import (
    BOUND,
    LIMITS,
    controls,
    not_estimable,
    simulated,
    studied,
)
from evidence_collectors.cot_faithfulness.monitorability.collector import COLLECTOR
from evidence_collectors.models.hf import load
from evidence_collectors.organisms import makes
from evidence_collectors.organisms.certify_perturbation import make
from evidence_collectors.organisms.makes import Place, Scale

ROOT = canonical.sha256(b"calibration of cot_faithfulness.monitorability")[:16]
PARAMS = COLLECTOR.parse({"max_tokens": 32})  # the organism's longest completion has 7
SIZES = (50, 160)  # questions
SIMULATED_SIZES = (60, 300)
RUNS, RUNS_REDUCED = 40, 12  # of each make: what chance leaves of the pool is then a small part of a study's error
SIMULATED_RUNS = 12
HEADLINE = ("reasoning.g_mean2", "reasoning.tpr", "reasoning.tnr", "uplift.g_mean2")  # of a reduced certificate
TRUTH = (
    "Read off the organism's own probabilities by code that imports no collector; in simulations, a formula of what was \
planted."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    full = scale == makes.FULL
    studies: list[Studies] = []
    files: list[FileRef] = []
    wanted = set(COLLECTOR.quantities(PARAMS) if full else HEADLINE)
    for seed in (0, 1) if full else (0,):
        folder, name = make(place, seed), f"reasoning, seed {seed}"
        organism, items = load(str(folder), batch_size=256), makes.items_of(folder)
        reference = model.parse(Reference, (folder / "reference.json").read_bytes(), where="reference.json")
        values = [one for one in reference.values if one.quantity in wanted]
        runs = list(_runs(organism, items, place, name=name, count=RUNS if full else RUNS_REDUCED))
        for size in SIZES if full else SIZES[-1:]:
            # one family of 50 questions has about 30 moved answers, the least that is estimable
            known = [
                one for one in values if size == SIZES[-1] or one.quantity.partition(".")[0] not in PARAMS.families
            ]
            studies += studied(
                runs,
                {one.quantity: one.exact for one in known},
                PARAMS,
                source=name,
                planted={one.quantity: one.planted for one in known},
                sizes=(size,),
                count=scale.studies,
                seed=ROOT,
            )
        files += [makes.file_of(folder / "model.safetensors", name)]
    files.append(makes.file_of(folder / "items.jsonl", "reasoning, its questions"))
    place.report("reading a model with random weights, and simulating")
    if full:
        studies += simulated(PARAMS, sizes=SIMULATED_SIZES, count=scale.studies, runs=SIMULATED_RUNS, seed=ROOT)
    twin = next(_runs(organism.random_twin(ROOT), items, place, name="twin", count=1))
    nothing = control(
        f"{name}: its shape, random weights", "not estimable", [not_estimable(summary(COLLECTOR, twin, PARAMS))]
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


def _runs(
    organism: LanguageModel, items: tuple[Item, ...], place: Place, *, name: str, count: int
) -> Iterator[list[Trial]]:
    """Yield complete runs on the organism, each with a root seed of its own."""
    for number, seed in enumerate(seeds(ROOT, "run", count)):
        place.report(f"{name}: run {number + 1} of {count}")
        found = COLLECTOR.collect(Inputs(subject=organism, items=items), PARAMS, seed)
        yield [trial for trial in found if isinstance(trial, Trial)]
