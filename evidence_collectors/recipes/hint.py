"""Does the hint instrument read what the organism really does? The recipe of its certificate.

The instrument runs on the organism again and again with other seeds; its studies are compared with the rates read off the
model's own probabilities (``reference.json``, made by `exact`, which imports no collector).
"""

from __future__ import annotations

from pathlib import Path

import torch

from dossier import canonical
from dossier.model import Calibration
from evidence_collectors.calibration import Studies, certificate, pooled
from evidence_collectors.cot_faithfulness.hint.calibration import (
    BOUND,
    LIMITS,
    controls,
    judge_controls,
    judged,
    not_estimable,
    observe,
    pool,
    simulated,
)
from evidence_collectors.cot_faithfulness.hint.collector import COLLECTOR
from evidence_collectors.cot_faithfulness.hint.judge.coverage import JUDGES
from evidence_collectors.organisms import hint_mcq
from evidence_collectors.organisms.hint_mcq_tokens import build
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Place, Scale

ROOT = canonical.sha256(b"calibration of cot_faithfulness.hint")[:16]
PARAMS = COLLECTOR.parse({"max_tokens": 32})  # the organism's longest answer has 12
SIZES = (106, 320)  # questions: a third of the organism's, and as many as it has
RUNS, RUNS_REDUCED = 16, 4  # of each make: what chance leaves of the pool is then a small part of a study's error
SIMULATED_SIZES = (72, 1600)  # of the shipped 507 questions with both hints, few or nearly all answers may switch
FEWER_FAMILIES = (2, 1)
JUDGED_SIZES = (165, 500)  # questions of the simulated studies of a judge: about 100 and 300 switches of each family
JUDGED_CASES = (
    (JUDGES[0], True),
    (JUDGES[0], False),
    (JUDGES[1], False),
)  # a judge, and labels drawn from switches or not
SIMULATED_PARAMS = PARAMS.model_copy(update={"resamples": 1000})
TRUTH = (
    "In simulations the rates that were drawn from. On the organism, rates read off its own probabilities by code that "
    "imports no collector."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    full = scale == makes.FULL
    studies: list[Studies] = []
    files = []
    for seed in (0, 1) if full else (0,):
        opened = makes.opened(_folder(place, seed), f"hint-mcq, seed {seed}")
        found = makes.runs(COLLECTOR, PARAMS, opened, place, root=ROOT, count=RUNS if full else RUNS_REDUCED)
        studies += pooled(
            pool((trials for _, trials in found), PARAMS),
            observe(PARAMS),
            {name: value for name, value in opened.exact.items() if name.endswith(".disclosure")},
            source=opened.name,
            planted=opened.planted,
            sizes=SIZES if full else SIZES[:1],
            count=scale.studies,
            seed=ROOT,
        )
        files.append(opened.file())
    files.append(opened.texts("hint-mcq, its questions"))
    place.report("reading a model with random weights, and simulating")
    if full:
        everything = len(PARAMS.families)
        for families, sizes in (((everything,), SIMULATED_SIZES), (FEWER_FAMILIES, SIMULATED_SIZES[:1] + SIZES[1:])):
            studies += simulated(SIMULATED_PARAMS, families=families, sizes=sizes, count=scale.studies, seed=ROOT)
    studies += judged(
        SIMULATED_PARAMS,
        cases=JUDGED_CASES if full else JUDGED_CASES[:1],
        sizes=JUDGED_SIZES if full else JUDGED_SIZES[:1],
        count=scale.studies,
        seed=ROOT,
    )
    nothing = makes.twin(COLLECTOR, PARAMS, opened, place, root=ROOT, expected="not estimable", passes=not_estimable)
    return certificate(
        COLLECTOR,
        PARAMS,
        studies,
        (
            *controls(PARAMS, seed=ROOT, studies=scale.controls),
            *judge_controls(PARAMS, seed=ROOT, studies=scale.controls),
            nothing,
        ),
        organisms=tuple(files),
        truth=TRUTH,
        bound=BOUND,
        limits=LIMITS,
    )


def _folder(place: Place, seed: int) -> Path:
    """Return the folder of a make, trained now if it is not there yet."""
    if seed == hint_mcq.SEED:
        return place.samples / "hint-mcq"
    folder = place.work / f"hint-mcq-{seed}"
    if not (folder / "README.md").exists():  # written last
        place.report(f"training hint-mcq, seed {seed}")
        torch.set_num_threads(1)
        tokenizer = build()
        steps = hint_mcq.STEPS
        trained = hint_mcq.train(tokenizer, hint_mcq.lessons(tokenizer), steps=steps, seed=seed, report=place.report)
        reference, unaccounted = hint_mcq.read_truth(trained, tokenizer)
        hint_mcq.write(folder, trained, tokenizer, reference, unaccounted=unaccounted, steps=steps, seed=seed)
    return folder
