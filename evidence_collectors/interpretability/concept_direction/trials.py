"""Which trials does a concept direction need, and which texts are they about? Pure: known before any model is loaded.

Arms: ``parity`` is the self-test; ``candidate`` what one layer and position promise on the validation texts; ``direction``
what was chosen; ``spectrum`` how the activations of a split spread; ``projection`` one text on the chosen direction, on the
probe and on every null direction; ``twin`` the same text on models with random weights; ``log_odds`` what the model would
say next, plain and under intervention.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from dossier.errors import ConfigError
from dossier.model import Item, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.concept_direction.parameters import DirectionParameters
from evidence_collectors.items import contrast
from evidence_collectors.items.contrast import Contrast

KIND = "interpretability.concept_direction"
REPORTED: tuple[contrast.Split, ...] = ("test", "transfer")
SELF_TEST = TrialKey(item="self-test", arm="parity", repeat=0)
SELECTED = TrialKey(item="selected", arm="direction", repeat=0)


@dataclass(frozen=True)
class Texts:
    """The texts of an item set by what they are for. ``reported`` are those scored: test, transfer and controls."""

    train: tuple[Contrast, ...]
    validation: tuple[Contrast, ...]
    reported: tuple[Contrast, ...]
    control_set: str | None

    def of(self, split: contrast.Split, label: contrast.Label) -> tuple[Contrast, ...]:
        """Return the texts of a split that have a label."""
        held = {"train": self.train, "validation": self.validation}.get(split, self.reported)
        return tuple(text for text in held if text.split == split and text.label == label)

    def is_control(self, text: Contrast) -> bool:
        """Return whether the recall's threshold is frozen on this text: named, not positive, and nothing was fitted on it."""
        return self.control_set is not None and text.set == self.control_set and text.label != "positive"

    @property
    def answered(self) -> tuple[Contrast, ...]:
        """The texts whose next token is asked: the test split without neutral texts."""
        return tuple(text for text in self.reported if text.split == "test" and text.label != "neutral")

    @property
    def with_responses(self) -> bool:
        """Whether every text has a response, so that a probe can read its mean."""
        return all(text.response for text in (*self.train, *self.validation, *self.reported))


def texts_of(items: Sequence[Item], params: DirectionParameters) -> Texts:
    """Return the texts of an item set.

    Raises:
        ConfigError: a line that is no contrast item, an id twice, or a family of `transfer` in another split.
    """
    parsed = contrast.parse(items)
    seen: set[str] = set()
    for text in parsed:
        if text.id in seen:
            raise ConfigError(f"item {text.id!r} is there twice", hint="Give every item an id of its own.")
        seen.add(text.id)
    labelled = [text for text in parsed if text.label != "neutral"]
    fitted = {text.id for text in parsed if text.split not in REPORTED}
    found = Texts(
        train=tuple(text for text in labelled if text.split == "train"),
        validation=tuple(text for text in labelled if text.split == "validation"),
        reported=(),
        control_set=params.control_set,
    )
    reported = tuple(
        text for text in parsed if text.id not in fitted and (text.label != "neutral" or found.is_control(text))
    )
    return Texts(found.train, found.validation, reported, params.control_set)


def promised(texts: Texts, params: DirectionParameters) -> Iterator[TrialKey]:
    """Yield the key of every trial."""
    yield SELF_TEST
    for layer, position in candidates(params):
        yield candidate_key(layer, position)
    yield SELECTED
    for split in REPORTED:
        yield spectrum_key(split)
    for text in texts.reported:
        yield text_key(text, "projection")
        yield text_key(text, "twin")
    for text in texts.answered:
        yield text_key(text, "log_odds")


def candidates(params: DirectionParameters) -> Iterator[tuple[int, str]]:
    """Yield every layer and position that is a candidate."""
    for position in params.positions:
        for layer in params.layers:
            yield layer, position


def candidate_key(layer: int, position: str) -> TrialKey:
    """Return the key of one candidate."""
    return TrialKey(item=f"layer-{layer}.{position}", arm="candidate", repeat=0)


def spectrum_key(split: str) -> TrialKey:
    """Return the key of one split's spread."""
    return TrialKey(item=split, arm="spectrum", repeat=0)


def text_key(text: Contrast, arm: str) -> TrialKey:
    """Return the key of one text's reading."""
    return TrialKey(item=text.id, arm=arm, repeat=0)


def measured(seed: str, key: TrialKey, measurements: Mapping[str, JsonValue]) -> Trial:
    """Return a trial with what was measured."""
    return Trial(
        key=key, seed=trial_seed(seed, KIND, key), request=None, completion=None, measurements=dict(measurements)
    )


def unread(seed: str, key: TrialKey, error: str) -> Trial:
    """Return a trial that could not be read, and why."""
    return Trial(key=key, seed=trial_seed(seed, KIND, key), request=None, completion=None, error=error)
