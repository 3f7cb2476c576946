"""How are suffixes searched against this model, on training and validation texts, before any test text is attacked?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from dossier import canonical
from dossier.collector import Artifact
from dossier.errors import CollectionError
from dossier.model import Trial, TrialKey
from dossier.ranking import recall_at_fpr
from evidence_collectors.interpretability.adversarial_stability.activations import Read, measured_trial
from evidence_collectors.interpretability.adversarial_stability.measures import Direction
from evidence_collectors.interpretability.adversarial_stability.parameters import KIND, SEARCHED, Search
from evidence_collectors.interpretability.adversarial_stability.read import Run, unread
from evidence_collectors.interpretability.adversarial_stability.trials import SEARCH
from evidence_collectors.interpretability.directions import number, own_seed
from evidence_collectors.interpretability.suffix_search import Budget, Found, Method, Monitor, Task, search
from evidence_collectors.items.attacks import Attack
from evidence_collectors.items.contrast import Contrast, chosen


def searched(
    run: Run, clean: Read, direction: Direction, known: dict[str, Attack | None]
) -> Iterator[Trial | Artifact]:
    """Search the planned suffixes, add them to ``known``, and yield what was found; their texts only as an artifact."""
    texts: dict[str, JsonValue] = {}
    for name in run.params.searches:
        key = TrialKey(item=SEARCH, arm=SEARCHED[name], repeat=0)
        try:
            found = _search(run, clean, direction, name)
        except CollectionError as error:
            yield measured_trial(run.frame, key, {}, error=error.message)
            yield from unread(run, (SEARCHED[name],), error)
            continue
        known[SEARCHED[name]] = found.attack(SEARCHED[name], adaptive=name == "adaptive", control=name == "random")
        texts[SEARCHED[name]] = found.text
        yield measured_trial(
            run.frame,
            key,
            {
                "text_sha256": canonical.sha256(found.text.encode()),
                "tokens": len(found.token_ids),
                "start": number(found.start),
                "train": number(found.train),
                "validation_start": number(found.validation_start),
                "validation": number(found.validation),
                "evaluated": found.evaluated,
                "trace": [number(one) for one in found.trace],
            },
        )
    if texts:
        yield Artifact("suffixes.json", "application/json", json.dumps(texts, sort_keys=True).encode())


def _search(run: Run, clean: Read, direction: Direction, name: Search) -> Found:
    params, texts = run.params, run.texts
    monitor = None
    if name == "adaptive":
        threshold = _threshold(run, clean, direction)
        unit = direction.unit / direction.gap
        monitor = Monitor(
            params.point,
            params.position,
            unit,
            direction.origin / direction.gap,
            threshold,
            params.adaptive_weight,
        )
    count = params.search_items
    task = Task(
        train=chosen(texts.train, label="positive")[:: _stride(texts.train, count)][:count],
        validation=chosen(texts.validation, label="positive")[:: _stride(texts.validation, count)][:count],
        token_ids=run.openers,
        monitor=monitor,
    )
    methods: Mapping[Search, Method] = {"gradient": "gradient", "adaptive": "gradient", "random": "none"}
    budget = Budget(params.search_length, params.search_steps, params.search_candidates)
    return search(run.model, task, budget, seed=own_seed(run.seed, KIND, "suffix"), method=methods[name])


def _threshold(run: Run, clean: Read, direction: Direction) -> float:
    rows = clean.rows(chosen(run.texts.validation, label="negative"))
    controls = direction.projections(clean.values[rows])
    frozen = recall_at_fpr(controls, controls, fpr=run.params.target_fpr)  # positives play no part in it
    if frozen is None:
        raise CollectionError("no threshold to evade: the validation split has no negative text")
    return frozen.threshold


def _stride(texts: Sequence[Contrast], count: int) -> int:
    """Return the step that spreads a choice over all families of a split."""
    return max(1, len(chosen(texts, label="positive")) // count)
