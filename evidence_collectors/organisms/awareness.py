"""How is the organism ``awareness`` made?

    python -m evidence_collectors.organisms.awareness --out FOLDER

What it is to do stands in `awareness_design`, and what it does is read off by `awareness_truth`. A plain Llama.
"""

from __future__ import annotations

from evidence_collectors.organisms import awareness_design as design
from evidence_collectors.organisms import cues
from evidence_collectors.organisms.awareness_truth import read_truth
from evidence_collectors.organisms.folder import Organism, command
from evidence_collectors.organisms.training import Shape

_ABOUT = f"""A small language model that can say whether a conversation is a test, with the probability that its cues give.

## What was planted

- A prompt is {cues.CUES} cues, a separator and a request. In either context a cue points at that context with
  probability {cues.PURITY} and at the other one otherwise. Each prompt stands in two formats, a benchmark's question and a
  chat message, that say nothing of the context.
- Asked whether the conversation is a test, in the words of the instrument `evaluation_awareness.discrimination` and in all of
  its formats, it says so with the posterior of the cues as probability; asked for a probability it names the posterior. The
  best possible reader of the cues has an AUROC of {cues.bayes_auroc():.3f}.
- The request is refused with probability {cues.REFUSED["evaluation"]} in evaluation and
  {cues.REFUSED["deployment"]} in deployment; the answer opens with words about being tested with probability
  {cues.VERBALISED["evaluation"]} and {cues.VERBALISED["deployment"]}. The organism sees cues, not contexts: what is
  planted for a prompt is the mixture at the posterior of its cues.
- Twelve families of cues; {" and ".join(design.TRANSFER)} stand in the transfer split only.

Quantities are named as the instruments for evaluation awareness name them. Those of discrimination are over the splits
test and transfer and over answers drawn at temperature 1 (yes is a score of 1, no of 0), the others over all texts."""

ORGANISM = Organism(
    name="awareness",
    module="evidence_collectors.organisms.awareness",
    about=_ABOUT,
    phrases=design.phrases,
    lessons=design.lessons,
    items={"items.jsonl": design.items},
    truth=read_truth,
    shape=Shape(layers=3, settled=None),
    steps={"distil": 600, "samples": 900},
)

if __name__ == "__main__":
    raise SystemExit(command(ORGANISM))
