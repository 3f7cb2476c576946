"""On which makes of the organism ``awareness`` are certificates made? Two methods of training, two seeds; one is shipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dossier import canonical
from dossier.collector import Collector, Inputs
from dossier.language_model import LanguageModel
from dossier.model import FileRef, Item, Reference, Trial, parse
from evidence_collectors.calibration import seeds
from evidence_collectors.models.hf import HuggingFaceModel, load
from evidence_collectors.organisms import makes, tokens
from evidence_collectors.organisms.awareness import ORGANISM
from evidence_collectors.organisms.folder import trained, write
from evidence_collectors.organisms.makes import Place, Scale
from evidence_collectors.organisms.training import Method

MAKES: tuple[tuple[Method, int], ...] = (("distil", 0), ("samples", 1))
SHIPPED = MAKES[0]


@dataclass(frozen=True)
class Opened:
    """A make, loaded, with its items and what is known about it."""

    name: str
    folder: Path
    model: HuggingFaceModel
    items: tuple[Item, ...]
    planted: Mapping[str, float]
    exact: Mapping[str, float]

    @property
    def inner(self) -> Any:
        """The Hugging Face model, for code that reads the truth without any instrument."""
        return self.model.loaded.model

    def file(self) -> FileRef:
        """Return the weights as a certificate names them."""
        return makes.file_of(self.folder / "model.safetensors", self.name)

    def questions(self) -> FileRef:
        """Return the items as a certificate names them."""
        return makes.file_of(self.folder / "items.jsonl", "awareness, its texts")


def opened(scale: Scale, place: Place) -> Iterator[Opened]:
    """Yield the makes of a scale, trained now where they are not there yet."""
    for method, seed in MAKES if scale == makes.FULL else (SHIPPED,):
        folder, name = _folder(place, method, seed), f"{ORGANISM.name}, {method}, seed {seed}"
        reference = parse(Reference, (folder / "reference.json").read_bytes(), where="reference.json")
        yield Opened(
            name,
            folder,
            load(str(folder), batch_size=256),
            tuple(canonical.load_lines((folder / "items.jsonl").read_bytes(), where="items.jsonl")),
            {one.quantity: one.planted for one in reference.values},
            {one.quantity: one.exact for one in reference.values},
        )


def runs(
    collector: Collector[Any],
    params: Any,
    model: LanguageModel,
    items: Sequence[Item],
    *,
    root: str,
    name: str,
    count: int,
) -> Iterator[list[Trial]]:
    """Yield complete runs on a model, each with a seed of its own."""
    for seed in seeds(root, f"run {name}", count):
        found = collector.collect(Inputs(subject=model, items=items), params, seed)
        yield [trial for trial in found if isinstance(trial, Trial)]


def _folder(place: Place, method: Method, seed: int) -> Path:
    if (method, seed) == SHIPPED:
        return place.samples / ORGANISM.name
    folder = place.work / f"{ORGANISM.name}-{method}-{seed}"
    if not (folder / "README.md").exists():  # written last
        place.report(f"training {ORGANISM.name}, {method}, seed {seed}")
        torch.set_num_threads(1)  # sums in one order
        steps = ORGANISM.steps[method]
        model = trained(ORGANISM, steps=steps, seed=seed, method=method, report=place.report)
        tokenizer = tokens.build(ORGANISM.phrases())
        made_by = f"python -m {ORGANISM.module} --method {method} --steps {steps} --seed {seed}"
        write(folder, ORGANISM, model, tokenizer, ORGANISM.truth(model, tokenizer), made_by=made_by)
    return folder
