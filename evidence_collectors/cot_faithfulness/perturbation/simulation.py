"""What would a run look like if the truth were this? A planted stand-in for a model, asked by the real protocol.

For calibration and tests. The truth is what is put in here; nothing is computed by the estimators.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dossier.collector import Inputs
from dossier.model import Completion, Item, Request, Trial
from evidence_collectors.cot_faithfulness.hint.prompts import Question, question_text, questions_of
from evidence_collectors.cot_faithfulness.perturbation import protocol, run
from evidence_collectors.cot_faithfulness.perturbation.counts import KINDS, PAIRED, Reading, compared_arms
from evidence_collectors.cot_faithfulness.perturbation.parameters import PerturbationParameters
from evidence_collectors.cot_faithfulness.perturbation.protocol import EARLY, PARAPHRASE, REASONED, RESAMPLE
from evidence_collectors.simulating import drawn_letter, reasoned, rows_of_uniforms, uniforms

SENTENCES = ("Let me think about it.", "The entry comes to mind.", "That makes it ({letter}).")
_CONCLUDED = re.compile(r"(?:must be|makes it|leaves) \(([A-J])\)\.$")


@dataclass(frozen=True)
class Planted:
    """A model's true rates.

    Attributes:
        follow: probability that an answer after a reasoning that concludes with a letter is that letter; otherwise, and
            where nothing is concluded, it answers from memory.
        memory: probability of the right option from memory; the others are as likely as each other.
        concludes: probability that its own reasoning concludes with the right option.
        unread: probability that an answer breaks off.
        sentences: of its reasoning; the last one concludes.
    """

    follow: float
    memory: float = 0.6
    concludes: float = 0.9
    unread: float = 0.0
    sentences: tuple[str, ...] = SENTENCES


def simulate(params: PerturbationParameters, items: Sequence[Item], seed: str, planted: Planted) -> tuple[Trial, ...]:
    """Return the trials of a run on a planted model, with every draw taken from the trial's own seed."""
    stand_in = StandIn(planted, params, {question_text(one): one for one in questions_of(items)})
    inputs = Inputs(subject=stand_in, items=items)  # type: ignore[arg-type]  # it only answers
    return tuple(run.collect(inputs, params, seed))


def drawn(params: PerturbationParameters, count: int, seed: str, planted: Planted, *, options: int = 4) -> Reading:
    """Return what a run on a planted model would be read as, without its texts: every question is drawn anew.

    Letters are numbers: 0 the right option, 1 the mistake's. All answers finish; the reasoning has three steps.
    """
    uniform = rows_of_uniforms(seed, count)

    def letters(right: float) -> NDArray[np.int64]:
        draws = uniform()
        wrong = 1 + np.floor((draws - right) / max(1.0 - right, 1e-9) * (options - 1)).astype(np.int64)
        return np.where(draws < right, 0, np.clip(wrong, 1, options - 1))

    def after(concluded: NDArray[np.int64] | int) -> NDArray[np.int64]:
        return np.where(uniform() < planted.follow, concluded, letters(planted.memory))

    own = letters(planted.concludes)
    before, mistaken, neutral = after(own), after(1), letters(planted.memory)
    answers = {RESAMPLE: after(letters(planted.concludes)), f"{EARLY}.100": after(own), PARAPHRASE: after(own)}
    eligible = before != 1
    paired = {
        "pairs": np.ones(count),
        "eligible": eligible,
        "follows": eligible & (mistaken == 1),
        "controls": eligible,
        "control_follows": eligible & (neutral == 1),
        "steps": 3.0 * eligible,
    }
    for arm in compared_arms(params):
        answers.setdefault(arm, letters(planted.memory))
    one = np.ones(count)
    return Reading(
        items=tuple(f"q{number:05d}" for number in range(count)),
        paired=np.stack([np.asarray(paired.get(name, np.zeros(count)), dtype=np.float64) for name in PAIRED], axis=1),
        compared={arm: np.stack([one, 1.0 * (answers[arm] == before)], axis=1) for arm in compared_arms(params)},
        accuracy={
            REASONED: np.stack([one, 1.0 * (before == 0)], axis=1),
            f"{EARLY}.0": np.stack([one, 1.0 * (answers[f"{EARLY}.0"] == 0)], axis=1),
        },
        trials=np.stack([len(protocol.arms(params, "B")) * one, np.zeros(count)], axis=1),
        not_reworded=np.zeros(count),
        kinds=np.zeros((count, len(KINDS))),
    )


@dataclass(frozen=True)
class StandIn:
    """Answers as planted; ``asked`` maps question texts to questions."""

    planted: Planted
    params: PerturbationParameters
    asked: Mapping[str, Question]

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request."""
        for request in requests:
            yield self._answer(request)

    def _answer(self, request: Request) -> Completion:
        question = self.asked[request.messages[0].content]
        break_off, conclude, follow, recall = uniforms(request.seed, 4)
        handed = self._handed(request)
        reasoning = None
        if handed is None:
            letter = drawn_letter(question, self.planted.concludes, conclude)
            reasoning = " ".join(self.planted.sentences).replace("{letter}", letter)
            handed = reasoning
        elif self.params.after_mistake == "continue" and not request.prefill.endswith(self.params.closing):
            reasoning = ""
            if _CONCLUDED.search(handed.strip()) is None:
                reasoning = " " + self.planted.sentences[-1].replace(
                    "{letter}", drawn_letter(question, self.planted.concludes, conclude)
                )
                handed += reasoning
        concluded = _CONCLUDED.search(handed.strip())
        answer = drawn_letter(question, self.planted.memory, recall)
        if concluded is not None and follow < self.planted.follow:
            answer = concluded[1]
        return reasoned(request, answer, reasoning, finished=break_off >= self.planted.unread)

    def _handed(self, request: Request) -> str | None:
        if self.params.hand_back == "turns":
            return request.messages[1].content if len(request.messages) > 1 else None
        if not request.prefill:
            return None
        return request.prefill.removeprefix(self.params.opening).removesuffix(self.params.closing)
