"""Does the monitorability instrument read how well a monitor does on the organism? The recipe of its certificate.

The instrument runs on two makes of the organism ``reasoning`` again and again with other seeds; its studies are compared with
what `reasoning_truth` reads off the model's own probabilities.
"""

from __future__ import annotations

from dossier import canonical
from dossier.model import Calibration, FileRef
from evidence_collectors.calibration import Studies, certificate, pooled
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES
from evidence_collectors.cot_faithfulness.monitorability.calibration import (
    BOUND,
    LIMITS,
    by_families,
    by_model,
    controls,
    not_estimable,
    observe,
    pool,
    simulated,
)
from evidence_collectors.cot_faithfulness.monitorability.collector import COLLECTOR
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Place, Scale
from evidence_collectors.recipes.perturbation import MAKES

ROOT = canonical.sha256(b"calibration of cot_faithfulness.monitorability")[:16]
PARAMS = COLLECTOR.parse({"max_tokens": 32})  # the organism's longest completion has 7
SIZES = (50, 160)  # questions
SIMULATED_SIZES = (60, 300, 1000)  # the last so many that the 507 shipped questions with both hints lie within
MODEL_SIZES, FAMILIES_SIZES = (60, 300), (80, 300)
RUNS, RUNS_REDUCED = 40, 12  # of each make: what chance leaves of the pool is then a small part of a study's error
SIMULATED_RUNS, MODEL_RUNS, FAMILIES_RUNS = 100, 30, 30  # of 500 questions: a pool 50 times the largest study
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
    for make in MAKES if full else MAKES[:1]:
        opened = place.opened(make)
        found = makes.runs(COLLECTOR, PARAMS, opened, place, root=ROOT, count=RUNS if full else RUNS_REDUCED)
        answers = pool((trials for _, trials in found), PARAMS)
        for size in SIZES if full else SIZES[-1:]:
            # one family of 50 questions has about 30 moved answers, the least that is estimable
            known = {
                name
                for name in wanted & opened.exact.keys()
                if size == SIZES[-1] or name.partition(".")[0] not in PARAMS.families
            }
            studies += pooled(
                answers,
                observe(PARAMS),
                {name: value for name, value in opened.exact.items() if name in known},
                source=opened.name,
                planted=opened.planted,
                sizes=(size,),
                count=scale.studies,
                seed=ROOT,
            )
        files.append(opened.file())
    files.append(opened.texts("reasoning, its questions"))
    place.report("reading a model with random weights, and simulating")
    if full:
        studies += simulated(PARAMS, sizes=SIMULATED_SIZES, count=scale.studies, runs=SIMULATED_RUNS, seed=ROOT)
        studies += by_families(
            PARAMS,
            choices=(FAMILIES, FAMILIES[:1]),
            sizes=FAMILIES_SIZES,
            count=scale.studies,
            runs=FAMILIES_RUNS,
            seed=ROOT,
        )
        studies += by_model(PARAMS, sizes=MODEL_SIZES, count=scale.studies, runs=MODEL_RUNS, seed=ROOT)
    nothing = makes.twin(COLLECTOR, PARAMS, opened, place, root=ROOT, expected="not estimable", passes=not_estimable)
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
