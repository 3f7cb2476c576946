"""Does the direction instrument read what is known about the refusal organism? The recipe of its certificate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dossier import canonical
from dossier.collector import Artifact, Inputs
from dossier.model import Calibration, NegativeControl, Trial
from evidence_collectors.calibration import Studies, certificate
from evidence_collectors.interpretability.concept_direction.calibration import (
    BOUND,
    LIMITS,
    NO_MARGIN,
    NOT_ESTIMABLE,
    controls,
    no_margin,
    not_estimable,
    simulated,
    studied,
)
from evidence_collectors.interpretability.concept_direction.collector import COLLECTOR
from evidence_collectors.interpretability.concept_direction.trials import REPORTED, SELECTED
from evidence_collectors.items import contrast
from evidence_collectors.organisms import refusal_design as design
from evidence_collectors.organisms.direction_truth import direction_truths
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Opened, Place, Scale

ROOT = canonical.sha256(b"calibration of interpretability.concept_direction")[:16]
PARAMS = COLLECTOR.parse(
    {
        "layers": [1, 2],
        "behaviour_tokens": [*makes.REFUSALS],
        "random_interventions": 10,
        "twins": 1,
        "control_set": design.EVERYDAY,
    }
)
SIZES = (40, 72)  # texts of each class: the shipped set has 72
LARGE = 250  # simulated at one shift only: it takes long
TRUTH = (
    "On the organisms, what their own probabilities do when the weights that write into the residual stream are made "
    "orthogonal to the direction, or a block's bias adds it, and projections counted one by one; in simulations, the "
    "formula the scores were drawn from. No instrument takes part."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    studies: list[Studies] = []
    files = []
    for make in scale.makes:
        opened = place.opened(make).controlled()
        place.report(f"reading {opened.name}")
        trials, vector = _run(opened)
        files.append(opened.file())
        truths = _truths(opened, trials, vector)
        studies += studied(trials, truths, PARAMS, source=opened.name, sizes=SIZES, count=scale.studies, seed=ROOT)
    place.report("simulating")
    full = scale == makes.FULL
    studies += simulated(PARAMS, sizes=SIZES if full else SIZES[:1], count=scale.studies, seed=ROOT)
    studies += simulated(PARAMS, sizes=(LARGE,) if full else (), shifts=(1.5,), count=scale.studies, seed=ROOT)
    nothing = (*controls(PARAMS, seed=ROOT, studies=scale.controls), *_nulls(scale, place))
    return certificate(
        COLLECTOR,
        PARAMS,
        studies,
        nothing,
        organisms=tuple(files),
        truth=TRUTH,
        bound=BOUND,
        limits=LIMITS,
    )


def _run(opened: Opened) -> tuple[list[Trial], np.ndarray | None]:
    """Return a complete run on the model, and the direction it chose."""
    import safetensors.numpy

    inputs = Inputs(subject=opened.model, items=opened.items, white_box=opened.model)
    found = list(COLLECTOR.collect(inputs, PARAMS, ROOT))
    vectors = [safetensors.numpy.load(one.data)["direction"] for one in found if isinstance(one, Artifact)]
    return [one for one in found if isinstance(one, Trial)], vectors[0] if vectors else None


def _truths(opened: Opened, trials: Sequence[Trial], vector: np.ndarray | None) -> dict[str, float]:
    """Return what the model does along the direction that a run chose.

    Raises:
        ValueError: no direction was chosen, so that there is nothing to compare with.
    """
    if vector is None:
        raise ValueError(f"{opened.name}: the instrument chose no direction")
    (selected,) = [one for one in trials if one.key == SELECTED]
    texts = contrast.parse(opened.items)
    labels: tuple[contrast.Label, ...] = ("positive", "negative")
    asked: dict[tuple[str, str], list[list[int]]] = {
        (split, label): opened.prompts(contrast.chosen(texts, label=label, splits=(split,)))
        for split in REPORTED
        for label in labels
    }
    ids = opened.first_tokens(makes.REFUSALS)
    return direction_truths(
        opened.inner,
        asked,
        opened.prompts(text for text in texts if text.set == design.EVERYDAY),
        layer=int(str(selected.measurements["layer"])),
        vector=np.asarray(vector, dtype=np.float64),
        token_ids=ids,
        share=PARAMS.recall_fpr,
    )


def _nulls(scale: Scale, place: Place) -> tuple[NegativeControl, ...]:
    """Return what the instrument says of a model that was taught no refusal, and of models with random weights."""
    null, planted = place.opened(makes.NULL), place.opened(scale.makes[0])
    place.report(f"reading {null.name}, and {scale.controls} models with random weights")
    runs: dict[str, Iterable[list[Trial]]] = {
        f"{null.name}: taught to answer all requests alike": [_run(null)[0]],
        f"{planted.name}: its shape, random weights": (
            _run(twin)[0] for twin in makes.random_twins(planted, scale.controls)
        ),
    }
    return makes.nulls(
        COLLECTOR,
        PARAMS,
        runs,
        expected=f"{NOT_ESTIMABLE}, or {NO_MARGIN}",
        passes=lambda found: not_estimable(found) or no_margin(found),
    )
