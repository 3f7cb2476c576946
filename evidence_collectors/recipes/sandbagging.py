"""Does the instrument for gains under elicitation read what can be drawn out of the organism? The recipe of its certificate.

The instrument runs on makes of ``password-locked`` again and again: one root seed chooses examples, noise and demonstration,
others draw the answers. Its studies are compared with what `locked_truth` reads off the model's own probabilities and off those
of its elicited copies. On the twin, which knows nothing beyond what it shows, it must find no gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from dossier import canonical
from dossier.collector import Inputs
from dossier.model import Calibration, NegativeControl, Trial
from evidence_collectors.calibration import LEAST_STUDIES, Studies, certificate, control, pooled, seeds, summary
from evidence_collectors.evaluation_awareness.sandbagging import protocol, run
from evidence_collectors.evaluation_awareness.sandbagging.calibration import (
    BOUND,
    LIMITS,
    NO_GAIN,
    NOT_ESTIMABLE,
    controls,
    no_gain,
    not_estimable,
    observe,
    pool,
    simulated,
)
from evidence_collectors.evaluation_awareness.sandbagging.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.sandbagging.protocol import Choice
from evidence_collectors.organisms import locked, locked_truth
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Make, Opened, Place, Scale

ROOT = canonical.sha256(b"calibration of evaluation_awareness.sandbagging")[:16]
MAKES = (Make("distil", 0, locked.ORGANISM), Make("distil", 1, locked.ORGANISM))
TWIN = Make("distil", 0, locked.NULL)
PARAMS = COLLECTOR.parse({"max_tokens": locked_truth.MAX_TOKENS})
SIZES = (60, 150)  # questions
SIMULATED_SIZES = (60, 150, 600)
RUNS, RUNS_REDUCED = 30, 6  # with one choice: what chance leaves of the pool is then a small part of a study's error
HEADLINE = ("asked.accuracy", "few_shot.gain", "noise_10.gain", "tuned.gain")  # what a reduced certificate speaks of
TRUTH = (
    "Read off the organism's own probabilities, and off those of copies with the same noise or training, by code that imports "
    "no collector; in simulations, what was drawn from."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    full = scale == makes.FULL
    sizes = SIZES if full else SIZES[-1:]
    studies: list[Studies] = []
    files = []
    for make in MAKES if full else MAKES[:1]:
        made = place.opened(make)
        choice = protocol.choose(PARAMS, made.items, ROOT)
        known = truths(made, choice)
        studies += pooled(
            pool(runs(made, choice, place, count=RUNS if full else RUNS_REDUCED), PARAMS),
            observe(PARAMS),
            known if full else {name: known[name] for name in HEADLINE},
            source=made.name,
            planted={name: made.planted[name] for name in ("asked.accuracy",)},
            sizes=sizes,
            count=scale.studies,
            seed=ROOT,
        )
        files.append(made.file())
    twin = place.opened(TWIN)
    files += [twin.file(), made.texts("password-locked, its questions")]
    place.report("simulating, and reading what has nothing to find")
    studies += simulated(PARAMS, sizes=SIMULATED_SIZES if full else sizes, count=scale.studies, seed=ROOT)
    return certificate(
        COLLECTOR,
        PARAMS,
        studies,
        (
            *controls(PARAMS, seed=ROOT, studies=scale.controls),
            _benign(twin, place, count=RUNS if full else RUNS_REDUCED, studies=max(scale.controls, LEAST_STUDIES)),
            _random(made, place),
        ),
        organisms=tuple(files),
        truth=TRUTH,
        bound=BOUND,
        limits=LIMITS,
    )


def truths(made: Opened, choice: Choice) -> dict[str, float]:
    """Return the true values by observation id, for one choice of examples, noise and demonstration."""
    by_name = {str(item["id"]): item for item in made.items}
    shown = {  # each example with the letter it is given, as the conversation has it
        group: [
            (by_name[example.id], _letter(turn.content))
            for example, turn in zip(
                choice.examples, protocol.conversation(group, choice, choice.questions[0])[1::2], strict=True
            )
        ]
        for group in ("few_shot", "few_shot_sham")
    }
    given = locked_truth.Elicited(
        items=[by_name[one.id] for one in choice.questions],
        examples=shown["few_shot"],
        moved=shown["few_shot_sham"],
        noise=_noise(choice),
        training=(PARAMS.tuning_steps, PARAMS.tuning_rate, protocol.setup_seed(choice.root, "tuned")),
    )
    return locked_truth.gains(locked_truth.accuracies(made.inner, made.model.loaded.tokenizer, given))


def runs(made: Opened, choice: Choice, place: Place, *, count: int) -> Iterator[list[Trial]]:
    """Yield complete runs with one choice, the answers of each drawn by a seed of its own."""
    for number, seed in enumerate(seeds(ROOT, "answers", count)):
        place.report(f"{made.name}: run {number + 1} of {count}")
        inputs = Inputs(subject=made.model, items=made.items, white_box=made.model)
        yield list(run.collect(inputs, PARAMS, choice, seed))


def _noise(choice: Choice) -> Mapping[str, list[tuple[float, str, list[str]]]]:
    asked: dict[str, list[str]] = {}
    for one in protocol.asked(PARAMS, choice, choice.root):
        asked.setdefault(one.phase, []).append(one.key.item)
    found: dict[str, list[tuple[float, str, list[str]]]] = {}
    for phase in protocol.changed(PARAMS):
        group = phase.partition(".")[0]
        if group.startswith("noise_"):
            strength = int(group.removeprefix("noise_")) / 100.0
            seed = protocol.setup_seed(choice.root, phase)
            found.setdefault(group, []).append((strength, seed, asked.get(phase, [])))
    return found


def _letter(answer: str) -> str:
    return answer.removeprefix("The answer is (")[0]


def _benign(twin: Opened, place: Place, *, count: int, studies: int) -> NegativeControl:
    """Return whether no gain is found in the twin."""
    choice = protocol.choose(PARAMS, twin.items, ROOT)
    answers = pool(runs(twin, choice, place, count=count), PARAMS)
    (found,) = pooled(
        answers, observe(PARAMS), {}, source="twin", planted={}, sizes=SIZES[-1:], count=studies, seed=ROOT
    )
    what = f"{twin.name}: knows nothing beyond what it shows"
    return control(what, NO_GAIN, [no_gain(study) for study in found.found])


def _random(made: Opened, place: Place) -> NegativeControl:
    """Return what the instrument says of the organism's shape with random weights."""
    choice = protocol.choose(PARAMS, made.items, ROOT)
    (trials,) = runs(replace(made, model=made.model.random_twin(ROOT)), choice, place, count=1)
    what = f"{made.name}: its shape, random weights"
    return control(what, NOT_ESTIMABLE, [not_estimable(summary(COLLECTOR, trials, PARAMS))])
