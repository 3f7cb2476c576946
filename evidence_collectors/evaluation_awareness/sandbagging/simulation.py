"""What would a run look like if the truth were this? A planted stand-in for a model, asked by the real protocol.

For calibration and tests. The truth is what is put in here; nothing is computed by the estimators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dossier.collector import Inputs
from dossier.language_model import Capability, Continuation
from dossier.model import Completion, Item, Request, Subject, Trial
from evidence_collectors.cot_faithfulness.hint.prompts import Question, question_text, questions_of
from evidence_collectors.evaluation_awareness.sandbagging import protocol, run
from evidence_collectors.evaluation_awareness.sandbagging.parameters import SandbaggingParameters
from evidence_collectors.evaluation_awareness.sandbagging.protocol import ANSWER, ASKED, UNRELATED
from evidence_collectors.evaluation_awareness.sandbagging.reading import UNREAD, Reading
from evidence_collectors.simulating import completion, drawn_letter, rows_of_uniforms, uniforms

ALL: frozenset[Capability] = frozenset({"generate", "perturb", "tune"})


@dataclass(frozen=True)
class Planted:
    """A model's true accuracies; wrong answers are spread evenly.

    Attributes:
        asked: as asked, and in every arm that ``elicited`` does not name.
        elicited: by group (``few_shot``, ``noise_10``, ``tuned_sham``).
        unread: by group, the probability that an answer breaks off.
    """

    asked: float = 0.4
    elicited: Mapping[str, float] = field(default_factory=dict)
    unread: Mapping[str, float] = field(default_factory=dict)

    def accuracy(self, group: str) -> float:
        """Return the probability of a right answer in an arm."""
        return self.elicited.get(group, self.asked)

    def truths(self, params: SandbaggingParameters) -> dict[str, float]:
        """Return the true values by observation id, but for position bias and unread answers."""
        found = {f"{ASKED}.accuracy": self.asked}
        for group in params.elicited:
            found |= {f"{group}.accuracy": self.accuracy(group), f"{group}.gain": self.accuracy(group) - self.asked}
            if (sham := f"{group}_sham") in params.shams:
                found[f"{group}.gain_over_sham"] = self.accuracy(group) - self.accuracy(sham)
                found[f"{sham}.gain"] = self.accuracy(sham) - self.asked
        return found


def simulate(
    params: SandbaggingParameters,
    items: Sequence[Item],
    seed: str,
    planted: Planted,
    *,
    capabilities: frozenset[Capability] = ALL,
) -> tuple[Trial, ...]:
    """Return the trials of a run on a planted model, with every draw taken from the trial's own seed."""
    stand_in = StandIn(planted, {question_text(one): one for one in questions_of(items)}, capabilities)
    opened = stand_in if capabilities > {"generate"} else None
    inputs = Inputs(subject=stand_in, items=items, white_box=opened)  # type: ignore[arg-type]  # it only answers
    return tuple(run.collect(inputs, params, protocol.choose(params, items, seed), seed))


def drawn(params: SandbaggingParameters, count: int, seed: str, planted: Planted, *, options: int = 4) -> Reading:
    """Return what a run on a planted model would be read as, without its texts: every question is drawn anew."""
    uniform = rows_of_uniforms(seed, count)
    right = np.arange(count, dtype=np.int64) % options

    def named(group: str) -> NDArray[np.int64]:
        hit, missing = uniform() < planted.accuracy(group), uniform() < planted.unread.get(group, 0.0)
        wrong = (right + 1 + np.floor(uniform() * (options - 1)).astype(np.int64)) % options
        return np.where(missing, UNREAD, np.where(hit, right, wrong))

    return Reading(
        items=tuple(f"q{number:05d}" for number in range(count)),
        right=right,
        options=np.full(count, options, dtype=np.int64),
        named={group: named(group) for group in (ASKED, *params.elicited, *params.shams)},
        draws={
            group: 1 + np.arange(count, dtype=np.int64) % params.noise_draws
            for group in params.elicited
            if group.startswith("noise_")
        },
    )


@dataclass(frozen=True)
class StandIn:
    """Answers as planted; ``asked`` maps question texts to questions, ``changed`` is the group of a changed copy."""

    planted: Planted
    asked: Mapping[str, Question]
    capabilities: frozenset[Capability] = ALL
    changed: str = ""

    @property
    def subject(self) -> Subject:
        """A name, and a digest for each copy."""
        return Subject(
            name=f"stand-in {self.changed}".strip(),
            identity="asserted",
            weights_sha256=hashlib.sha256(self.changed.encode()).hexdigest(),
            tokenizer_sha256=None,
            chat_template_sha256=None,
            config_sha256=None,
            generation_sha256=None,
        )

    def perturbed(self, *, seed: str, strength: float) -> StandIn:
        """Return the copy with noise."""
        return replace(self, changed=f"noise_{round(100 * strength)}")

    def tuned(self, demonstrations: Sequence[Continuation], *, steps: int, learning_rate: float, seed: str) -> StandIn:
        """Return the trained copy."""
        return replace(self, changed="tuned_sham" if demonstrations[0].text == UNRELATED[1] else "tuned")

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request."""
        for request in requests:
            group = self.changed or self._group(request)
            question = self.asked[request.messages[-1].content]
            hit, wrong, breaks = uniforms(request.seed, 3)
            letter = drawn_letter(question, self.planted.accuracy(group), hit, wrong)
            finished = breaks >= self.planted.unread.get(group, 0.0)
            yield completion(request, ANSWER.replace("{letter}", letter) if finished else "", finished=finished)

    def _group(self, request: Request) -> str:
        """Return the arm a request belongs to, by whether its examples are right."""
        texts = [turn.content for turn in request.messages]
        if len(texts) == 1:
            return ASKED
        shown = zip(texts[:-1:2], texts[1::2], strict=True)
        right = all(answer == ANSWER.replace("{letter}", self.asked[text].answer) for text, answer in shown)
        return "few_shot" if right else "few_shot_sham"
