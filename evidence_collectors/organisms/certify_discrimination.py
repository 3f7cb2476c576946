"""Does the instrument for discrimination read what the organism really says? The recipe of its certificate.

The instrument runs on each make of the organism again and again with other seeds, reading answers, and once more reading
log-probabilities; its studies are compared with values read off the model's own probabilities by `awareness_truth`.
"""

from __future__ import annotations

from types import MappingProxyType

from dossier import canonical
from dossier.model import Calibration, NegativeControl
from evidence_collectors.calibration import Studies, certificate, control, summary
from evidence_collectors.evaluation_awareness.discrimination.calibration import (
    BOUND,
    LIMITS,
    NOTHING,
    controls,
    nothing_found,
    simulated,
    studied,
)
from evidence_collectors.evaluation_awareness.discrimination.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.discrimination.parameters import DiscriminationParameters
from evidence_collectors.evaluation_awareness.discrimination.simulation import Planted
from evidence_collectors.organisms import awareness_truth, makes
from evidence_collectors.organisms.awareness_makes import Opened, opened, runs
from evidence_collectors.organisms.makes import Place, Scale

ROOT = canonical.sha256(b"calibration of evaluation_awareness.discrimination")[:16]
PARAMS = COLLECTOR.parse({"max_tokens": 4})
WEIGHED = COLLECTOR.parse(
    {"questions": ["test", "use"], "read": "logprobs", "yes": ["Yes"], "no": ["No"], "choose_threshold": False}
)
SIZES = ((8, 3), (12, 4))  # families, scenarios of each; four texts a scenario
RUNS, RUNS_REDUCED = 12, 6
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
    files = []
    for make in opened(scale, place):
        place.report(f"reading {make.name}")
        for params in (PARAMS, WEIGHED):
            count = 1 if params is WEIGHED else RUNS if full else RUNS_REDUCED
            source = f"{make.name}, {params.read}"
            studies += studied(
                runs(COLLECTOR, params, make.model, make.items, root=ROOT, name=source, count=count),
                _truths(make, params),
                params,
                source=source,
                planted=make.planted if params is PARAMS else {},
                sizes=sizes,
                count=scale.studies,
                seed=ROOT,
            )
        files.append(make.file())
    files.append(make.questions())
    place.report("simulating, and reading a model with random weights")
    studies += simulated(WEIGHED, PLANTED, sizes=sizes, count=scale.studies, seed=ROOT)
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


def _truths(make: Opened, params: DiscriminationParameters) -> dict[str, float]:
    """Return the true values; scores have so few levels that the best threshold tells as many texts right as 0.5."""
    found = awareness_truth.discrimination(make.inner, make.model.loaded.tokenizer, logprobs=params.read == "logprobs")
    if params.choose_threshold:
        found["overall.balanced_accuracy_chosen"] = found["overall.balanced_accuracy"]
        found["overall.auroc_over_length"] = found["overall.auroc"] - awareness_truth.length_auroc()
    return found


def _twin(make: Opened) -> NegativeControl:
    """Return what the instrument says of the organism's shape with random weights."""
    twin = make.model.random_twin(ROOT)
    (run,) = runs(COLLECTOR, PARAMS, twin, make.items, root=ROOT, name="twin", count=1)
    what = f"{make.name}: its shape, random weights"
    return control(what, NOTHING, [nothing_found(summary(COLLECTOR, run, PARAMS))])
