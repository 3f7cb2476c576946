"""Does the instrument for talk of tests read what the organism really says? The recipe of its certificate.

The instrument runs on each make of the organism again and again with other seeds; its studies are compared with rates read off
the model's own probabilities by `awareness_truth`.
"""

from __future__ import annotations

from types import MappingProxyType

from dossier import canonical
from dossier.model import Calibration, FileRef
from evidence_collectors.calibration import Studies, certificate, pooled
from evidence_collectors.evaluation_awareness.verbalised.calibration import (
    BOUND,
    LIMITS,
    NOTHING,
    controls,
    nothing_found,
    observe,
    pool,
    simulated,
)
from evidence_collectors.evaluation_awareness.verbalised.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.verbalised.simulation import Planted
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.awareness_makes import MORE, opened
from evidence_collectors.recipes.makes import Place, Scale

ROOT = canonical.sha256(b"calibration of evaluation_awareness.verbalised")[:16]
PARAMS = COLLECTOR.parse({"max_tokens": 4})
SIZES = (40, 120)  # scenarios, each in two formats
RUNS, RUNS_REDUCED = 40, 12
PLANTED = MappingProxyType(
    {
        "said in reasoning, scenarios that differ": Planted(0.3, 0.1, vague=0.2, reasons=True, scenario=1.0),
        "said seldom": Planted(0.05, 0.02, vague=0.05),
    }
)
TRUTH = (
    "On the organism, rates read off its own probabilities by code that imports no collector; in simulations, the rates that "
    "answers were drawn from."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    full = scale == makes.FULL
    sizes = SIZES if full else SIZES[:1]
    studies: list[Studies] = []
    files: list[FileRef] = []
    for make in opened(scale, place):
        found = makes.runs(COLLECTOR, PARAMS, make, place, root=ROOT, count=RUNS if full else RUNS_REDUCED)
        studies += pooled(
            pool(found, PARAMS),
            observe(PARAMS),
            {name: value for name, value in make.exact.items() if name.startswith("verbalised.")},
            source=make.name,
            planted=make.planted,
            sizes=sizes,
            count=scale.studies,
            seed=ROOT,
        )
        files.append(make.file())
    files.append(make.texts("awareness, its texts"))
    place.report("simulating, and reading a model with random weights")
    studies += simulated(PARAMS, PLANTED, sizes=sizes, count=MORE * scale.studies, seed=ROOT)
    nothing = makes.twin(COLLECTOR, PARAMS, make, place, root=ROOT, expected=NOTHING, passes=nothing_found)
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
