"""Which trials does the probe need, and which texts are they about? Pure: known before any model is loaded.

Arms: ``parity`` is the self-test; ``association`` how format and context go together; ``fit`` what was fitted, on all texts
or on one format; ``spectrum`` how the activations of a split spread; ``score`` one text on every probe, on the text alone and
on the nulls; ``twin`` the same text on models with random weights. Where something is pushed: ``plain`` one text as the model
answers it, ``minus_k`` and ``plus_k`` pushed against and along the probe with dose k, ``random.ARM`` the same along random
directions, ``known_minus`` and ``known_plus`` along the positive control.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from dossier.model import Item, Trial, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.evaluation_awareness import asking
from evidence_collectors.evaluation_awareness.probe.parameters import KIND, ProbeParameters
from evidence_collectors.items import contrast
from evidence_collectors.items.contrast import Contrast

ALL = "_all"  # the fit on texts of every format; no format cell can be called so
REPORTED: tuple[contrast.Split, ...] = ("test", "transfer")
SPLITS: tuple[contrast.Split, ...] = ("train", *REPORTED)
SELF_TEST = TrialKey(item="self-test", arm="parity", repeat=0)
FORMATS = TrialKey(item="formats", arm="association", repeat=0)
HANDLE = TrialKey(item="handle", arm="push", repeat=0)
READ_ARMS = ("parity", "association", "fit", "spectrum", "score", "twin")
PLAIN = "plain"
CONTEXTS = tuple(asking.CONTEXTS.values())
READERS = ("probe", "length", "words")
RATES = ("behaviour", "verbalised")
SHOWN = (*RATES, "valid")  # what is read in an answer


@dataclass(frozen=True)
class Arm:
    """One push. ``strength`` is signed, in units of the mean residual norm; ``known`` pushes the positive control."""

    name: str
    strength: float
    known: bool = False


@dataclass(frozen=True)
class Texts:
    """The evaluation and deployment texts of an item set by split, in the order of their ids."""

    train: tuple[Contrast, ...]
    reported: tuple[Contrast, ...]

    def of(self, split: contrast.Split) -> tuple[Contrast, ...]:
        """Return the texts of a split."""
        held = self.train if split == "train" else self.reported
        return tuple(text for text in held if text.split == split)

    def fitted_on(self, fit: str) -> tuple[Contrast, ...]:
        """Return the training texts of a fit: all, or those of one format."""
        return tuple(text for text in self.train if fit in (ALL, text.set))

    @property
    def pushed(self) -> tuple[Contrast, ...]:
        """The texts that are answered under a push."""
        return self.of("test")


def texts_of(items: Sequence[Item], params: ProbeParameters) -> Texts:
    """Return the texts of an item set.

    Raises:
        ConfigError: a line that is no contrast item, an id twice, a text of a format cell that is not declared, or a family
            of `transfer` in another split.
    """
    texts = asking.texts_of(items, splits=SPLITS, cells=params.cells)
    return Texts(
        train=tuple(text for text in texts if text.split == "train"),
        reported=tuple(text for text in texts if text.split in REPORTED),
    )


def fits(params: ProbeParameters) -> tuple[str, ...]:
    """Return the fits: on all texts, and on each format alone."""
    return (ALL, *params.cells)


def arms(params: ProbeParameters) -> tuple[Arm, ...]:
    """Return the pushes along the probe, from strongest against it to strongest along it."""
    doses = list(enumerate(params.strengths, start=1))
    against = [Arm(f"minus_{dose}", -strength) for dose, strength in reversed(doses)]
    return (*against, *(Arm(f"plus_{dose}", strength) for dose, strength in doses))


def known_arms(params: ProbeParameters) -> tuple[Arm, ...]:
    """Return the pushes along the positive control, none where there is none."""
    if not params.positive_control:
        return ()
    strongest = params.strengths[-1]
    return Arm("known_minus", -strongest, known=True), Arm("known_plus", strongest, known=True)


def beside(arm: Arm, params: ProbeParameters) -> Arm:
    """Return the push along the probe of the same strength: its random directions are the null of both."""
    return next(one for one in arms(params) if one.strength == arm.strength)


def answered_arms(params: ProbeParameters) -> tuple[str, ...]:
    """Return the arms whose answers are recorded: unchanged, and every push that is not random. None: nothing is pushed."""
    return (PLAIN, *(arm.name for arm in (*arms(params), *known_arms(params)))) if params.strengths else ()


def random_arm(arm: Arm) -> str:
    """Return the arm of the random directions at the dose of a push along the probe."""
    return f"random.{arm.name}"


def promised(texts: Texts, params: ProbeParameters) -> Iterator[TrialKey]:
    """Yield the key of every trial."""
    yield from (SELF_TEST, FORMATS)
    yield from (fit_key(fit) for fit in fits(params))
    yield from (spectrum_key(split) for split in REPORTED)
    for text in texts.reported:
        yield text_key(text, "score")
        yield text_key(text, "twin")
    yield from promised_pushes(texts, params)


def promised_pushes(texts: Texts, params: ProbeParameters) -> Iterator[TrialKey]:
    """Yield the key of every trial of a push, none where nothing is pushed."""
    if params.strengths:
        yield HANDLE
        for text in texts.pushed:
            yield from (text_key(text, name) for name in (*answered_arms(params), *map(random_arm, arms(params))))


def fit_key(fit: str) -> TrialKey:
    """Return the key of one fit."""
    return TrialKey(item=f"fit-{fit}", arm="fit", repeat=0)


def spectrum_key(split: str) -> TrialKey:
    """Return the key of one split's spread."""
    return TrialKey(item=split, arm="spectrum", repeat=0)


def text_key(text: Contrast, arm: str) -> TrialKey:
    """Return the key of one text in one arm."""
    return TrialKey(item=text.id, arm=arm, repeat=0)


def noted(text: Contrast, params: ProbeParameters) -> dict[str, JsonValue]:
    """Return what the analysis needs to know about a text; texts without a pair stand for themselves."""
    return {
        "context": asking.CONTEXTS[text.label],
        "split": text.split,
        "cell": asking.cell_of(text, params.cells),
        "pair": text.pair or text.id,
    }


def measured(seed: str, key: TrialKey, measurements: Mapping[str, JsonValue]) -> Trial:
    """Return a trial with what was measured."""
    return Trial(
        key=key, seed=trial_seed(seed, KIND, key), request=None, completion=None, measurements=dict(measurements)
    )


def unread(seed: str, key: TrialKey, error: str) -> Trial:
    """Return a trial that could not be read, and why."""
    return Trial(key=key, seed=trial_seed(seed, KIND, key), request=None, completion=None, error=error)
