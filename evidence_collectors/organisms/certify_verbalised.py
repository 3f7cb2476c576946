"""Does the instrument for talk of tests read what the organism really says? The recipe of its certificate.

The instrument runs on each make of the organism again and again with other seeds; its studies are compared with rates read off
the model's own probabilities by `awareness_truth`.
"""

from __future__ import annotations

from types import MappingProxyType

from dossier import canonical
from dossier.model import Calibration, NegativeControl
from evidence_collectors.calibration import Studies, certificate, control, summary
from evidence_collectors.evaluation_awareness.verbalised.calibration import (
    BOUND,
    FROM_ZERO,
    LIMITS,
    controls,
    silent,
    simulated,
    studied,
)
from evidence_collectors.evaluation_awareness.verbalised.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.verbalised.simulation import Planted
from evidence_collectors.organisms import makes
from evidence_collectors.organisms.awareness_makes import Opened, opened, runs
from evidence_collectors.organisms.makes import Place, Scale

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
    files = []
    for make in opened(scale, place):
        place.report(f"reading {make.name}")
        count = RUNS if full else RUNS_REDUCED
        studies += studied(
            runs(COLLECTOR, PARAMS, make.model, make.items, root=ROOT, name=make.name, count=count),
            {name: value for name, value in make.exact.items() if name.startswith("verbalised.")},
            PARAMS,
            source=make.name,
            planted=make.planted,
            sizes=sizes,
            count=scale.studies,
            seed=ROOT,
        )
        files.append(make.file())
    files.append(make.questions())
    place.report("simulating, and reading a model with random weights")
    studies += simulated(PARAMS, PLANTED, sizes=sizes, count=scale.studies, seed=ROOT)
    return certificate(
        COLLECTOR,
        PARAMS,
        studies,
        (*controls(PARAMS, seed=ROOT, studies=scale.controls), _twin(make)),
        organisms=tuple(files),
        truth=TRUTH,
        bound=BOUND,
        limits=LIMITS,
    )


def _twin(make: Opened) -> NegativeControl:
    """Return what the instrument says of the organism's shape with random weights."""
    twin = make.model.random_twin(ROOT)
    (run,) = runs(COLLECTOR, PARAMS, twin, make.items, root=ROOT, name="twin", count=1)
    what = f"{make.name}: its shape, random weights"
    return control(what, FROM_ZERO, [silent(summary(COLLECTOR, run, PARAMS))])
