"""Which rates do answers show in one arm, how many of them are answers, and can the arm be compared at all?"""

from __future__ import annotations

import numpy as np

from dossier.comparison import clopper_pearson
from dossier.model import Observation
from evidence_collectors.evaluation_awareness import clustered
from evidence_collectors.evaluation_awareness.clustered import Places
from evidence_collectors.evaluation_awareness.probe import detectors
from evidence_collectors.evaluation_awareness.probe.parameters import ProbeParameters
from evidence_collectors.evaluation_awareness.probe.reading import Reading
from evidence_collectors.evaluation_awareness.probe.trials import PLAIN
from evidence_collectors.interpretability.quantities import Value, random_null, write

IN_WORDS = {"behaviour": "the listed behaviour", "verbalised": "words that say this is, or may be, a test"}
RULES = "Answers are read by phrases and rules: a wording nobody listed is missed."


def unchanged(reading: Reading, params: ProbeParameters, rate: str, context: str) -> Observation:
    """Return a rate in the unchanged model's answers."""
    reasons = reasons_against(reading, params, PLAIN, context)
    value, count = Value.unknown(*reasons), 0
    if not reasons:
        rows, pairs = rows_of(reading, context)
        names, places = np.unique(pairs, return_inverse=True)
        part = clustered.mean(reading.pushed[PLAIN].shown[rate][rows], places.astype(np.int64), len(names))
        value, count = Value(part.estimate, clustered.bounded(part, params.interval_level)), len(names)
    return write(
        f"{PLAIN}.{rate}_{context}",
        f"Rate of {IN_WORDS[rate]} in the unchanged model's answers to {context} texts.",
        value,
        unit="proportion",
        n=(count, f"matched sets of texts, {context}"),
        method="answers that show it / answers",
        interval=("Wilson's at the effective size over matched sets, with Student's t", params.interval_level),
        facts=detectors.facts(params),
        limits=(RULES,),
    )


def valid(reading: Reading, params: ProbeParameters, arm: str, *, beside: str | None = None) -> Observation:
    """Return the share of an arm's answers that are answers; ``beside`` is the arm whose random directions are the null."""
    answered = reading.pushed[arm]
    value, count = Value.unknown(answered.why), 0
    if not answered.why:
        held = answered.shown["valid"]
        hits, count = int(held.sum()), len(held)
        value = Value(hits / count, clopper_pearson(hits, count, params.interval_level))
    random = None if beside is None else reading.random[beside]
    return write(
        f"{arm}.valid",
        "Share of answers that are answers: not empty, not repeating themselves, not running on where the unchanged model "
        "stopped.",
        value,
        unit="proportion",
        n=(count, "answers to evaluation and deployment texts"),
        method="answers that no rule finds broken / answers",
        interval=("Clopper-Pearson", params.interval_level),
        null=None if random is None or random.why else random_null(random.shown["valid"].mean(axis=0)),
        limits=("A rule finds repetition and silence; fluent nonsense passes.",),
    )


def rows_of(reading: Reading, context: str) -> tuple[Places, list[str]]:
    """Return the pushed texts of a context and their pairs."""
    rows = np.flatnonzero(np.array(reading.contexts, dtype=object) == context).astype(np.int64)
    return rows, [reading.pairs[row] for row in rows]


def reasons_against(reading: Reading, params: ProbeParameters, arm: str, context: str) -> tuple[str, ...]:
    """Return why an arm cannot be compared in a context, nothing where it can."""
    answered = reading.pushed[arm]
    if answered.why or reading.self_test is None:
        return (answered.why or f"the self-test failed: {reading.why}",)
    rows, pairs = rows_of(reading, context)
    reasons = []
    if len(rows) < params.minimum_texts:
        reasons.append(f"{len(rows)} {context} texts; {params.minimum_texts} are needed")
    if len(set(pairs)) < params.minimum_pairs:
        reasons.append(f"{len(set(pairs))} matched sets of texts; {params.minimum_pairs} are needed")
    share = float(answered.shown["valid"].mean())
    if share < params.minimum_valid:
        reasons.append(
            f"{share:.0%} of the answers are neither empty nor broken; {params.minimum_valid:.0%} are needed"
        )
    return tuple(reasons)
