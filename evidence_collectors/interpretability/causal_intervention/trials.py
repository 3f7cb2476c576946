"""Which arms has an intervention, on which texts, and which trials does it need? Pure: known before any model is loaded.

A text's trial holds its answer verbatim and its log-odds. A control direction's trial holds, for one arm, whether each text
showed the behaviour and the log-odds, in the order of the texts' ids. ``capability`` holds the neutral texts' nats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydantic import JsonValue

from dossier.errors import ConfigError
from dossier.model import Item, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.causal_intervention.parameters import (
    KIND,
    InterventionParameters,
    Operation,
)
from evidence_collectors.items import contrast
from evidence_collectors.items.contrast import Contrast

PLAIN = "plain"
SELF_TEST = TrialKey(item="self-test", arm="parity", repeat=0)
HANDLE = TrialKey(item="handle", arm="direction", repeat=0)
LABELS: tuple[contrast.Label, ...] = ("positive", "negative")
CONTROLS = ("random", "neutral", "feature")


@dataclass(frozen=True)
class Arm:
    """One way of changing the model. ``strength`` is signed, in units of the mean residual norm, None for `ablate`."""

    name: str
    operation: Operation
    strength: float | None
    controlled: bool


@dataclass(frozen=True)
class Texts:
    """The texts of an item set by what they are for; those asked and the neutral ones are in the order of their ids."""

    train: tuple[Contrast, ...]
    asked: tuple[Contrast, ...]
    neutral_fit: tuple[Contrast, ...]
    neutral_asked: tuple[Contrast, ...]

    def of(self, label: contrast.Label) -> tuple[Contrast, ...]:
        """Return the texts asked of one class."""
        return tuple(text for text in self.asked if text.label == label)

    def controlled(self, params: InterventionParameters) -> tuple[Contrast, ...]:
        """Return the texts that controls are asked on, positive first."""
        return tuple(text for label in LABELS for text in self.of(label)[: params.control_items])


def texts_of(items: Sequence[Item], params: InterventionParameters) -> Texts:
    """Return the texts of an item set.

    Raises:
        ConfigError: a line that is no contrast item, an id twice, or a family of `transfer` in another split.
    """
    parsed = sorted(contrast.parse(items), key=lambda text: text.id)
    names = [text.id for text in parsed]
    twice = [name for name, next_name in pairwise(names) if name == next_name]
    if twice:
        raise ConfigError(f"item {twice[0]!r} is there twice", hint="Give every item an id of its own.")
    labelled = [text for text in parsed if text.label != "neutral"]
    neutral = [text for text in parsed if text.label == "neutral"]
    return Texts(
        train=tuple(text for text in labelled if text.split == "train"),
        asked=tuple(text for text in labelled if text.split in params.splits),
        neutral_fit=tuple(text for text in neutral if text.split not in params.splits and text.split != "transfer"),
        neutral_asked=tuple(text for text in neutral if text.split in params.splits),
    )


def arms(params: InterventionParameters) -> tuple[Arm, ...]:
    """Return the arms, in order: `ablate`, then each operation's doses from strongest negative to strongest positive."""
    found = [Arm("ablate", "ablate", None, controlled=True)] if "ablate" in params.operations else []
    doses = len(params.strengths)
    for operation in params.operations:
        if operation == "ablate":
            continue
        for sign, word in ((-1.0, "minus"), (1.0, "plus")):
            order = range(doses, 0, -1) if sign < 0 else range(1, doses + 1)
            found += [
                Arm(
                    f"{operation}_{word}_{dose}",
                    operation,
                    sign * params.strengths[dose - 1],
                    controlled=params.control_arms == "all" or dose == doses,
                )
                for dose in order
            ]
    return tuple(found)


def controls(params: InterventionParameters) -> Iterator[tuple[str, int]]:
    """Yield every control direction by kind and number."""
    counts = (params.random_directions, params.neutral_directions, params.feature_controls)
    for kind, count in zip(CONTROLS, counts, strict=True):
        for number in range(count):
            yield kind, number


def promised(texts: Texts, params: InterventionParameters) -> Iterator[TrialKey]:
    """Yield the key of every trial."""
    yield SELF_TEST
    yield HANDLE
    names = [arm.name for arm in arms(params)]
    for text in texts.asked:
        for name in (PLAIN, *names):
            yield text_key(text, name)
    for name in names:
        yield capability_key(name)
    for kind, number in controls(params):
        for arm in arms(params):
            if arm.controlled:
                yield control_key(kind, number, arm.name)


def text_key(text: Contrast, arm: str) -> TrialKey:
    """Return the key of one text in one arm."""
    return TrialKey(item=text.id, arm=arm, repeat=0)


def control_key(kind: str, number: int, arm: str) -> TrialKey:
    """Return the key of one control direction in one arm."""
    return TrialKey(item=f"{kind}-{number:02d}", arm=f"control.{arm}", repeat=0)


def capability_key(arm: str) -> TrialKey:
    """Return the key of the neutral texts in one arm."""
    return TrialKey(item="neutral-texts", arm=f"capability.{arm}", repeat=0)


def measured(seed: str, key: TrialKey, measurements: Mapping[str, JsonValue]) -> Trial:
    """Return a trial with what was measured."""
    return Trial(
        key=key, seed=trial_seed(seed, KIND, key), request=None, completion=None, measurements=dict(measurements)
    )


def unread(seed: str, key: TrialKey, error: str) -> Trial:
    """Return a trial that could not be read, and why."""
    return Trial(key=key, seed=trial_seed(seed, KIND, key), request=None, completion=None, error=error)
