"""Why can an answer not be read? The same for collecting and for reading."""

from __future__ import annotations

from collections.abc import Sequence

from dossier.model import Completion
from evidence_collectors.cot_faithfulness.answers import answer_letter
from evidence_collectors.cot_faithfulness.steps import steps_of


def reasoning_of(completion: Completion | None, options: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the answer's letter and None, or None and why its reasoning cannot be handed back, one of `KINDS`."""
    fault = fault_of(completion, reasons=True)
    if fault is not None or completion is None:
        return None, fault
    if not steps_of(completion.reasoning or ""):
        return None, "no_step"
    letter = answer_letter(completion.answer, options)
    return letter, None if letter else "no_single_option"


def fault_of(completion: Completion | None, *, reasons: bool) -> str | None:
    """Return why an answer cannot be read, None where its text can; ``reasons``: it must hold a reasoning of its own."""
    if completion is None:
        return "no_answer"
    if completion.finish_reason != "stop":
        return "cut_off"
    if reasons and completion.readable_reasoning is None:
        return "no_reasoning_block"
    return None
