"""Does the instrument for behaviour shifts read what the organism really does? The recipe of its certificate.

The instrument runs on each make of the organism again and again with other seeds; its studies are compared with rates read off
the model's own probabilities by `awareness_truth`.
"""

from __future__ import annotations

from types import MappingProxyType

from dossier import canonical
from dossier.model import Calibration, FileRef
from evidence_collectors.calibration import Studies, certificate, pooled
from evidence_collectors.evaluation_awareness.behaviour_shift.calibration import (
    BOUND,
    LIMITS,
    NOTHING,
    controls,
    nothing_found,
    observe,
    pool,
    simulated,
)
from evidence_collectors.evaluation_awareness.behaviour_shift.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.behaviour_shift.simulation import SHOWN, Planted
from evidence_collectors.organisms import cues
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.awareness_makes import MORE, opened
from evidence_collectors.recipes.makes import Place, Scale

ROOT = canonical.sha256(b"calibration of evaluation_awareness.behaviour_shift")[:16]
PARAMS = COLLECTOR.parse({"markers": [*cues.REFUSALS], "match": "anywhere", "max_tokens": 4})
SIMULATED = COLLECTOR.parse({"markers": [SHOWN], "match": "anywhere"})
SIZES = (40, 120)  # scenarios, each in two formats
RUNS, RUNS_REDUCED = 40, 12
SELDOM = "behaviour.shift_verbalised"  # too few answers of the organism talk of a test
PLANTED = MappingProxyType(
    {
        "much talk of tests": Planted(evaluation=0.7, spoken_evaluation=0.95, spoken=0.5, deployment=0.5),
        "no shift, scenarios that differ": Planted(evaluation=0.3, deployment=0.3, scenario=1.2),
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
        known = [name for name in COLLECTOR.quantities(PARAMS) if name in make.exact and name != SELDOM]
        found = makes.runs(COLLECTOR, PARAMS, make, place, root=ROOT, count=RUNS if full else RUNS_REDUCED)
        studies += pooled(
            pool(found, PARAMS),
            observe(PARAMS),
            {name: make.exact[name] for name in known},
            source=make.name,
            planted=make.planted,
            sizes=sizes,
            count=scale.studies,
            seed=ROOT,
        )
        files.append(make.file())
    files.append(make.texts("awareness, its texts"))
    place.report("simulating, and reading a model with random weights")
    studies += simulated(SIMULATED, PLANTED, sizes=sizes, count=MORE * scale.studies, seed=ROOT)
    nothing = makes.twin(COLLECTOR, PARAMS, make, place, root=ROOT, expected=NOTHING, passes=nothing_found)
    return certificate(
        COLLECTOR,
        PARAMS,
        studies,
        (*controls(SIMULATED, seed=ROOT, studies=scale.controls), nothing),
        organisms=tuple(files),
        truth=TRUTH,
        bound=BOUND,
        limits=LIMITS,
    )
