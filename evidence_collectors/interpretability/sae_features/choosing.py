"""Does the reading itself work, and which features are chosen? The first phase, on texts that are reported on nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from dossier import probing
from dossier.errors import CollectionError
from dossier.model import digest_of
from evidence_collectors.interpretability.sae_features import selection
from evidence_collectors.interpretability.sae_features.setup import (
    Features,
    Floats,
    Key,
    Learned,
    Measured,
    Probe,
    Setup,
    choosing,
    read_features,
)
from evidence_collectors.interpretability.sparse_statistics import FeatureStatistics
from evidence_collectors.items.contrast import Contrast


def learn(setup: Setup) -> tuple[Learned, Measured]:
    """Test the reading itself, then choose features and fit the dense probe."""
    texts, params = choosing(setup.texts), setup.params
    for label in ("positive", "negative"):
        if not any(text.label == label for text in texts):
            raise CollectionError(f"no {label} items in the splits train and validation, where features are chosen")
    whole = read_features(setup.model, texts, setup, whole=True)
    positive = np.array([text.label == "positive" for text in texts])
    profile = selection.profile(whole.at_position, positive, ~positive, width=setup.dictionary.width)
    chosen = selection.chosen(profile, params.top_k)
    measured: dict[Key, Mapping[str, JsonValue]] = {
        Key("self-test", "subject"): _self_test(setup, whole, positive),
    }
    norms = setup.dictionary.w_dec.norm(dim=-1).double().cpu().numpy()
    drawn = selection.companions(profile, norms, chosen, sets=params.random_sets, seed=setup.seed_of("random"))
    random = None if drawn is None or not chosen else tuple(features_of(row, profile, signed=True) for row in drawn)
    for place, feature in enumerate(chosen):
        measured[Key(f"feature-{place + 1}", "selected")] = {
            "feature": feature,
            "correlation": float(profile.correlation[feature]),
            "share": float(profile.share[feature]),
            "scale": float(profile.deviation[feature]),
            "decoder_norm": float(norms[feature]),
            "firing_rate": float(whole.counts[feature] / whole.tokens),
            "mean_when_active": float(whole.sums[feature] / max(whole.counts[feature], 1)),
            "largest": float(whole.largest[feature]),
            "tokens": _top_tokens(setup, feature),
            "texts": _top_texts(whole, texts, feature, params.top_texts),
            "random": None if drawn is None else [int(one) for one in drawn[:, place]],
        }
    changes = _changes(setup, whole, texts)
    for place, (feature, change, deviation) in enumerate(changes):
        told: dict[str, JsonValue] = {"feature": feature, "change": change, "deviation": deviation}
        measured[Key(f"change-{place + 1}", "changed")] = told
    learned = Learned(
        chosen=features_of(chosen, profile, signed=False),
        random=random,
        probe=probe_of(whole.activations, positive, params.ridge),
        changes=tuple(feature for feature, *_ in changes),
        norm=whole.norm,
    )
    return learned, measured


def _self_test(setup: Setup, whole: FeatureStatistics, positive: NDArray[np.bool_]) -> dict[str, JsonValue]:
    dictionary = setup.dictionary
    return {
        "parity": setup.model.parity(),
        "l0": float(whole.text_active.sum() / whole.tokens),
        "fvu": float(whole.text_error.sum() / max(whole.text_spread.sum(), 1e-30)),
        "first_component_share": probing.first_component_share(whole.activations),
        "mean_norm": whole.norm,
        "tokens": whole.tokens,
        "positives": int(positive.sum()),
        "negatives": int((~positive).sum()),
        "width": dictionary.width,
        "d_in": dictionary.d_in,
        "architecture": dictionary.architecture,
        "normalisation": dictionary.normalisation,
        "bias_from_input": dictionary.bias_from_input,
        "point": setup.point,
        "stated_l0": None if dictionary.stated.l0 is None else float(dictionary.stated.l0),
        "stated_model": dictionary.stated.model,
        "same_weights": None if dictionary.stated.weights_sha256 is None else True,
    }


def features_of(indices: Sequence[int] | NDArray[np.int64], profile: selection.Profile, *, signed: bool) -> Features:
    """Return features with their scales; ``signed`` orients each by its correlation where features are chosen."""
    chosen = [int(one) for one in indices]
    signs = np.where(profile.correlation[chosen] < 0.0, -1.0, 1.0) if signed else np.ones(len(chosen))
    return Features(tuple(chosen), profile.deviation[chosen], signs)


def probe_of(activations: Floats, positive: NDArray[np.bool_], ridge: float) -> Probe:
    """Return the dense baseline, fitted on activations (t, d) of both labels."""
    deviation = activations.std(axis=0)
    deviation = np.where(deviation > 0.0, deviation, 1.0)
    mean = activations.mean(axis=0)
    fitted = probing.linear_probe((activations - mean) / deviation, positive.astype(float), ridge=ridge)
    assert fitted is not None  # both labels are there
    return Probe(mean, deviation, fitted)


def _top_tokens(setup: Setup, feature: int) -> str:
    """Return the tokens whose logits the feature raises most directly, as JSON text in ASCII: they may be anything."""
    unembedding = setup.model.parameter(f"{setup.model.layout.unembedding}.weight")
    row = setup.dictionary.decoder_rows([feature])[0].to(unembedding.device, unembedding.dtype)
    top = (unembedding @ row).topk(min(setup.params.top_tokens, len(unembedding))).indices
    return json.dumps([setup.model.token_text([int(token)]) for token in top])


def _top_texts(whole: FeatureStatistics, texts: Sequence[Contrast], feature: int, count: int) -> list[JsonValue]:
    """Return the digests of the texts that choose in which the feature is strongest at the position."""
    found = whole.at_position
    mine = np.flatnonzero(found.feature == feature)
    order = mine[np.lexsort((found.text[mine], -found.value[mine]))][:count]
    return [digest_of(texts[int(found.text[entry])]) for entry in order]


def _changes(setup: Setup, whole: FeatureStatistics, texts: Sequence[Contrast]) -> tuple[tuple[int, float, float], ...]:
    if not setup.params.compare:
        return ()
    assert setup.baseline is not None
    before = read_features(setup.baseline, texts, setup, whole=True)
    return selection.changed(
        whole.at_position,
        before.at_position,
        texts=len(texts),
        width=setup.dictionary.width,
        count=setup.params.changes,
    )
