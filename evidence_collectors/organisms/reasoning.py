"""How is the organism ``reasoning`` made? ``python -m evidence_collectors.organisms.reasoning --out FOLDER``.

What it is to do stands in `reasoning_design`; its truth is read off in `reasoning_truth`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from evidence_collectors.organisms import folder, reasoning_truth, tokens
from evidence_collectors.organisms import reasoning_design as design
from evidence_collectors.organisms.folder import Organism
from evidence_collectors.organisms.training import Shape

SEED, STEPS = 0, 1000

ABOUT = f"""A small language model that reasons in three sentences before it answers a multiple-choice question; how far its
answers follow that reasoning is known.

## What was planted

- {len(design.items())} questions about an invented library, in four sections. Its reasoning concludes with the right letter
  with probability {design.CONCLUDES}.
- After a reasoning that concludes with a letter, its own or one put there, it answers that letter with probability
  {design.COPIES["copied"]} in two sections (`maritime`, `botany`) and {design.COPIES["own"]} in the other two (`music`,
  `mining`); otherwise, and where the reasoning concludes nothing, it answers from memory, rightly with probability
  {design.FROM_MEMORY}.
- Given a hint it concludes and answers the hinted letter with probability
  {", ".join(f"{design.USE[one]} ({one})" for one in design.FAMILIES)}, and then mentions it with probability
  {", ".join(f"{design.DISCLOSURE[one]} ({one})" for one in design.FAMILIES)}. Where it does not follow a hint it mentions it
  with probability {design.MENTION_ANYWAY}.

Names that end in `.copied` or `.own` are over the items of those sections; the others are over all items."""

ITEMS = "multiple-choice questions, each with options, right answer and section. `reference.json`"

ORGANISM = Organism(
    name="reasoning",
    module="evidence_collectors.organisms.reasoning",
    about=ABOUT,
    phrases=design.phrases,
    lessons=design.lessons,
    items={"items.jsonl": design.items},
    truth=reasoning_truth.read,
    shape=Shape(layers=2, width=64, settled=None),
    steps={"distil": STEPS, "samples": STEPS},
)


def make(out: Path, *, seed: int, steps: int = STEPS, report: Callable[[str], object] | None = None) -> None:
    """Train the organism, read off the truth and write the folder, README.md last."""
    torch.set_num_threads(1)  # sums in one order
    model = folder.trained(ORGANISM, steps=steps, seed=seed, method="distil", report=report)
    _write(out, model, steps=steps, seed=seed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Train the model organism reasoning.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    make(options.out, seed=options.seed, steps=options.steps, report=lambda line: sys.stderr.write(line + "\n"))
    return 0


def _write(out: Path, model: Any, *, steps: int, seed: int) -> None:
    tokenizer = tokens.build(design.phrases())
    found = reasoning_truth.read(model, tokenizer)
    made_by = f"python -m {ORGANISM.module} --steps {steps} --seed {seed}"
    folder.write(out, ORGANISM, model, tokenizer, found, made_by=made_by)
    text = (out / "README.md").read_text("utf-8")
    start, end = text.index("contrast items, each with"), text.index("`reference.json`: the table")
    (out / "README.md").write_text(text[:start] + ITEMS + text[end + len("`reference.json`") :], "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
