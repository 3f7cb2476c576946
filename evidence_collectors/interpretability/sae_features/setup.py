"""With which texts, which model and which dictionary does a run read?

Texts of the splits `train` and `validation` choose; those of `test` and `transfer` are reported on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from dossier import probing
from dossier.collector import Inputs
from dossier.errors import CollectionError
from dossier.language_model import WhiteBoxModel
from dossier.model import TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.interpretability.sae_features.parameters import KIND, SaeFeaturesParameters
from evidence_collectors.interpretability.sparse_statistics import FeatureStatistics, Reading, stream
from evidence_collectors.items import contrast
from evidence_collectors.items.contrast import Contrast, Split

if TYPE_CHECKING:
    from evidence_collectors.models.dictionaries import Dictionary

CHOOSE: tuple[Split, ...] = ("train", "validation")
REPORT: tuple[Split, ...] = ("test", "transfer")

Floats = NDArray[np.float64]


class Key(NamedTuple):
    """Which trial."""

    item: str
    arm: str


Measured = Mapping[Key, Mapping[str, JsonValue]]


@dataclass(frozen=True, eq=False)
class Setup:
    """What a run reads with; the dictionary was compared with the subject."""

    model: WhiteBoxModel
    texts: tuple[Contrast, ...]
    params: SaeFeaturesParameters
    seed: str
    dictionary: Dictionary
    point: str
    baseline: WhiteBoxModel | None

    def seed_of(self, what: str) -> str:
        """Return a seed for draws that belong to no item."""
        return trial_seed(self.seed, KIND, TrialKey(item="dictionary", arm=what, repeat=0))


@dataclass(frozen=True, eq=False)
class Features:
    """Features whose sum in units of their deviation is a score; signs are +1 for chosen ones. All (k,)."""

    indices: tuple[int, ...]
    scales: Floats
    signs: Floats

    def score(self, values: Floats) -> Floats:
        """Return the score (t,) of values (t, k)."""
        total: Floats = (values * (self.signs / self.scales)).sum(axis=1)
        return total


@dataclass(frozen=True, eq=False)
class Probe:
    """The dense baseline on standardised activations."""

    mean: Floats
    deviation: Floats
    fitted: probing.LinearProbe

    def score(self, activations: Floats) -> Floats:
        """Return the log-odds (t,) of activations (t, d)."""
        scores: Floats = (activations - self.mean) / self.deviation @ self.fitted.weights + self.fitted.bias
        return scores


@dataclass(frozen=True, eq=False)
class Learned:
    """What the first phase chose; ``random`` has a set of companions each, None where there are too few features."""

    chosen: Features
    random: tuple[Features, ...] | None
    probe: Probe
    changes: tuple[int, ...]
    norm: float


def choosing(texts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Return the texts that choose."""
    return tuple(text for text in contrast.chosen(texts, splits=CHOOSE) if text.label != "neutral")


def reporting(texts: Sequence[Contrast], params: SaeFeaturesParameters) -> tuple[Contrast, ...]:
    """Return the texts that are reported on: of both labels, neutral ones, and the control set."""
    return contrast.chosen(texts, splits=REPORT)


def ablated(texts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Return the texts on which features are taken away."""
    return contrast.chosen(texts, label="positive", splits=REPORT)


def unasked(texts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Return the texts that do not ask for the behaviour: what it is likelier than on the ablated ones."""
    return contrast.chosen(texts, label="negative", splits=REPORT)


def spliced(texts: Sequence[Contrast], params: SaeFeaturesParameters) -> tuple[Contrast, ...]:
    """Return the texts on which the dictionary takes the activations' place: those with a response, else all reported."""
    report = reporting(texts, params)
    return tuple(text for text in report if text.response) or report


def prepare(inputs: Inputs, texts: tuple[Contrast, ...], params: SaeFeaturesParameters, seed: str) -> Setup:
    """Open the model and the dictionary.

    Raises:
        CollectionError: an input is missing, cannot be read, or does not belong to the model.
    """
    from evidence_collectors.models import dictionaries, dictionary_files

    model = inputs.opened()
    if "dictionary" not in inputs.files:
        raise CollectionError(f"{KIND}: the input 'dictionary' is missing")
    dictionary = dictionary_files.load(inputs.files["dictionary"])
    point = dictionaries.point_of(dictionary, model.layout, point=params.point)
    if params.other_weights:
        stated = dictionaries.Stated(dictionary.stated.point, dictionary.stated.target)
        dictionary = replace(dictionary, stated=stated)
    (batch,) = model.capture([texts[0].continuation()], [point])
    dictionaries.check_fits(dictionary, model.subject, width=int(batch.at[point].shape[-1]), point=point)
    baseline = inputs.models.get("baseline")
    if params.compare and (baseline is None or "capture" not in baseline.capabilities):
        raise CollectionError(
            f"{KIND}: the parameter `compare` is set, and the input 'baseline' is "
            + ("missing" if baseline is None else "a model that only answers")
        )
    return Setup(model, texts, params, seed, dictionary, point, cast("WhiteBoxModel | None", baseline))


def about(text: Contrast, params: SaeFeaturesParameters) -> dict[str, JsonValue]:
    """Return what an observation needs to know of an item; matched items are one cluster."""
    return {
        "label": text.label,
        "split": text.split,
        "cluster": text.pair or text.id,
        "control": bool(params.control_set) and text.set == params.control_set,
    }


def read_features(
    model: WhiteBoxModel,
    texts: Sequence[Contrast],
    setup: Setup,
    *,
    whole: bool,
    watch: tuple[int, ...] = (),
    scale: float = 1.0,
) -> FeatureStatistics:
    """Return what the dictionary reads on texts: all features, or with ``whole`` False the watched ones only."""
    one = Reading(setup.dictionary, setup.point, setup.params.position, watch=watch, whole=whole, scale=scale)
    return stream(model, [text.continuation() for text in texts], {"it": one})["it"]
