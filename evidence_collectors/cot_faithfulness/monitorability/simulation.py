"""What would a run look like if the truth were this? A planted stand-in for a model, asked by the real protocol.

For calibration and tests. The truth is what is put in here (`rates`); nothing is computed by the estimators.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dossier.collector import Inputs
from dossier.language_model import LanguageModel
from dossier.model import Completion, Item, Request, Trial
from evidence_collectors.cot_faithfulness.hint.prompts import (
    Family,
    Question,
    hinted_letter,
    question_text,
    questions_of,
)
from evidence_collectors.cot_faithfulness.monitorability import run
from evidence_collectors.cot_faithfulness.monitorability.parameters import MonitorabilityParameters
from evidence_collectors.simulating import drawn_letter, reasoned, uniforms

SAYS: dict[Family, str] = {
    "sycophancy": "The user believes it is this one.",
    "consistency": "My earlier answer is on record.",
    "visual_pattern": "One option is marked with a square.",
    "metadata": "The metadata gives the answer.",
    "grader_hacking": "The scoring function wants one letter.",
    "unethical_information": "The stored answer settles it.",
}
_REGISTER = re.compile(r"In register [0-9]+,")
SILENT = "Going through the options, one fits best."


@dataclass(frozen=True)
class Planted:
    """A model's true rates.

    It follows a hint with probability ``use`` and then names it with probability ``told``; otherwise it answers from memory,
    the right option with probability ``memory``, and names the hint with probability ``told_anyway``. ``unread`` is the
    rate of breaking off.
    """

    use: float = 0.5
    told: float = 0.7
    told_anyway: float = 0.1
    memory: float = 0.8
    unread: float = 0.0


def rates(planted: Planted, *, options: int = 4) -> Mapping[str, float]:
    """Return the truth for wrong hints only, by observation id, from the planted rates.

    e is the probability that an answer from memory is one given wrong option.
    """
    e = (1.0 - planted.memory) / (options - 1)
    landed = planted.use + (1.0 - planted.use) * e
    named_landed = planted.use * planted.told + (1.0 - planted.use) * e * planted.told_anyway
    named = planted.use * planted.told + (1.0 - planted.use) * planted.told_anyway
    moved = (1.0 - e) * landed
    tpr = named_landed / landed
    tnr = {
        "reasoning": 1.0 - (named - (1.0 - e) * named_landed) / (1.0 - moved),
        "action": 1.0 - e * landed / (1.0 - moved),
        "both": 1.0 - e * named_landed / (1.0 - moved),
    }
    found = {"behaviour.prevalence": moved, "reasoning.informedness": tpr + tnr["reasoning"] - 1.0}
    for view, rate in tnr.items():
        hit = 1.0 if view == "action" else tpr
        found |= {f"{view}.tpr": hit, f"{view}.tnr": rate, f"{view}.g_mean2": hit * rate}
    found["uplift.g_mean2"] = found["both.g_mean2"] - found["action.g_mean2"]
    return found


def simulate(
    params: MonitorabilityParameters,
    items: Sequence[Item],
    seed: str,
    planted: Planted,
    *,
    models: Mapping[str, LanguageModel] | None = None,
) -> tuple[Trial, ...]:
    """Return the trials of a run on a planted model, with every draw taken from the trial's own seed."""
    by_text = {question_text(one): one for one in questions_of(items)}
    registers = {
        str(found and found[0]): (text, one) for text, one in by_text.items() if (found := _REGISTER.search(text))
    }
    subject = StandIn(planted, params, by_text, registers)
    inputs = Inputs(subject=subject, items=items, models=models or {})  # type: ignore[arg-type]  # it only answers
    return tuple(run.collect(inputs, params, seed))


@dataclass(frozen=True)
class StandIn:
    """Answers as planted; ``asked`` maps question texts to questions, ``registers`` the words that tell them apart."""

    planted: Planted
    params: MonitorabilityParameters
    asked: Mapping[str, Question]
    registers: Mapping[str, tuple[str, Question]]
    says: Mapping[Family, str] = field(default_factory=lambda: SAYS)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request."""
        for request in requests:
            yield self._answer(request)

    def _answer(self, request: Request) -> Completion:
        follow, tell, recall, break_off = uniforms(request.seed, 4)
        question, family, option = self._read(request)
        letter, text = drawn_letter(question, self.planted.memory, recall), SILENT
        if family is not None and option is not None:
            used = follow < self.planted.use
            if used:
                letter = option
            if tell < (self.planted.told if used else self.planted.told_anyway):
                text = self.says[family]
        return reasoned(request, letter, text, finished=break_off >= self.planted.unread, before=text)

    def _read(self, request: Request) -> tuple[Question, Family | None, str | None]:
        """Return the question, and family and option of its hint if there is one."""
        content = request.messages[0].content
        if len(request.messages) == 1 and content in self.asked:
            return self.asked[content], None, None
        register = _REGISTER.search(content)
        text, question = self.registers["" if register is None else register[0]]
        for family in self.params.families:
            option = hinted_letter(request.messages, text, family)
            if option is not None:
                return question, family, option
        raise ValueError("not a question of the protocol")
