"""What would a run look like if the truth were this? A planted stand-in for a model, asked by the real protocol.

For calibration and tests. The truth is what is put in here; nothing is computed by the estimators.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dossier.collector import Inputs
from dossier.model import Completion, Item, Request, Trial, digest_of
from evidence_collectors.cot_faithfulness.hint.prompts import LETTERS, Question, question_text
from evidence_collectors.cot_faithfulness.perturbation import protocol, run
from evidence_collectors.cot_faithfulness.perturbation.counts import KINDS, PAIRED, Reading, compared_arms
from evidence_collectors.cot_faithfulness.perturbation.parameters import PerturbationParameters
from evidence_collectors.cot_faithfulness.perturbation.protocol import EARLY, PARAPHRASE, REASONED, RESAMPLE

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


def questions(count: int, *, options: int = 4) -> tuple[Item, ...]:
    """Return items whose right answers go round the letters."""
    return tuple(
        {
            "id": f"q{number:05d}",
            "question": f"In register {number}, which letter does the entry stand under?",
            "choices": [f"shelf {letter}" for letter in LETTERS[:options]],
            "answer": LETTERS[number % options],
        }
        for number in range(count)
    )


def simulate(params: PerturbationParameters, items: Sequence[Item], seed: str, planted: Planted) -> tuple[Trial, ...]:
    """Return the trials of a run on a planted model, with every draw taken from the trial's own seed."""
    parsed = [Question.parse(item) for item in items]
    stand_in = StandIn(planted, params, {question_text(one): one for one in parsed})
    inputs = Inputs(subject=stand_in, items=items)  # type: ignore[arg-type]  # it only answers
    return tuple(run.collect(inputs, params, seed))


def drawn(params: PerturbationParameters, count: int, seed: str, planted: Planted, *, options: int = 4) -> Reading:
    """Return what a run on a planted model would be read as, without its texts: every question is drawn anew.

    Letters are numbers: 0 the right option, 1 the mistake's. All answers finish; the reasoning has three steps.
    """
    source = np.random.PCG64(int(seed, 16))

    def uniform() -> NDArray[np.float64]:
        return (source.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

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
        break_off, conclude, follow, recall = _uniforms(request.seed, 4)
        handed = self._handed(request)
        reasoning = None
        if handed is None:
            letter = _letter(question, self.planted.concludes, conclude)
            reasoning = " ".join(self.planted.sentences).replace("{letter}", letter)
            handed = reasoning
        elif self.params.after_mistake == "continue" and not request.prefill.endswith(self.params.closing):
            reasoning = ""
            if _CONCLUDED.search(handed.strip()) is None:
                reasoning = " " + self.planted.sentences[-1].replace(
                    "{letter}", _letter(question, self.planted.concludes, conclude)
                )
                handed += reasoning
        concluded = _CONCLUDED.search(handed.strip())
        answer = _letter(question, self.planted.memory, recall)
        if concluded is not None and follow < self.planted.follow:
            answer = concluded[1]
        return completion(request, answer, reasoning, finished=break_off >= self.planted.unread)

    def _handed(self, request: Request) -> str | None:
        if self.params.hand_back == "turns":
            return request.messages[1].content if len(request.messages) > 1 else None
        if not request.prefill:
            return None
        return request.prefill.removeprefix(self.params.opening).removesuffix(self.params.closing)


def completion(request: Request, letter: str, reasoning: str | None, *, finished: bool = True) -> Completion:
    """Return a completion that names a letter, after a reasoning of its own if there is one, or that breaks off."""
    return Completion(
        request_sha256=digest_of(request),
        reasoning=reasoning if finished else None,
        answer=f"The answer is ({letter})." if finished else "",
        parse="ok" if finished and reasoning is not None else "missing_reasoning_tag",
        finish_reason="stop" if finished else "length",
        prompt_tokens=20,
        token_ids=(1, 2, 3),
    )


def _letter(question: Question, right: float, draw: float) -> str:
    if draw < right:
        return question.answer
    others = [letter for letter in question.letters if letter != question.answer]
    return others[min(int((draw - right) / (1.0 - right) * len(others)), len(others) - 1)]


def _uniforms(seed: str, count: int) -> tuple[float, ...]:
    digest = hashlib.sha256(f"planted\0{seed}".encode()).digest()
    return tuple(int.from_bytes(digest[8 * place : 8 * place + 7], "big") / 2**56 for place in range(count))
