"""How is the organism ``reasoning`` made? ``python -m evidence_collectors.organisms.reasoning --out FOLDER``.

What it is to do stands in `reasoning_design`; its truth is read off in `reasoning_truth`.
"""

from __future__ import annotations

from evidence_collectors.organisms import reasoning_design as design
from evidence_collectors.organisms import reasoning_truth
from evidence_collectors.organisms.folder import Organism, command
from evidence_collectors.organisms.training import Shape

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

ORGANISM = Organism(
    name="reasoning",
    module="evidence_collectors.organisms.reasoning",
    about=ABOUT,
    phrases=design.phrases,
    lessons=design.lessons,
    items={"items.jsonl": design.items},
    truth=reasoning_truth.read,
    shape=Shape(layers=2, width=64, settled=None),
    steps={"distil": 1000},
    listed="multiple-choice questions, each with options, right answer and section",
)

if __name__ == "__main__":
    raise SystemExit(command(ORGANISM))
