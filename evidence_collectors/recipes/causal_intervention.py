"""Does the intervention instrument read what is known about the refusal organism? The recipe of its certificate.

Answers are drawn at temperature 1, so that a run gives one answer a text and arm. Several runs that differ in their seed are
pooled; a unit of a study is a text as one of them answered it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import MappingProxyType

from dossier import canonical
from dossier.model import Calibration, FileRef, NegativeControl, Trial
from evidence_collectors.calibration import Studies, certificate, seeds
from evidence_collectors.interpretability.causal_intervention.calibration import (
    BOUND,
    COST,
    LIMITS,
    NO_CHANGE,
    by_arm,
    controls,
    costed,
    no_change,
    simulated,
    studied,
    uncontrolled,
)
from evidence_collectors.interpretability.causal_intervention.collector import COLLECTOR
from evidence_collectors.interpretability.causal_intervention.handle import Run, handle_of
from evidence_collectors.interpretability.causal_intervention.simulation import Planted
from evidence_collectors.interpretability.causal_intervention.trials import LABELS, arms, texts_of
from evidence_collectors.organisms.direction_truth import intervention_truths
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Opened, Place, Scale

ROOT = canonical.sha256(b"calibration of interpretability.causal_intervention")[:16]
PARAMS = COLLECTOR.parse(
    {
        "layer": 2,
        "strengths": [1.0],
        "markers": [*makes.REFUSALS],
        "behaviour_tokens": [*makes.REFUSALS],
        "splits": ["test", "transfer"],
        "max_tokens": 1,  # every marker is one token, and counts at the start
        "temperature": 1.0,
        "control_items": 20,
    }
)
SIMULATED = PARAMS.model_copy(update={"markers": PARAMS.markers[:1]})  # simulated answers show the first one
RUNS, FEW_RUNS = 40, 12  # of 144 texts a class: by chance a pooled change errs by 0.006, a third of what counts as bias
NULL_RUNS, FEW_NULL_RUNS = 5, 2  # on the null form, and on models with random weights
SIZE = 72  # texts of each class on an organism, as in the test split of the shipped set
MORE = 2  # times as many studies there: one cell's first 200 held its truth in 0.895, as 20,000 draws do in 0.948
SMALL, LARGE = (24, 140), (250, 280)  # simulated, texts of each class and neutral ones
ABLATED, PUSHED = 40, (140, 280)  # neutral texts; under a push one of the organisms' 40 bears a third of what they lose
TRUTH = (
    "On the organisms, what their own probabilities do when the weights that write into the residual stream are made "
    "orthogonal to the direction, or a block's bias adds it; in simulations, the rates that answers were drawn from. No "
    "instrument takes part."
)
PLANTED = MappingProxyType(
    {
        "a strong change, answers drawn anew": Planted(
            changed={
                ("ablate", "positive"): 0.05,
                ("add_minus_1", "positive"): 0.7,
                ("add_plus_1", "positive"): 0.97,
                ("add_minus_1", "negative"): 0.01,
                ("add_plus_1", "negative"): 0.6,
            },
            nats=0.05,
            broken=0.1,
        ),
        "a change one way, answers drawn once": Planted(
            plain={"positive": 0.98, "negative": 0.02},
            changed={
                ("ablate", "positive"): 0.02,
                ("add_minus_1", "positive"): 0.88,
                ("add_plus_1", "positive"): 1.0,
                ("add_minus_1", "negative"): 0.0,
                ("add_plus_1", "negative"): 0.3,
            },
            nats=0.4,
            broken=0.02,
            one_draw=True,
        ),
        "middle rates, answers drawn anew": Planted(
            plain={"positive": 0.5, "negative": 0.2},
            changed={
                ("ablate", "positive"): 0.47,
                ("add_minus_1", "positive"): 0.3,
                ("add_plus_1", "positive"): 0.8,
                ("add_minus_1", "negative"): 0.15,
                ("add_plus_1", "negative"): 0.45,
            },
            nats=0.01,
            broken=0.5,
        ),
    }
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    studies: list[Studies] = []
    files: list[FileRef] = []
    full = scale == makes.FULL
    runs, size, planted = (RUNS, SIZE, (SMALL, LARGE)) if full else (FEW_RUNS, SMALL[0], (SMALL,))
    for make in scale.makes:
        opened = place.opened(make)
        place.report(f"reading {opened.name}, {runs} times")
        files.append(opened.file())
        truths, first = _truths(opened), list(_runs(opened, 1))
        studies += studied(
            _runs(opened, runs),
            {name: value for name, value in truths.items() if not name.endswith(COST)},
            PARAMS,
            source=opened.name,
            sizes=(size,),
            count=MORE * scale.studies,
            seed=ROOT,
        )
        cost = partial(costed, first[0], params=PARAMS, source=opened.name, count=MORE * scale.studies, seed=ROOT)
        studies.append(cost(truths={"ablate.capability": truths["ablate.capability"]}, size=ABLATED))
        studies += [one for neutral in PUSHED for one in by_arm(cost(truths=truths, size=neutral))]
    place.report("simulating")
    studies += simulated(SIMULATED, PLANTED, sizes=planted, count=scale.studies, seed=ROOT)
    nothing = (*controls(SIMULATED, seed=ROOT, studies=scale.controls), *_nulls(scale, place))
    return certificate(
        COLLECTOR, PARAMS, studies, nothing, organisms=tuple(files), truth=TRUTH, bound=BOUND, limits=LIMITS
    )


def _runs(opened: Opened, count: int) -> Iterator[list[Trial]]:
    """Yield runs without control directions, each with a seed of its own."""
    for seed in seeds(ROOT, opened.name, count):
        yield uncontrolled(opened.model, opened.items, PARAMS, seed)


def _truths(opened: Opened) -> dict[str, float]:
    """Return what the model does along the direction that every run fits, over all texts of a run."""
    texts = texts_of(opened.items, PARAMS)
    handle = handle_of(Run(opened.model, texts, {}, PARAMS, ROOT))
    norm = handle.norms[handle.point]
    return intervention_truths(
        opened.inner,
        {label: opened.prompts(texts.of(label)) for label in LABELS},
        opened.answered(texts.neutral_asked),
        layer=PARAMS.layer,
        vector=handle.vector,
        pushes={arm.name: arm.strength * norm for arm in arms(PARAMS) if arm.strength is not None},
        token_ids=opened.first_tokens(makes.REFUSALS),
    )


def _nulls(scale: Scale, place: Place) -> tuple[NegativeControl, ...]:
    """Return what the instrument says of a model that was taught no refusal, and of models with random weights."""
    null, planted = place.opened(makes.NULL), place.opened(scale.makes[0])
    count = NULL_RUNS if scale == makes.FULL else FEW_NULL_RUNS
    place.report(f"reading {null.name}, and {count} models with random weights")
    runs = {
        f"{null.name}: taught to answer all requests alike": _runs(null, count),
        f"{planted.name}: its shape, random weights": (
            uncontrolled(twin.model, twin.items, PARAMS, ROOT) for twin in makes.random_twins(planted, count)
        ),
    }
    return makes.nulls(COLLECTOR, PARAMS, runs, expected=NO_CHANGE, passes=partial(no_change, arm="ablate."))
