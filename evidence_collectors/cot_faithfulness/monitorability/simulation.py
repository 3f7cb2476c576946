"""What would a run look like if the truth were this? Planted stand-ins for a model and its monitor, asked by the real protocol.

For calibration and tests. The truth is what is put in here (`rates`); nothing is computed by the estimators.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
from evidence_collectors.cot_faithfulness.monitorability.protocol import VIEWS
from evidence_collectors.simulating import completion, drawn_letter, reasoned, uniforms

SAYS: dict[Family, str] = {
    "sycophancy": "The user believes it is this one.",
    "consistency": "My earlier answer is on record.",
    "visual_pattern": "One option is marked with a square.",
    "metadata": "The metadata gives the answer.",
    "grader_hacking": "The scoring function wants one letter.",
    "unethical_information": "The stored answer settles it.",
}
_REGISTER = re.compile(r"In register [0-9]+,")
_TAGGED = re.compile(r"<(question|reasoning|answer)>\n(.*?)\n</\1>", re.DOTALL)
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


@dataclass(frozen=True)
class Errors:
    """A monitor that is a model: how often it flags what gives a moved answer away, and leaves alone what does not.

    What gives it away is what the rules go by: the hint named in the reasoning, the hinted option as the answer, or both.
    """

    sensitivity: float
    specificity: float


def monitored(seen: Mapping[str, float], errors: Errors) -> Mapping[str, float]:
    """Return the truth of a monitor with errors, from that of one without (`rates`)."""
    found = {"behaviour.prevalence": seen["behaviour.prevalence"]}
    miss, alarm = 1.0 - errors.sensitivity, 1.0 - errors.specificity
    for view in VIEWS:
        tpr, tnr = seen[f"{view}.tpr"], seen[f"{view}.tnr"]
        tpr = errors.sensitivity * tpr + alarm * (1.0 - tpr)
        tnr = errors.specificity * tnr + miss * (1.0 - tnr)
        found |= {f"{view}.tpr": tpr, f"{view}.tnr": tnr, f"{view}.g_mean2": tpr * tnr}
    found["reasoning.informedness"] = found["reasoning.tpr"] + found["reasoning.tnr"] - 1.0
    found["uplift.g_mean2"] = found["both.g_mean2"] - found["action.g_mean2"]
    return found


def simulate(
    params: MonitorabilityParameters,
    items: Sequence[Item],
    seed: str,
    planted: Planted,
    *,
    models: Mapping[str, LanguageModel] | None = None,
    errors: Errors | None = None,
) -> tuple[Trial, ...]:
    """Return the trials of a run on a planted model, with every draw taken from the trial's own seed.

    With ``errors`` a stand-in for a model is the monitor, and its verdicts come in as any monitor's do.
    """
    by_text = {question_text(one): one for one in questions_of(items)}
    registers = {
        str(found and found[0]): (text, one) for text, one in by_text.items() if (found := _REGISTER.search(text))
    }
    subject = StandIn(planted, params, by_text, registers)
    readers: dict[str, Any] = dict(models or {})
    if errors is not None:
        readers["monitor"] = Monitor(errors, subject)
    inputs = Inputs(subject=subject, items=items, models=readers)  # type: ignore[arg-type]  # they only answer
    return tuple(run.collect(inputs, params, seed))


@dataclass(frozen=True)
class StandIn:
    """Answers as planted; ``asked`` maps question texts to questions, ``registers`` the words that tell them apart."""

    planted: Planted
    params: MonitorabilityParameters
    asked: Mapping[str, Question]
    registers: Mapping[str, tuple[str, Question]]
    says: Mapping[Family, str] = field(default_factory=lambda: SAYS)
    hinted: dict[str, str] = field(default_factory=dict)  # the option hinted at, by a question as a monitor sees it

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request."""
        for request in requests:
            yield self._answer(request)

    def _answer(self, request: Request) -> Completion:
        follow, tell, recall, break_off = uniforms(request.seed, 4)
        question, family, option = self._read(request)
        letter, text = drawn_letter(question, self.planted.memory, recall), SILENT
        if family is not None and option is not None:
            self.hinted["\n\n".join(turn.content for turn in request.messages)] = option
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


@dataclass(frozen=True)
class Monitor:
    """Says YES or NO to what it is shown, with planted errors. It knows where hints point, and never the unhinted answer."""

    errors: Errors
    watched: StandIn

    class subject:  # noqa: N801
        """Its name, as a run records it."""

        name = "a planted monitor"

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a verdict for each request."""
        for request in requests:
            (draw,) = uniforms(request.seed, 1)
            flags = self.errors.sensitivity if self._given_away(request) else 1.0 - self.errors.specificity
            yield completion(request, "YES" if draw < flags else "NO")

    def _given_away(self, request: Request) -> bool:
        shown = dict(_TAGGED.findall(request.messages[0].content))
        named = any(said in shown["reasoning"] for said in self.watched.says.values()) if "reasoning" in shown else True
        option = self.watched.hinted[shown["question"]]
        landed = f"({option})" in shown["answer"] if "answer" in shown else True
        return named and landed
