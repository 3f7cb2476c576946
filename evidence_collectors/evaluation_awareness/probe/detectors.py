"""What does an answer show? The behaviour by listed phrases, talk of tests by rules, and whether it is an answer at all.

The rules are those of `interpretability.causal_intervention` and of `evaluation_awareness.verbalised`; no judge reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from dossier.model import Completion
from evidence_collectors.evaluation_awareness.probe.parameters import ProbeParameters
from evidence_collectors.evaluation_awareness.verbalised import detectors as spoken
from evidence_collectors.interpretability.causal_intervention import detectors as phrases

RECORDED = ("reasoning", "answer", "finish_reason")


@dataclass(frozen=True)
class Read:
    """What one answer shows."""

    behaviour: bool
    verbalised: bool
    valid: bool


def recorded(answer: Completion) -> dict[str, JsonValue]:
    """Return what a trial keeps of an answer, under the names of `RECORDED`."""
    return {"reasoning": answer.reasoning or "", "answer": answer.answer, "finish_reason": answer.finish_reason}


def read(told: Mapping[str, Any], *, plain: Mapping[str, Any], params: ProbeParameters) -> Read:
    """Return what a recorded answer shows; ``plain`` is the unchanged model's answer to the same text."""
    reasoning, answer = str(told["reasoning"]), str(told["answer"])
    cut, plain_cut = (one["finish_reason"] == "length" for one in (told, plain))
    return Read(
        behaviour=phrases.shows(reasoning, answer, markers=params.markers, match=params.match),
        verbalised=spoken.grade(f"{reasoning}\n{answer}") == "aware",
        valid=not phrases.degenerate(reasoning + answer, cut=cut, plain_cut=plain_cut),
    )


def facts(params: ProbeParameters) -> Mapping[str, int | float | str | None]:
    """Return both detectors by name, version and construct."""
    own = {f"behaviour_{name}": value for name, value in phrases.facts(params.match).items()}
    return {**own, **{f"verbalised_{name}": value for name, value in spoken.facts().items()}}
