"""Which trials does a stability run promise, and which texts are they about? Pure: known before any model is loaded.

Arms of a text: ``clean`` and one for every attack, by its name; ``<arm>.answer`` is what the model writes after it. Items of
the instrument's own: ``step-self-test`` (arm ``parity``), ``step-search`` (an arm for each searched suffix), ``step-shift``
(an arm for ``clean`` and every attack: what needs all texts of the arm together), ``step-twin``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dossier.errors import ConfigError
from dossier.model import Item, Request, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.adversarial_stability.parameters import (
    CLEAN,
    KIND,
    SEARCHED,
    StabilityParameters,
    labels,
    planned,
)
from evidence_collectors.items import contrast
from evidence_collectors.items.attacks import Attack, request
from evidence_collectors.items.contrast import Contrast

REPORTED: tuple[contrast.Split, ...] = ("test", "transfer")
SELF_TEST = TrialKey(item="step-self-test", arm="parity", repeat=0)
TWIN = TrialKey(item="step-twin", arm=CLEAN, repeat=0)
SEARCH, SHIFT = "step-search", "step-shift"
OWN = frozenset({SELF_TEST.item, TWIN.item, SEARCH, SHIFT})


@dataclass(frozen=True)
class Texts:
    """The positive and negative texts of an item set by what they are for, each in order."""

    train: tuple[Contrast, ...]
    validation: tuple[Contrast, ...]
    reported: tuple[Contrast, ...]

    @property
    def asked(self) -> tuple[Contrast, ...]:
        """The texts whose answer is generated: the positive ones that are reported."""
        return contrast.chosen(self.reported, label="positive")

    def read_under(self, arm: str) -> tuple[Contrast, ...]:
        """The texts read in an arm: the threshold is frozen on clean texts, so validation is read clean only."""
        return (*self.train, *(self.validation if arm == CLEAN else ()), *self.reported)


def texts_of(items: Sequence[Item]) -> Texts:
    """Return the texts of an item set.

    Raises:
        ConfigError: a line that is no contrast item, an id that is there twice or belongs to the instrument.
    """
    found = [text for text in contrast.parse(items) if text.label != "neutral"]
    seen: set[str] = set()
    for text in found:
        if text.id in seen or text.id in OWN:
            raise ConfigError(f"item {text.id!r} is there twice, or is a name this instrument uses itself")
        seen.add(text.id)
    return Texts(
        train=contrast.chosen(found, splits=("train",)),
        validation=contrast.chosen(found, splits=("validation",)),
        reported=contrast.chosen(found, splits=REPORTED),
    )


def promised(
    params: StabilityParameters, items: Sequence[Item], seed: str
) -> Iterator[tuple[TrialKey, str, Request | None]]:
    """Yield key, seed and, where it is known beforehand, request of every trial."""
    texts = texts_of(items)
    keys = [SELF_TEST, *(TrialKey(item=SEARCH, arm=SEARCHED[one], repeat=0) for one in params.searches)]
    keys += [TWIN] if params.twin else []
    for arm in arms(params):
        keys.append(TrialKey(item=SHIFT, arm=arm, repeat=0))
        keys += [TrialKey(item=text.id, arm=arm, repeat=0) for text in texts.read_under(arm)]
    yield from ((key, trial_seed(seed, KIND, key), None) for key in keys)
    if params.generate:
        known: dict[str, Attack | None] = {CLEAN: None, **{one.name: one for one in planned(params)}}
        for arm in arms(params):
            for key, own, text in answer_keys(texts, arm, seed):
                yield key, own, question(text, known[arm], params, own) if arm in known else None


def arms(params: StabilityParameters) -> tuple[str, ...]:
    """Return the arms in which texts are read: clean, and every attack."""
    return (CLEAN, *(one.name for one in labels(params)))


def answer_keys(texts: Texts, arm: str, seed: str) -> Iterator[tuple[TrialKey, str, Contrast]]:
    """Yield key, seed and text of every answer of an arm."""
    for text in texts.asked:
        key = TrialKey(item=text.id, arm=answer_arm(arm), repeat=0)
        yield key, trial_seed(seed, KIND, key), text


def answer_arm(arm: str) -> str:
    """Return the arm of the answers that belong to an arm."""
    return f"{arm}.answer"


def question(text: Contrast, attack: Attack | None, params: StabilityParameters, seed: str) -> Request:
    """Return what is asked: the text under an attack, or as it is."""
    changed = text if attack is None else attack.apply(text)
    return request(changed, max_tokens=params.max_tokens, seed=seed, temperature=params.temperature)
