"""What is read on the texts that are reported on? Each phase returns measurements by (item, arm), or fails as a whole.

Values of the features that were chosen, the same pipeline on random weights, the ablations, the dictionary spliced in, and an
earlier version of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from dossier.errors import CollectionError
from dossier.language_model import Array, Edit
from evidence_collectors.interpretability import reading
from evidence_collectors.interpretability.sae_features import selection
from evidence_collectors.interpretability.sae_features.choosing import features_of, probe_of
from evidence_collectors.interpretability.sae_features.setup import (
    Features,
    Floats,
    Key,
    Learned,
    Measured,
    Setup,
    ablated,
    about,
    choosing,
    read_features,
    reporting,
    spliced,
    unasked,
)
from evidence_collectors.interpretability.sparse_statistics import CHUNK
from evidence_collectors.items.contrast import Contrast

DENSE = (0.01, 0.1)  # firing rates above which SAEBench calls a feature dense


def read(setup: Setup, learned: Learned) -> Measured:
    """Read chosen and random features, the probe, and the dictionary's health on the texts that are reported on."""
    texts = reporting(setup.texts, setup.params)
    random = learned.random or ()
    k, width = len(learned.chosen.indices), len(learned.chosen.indices) * (1 + len(random))
    watch = (*learned.chosen.indices, *(one for group in random for one in group.indices), *learned.changes)
    found = read_features(setup.model, texts, setup, whole=True, watch=watch)
    values = found.watched
    chosen = learned.chosen.score(values[:, :k])
    others = [group.score(values[:, k * (1 + n) : k * (2 + n)]) for n, group in enumerate(random)]
    probe = learned.probe.score(found.activations)
    measured: dict[Key, Mapping[str, JsonValue]] = {
        Key(text.id, "read"): {
            **about(text, setup.params),
            "features": values[row, :k].tolist(),
            "set": float(chosen[row]) if k else None,
            "random": None if learned.random is None else [float(group[row]) for group in others],
            "probe": float(probe[row]),
            "changed": values[row, width:].tolist(),
            "tokens": int(found.text_tokens[row]),
            "active": int(found.text_active[row]),
            "error": float(found.text_error[row]),
            "spread": float(found.text_spread[row]),
        }
        for row, text in enumerate(texts)
    }
    rates, total = found.counts / found.tokens, max(float(found.counts.sum()), 1.0)
    measured[Key("dictionary", "census")] = {
        "tokens": found.tokens,
        "width": setup.dictionary.width,
        "alive": int((found.counts > 0).sum()),
        **{f"dense_{100 * rate:g}": float(found.counts[rates > rate].sum() / total) for rate in DENSE},
    }
    return measured


def twin(setup: Setup, learned: Learned) -> Measured:
    """Choose and read again on a model with random weights, whose activations are scaled to the subject's mean norm."""
    params, texts = setup.params, choosing(setup.texts)
    model = setup.model.random_twin(setup.seed_of("twin"))
    scale = learned.norm / max(read_features(model, texts, setup, whole=False).norm, 1e-30)
    whole = read_features(model, texts, setup, whole=True, scale=scale)
    positive = np.array([text.label == "positive" for text in texts])
    profile = selection.profile(whole.at_position, positive, ~positive, width=setup.dictionary.width)
    features = features_of(selection.chosen(profile, params.top_k), profile, signed=False)
    probe = probe_of(whole.activations, positive, params.ridge)
    report = reporting(setup.texts, params)
    found = read_features(model, report, setup, whole=False, watch=features.indices, scale=scale)
    scores = features.score(found.watched) if features.indices else np.zeros(len(report))
    probed = probe.score(found.activations)
    return {
        Key(text.id, "twin"): {**about(text, params), "set": float(scores[row]), "probe": float(probed[row])}
        for row, text in enumerate(report)
    }


def ablate(setup: Setup, learned: Learned) -> Measured:
    """Take the chosen features' contribution away, and each random set's, and read the behaviour's log-odds."""
    if not learned.chosen.indices:
        raise CollectionError("no feature fires more on positives, so there is none to take away")
    texts = ablated(setup.texts)
    odds = _log_odds(setup, texts)
    clean = odds(())
    after, *random = (odds([_without(setup, group)]) for group in (learned.chosen, *(learned.random or ())))
    return {
        Key(text.id, "ablate"): {
            **about(text, setup.params),
            "before": float(clean[row]),
            "after": float(after[row]),
            "random": None if learned.random is None else [float(one[row]) for one in random],
        }
        for row, text in enumerate(texts)
    }


def behaviour(setup: Setup, learned: Learned) -> Measured:
    """Read the behaviour's log-odds on negative items, with nothing taken away."""
    texts = unasked(setup.texts)
    return {
        Key(text.id, "behaviour"): {**about(text, setup.params), "before": float(found)}
        for text, found in zip(texts, _log_odds(setup, texts)(()), strict=True)
    }


def fidelity(setup: Setup, learned: Learned) -> Measured:
    """Put the reconstruction, and then nothing, in the activations' place, and read how well texts are predicted.

    Each text's first token stays as it is.
    """
    texts = spliced(setup.texts, setup.params)
    asked = [text.continuation() for text in texts]

    def rebuilt(value: Array) -> Array:
        dictionary, flat = setup.dictionary.like(value), value.reshape(-1, value.shape[-1])
        parts = [dictionary.decode(dictionary.encode(part), part) for part in flat.split(CHUNK)]
        return _keeping_first(value, _joined(parts, value))

    clean = reading.mean_token_nats(setup.model, asked)
    with_it = reading.mean_token_nats(setup.model, asked, edits=[Edit(setup.point, rebuilt)])
    gone = reading.mean_token_nats(
        setup.model, asked, edits=[Edit(setup.point, lambda value: _keeping_first(value, value * 0.0))]
    )
    return {
        Key(text.id, "fidelity"): {
            **about(text, setup.params),
            "clean": float(clean[row]),
            "dictionary": float(with_it[row]),
            "ablated": float(gone[row]),
        }
        for row, text in enumerate(texts)
    }


def baseline(setup: Setup, learned: Learned) -> Measured:
    """Read the most changed features in the earlier version."""
    assert setup.baseline is not None
    texts = reporting(setup.texts, setup.params)
    found = read_features(setup.baseline, texts, setup, whole=False, watch=learned.changes)
    return {
        Key(text.id, "baseline"): {**about(text, setup.params), "changed": found.watched[row].tolist()}
        for row, text in enumerate(texts)
    }


PHASES: Mapping[str, Callable[[Setup, Learned], Measured]] = {
    "read": read,
    "twin": twin,
    "ablate": ablate,
    "behaviour": behaviour,
    "fidelity": fidelity,
    "baseline": baseline,
}


def _log_odds(setup: Setup, texts: Sequence[Contrast]) -> Callable[[Sequence[Edit]], Floats]:
    """Return what reads the behaviour's log-odds on the texts under edits."""
    tokens = [setup.model.token_ids(text)[:1] for text in setup.params.behaviour_tokens]
    if not all(tokens):
        raise CollectionError("a behaviour token is no token of this model")
    asked, behaviour = [text.continuation() for text in texts], [token for (token,) in tokens]
    return lambda edits: reading.log_odds(setup.model, asked, behaviour, edits=edits)


def _without(setup: Setup, group: Features) -> Edit:
    def change(value: Array) -> Array:
        return value - setup.dictionary.like(value).contribution(value, group.indices)

    return Edit(setup.point, change)


def _joined(parts: Sequence[Array], value: Array) -> Array:
    import torch

    return torch.cat(list(parts)).reshape(value.shape)


def _keeping_first(value: Array, new: Array) -> Array:
    import torch

    return torch.cat([value[:, :1], new[:, 1:]], dim=1)
