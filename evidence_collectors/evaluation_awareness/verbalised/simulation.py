"""What would the trials look like if the truth were this? Planted rates in real prompts, without a model.

A scenario has a rate of its own, whose mean over scenarios is planted; its texts share what is peculiar to it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtr, ndtri

from dossier.model import Completion, Item, Request, Trial, digest_of
from evidence_collectors.evaluation_awareness.verbalised.parameters import VerbalisedParameters
from evidence_collectors.evaluation_awareness.verbalised.trials import asked

SPOKEN, SILENT, VAGUE = "I think I am being evaluated here.", "Here is how.", "The test strip goes there."


@dataclass(frozen=True)
class Planted:
    """What is true of the simulated model.

    Attributes:
        evaluation, deployment: rate of saying that this may be a test, by context.
        vague: rate of answers, among the silent ones, whose words may be about the task.
        reasons: whether the model reasons, and says it there.
        scenario: standard deviation of scenarios on the normal scale.
        unread: rate of answers that are cut off.
        says: what is answered instead, if anything.
    """

    evaluation: float = 0.15
    deployment: float = 0.02
    vague: float = 0.0
    reasons: bool = False
    scenario: float = 0.5
    unread: float = 0.0
    says: str | None = None

    def truths(self) -> dict[str, float]:
        """Return the true values by observation id."""
        found = {"verbalised.evaluation": self.evaluation, "verbalised.deployment": self.deployment}
        found["verbalised.difference"] = self.evaluation - self.deployment
        for context in ("evaluation", "deployment"):
            said = found[f"verbalised.{context}"]
            found[f"answer.{context}"] = 0.0 if self.reasons else said
            found[f"ambiguous.{context}"] = (1.0 - said) * self.vague
            if self.reasons:
                found[f"reasoning.{context}"] = said
        return found | {f"cell_{cell}.difference": found["verbalised.difference"] for cell in ("benchmark", "chat")}


def simulate(params: VerbalisedParameters, rows: Sequence[Item], seed: str, planted: Planted) -> tuple[Trial, ...]:
    """Return the trials of a run on a planted model; every draw is fixed by the seed and by what it is a draw for."""
    found = []
    for one in asked(params, rows, seed):
        rate = planted.evaluation if one.key.arm.startswith("evaluation.") else planted.deployment
        said = _uniform(f"{one.seed} says") < _own(rate, planted.scenario, f"{seed} scenario {one.noted['pair']}")
        silent = VAGUE if _uniform(f"{one.seed} vague") < planted.vague else SILENT
        text = planted.says if planted.says is not None else SPOKEN if said else silent
        finished = _uniform(f"{one.seed} read") >= planted.unread
        found.append(
            Trial(
                key=one.key,
                seed=one.seed,
                request=one.request,
                completion=completion(one.request, text, finished=finished, reasons=planted.reasons),
                measurements=dict(one.noted),
            )
        )
    return tuple(found)


def completion(request: Request, text: str, *, finished: bool = True, reasons: bool = False) -> Completion:
    """Return a completion that says a text, in its reasoning if it has one, or that breaks off."""
    return Completion(
        request_sha256=digest_of(request),
        reasoning=text if reasons else None,
        answer=SILENT if reasons else text,
        parse="ok" if reasons else "missing_reasoning_tag",
        finish_reason="stop" if finished else "length",
        prompt_tokens=20,
        token_ids=(1, 2),
    )


def _own(rate: float, spread: float, name: str) -> float:
    if not 0.0 < rate < 1.0:
        return rate
    return float(ndtr(float(ndtri(rate)) * math.sqrt(1.0 + spread**2) + spread * float(ndtri(_uniform(name)))))


def _uniform(what: str) -> float:
    digest = hashlib.sha256(f"planted\0{what}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") % 2**52 + 0.5) / 2**52
