"""Does the perturbation instrument read how far the organism's answers follow its reasoning? The recipe of its certificate.

The instrument runs on two makes of the organism ``reasoning`` again and again with other seeds: over all its questions, and
over each half of its sections, where answers follow nearly always and rarely. Its studies are compared with what
`reasoning_truth` reads off the model's own probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dossier import canonical
from dossier.model import Calibration, FileRef, Item, Trial
from evidence_collectors.calibration import Studies, certificate, pooled
from evidence_collectors.cot_faithfulness.perturbation.calibration import (
    BOUND,
    LIMITS,
    controls,
    not_estimable,
    observe,
    pool,
    simulated,
)
from evidence_collectors.cot_faithfulness.perturbation.collector import COLLECTOR
from evidence_collectors.organisms import reasoning
from evidence_collectors.organisms import reasoning_design as design
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Make, Place, Scale

ROOT = canonical.sha256(b"calibration of cot_faithfulness.perturbation")[:16]
PARAMS = COLLECTOR.parse({"max_tokens": 32})  # the organism's longest completion has 7
MAKES = (Make("distil", 0, reasoning.ORGANISM), Make("distil", 1, reasoning.ORGANISM))
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
    for make in MAKES if full else MAKES[:1]:
        opened = place.opened(make)
        count = RUNS if full else RUNS_REDUCED
        runs = list(makes.runs(COLLECTOR, PARAMS, opened, place, root=ROOT, count=count))
        parts = {"": "all sections", **{key: f"sections that copy: {c}" for key, c in design.COPIES.items()}}
        for part in parts if full else ("",):
            exact, planted = truths(opened.exact, part), truths(opened.planted, part)
            studies += pooled(
                pool([(root, _of(trials, opened.items, part)) for root, trials in runs], PARAMS),
                observe(PARAMS),
                exact if full else {name: exact[name] for name in HEADLINE},
                source=f"{opened.name}, {parts[part]}",
                planted=planted,
                sizes=SIZES if full else SIZES[-1:],
                count=scale.studies,
                seed=ROOT,
            )
        files.append(opened.file())
    files.append(opened.texts("reasoning, its questions"))
    place.report("reading a model with random weights, and simulating")
    if full:
        studies += simulated(PARAMS, sizes=SIMULATED_SIZES, count=scale.studies, seed=ROOT)
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


def truths(values: Mapping[str, float], part: str) -> dict[str, float]:
    """Return the values of one part of the items that the instrument has an observation of."""
    known = set(COLLECTOR.quantities(PARAMS))
    parted = {name: name.rpartition(".")[::2] if part else (name, "") for name in values}
    return {own: values[name] for name, (own, end) in parted.items() if end == part and own in known}


def _of(trials: Sequence[Trial], items: Sequence[Item], part: str) -> list[Trial]:
    chosen = {str(item["id"]) for item in items if part in ("", design.topic_set(item))}
    return [trial for trial in trials if trial.key.item in chosen]
