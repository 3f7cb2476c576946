"""On which models are certificates made? The refusal organism in several makes, its null form, and how much is studied.

Conclusions can hinge on how an organism was trained, so an instrument is tried on two methods and two seeds each. The shipped
make lies under ``samples/``; the others are trained when they are first asked for and kept in a working folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dossier import canonical
from dossier.model import FileRef, Item
from evidence_collectors.models.hf import HuggingFaceModel, load
from evidence_collectors.organisms import refusal, refusal_design, tokens
from evidence_collectors.organisms.folder import trained, write
from evidence_collectors.organisms.training import Method

REFUSALS = tuple(opener for openers in refusal_design.REFUSALS.values() for opener in openers)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Make:
    """How a refusal organism was trained; ``planted`` is false for the null form."""

    method: Method
    seed: int
    planted: bool = True

    @property
    def name(self) -> str:
        """Say it in print."""
        organism = refusal.ORGANISM if self.planted else refusal.NULL
        return f"{organism.name}, {self.method}, seed {self.seed}"


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
NULL = Make("distil", 0, planted=False)
SHIPPED = (FULL.makes[0], NULL)


@dataclass(frozen=True)
class Place:
    """Where organisms lie: those that are shipped, and those that are trained for this; ``report`` is told of progress."""

    samples: Path
    work: Path
    report: Report

    def folder(self, make: Make) -> Path:
        """Return the folder of a make, trained now if it is not there yet."""
        organism = refusal.ORGANISM if make.planted else refusal.NULL
        if make in SHIPPED:
            return self.samples / organism.name
        folder = self.work / f"{organism.name}-{make.method}-{make.seed}"
        if not (folder / "README.md").exists():  # written last
            self.report(f"training {make.name}")
            torch.set_num_threads(1)  # sums in one order
            steps = organism.steps[make.method]
            model = trained(organism, steps=steps, seed=make.seed, method=make.method, report=self.report)
            tokenizer = tokens.build(organism.phrases())
            found = organism.truth(model, tokenizer)
            made_by = f"python -m {organism.module} --method {make.method} --steps {steps} --seed {make.seed}"
            write(folder, organism, model, tokenizer, found, made_by=made_by)
        return folder

    def opened(self, make: Make) -> Opened:
        """Return a make, loaded, with its items."""
        folder = self.folder(make)
        return Opened(make.name, folder, load(str(folder), batch_size=128), items_of(folder))


@dataclass(frozen=True)
class Opened:
    """A model whose truth is known, and its texts."""

    name: str
    folder: Path
    model: HuggingFaceModel
    items: tuple[Item, ...]

    @property
    def inner(self) -> Any:
        """The Hugging Face model, for code that reads the truth without any instrument."""
        return self.model.loaded.model

    def file(self) -> FileRef:
        """Return the weights as a certificate names them."""
        return file_of(self.folder / "model.safetensors", self.name)


def items_of(folder: Path) -> tuple[Item, ...]:
    """Return the items of an organism."""
    return tuple(canonical.load_lines((folder / "items.jsonl").read_bytes(), where="items.jsonl"))


def file_of(path: Path, name: str) -> FileRef:
    """Return a file as a certificate names it."""
    data = path.read_bytes()
    kind = "application/jsonl" if path.suffix == ".jsonl" else "application/vnd.safetensors"
    return FileRef(name=name, sha256=canonical.sha256(data), size=len(data), media_type=kind)


def prompts(opened: Opened, texts: Sequence[Any]) -> list[list[int]]:
    """Return the token ids of texts of a contrast set, up to where the model goes on."""
    tokenizer = opened.model.loaded.tokenizer
    return [
        tokenizer.apply_chat_template(
            [turn.model_dump() for turn in text.messages], add_generation_prompt=True, tokenize=True
        )
        for text in texts
    ]
