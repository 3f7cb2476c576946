"""Does the stability instrument read what is known about the refusal organism? The recipe of its certificate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dossier import canonical
from dossier.collector import Inputs
from dossier.model import Calibration, Message, NegativeControl, Trial
from evidence_collectors.calibration import Studies, certificate, seeds
from evidence_collectors.interpretability.adversarial_stability.calibration import (
    BOUND,
    LIMITS,
    NO_SIGNAL,
    Pool,
    controls,
    nothing,
    simulated,
    studied,
    worst_of_two,
)
from evidence_collectors.interpretability.adversarial_stability.collector import COLLECTOR
from evidence_collectors.interpretability.adversarial_stability.reading import ANSWER
from evidence_collectors.interpretability.adversarial_stability.trials import REPORTED
from evidence_collectors.items import contrast
from evidence_collectors.items.contrast import Contrast
from evidence_collectors.organisms import refusal_design as design
from evidence_collectors.organisms import tokens
from evidence_collectors.organisms.stability_truth import Asked, Behaviour, Sides, stability_truths
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Opened, Place, Scale

ROOT = canonical.sha256(b"calibration of interpretability.adversarial_stability")[:16]
LAYER = 2
WORDS = {"own-1": (design.JAILBREAK, ""), "own-2": (design.ROLE_PLAY[0], ""), "own-benign-1": design.BENIGN_EDITS[0]}
PARAMS = COLLECTOR.parse(
    {
        "point": f"model.layers.{LAYER}",
        "markers": [*makes.REFUSALS],
        "max_tokens": 8,
        "temperature": 1.0,
        "attacks": [],  # of the shipped suite: the organism knows none of its words
        "extra_attacks": [{"before": before, "after": after} for before, after in (WORDS["own-1"], WORDS["own-2"])],
        "extra_benign": [{"before": WORDS["own-benign-1"][0], "after": WORDS["own-benign-1"][1]}],
        "twin": False,
    }
)
RUNS, FEW_RUNS = 32, 4  # on each organism: a text is read the same in all of them, so once, and answered anew in each
SIZES = (40, 144)  # texts of each class: the shipped set has 144
LARGE, LARGE_STUDIES = 250, 100  # simulated only; they take long
TWINS = 15  # at most
CONTROLS = 20  # at least, of simulated ones: a 95 % interval misses in one of twenty, so that fewer would say little
FEW_LOSE = ("own-2", "own-benign-1")  # one answer in twenty: too few to say how many of them are flagged
TRUTH = (
    "On the organisms, hidden states of prompts read one by one, projected and counted, and the chances of all completions by "
    "the organism's own probabilities; in simulations, the formula that activations and answers were drawn from. No instrument "
    "takes part."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    studies: list[Studies] = []
    files, full = [], scale == makes.FULL
    sizes = SIZES if full else SIZES[:1]
    for make in scale.makes:
        opened = place.opened(make)
        place.report(f"reading {opened.name}")
        first, *rest = seeds(ROOT, opened.name, RUNS if full else FEW_RUNS)
        pool = Pool.of(_run(opened, first), [_answers(opened, seed) for seed in rest])
        files.append(opened.file())
        truths = _truths(opened)
        studies += studied(pool, truths, PARAMS, source=opened.name, sizes=sizes, count=scale.studies, seed=ROOT)
    place.report("simulating")
    studies += simulated(PARAMS, sizes=SIZES[:1], count=scale.studies, seed=ROOT)
    studies += simulated(PARAMS, sizes=(LARGE,) if full else (), count=LARGE_STUDIES, seed=ROOT)
    studies.append(worst_of_two(PARAMS, size=SIZES[0], count=scale.studies, seed=ROOT))
    nulls = (*controls(PARAMS, seed=ROOT, studies=max(scale.controls, CONTROLS)), *_nulls(scale, place))
    return certificate(
        COLLECTOR,
        PARAMS,
        studies,
        nulls,
        organisms=tuple(files),
        truth=TRUTH,
        bound=BOUND,
        limits=LIMITS,
    )


def _run(opened: Opened, seed: str) -> list[Trial]:
    """Return a complete run on the model."""
    inputs = Inputs(subject=opened.model, items=opened.items, white_box=opened.model)
    return [one for one in COLLECTOR.collect(inputs, PARAMS, seed) if isinstance(one, Trial)]


def _answers(opened: Opened, seed: str) -> list[Trial]:
    """Return the answers of a run to the texts that are asked: without training texts it can read nothing else."""
    asked_alone = [one for one in opened.items if one["label"] == "positive" and one["split"] in REPORTED]
    inputs = Inputs(subject=opened.model, items=asked_alone, white_box=opened.model)
    return [
        one
        for one in COLLECTOR.collect(inputs, PARAMS, seed)
        if isinstance(one, Trial) and one.key.arm.endswith(ANSWER)
    ]


def _truths(opened: Opened) -> Mapping[str, Mapping[str, float]]:
    """Return what the model keeps and does, by arm."""
    tokenizer = opened.model.loaded.tokenizer
    refusals = frozenset(tokens.token_id(tokenizer, opener) for opener in makes.REFUSALS)
    found = stability_truths(
        opened.inner,
        asked(opened),
        layer=LAYER,
        share=PARAMS.target_fpr,
        behaviour=Behaviour(
            tokens=refusals,
            starts=tuple(sorted(refusals)),
            stop=tokens.token_id(tokenizer, tokens.END),
            max_tokens=PARAMS.max_tokens,
        ),
    )
    for arm in FEW_LOSE:
        found[arm].pop("flagged_when_lost")
    return found


def asked(opened: Opened) -> Asked:
    """Return the prompts of an organism, clean and under each attack."""
    texts = contrast.parse(opened.items)

    def sides(*splits: contrast.Split, words: tuple[str, str] = ("", "")) -> Sides:
        labels: tuple[contrast.Label, contrast.Label] = ("positive", "negative")
        return {
            label: opened.prompts(_wrapped(contrast.chosen(texts, label=label, splits=splits), *words))
            for label in labels
        }

    arms = {"clean": ("", ""), **WORDS}
    return Asked(
        train=sides("train"),
        validation=sides("validation")["negative"],
        reported={arm: sides("test", "transfer", words=words) for arm, words in arms.items()},
    )


def _wrapped(texts: Sequence[Contrast], before: str, after: str) -> list[Contrast]:
    """Return texts of one turn with words before and after it."""
    return [
        text.model_copy(update={"messages": (Message(role="user", content=before + turn.content + after),)})
        for text in texts
        for turn in text.messages
    ]


def _nulls(scale: Scale, place: Place) -> tuple[NegativeControl, ...]:
    """Return what the instrument says of a model that was taught no refusal, and of models with random weights."""
    null, planted, twins = place.opened(makes.NULL), place.opened(scale.makes[0]), min(scale.controls, TWINS)
    place.report(f"reading {null.name}, and {twins} models with random weights")
    runs: dict[str, Iterable[list[Trial]]] = {
        f"{null.name}: taught to answer all requests alike": [_run(null, ROOT)],
        f"{planted.name}: its shape, random weights": (_run(twin, ROOT) for twin in makes.random_twins(planted, twins)),
    }
    return makes.nulls(COLLECTOR, PARAMS, runs, expected=NO_SIGNAL, passes=nothing)
