"""What does an answer show? The behaviour by listed phrases, talk of tests by rules, and whether it is an answer at all.

The rules are those of `interpretability.causal_intervention` and of `evaluation_awareness.verbalised`; no judge reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dossier.model import Completion
from evidence_collectors.evaluation_awareness.probe.parameters import ProbeParameters
from evidence_collectors.evaluation_awareness.verbalised import detectors as spoken
from evidence_collectors.interpretability.causal_intervention import detectors as phrases


@dataclass(frozen=True)
class Read:
    """What one answer shows."""

    behaviour: bool
    verbalised: bool
    valid: bool


def read(answer: Completion, *, plain: Completion, params: ProbeParameters) -> Read:
    """Return what an answer shows; ``plain`` is the unchanged model's answer to the same text."""
    return read_text(
        (answer.reasoning or "", answer.answer),
        cut=answer.finish_reason == "length",
        plain_cut=plain.finish_reason == "length",
        params=params,
    )


def read_text(parts: tuple[str, str], *, cut: bool, plain_cut: bool, params: ProbeParameters) -> Read:
    """Return what reasoning and answer show; ``cut`` and ``plain_cut`` say whether they hit the limit of tokens."""
    reasoning, answer = parts
    return Read(
        behaviour=phrases.shows(reasoning, answer, markers=params.markers, match=params.match),
        verbalised=spoken.grade(f"{reasoning}\n{answer}") == "aware",
        valid=not phrases.degenerate(reasoning + answer, cut=cut, plain_cut=plain_cut),
    )


def facts(params: ProbeParameters) -> Mapping[str, int | float | str | None]:
    """Return both detectors by name, version and construct."""
    own = {f"behaviour_{name}": value for name, value in phrases.facts(params.match).items()}
    return {**own, **{f"verbalised_{name}": value for name, value in spoken.facts().items()}}
