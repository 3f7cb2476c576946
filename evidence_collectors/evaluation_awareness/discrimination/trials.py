"""Which question is asked about which text, and in which trial? Pure: known before any model is loaded.

A trial's arm says the text's label, split and format cell and how the question was put: what the analysis groups by is
promised with the trial. Beside it are noted the text's family and pair and its length in characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from dossier.errors import CollectionError, IntegrityError
from dossier.language_model import Continuation, LanguageModel
from dossier.model import Item, Request, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.evaluation_awareness.asking import Asked, cell_of, texts_of
from evidence_collectors.evaluation_awareness.discrimination.parameters import KIND, DiscriminationParameters
from evidence_collectors.evaluation_awareness.discrimination.prompts import Asking, Question, conversation
from evidence_collectors.items.contrast import Contrast, Split

REPORTED: tuple[Split, ...] = ("test", "transfer")
CHOOSING: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True)
class Arm:
    """What the arm of a trial says."""

    label: str
    split: str
    cell: str
    asking: str
    question: str

    @property
    def name(self) -> str:
        """The arm as it stands in a trial's key."""
        return ".".join((self.label, self.split, self.cell, self.asking, self.question))

    @staticmethod
    def of(key: TrialKey) -> Arm:
        """Return what an arm says. Raises IntegrityError for one that this protocol cannot have."""
        parts = key.arm.split(".")
        if len(parts) != 5:
            raise IntegrityError(f"trial {key.order}: no arm of this protocol")
        return Arm(*parts)


def asked(params: DiscriminationParameters, items: Sequence[Item], seed: str) -> Iterator[Asked]:
    """Yield every question. Raises ConfigError for an item that cannot be asked."""
    splits = (*CHOOSING, *REPORTED) if params.choose_threshold else REPORTED
    for text in texts_of(items, splits=splits, cells=params.cells):
        noted = _noted(text)
        for asking, question in params.formats:
            messages = conversation(text, asking, question)
            for repeat in range(params.repeats):
                key = _key(text, params, asking, question, repeat)
                own = trial_seed(seed, KIND, key)
                request = Request(
                    messages=messages,
                    max_tokens=params.max_tokens if params.read == "answer" else 1,
                    temperature=params.temperature,
                    top_p=params.top_p,
                    seed=own,
                )
                yield Asked(key, own, request, noted)


def weighed(params: DiscriminationParameters, one: Asked, model: LanguageModel) -> Trial:
    """Return the trial that holds the probability of yes and of no as the model's next words.

    Raises:
        CollectionError: the adapter gives no log-probabilities after all.
    """
    words = (*params.yes, *params.no)
    found = list(model.logprobs(Continuation(one.request, word) for word in words))
    if len(found) != len(words) or not all(found):
        raise CollectionError(
            f"{KIND}: log-probabilities of {len(words)} words were asked for, and {sum(map(bool, found))} came back",
            hint='Set the parameter read to "answer".',
        )
    chances = [math.exp(math.fsum(each)) for each in found]
    yes, no = math.fsum(chances[: len(params.yes)]), math.fsum(chances[len(params.yes) :])
    if not (math.isfinite(yes) and math.isfinite(no)):
        return Trial(key=one.key, seed=one.seed, request=None, completion=None, error="a log-probability is not finite")
    measurements: dict[str, JsonValue] = {**one.noted, "yes": yes, "no": no}
    return Trial(key=one.key, seed=one.seed, request=None, completion=None, measurements=measurements)


def _key(text: Contrast, params: DiscriminationParameters, asking: Asking, question: Question, repeat: int) -> TrialKey:
    arm = Arm(text.label, text.split, cell_of(text, params.cells), asking, question)
    return TrialKey(item=text.id, arm=arm.name, repeat=repeat)


def _noted(text: Contrast) -> dict[str, JsonValue]:
    length = sum(len(message.content) for message in text.messages) + len(text.response)
    return {"family": text.family, "pair": text.pair, "length": length}
