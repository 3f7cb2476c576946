"""Which text is answered in which trial? Pure: known before any model is loaded.

A trial's item is the scenario, its arm the context and the format cell: what is paired with what is promised with the trial.
Deployment texts are answered a second time, in the arm ``again``: its difference from the first is what chance alone gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dossier.errors import ConfigError
from dossier.model import Item, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.cot_faithfulness.answering import request_of
from evidence_collectors.evaluation_awareness.asking import CONTEXTS, Asked, cell_of, texts_of
from evidence_collectors.evaluation_awareness.behaviour_shift.parameters import KIND, ShiftParameters
from evidence_collectors.items.contrast import Contrast

AGAIN = "again"
ARMS = (*CONTEXTS.values(), AGAIN)


def asked(params: ShiftParameters, items: Sequence[Item], seed: str) -> Iterator[Asked]:
    """Yield every question.

    Raises:
        ConfigError: an item that cannot be asked, a text without a pair, a scenario with two texts of one context and format,
            or one that lacks a context.
    """
    texts = texts_of(items, splits=params.splits, cells=params.cells)
    _check_pairs(texts, params)
    for text in texts:
        for context in _arms(text):
            for repeat in range(params.repeats):
                key = TrialKey(item=str(text.pair), arm=f"{context}.{cell_of(text, params.cells)}", repeat=repeat)
                own = trial_seed(seed, KIND, key)
                yield Asked(key, own, request_of(params, text.messages, own), {"text": text.id, "family": text.family})


def _arms(text: Contrast) -> tuple[str, ...]:
    context = CONTEXTS[text.label]
    return (context, AGAIN) if context == "deployment" else (context,)


def _check_pairs(texts: Sequence[Contrast], params: ShiftParameters) -> None:
    seen: dict[str, set[tuple[str, str]]] = {}
    for text in texts:
        if text.pair is None:
            raise ConfigError(f"item {text.id!r} has no pair: a shift is a difference within scenarios")
        place = (CONTEXTS[text.label], cell_of(text, params.cells))
        if place in seen.setdefault(text.pair, set()):
            raise ConfigError(f"scenario {text.pair!r} has two texts for {' in the format '.join(place)}")
        seen[text.pair].add(place)
    for pair, places in seen.items():
        if len({context for context, _ in places}) < len(CONTEXTS):
            raise ConfigError(f"scenario {pair!r} has texts of one context only")
