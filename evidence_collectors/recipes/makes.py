"""On which models are certificates made, and how much is studied? Organisms in several makes, and their runs.

Conclusions can hinge on how an organism was trained, so an instrument is tried on two methods and two seeds each. The shipped
make lies under ``samples/``; the others are trained when they are first asked for and kept in a working folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dossier import canonical, model
from dossier.collector import Collector, Inputs
from dossier.model import FileRef, Item, NegativeControl, Reference, Trial
from evidence_collectors.calibration import Found, control, seeds, summary
from evidence_collectors.items import contrast
from evidence_collectors.models.hf import HuggingFaceModel, load
from evidence_collectors.organisms import refusal, refusal_design, tokens
from evidence_collectors.organisms.folder import Organism, Report
from evidence_collectors.organisms.folder import make as write
from evidence_collectors.organisms.training import Method

REFUSALS = tuple(opener for openers in refusal_design.REFUSALS.values() for opener in openers)


@dataclass(frozen=True)
class Make:
    """How an organism was trained."""

    method: Method
    seed: int
    organism: Organism = refusal.ORGANISM

    @property
    def shipped(self) -> bool:
        """Whether it lies under ``samples/``."""
        return self.seed == 0 and self.method == next(iter(self.organism.steps))

    @property
    def name(self) -> str:
        """Say it in print; the method where the organism has more than one."""
        method = f"{self.method}, " if len(self.organism.steps) > 1 else ""
        return f"{self.organism.name}, {method}seed {self.seed}"


@dataclass(frozen=True)
class Scale:
    """How much is studied: studies of each truth, of each control, and the makes."""

    studies: int
    controls: int
    makes: tuple[Make, ...]


FULL = Scale(
    studies=200,
    controls=40,
    makes=(Make("distil", 0), Make("distil", 1), Make("samples", 0), Make("samples", 1)),
)
REDUCED = Scale(studies=40, controls=5, makes=(Make("distil", 0),))
NULL = Make("distil", 0, refusal.NULL)


@dataclass(frozen=True)
class Place:
    """Where organisms lie: those that are shipped, and those that are trained for this; ``report`` is told of progress."""

    samples: Path
    work: Path
    report: Report

    def folder(self, make: Make) -> Path:
        """Return the folder of a make, trained now if it is not there yet."""
        if make.shipped:
            return self.samples / make.organism.name
        folder = self.work / make.name.replace(", seed ", "-").replace(", ", "-")
        if not (folder / "README.md").exists():  # written last
            self.report(f"training {make.name}")
            write(folder, make.organism, method=make.method, seed=make.seed, report=self.report)
        return folder

    def opened(self, make: Make) -> Opened:
        """Return a make, loaded, with its items."""
        return opened(self.folder(make), make.name)


@dataclass(frozen=True)
class Opened:
    """A model whose truth is known, and its texts; ``planted`` and ``exact`` by quantity, from ``reference.json``."""

    name: str
    folder: Path
    model: HuggingFaceModel
    items: tuple[Item, ...]
    planted: Mapping[str, float]
    exact: Mapping[str, float]

    def controlled(self) -> Opened:
        """Return the same model with its control set among the items."""
        name = "controlled.jsonl"
        return replace(self, items=tuple(canonical.load_lines((self.folder / name).read_bytes(), where=name)))

    @property
    def inner(self) -> Any:
        """The Hugging Face model, for code that reads the truth without any instrument."""
        return self.model.loaded.model

    def file(self) -> FileRef:
        """Return the weights as a certificate names them."""
        return file_of(self.folder / "model.safetensors", self.name)

    def texts(self, what: str) -> FileRef:
        """Return the items as a certificate names them."""
        return file_of(self.folder / "items.jsonl", what)

    def prompts(self, texts: Iterable[contrast.Contrast]) -> list[list[int]]:
        """Return the token ids of texts, up to where the model goes on."""
        return tokens.prompts_ids(self.model.loaded.tokenizer, [(text.messages, "") for text in texts])

    def answered(self, texts: Sequence[contrast.Contrast]) -> list[tuple[list[int], list[int]]]:
        """Return the token ids of texts, up to where the model goes on, and of the answers they bring."""
        tokenizer = self.model.loaded.tokenizer
        answers = [tokenizer(text.response, add_special_tokens=False)["input_ids"] for text in texts]
        return list(zip(self.prompts(texts), answers, strict=True))

    def first_tokens(self, openers: Iterable[str]) -> list[int]:
        """Return the token that each of these answers opens with."""
        return [token for opener in openers for token in self.model.token_ids(opener)[:1]]


def opened(folder: Path, name: str) -> Opened:
    """Return the model of a folder, loaded, with its items and what is known about it."""
    reference = model.parse(Reference, (folder / "reference.json").read_bytes(), where="reference.json")
    return Opened(
        name,
        folder,
        load(str(folder), batch_size=256),
        tuple(canonical.load_lines((folder / "items.jsonl").read_bytes(), where="items.jsonl")),
        {one.quantity: one.planted for one in reference.values},
        {one.quantity: one.exact for one in reference.values},
    )


def runs(
    collector: Collector[Any], params: Any, made: Opened, place: Place, *, root: str, count: int
) -> Iterator[tuple[str, list[Trial]]]:
    """Yield complete runs on a model, each with its root seed."""
    for number, seed in enumerate(seeds(root, "run", count)):
        place.report(f"{made.name}: run {number + 1} of {count}")
        found = collector.collect(Inputs(subject=made.model, items=made.items), params, seed)
        yield seed, [trial for trial in found if isinstance(trial, Trial)]


def twin(
    collector: Collector[Any],
    params: Any,
    made: Opened,
    place: Place,
    *,
    root: str,
    expected: str,
    passes: Callable[[Found], bool],
) -> NegativeControl:
    """Return whether the instrument says what it must of the model's shape with random weights."""
    name = f"{made.name}: its shape, random weights"
    shape = replace(made, model=made.model.random_twin(root), name=name)
    found = runs(collector, params, shape, place, root=root, count=1)
    return control(name, expected, [passes(summary(collector, trials, params, seed=seed)) for seed, trials in found])


def random_twins(made: Opened, count: int) -> Iterator[Opened]:
    """Yield models of the shape of one, each with random weights of its own."""
    for number in range(count):
        yield replace(made, model=made.model.random_twin(f"{number + 1:016x}"))


def nulls(
    collector: Collector[Any],
    params: Any,
    runs: Mapping[str, Iterable[Sequence[Trial]]],
    *,
    expected: str,
    passes: Callable[[Found], bool],
) -> tuple[NegativeControl, ...]:
    """Return whether the instrument says what it must of runs on models with nothing to find, by what they are."""
    return tuple(
        control(what, expected, [passes(summary(collector, run, params)) for run in some])
        for what, some in runs.items()
    )


def file_of(path: Path, name: str) -> FileRef:
    """Return a file as a certificate names it."""
    data = path.read_bytes()
    kind = "application/jsonl" if path.suffix == ".jsonl" else "application/vnd.safetensors"
    return FileRef(name=name, sha256=canonical.sha256(data), size=len(data), media_type=kind)
