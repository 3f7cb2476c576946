"""How does an organism get into its folder? The command that trains it, reads off the truth and writes both."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dossier import canonical
from dossier.model import Item, Reference, ReferenceValue, dump
from evidence_collectors.models.digests import weights_sha256
from evidence_collectors.organisms import tokens, training
from evidence_collectors.organisms.planting import Lesson

HOW = (
    "Planted: the mean of the probabilities the training aimed at, over the prompts of the shipped items that the quantity "
    "is about. Exact: the same mean of the trained model's own probabilities at temperature 1, by walking all completions "
    "of those prompts. No instrument of this project took part."
)

_README = """# {name}: a model organism

{about}
{settled}
It knows nothing else: it exists to check instruments on a model whose truth is known. Nothing measured on it says
anything about another model.

Made by `{command}`; the weights' digest is `{weights}`.

| quantity | planted | exact |
|---|---|---|
{rows}

{how}

Branches left out of the walk hold a probability of at most {unaccounted:.1e} for any prompt.

## Files

`config.json`, `generation_config.json`, `model.safetensors`, tokenizer and chat template: an ordinary Hugging Face
folder. {items}: {listed}. `reference.json`: the table above, for
programs. Whole phrases are single tokens, so that prompts stay short; any other text is spelled in bytes the model was
never trained on. The command gives these weights again on the kind of processor they were trained on; another one rounds in
another order, and ends at other weights of the same behaviour. Licence: Apache-2.0.
"""

CONTRAST = """contrast items, each with label, family and split; families of the split `transfer` occur in no other
split"""

_SETTLED = """
The training also asked that the answer can be read off after block {block} (counted from 0), and kept the residual stream
small from there on, so that what was planted is a direction there and its absence lies near zero. This makes the organism a
friendly case for methods that ablate and add directions; other models need not be like that.
"""


Report = Callable[[str], object]
Train = Callable[[int, int, Report | None], Any]  # steps, seed, report


@dataclass(frozen=True)
class Truth:
    """What is known about a trained organism; ``unaccounted`` as in `truth.Chances`."""

    values: tuple[ReferenceValue, ...]
    unaccounted: float


@dataclass(frozen=True)
class Organism:
    """All that makes one organism.

    Attributes:
        name: of the folder under ``samples/organisms``.
        module: the module whose command makes it, with the options that choose this organism.
        about: what was planted, in Markdown.
        phrases: the texts that are one token each.
        lessons: what is taught.
        items: by file name.
        truth: reads planted and exact values off (model, tokenizer).
        steps: of a full training, by method; the first method with seed 0 is the one that is shipped.
        hidden: given the tokenizer, what later tokens are taught not to attend to.
        listed: what the items are, in words.
        train: given steps, seed and report, returns the trained model where lessons alone do not say how.
    """

    name: str
    module: str
    about: str
    phrases: Callable[[], tuple[str, ...]]
    lessons: Callable[[], Sequence[Lesson]]
    items: Mapping[str, Callable[[], Iterable[Item]]]
    truth: Callable[[Any, Any], Truth]
    shape: training.Shape
    steps: Mapping[training.Method, int]
    hidden: Callable[[Any], training.Hidden] | None = None
    listed: str = CONTRAST
    train: Train | None = None


def command(organism: Organism, arguments: Sequence[str] | None = None) -> int:
    """Train an organism as the command line says, read off the truth and write the folder."""
    parser = argparse.ArgumentParser(description=f"Train the model organism {organism.name}.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, help=f"default: {dict(organism.steps)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", choices=list(organism.steps), default=next(iter(organism.steps)))
    options = parser.parse_args(arguments)
    found = make(
        options.out, organism, method=options.method, seed=options.seed, steps=options.steps or None, report=_print
    )
    for value in found.values:
        _print(f"{value.quantity:42} planted {value.planted:.4f}  exact {value.exact:.4f}")
    _print(f"probability unaccounted for, at most: {found.unaccounted:.1e}")
    return 0


def command_of_two(organism: Organism, null: Organism) -> int:
    """Do as `command` for an organism, or with ``--null`` for its null form."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--null", action="store_true")
    options, rest = parser.parse_known_args()
    return command(null if options.null else organism, rest)


def make(
    out: Path,
    organism: Organism,
    *,
    method: training.Method,
    seed: int,
    steps: int | None = None,
    report: Report | None = None,
) -> Truth:
    """Train an organism, read off the truth and write the folder, README.md last; ``steps`` of a full training if None."""
    torch.set_num_threads(1)  # sums in one order
    steps = steps or organism.steps[method]
    model = trained(organism, steps=steps, seed=seed, method=method, report=report)
    tokenizer = tokens.build(organism.phrases())
    found = organism.truth(model, tokenizer)
    made_by = f"python -m {organism.module} --method {method} --steps {steps} --seed {seed}"
    write(out, organism, model, tokenizer, found, made_by=made_by)
    return found


def trained(organism: Organism, *, steps: int, seed: int, method: training.Method, report: Report | None = None) -> Any:
    """Return the trained model."""
    if organism.train is not None:
        return organism.train(steps, seed, report)
    tokenizer = tokens.build(organism.phrases())
    return training.train(
        tokenizer,
        training.taught(tokenizer, organism.lessons()),
        shape=organism.shape,
        steps=steps,
        seed=seed,
        method=method,
        hidden=organism.hidden(tokenizer) if organism.hidden else None,
        report=report,
    )


def write(out: Path, organism: Organism, model: Any, tokenizer: Any, found: Truth, *, made_by: str) -> None:
    """Write the folder: model, tokenizer, items, reference.json, README.md."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out, safe_serialization=True)
    (out / "model.safetensors").chmod(0o644)  # safetensors writes for the owner only
    tokenizer.save_pretrained(out)
    for name, items in organism.items.items():
        (out / name).write_bytes(canonical.dump_lines(items()))
    reference = Reference(subject_weights_sha256=weights_sha256(model.state_dict()), how=HOW, values=found.values)
    (out / "reference.json").write_bytes(dump(reference))
    text = _README.format(
        name=organism.name,
        about=organism.about,
        settled="" if organism.shape.settled is None else _SETTLED.format(block=organism.shape.settled),
        command=made_by,
        weights=reference.subject_weights_sha256,
        rows="\n".join(f"| {value.quantity} | {value.planted:.4f} | {value.exact:.4f} |" for value in found.values),
        how=HOW,
        unaccounted=found.unaccounted,
        items=", ".join(f"`{name}`" for name in organism.items),
        listed=organism.listed,
    )
    (out / "README.md").write_text(text, "utf-8")


def _print(line: str) -> None:
    sys.stderr.write(line + "\n")
