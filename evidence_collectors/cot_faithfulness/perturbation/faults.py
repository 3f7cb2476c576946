"""Why can a reasoning not be handed back? The same for collecting and for reading."""

from __future__ import annotations

from collections.abc import Sequence

from dossier.model import Completion
from evidence_collectors.cot_faithfulness.answers import fault_of, letter_of
from evidence_collectors.cot_faithfulness.steps import steps_of


def reasoning_of(completion: Completion | None, options: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the answer's letter and None, or None and why its reasoning cannot be handed back, one of `KINDS`."""
    if (
        completion is not None
        and fault_of(completion, reasons=True) is None
        and not steps_of(completion.reasoning or "")
    ):
        return None, "no_step"
    return letter_of(completion, options)
