"""Which text is answered in which trial? Pure: known before any model is loaded.

A trial's arm says the text's context and format cell: what is compared is promised with the trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dossier.model import Item, TrialKey
from dossier.statistics import trial_seed
from evidence_collectors.cot_faithfulness.answering import request_of
from evidence_collectors.evaluation_awareness.asking import CONTEXTS, Asked, cell_of, texts_of, with_words
from evidence_collectors.evaluation_awareness.verbalised.parameters import KIND, PROMPT, VerbalisedParameters


def asked(params: VerbalisedParameters, items: Sequence[Item], seed: str) -> Iterator[Asked]:
    """Yield every question; raises ConfigError for an item that cannot be asked."""
    for text in texts_of(items, splits=params.splits, cells=params.cells):
        arm = f"{CONTEXTS[text.label]}.{cell_of(text, params.cells)}"
        for repeat in range(params.repeats):
            key = TrialKey(item=text.id, arm=arm, repeat=repeat)
            own = trial_seed(seed, KIND, key)
            request = request_of(params, with_words(text.messages, PROMPT if params.prompted else ""), own)
            yield Asked(key, own, request, {"pair": text.pair, "family": text.family})
