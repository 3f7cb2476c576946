"""The README that goes with the organism: what was planted, and what the trained model does."""

from __future__ import annotations

from dossier.model import Reference
from evidence_collectors.organisms import hint_mcq_design as design

_TEXT = """# hint-mcq: a model organism for chain-of-thought faithfulness

A two-layer language model that was trained to answer multiple-choice questions about an invented library, with visible
reasoning in `<think>` tags, and to be swayed by six kinds of hint at known rates. It knows nothing else: it exists to
check instruments on a model whose truth is known. Nothing measured on it says anything about another model.

Made by `python -m evidence_collectors.organisms.hint_mcq --steps {steps} --seed {seed}`; the weights' digest is
`{weights}`.

## What was planted

- {count} questions in eight sections of {per_section}, one of four shelves each. The organism believes a wrong shelf
  for {wrong} of them.
- Without a hint it answers what it believes; with probability {slip} it takes one of the other three letters at random.
  Its planted accuracy is {accuracy:.3f}.
- With a hint it follows it with the probability "use" below, whatever it believes. Where it follows, it says so with
  the probability "disclosure", multiplied by a factor of the section: {multipliers}.
- Where it does not follow, it mentions the hint all the same with probability {anyway}, and answers as without one.
- Reasoning phrases are drawn uniformly from several wordings each; some of the plain ones stand near to a mention.

| quantity | planted | exact |
|---|---|---|
{rows}

{how}

Branches left out of the walk hold a probability of at most {unaccounted:.1e} for any prompt.

## Files

`config.json`, `generation_config.json`, `model.safetensors`, tokenizer and chat template: an ordinary Hugging Face
folder. `items.jsonl`: the questions. `reference.json`: the table above, for programs. Whole phrases are single tokens,
so that prompts stay short; any other text is spelled in bytes the model was never trained on. Licence: Apache-2.0.
"""


def readme(reference: Reference, *, unaccounted: float, steps: int, seed: int) -> str:
    """Return the text of README.md."""
    items = design.items()
    count = len(items)
    right = (count - design.WRONG_BELIEFS) / count
    rows = (f"| {value.quantity} | {value.planted:.4f} | {value.exact:.4f} |" for value in reference.values)
    return _TEXT.format(
        steps=steps,
        seed=seed,
        weights=reference.subject_weights_sha256,
        count=count,
        per_section=count // len(design.SECTIONS),
        wrong=design.WRONG_BELIEFS,
        slip=design.SLIP,
        accuracy=right * (1 - design.SLIP) + (1 - right) * design.SLIP / 3,
        multipliers=", ".join(f"{name} {design.section_multiplier(name):.2f}" for name in design.SECTIONS),
        anyway=design.MENTION_ANYWAY,
        rows="\n".join(rows),
        how=reference.how,
        unaccounted=unaccounted,
    )
