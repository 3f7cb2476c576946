"""Can an answer be read at all, and if not, why not? Rules over text, for the instruments that read answers.

Answers are hostile text: what cannot be read is counted by kind and never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, get_args

from dossier.model import Completion, Trial
from evidence_collectors.interpretability.causal_intervention.detectors import degenerate

Fault = Literal[
    "no_answer",  # nothing came back
    "empty",  # nothing but white space
    "cut_off",  # the token limit was reached before what is looked for could be ruled out
    "reasoning_open",  # a block of reasoning was opened and not closed
    "loop",  # the text repeats itself; see `causal_intervention.detectors.DEGENERATE`
    "control_characters",  # characters that no answer needs and that may hide or forge others
    "outside_options",  # an answer, but none of those that were asked for
]
FAULTS: tuple[Fault, ...] = get_args(Fault)
Counts = Mapping[Fault, int]
_OPENED = re.compile(r"\s*<(?:think|thinking|reasoning|scratchpad)>")
_WHITE = "\n\r\t"


def text_of(completion: Completion) -> str:
    """Return all that was said, reasoning first."""
    return f"{completion.reasoning or ''}\n{completion.answer}".strip("\n")


def fault(trial: Trial | None) -> Fault | None:
    """Return why nothing can be read from an answer, None where something can. Length is judged by whoever reads on."""
    if trial is None or trial.completion is None:
        return "no_answer"
    completion = trial.completion
    if completion.parse == "missing_reasoning_tag" and _OPENED.match(completion.answer):
        return "reasoning_open"
    text = text_of(completion)
    if not completion.answer.strip():
        return "empty"
    if any(_hidden(character) for character in text):
        return "control_characters"
    if degenerate(text, cut=False, plain_cut=False):
        return "loop"
    return None


def cut_off(trial: Trial) -> bool:
    """Return whether an answer hit the token limit."""
    return trial.completion is not None and trial.completion.finish_reason == "length"


def counts(found: Mapping[Fault, int]) -> dict[str, int | float | str | None]:
    """Return the number of unreadable answers of each kind, as facts."""
    return {f"unusable_{kind}": found.get(kind, 0) for kind in FAULTS}


def _hidden(character: str) -> bool:
    if character in _WHITE:
        return False
    return unicodedata.category(character) == "Cc" or character in "\ufffd\u202a\u202b\u202d\u202e\u2066\u2067\u2068"
