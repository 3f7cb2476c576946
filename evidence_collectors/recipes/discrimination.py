"""Does the instrument for discrimination read what the organism really says? The recipe of its certificate.

The instrument runs on each make of the organism again and again with other seeds, reading answers, and once more reading
log-probabilities; its studies are compared with values read off the model's own probabilities by `awareness_truth`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from dossier import canonical
from dossier.model import Calibration, FileRef
from evidence_collectors.calibration import Studies, certificate
from evidence_collectors.evaluation_awareness.discrimination.calibration import (
    BOUND,
    LIMITS,
    NOTHING,
    Size,
    controls,
    nothing_found,
    simulated,
    studied,
)
from evidence_collectors.evaluation_awareness.discrimination.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.discrimination.parameters import DiscriminationParameters
from evidence_collectors.evaluation_awareness.discrimination.simulation import Planted
from evidence_collectors.organisms import awareness_truth
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.awareness_makes import headlines, opened
from evidence_collectors.recipes.makes import Opened, Place, Scale

# "again": intervals of shares were widened after a first certificate, whose seeds this one does not share
ROOT = canonical.sha256(b"calibration of evaluation_awareness.discrimination, again")[:16]
PARAMS = COLLECTOR.parse({"max_tokens": 4})
WEIGHED = COLLECTOR.parse(
    {"questions": ["test", "use"], "read": "logprobs", "yes": ["Yes"], "no": ["No"], "choose_threshold": False}
)
SIZES = ((8, 3), (16, 6))  # families, scenarios of each; four texts a scenario
RUNS, RUNS_REDUCED = 20, 4
HEADLINE = ("overall.auroc", "overall.balanced_accuracy", "overall.auroc_over_length")  # of a reduced certificate
AT_CHANCE = (
    *("overall.auroc", "overall.balanced_accuracy", "cell_benchmark.auroc", "cell_chat.auroc"),
    *("cross_benchmark_chat.auroc", "cross_chat_benchmark.auroc"),
)
PLANTED = MappingProxyType(
    {
        "families that differ": Planted(separation=1.4, family=0.6),
        "a lean to one format": Planted(separation=2.2, family=0.3, lean=0.8),
    }
)
TRUTH = (
    "On the organism, values read off its own probabilities by code that imports no collector; in simulations, a formula of "
    "what answers were drawn from."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    full = scale == makes.FULL
    sizes = SIZES if full else SIZES[:1]
    studies: list[Studies] = []
    files: list[FileRef] = []
    for make in opened(scale, place):
        studies += _studied(make, PARAMS, place, sizes, count=scale.studies, pooled=RUNS if full else RUNS_REDUCED)
        if full:  # one run is all there is to probabilities
            studies += _studied(make, WEIGHED, place, sizes, count=scale.studies, pooled=1)
        files.append(make.file())
    files.append(make.texts("awareness, its texts"))
    place.report("simulating, and reading a model with random weights")
    if full:
        studies += simulated(WEIGHED, PLANTED, sizes=sizes, count=scale.studies, seed=ROOT)
    nothing = makes.twin(COLLECTOR, PARAMS, make, place, root=ROOT, expected=NOTHING, passes=nothing_found)
    return certificate(
        COLLECTOR,
        PARAMS,
        studies if full else headlines(studies, HEADLINE),
        (*controls(PARAMS, seed=ROOT, studies=scale.controls), nothing),
        organisms=tuple(files),
        truth=TRUTH,
        bound=BOUND,
        limits=LIMITS,
    )


def _studied(
    make: Opened, params: DiscriminationParameters, place: Place, sizes: Sequence[Size], *, count: int, pooled: int
) -> list[Studies]:
    """Return studies of a make, and of the same where its cues tell nothing."""
    pool = list(makes.runs(COLLECTOR, params, make, place, root=ROOT, count=pooled))
    source = f"{make.name}, {params.read}"
    found = studied(
        pool,
        _truths(make, params),
        params,
        source=source,
        planted=make.planted if params is PARAMS else {},
        sizes=sizes,
        count=count,
        seed=ROOT,
    )
    blind = studied(
        pool,
        dict.fromkeys(AT_CHANCE, 0.5),
        params,
        source=f"{source}, cues that tell nothing",
        planted={},
        sizes=sizes[:1],
        count=count,
        seed=ROOT,
        cues=False,
    )
    return [*found, *blind]


def _truths(make: Opened, params: DiscriminationParameters) -> dict[str, float]:
    """Return the true values; scores have so few levels that the best threshold tells as many texts right as 0.5."""
    found = awareness_truth.discrimination(make.inner, make.model.loaded.tokenizer, logprobs=params.read == "logprobs")
    if params.choose_threshold:
        found["overall.balanced_accuracy_chosen"] = found["overall.balanced_accuracy"]
        found["overall.auroc_over_length"] = found["overall.auroc"] - awareness_truth.length_auroc()
    return found
