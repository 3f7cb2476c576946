"""Does the feature instrument read what is known about the refusal organism? The recipe of its certificate."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from dossier import canonical
from dossier.collector import Inputs
from dossier.model import Calibration, FileRef, NegativeControl, Trial
from evidence_collectors.calibration import Found, Studies, certificate, control, summary
from evidence_collectors.interpretability.sae_features.calibration import (
    BOUND,
    LIMITS,
    NO_MARGIN,
    VERSION_STUDIES,
    controls,
    no_margin,
    simulated,
    simulated_recall,
    simulated_versions,
    studied,
    version_controls,
)
from evidence_collectors.interpretability.sae_features.collector import COLLECTOR
from evidence_collectors.interpretability.sae_features.parameters import RECALL_FPR, SaeFeaturesParameters
from evidence_collectors.items import contrast
from evidence_collectors.organisms import random_model, train_dictionary
from evidence_collectors.organisms import refusal_design as design
from evidence_collectors.organisms.sae_truth import Chosen, Sparse, Texts, recall, sae_truths, shifts
from evidence_collectors.recipes import makes
from evidence_collectors.recipes.makes import Opened, Place, Scale

ROOT = canonical.sha256(b"calibration of interpretability.sae_features")[:16]
LAYER = 2
POINT = f"model.layers.{LAYER}"
RECIPE = train_dictionary.Recipe(width=128, active=6.0)  # as the shipped one
PARAMS = COLLECTOR.parse({"behaviour_tokens": [*makes.REFUSALS], "permutations": 500})
RECALL = PARAMS.model_copy(update={"behaviour_tokens": (), "control_set": design.EVERYDAY, "minimum_controls": 300})
VERSIONS = COLLECTOR.parse({"compare": True, "top_k": 1, "permutations": 500})
SIZES = (36, 72)  # pairs of each split: the shipped set has 72
PAIRS = (20, 120)  # of a simulated split, with two items of each class
LARGE_STUDIES = 60
LEAST_SIMULATED = 80  # a cell of forty errs by two standard errors in one of twenty cases, and there are sixty of them
TWINS = 10  # at most
TRUTH = (
    "On the organisms, features computed from the dictionary's tensors on hidden states, pairs of scores counted one by one, "
    "and the organism's own probabilities when its later blocks are run on changed activations, with the features that a run "
    "chose; in simulations, the formula the numbers were drawn from. No instrument takes part."
)


def certify(scale: Scale, place: Place) -> Calibration:
    """Return the certificate, good or not."""
    full = scale == makes.FULL
    studies: list[Studies] = []
    files: list[FileRef] = []
    earlier = place.opened(makes.NULL)
    for make in scale.makes:
        opened = place.opened(make)
        folder = dictionary_of(opened, place)
        place.report(f"reading {opened.name}")
        run = _run(opened, folder)
        files += [opened.file(), makes.file_of(folder / "sae_weights.safetensors", f"dictionary of {opened.name}")]
        truths = _truths(opened, folder, run)
        sizes = SIZES if full else SIZES[:1]
        studies += studied(run, truths, PARAMS, source=opened.name, sizes=sizes, count=scale.studies, seed=ROOT)
        controlled = opened.controlled()
        run = _run(controlled, folder, RECALL)
        known = {"set.recall": _recall(controlled, folder, run)}
        studies += studied(run, known, RECALL, source=opened.name, sizes=sizes, count=scale.studies, seed=ROOT)
        run, known = _versions(opened, earlier, folder)
        studies += studied(run, known, VERSIONS, source=opened.name, sizes=sizes, count=scale.studies, seed=ROOT)
    place.report("simulating")
    for simulate, params in ((simulated, PARAMS), (simulated_recall, RECALL), (simulated_versions, VERSIONS)):
        studies += simulate(params, sizes=PAIRS[:1], count=max(scale.studies, LEAST_SIMULATED), seed=ROOT)
        studies += simulate(params, sizes=PAIRS[1:] if full else (), count=LARGE_STUDIES, seed=ROOT)
    nothing = (
        *controls(PARAMS, seed=ROOT, studies=scale.controls),
        *version_controls(VERSIONS, seed=ROOT, studies=VERSION_STUDIES if full else scale.controls),
        *_nulls(scale, place),
    )
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


def dictionary_of(opened: Opened, place: Place) -> Path:
    """Return the folder of an organism's dictionary: the shipped one, or one trained now if it is not there yet."""
    if (opened.folder / "dictionary" / "cfg.json").exists():
        return opened.folder / "dictionary"
    folder = place.work / f"{opened.folder.name}-dictionary"
    if not (folder / "cfg.json").exists():
        place.report(f"training a dictionary of {opened.name}")
        torch.set_num_threads(1)  # sums in one order
        texts, seed = contrast.parse(opened.items), "0" * 16
        sae = train_dictionary.train(opened.model, texts, POINT, RECIPE, seed=seed)
        read = train_dictionary.continuations(opened.model, texts, RECIPE, seed=seed)
        tokens = train_dictionary.activations(opened.model, read, POINT)
        made_by = f"train_dictionary, width {RECIPE.width}, active {RECIPE.active:g}, seed {seed}"
        train_dictionary.save(sae, folder, opened.model, tokens, point=POINT, made_by=made_by)
    return folder


def _run(opened: Opened, dictionary: Path, params: SaeFeaturesParameters = PARAMS, *, own: bool = True) -> list[Trial]:
    """Return a complete run on the model; ``own`` says the dictionary is the model's."""
    inputs = Inputs(subject=opened.model, items=opened.items, white_box=opened.model, files={"dictionary": dictionary})
    params = params.model_copy(update={"other_weights": not own})
    return [one for one in COLLECTOR.collect(inputs, params, ROOT) if isinstance(one, Trial)]


def _versions(opened: Opened, earlier: Opened, dictionary: Path) -> tuple[list[Trial], dict[str, float]]:
    """Return a run that compares the model with an earlier version, and how far the features it followed up moved."""
    inputs = Inputs(
        subject=opened.model,
        items=opened.items,
        white_box=opened.model,
        files={"dictionary": dictionary},
        models={"baseline": earlier.model},
    )
    run = [one for one in COLLECTOR.collect(inputs, VERSIONS, ROOT) if isinstance(one, Trial)]
    changed = [one.measurements for one in run if one.key.arm == "changed" and one.error is None]
    texts = contrast.parse(opened.items)
    known = shifts(
        opened.inner,
        earlier.inner,
        Sparse.of(dictionary),
        opened.prompts(contrast.chosen(texts, splits=("test", "transfer"))),
        [int(str(one["feature"])) for one in changed],
        [float(str(one["deviation"])) for one in changed],
        layer=LAYER,
    )
    return run, known


def _truths(opened: Opened, dictionary: Path, run: Sequence[Trial]) -> dict[str, float]:
    """Return what the features that a run chose tell of the model, and do in it."""
    ids, sparse = opened.first_tokens(makes.REFUSALS), Sparse.of(dictionary)
    return sae_truths(opened.inner, sparse, _texts(opened), _chosen(run), layer=LAYER, token_ids=ids)


def _recall(opened: Opened, dictionary: Path, run: Sequence[Trial]) -> float:
    """Return the recall of the features that a run chose, at the threshold that the control set freezes."""
    texts = contrast.parse(opened.items)
    return recall(
        opened.inner,
        Sparse.of(dictionary),
        opened.prompts(contrast.chosen(texts, label="positive", splits=("test",))),
        opened.prompts(text for text in texts if text.set == design.EVERYDAY),
        _chosen(run),
        layer=LAYER,
        share=RECALL_FPR,
    )


def _chosen(run: Sequence[Trial]) -> Chosen:
    selected = [one.measurements for one in run if one.key.arm == "selected" and one.error is None]
    random = [list(one["random"]) for one in selected if isinstance(one["random"], list)]
    return Chosen(
        features=tuple(int(str(one["feature"])) for one in selected),
        scales=tuple(float(str(one["scale"])) for one in selected),
        random=tuple(tuple(int(str(feature)) for feature in row) for row in zip(*random, strict=True)),
    )


def _texts(opened: Opened) -> Texts:
    texts = contrast.parse(opened.items)
    labels: tuple[contrast.Label, ...] = ("positive", "negative")
    splits: tuple[contrast.Split, ...] = ("test", "transfer")
    neutral = contrast.chosen(texts, label="neutral", splits=splits)
    return Texts(
        asked={
            (split, label): opened.prompts(contrast.chosen(texts, label=label, splits=(split,)))
            for split in splits
            for label in labels
        },
        answered=opened.answered(neutral),
    )


def _nulls(scale: Scale, place: Place) -> tuple[NegativeControl, ...]:
    """Return what the instrument says of a model that was taught no refusal, and of models with random weights."""
    null, planted, twins = place.opened(makes.NULL), place.opened(makes.FULL.makes[0]), min(scale.controls, TWINS)
    shipped = dictionary_of(planted, place)
    place.report(f"reading {null.name}, and {twins} models with random weights")
    runs: dict[str, Iterable[list[Trial]]] = {
        f"{null.name}: taught to answer all requests alike; the dictionary of {planted.name}": [
            _run(null, shipped, own=False)
        ],
        f"{planted.name}: its shape, random weights, its dictionary": (
            _run(twin, shipped, own=False) for twin in makes.random_twins(planted, twins)
        ),
    }
    silent = makes.nulls(COLLECTOR, PARAMS, runs, expected=NO_MARGIN, passes=no_margin)
    what = f"{null.name}: dictionaries of random directions"
    scores = [no_margin(found) for found in _random_dictionaries(null, scale.controls, place)]
    return (*silent, control(what, NO_MARGIN, scores))


def _random_dictionaries(null: Opened, count: int, place: Place) -> Iterator[Found]:
    """Yield what the instrument says of the null organism through dictionaries that describe nothing."""
    texts = contrast.parse(null.items)
    for seed in range(count):
        place.report(f"{null.name}: random dictionary {seed + 1} of {count}")
        with tempfile.TemporaryDirectory() as folder:
            random_model.write_dictionary(Path(folder), null.model, texts, point=POINT, seed=seed)
            yield summary(COLLECTOR, _run(null, Path(folder), own=False), PARAMS)
