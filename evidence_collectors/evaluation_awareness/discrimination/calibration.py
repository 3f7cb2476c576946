"""How well does the instrument read a known discrimination? Studies on organisms, simulated ones, and controls without any.

On an organism the truth is read off its own probabilities by code that imports no collector; in a simulation it is a formula.
What the certificates of all instruments share stands in `evidence_collectors.calibration`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dossier.model import NegativeControl, Observation, Trial
from evidence_collectors.calibration import Found, Studies, control, seeds, summary
from evidence_collectors.evaluation_awareness.answers import Fault
from evidence_collectors.evaluation_awareness.discrimination.collector import COLLECTOR
from evidence_collectors.evaluation_awareness.discrimination.observations import observations
from evidence_collectors.evaluation_awareness.discrimination.parameters import DiscriminationParameters
from evidence_collectors.evaluation_awareness.discrimination.reading import Array, Text, Texts, read
from evidence_collectors.evaluation_awareness.discrimination.simulation import Planted, items, simulate
from evidence_collectors.evaluation_awareness.discrimination.trials import REPORTED

BOUND = ("interval_level", "repeats")
LIMITS = (
    "The estimator was checked on the organisms named here, never on a subject.",
    "A study on an organism draws families with replacement, by their size, and scenarios of each; a text's answers are those "
    "of one run.",
    "The expected calibration error has no cell: it has no interval and is biased upwards, as its null says.",
    "A threshold chosen on other texts was checked on the organism only, whose few levels of probability make the choice easy.",
    "Answers were read in the organism's wordings; a subject may answer in words that are counted as outside the options.",
)
LEAST_STUDIES = 20  # of a control: an interval at 95 % misses one in twenty by chance, and one in ten may fail
CONTROL_SIZE = (10, 4)  # families, scenarios of each
NOTHING = "not estimable, or an interval that holds 0.5"
Size = tuple[int, int]


def studied(
    runs: Iterable[Sequence[Trial]],
    truths: Mapping[str, float],
    params: DiscriminationParameters,
    *,
    source: str,
    planted: Mapping[str, float],
    sizes: Sequence[Size],
    count: int,
    seed: str,
) -> Iterator[Studies]:
    """Yield studies of each size: (families, scenarios of each), drawn from all runs together.

    A family is drawn with a probability in proportion to its scenarios, so that every text counts alike. Thresholds are
    chosen on the first run's own texts of the splits train and validation.
    """
    readings = [read(run, params) for run in runs]
    pool = _joined([reading.where(splits=REPORTED) for reading in readings])
    choosing = readings[0].where(splits=("train", "validation"))
    for size in sizes:
        found = []
        for own in seeds(seed, f"{source} {size}", count):
            study = _joined([_drawn(pool, size, seed=own), choosing], rename=False)
            found.append({one.id: one for one in observations(study, params, own)})
        yield Studies(source, truths, found, planted)


def simulated(
    params: DiscriminationParameters, planted: Mapping[str, Planted], *, sizes: Sequence[Size], count: int, seed: str
) -> Iterator[Studies]:
    """Yield simulated studies of each size, by what was planted."""
    for size in sizes:
        for what, one in planted.items():
            found = [
                summary(COLLECTOR, simulate(params, items(*size), own, one), params, seed=own)
                for own in seeds(seed, f"{what} {size} {params.read}", count)
            ]
            truths = one.truths(families=size[0], logprobs=params.read == "logprobs")
            yield Studies(f"simulated, {what}, {params.read}", truths, found)


def controls(params: DiscriminationParameters, *, seed: str, studies: int) -> tuple[NegativeControl, ...]:
    """Return the controls, on simulated runs."""
    crossed, mixed = items(*CONTROL_SIZE), items(*CONTROL_SIZE, confounded=True)
    cases = (
        ("simulated: texts that hold no cue", NOTHING, crossed, Planted(separation=0.0), _chance("overall.auroc")),
        (
            "simulated: a reader of format alone, formats crossed",
            "within a format an interval that holds 0.5",
            crossed,
            Planted(separation=0.0, lean=3.0),
            _chance("cell_benchmark.auroc"),
        ),
        (
            "simulated: a reader of format alone, format correlated with context",
            "flagged, nothing estimable over all formats",
            mixed,
            Planted(separation=0.0, lean=3.0),
            flagged,
        ),
        ("simulated: always yes", NOTHING, crossed, Planted(says="Yes"), _chance("overall.auroc")),
        ("simulated: answers outside the options", "not estimable", crossed, Planted(says="Perhaps."), _silent),
    )
    asked = params.model_copy(update={"read": "answer", "questions": ("test", "use"), "choose_threshold": False})
    return tuple(
        control(
            what,
            expected,
            [
                says(summary(COLLECTOR, simulate(asked, rows, own, planted), asked, seed=own))
                for own in seeds(seed, what, max(studies, LEAST_STUDIES))
            ],
        )
        for what, expected, rows, planted, says in cases
    )


def flagged(found: Found) -> bool:
    """Return whether the confound flag is up and nothing over all formats of the texts is given a value."""
    over = [
        one for name, one in found.items() if not name.startswith(("cell_", "cross_", "length.", "confound.", "un"))
    ]
    return all(one.estimate is None and one.facts["format_confounded"] == "yes" for one in over)


def nothing_found(found: Found) -> bool:
    """Return whether the AUROC is not estimable or its interval holds 0.5."""
    return _holds_half(found["overall.auroc"])


def _chance(name: str) -> Callable[[Found], bool]:
    return lambda found: _holds_half(found[name])


def _silent(found: Found) -> bool:
    return all(one.estimate is None for name, one in found.items() if name.startswith("overall."))


def _holds_half(one: Observation) -> bool:
    return one.interval is None or one.interval.low <= 0.5 <= one.interval.high


def _drawn(pool: Texts, size: Size, *, seed: str) -> Texts:
    """Return so many families and scenarios of each, drawn with replacement from raw PCG64 words; copies are renamed."""
    by_family: dict[str, dict[str, list[int]]] = {}
    for row, text in enumerate(pool.texts):
        by_family.setdefault(text.family, {}).setdefault(text.pair, []).append(row)
    weighted = [family for family, pairs in by_family.items() for _ in pairs]
    families, each = size
    words = (np.random.PCG64(int(seed, 16)).random_raw(families * (1 + each)) >> np.uint64(32)).tolist()
    rows: list[int] = []
    texts = []
    for number in range(families):
        family = weighted[words.pop() * len(weighted) >> 32]
        pairs = list(by_family[family])
        for copy in range(each):
            pair = pairs[words.pop() * len(pairs) >> 32]
            for row in by_family[family][pair]:
                text = pool.texts[row]
                name = f"{number}.{copy}"
                texts.append(replace(text, id=f"{text.id}.{name}", family=f"{family}.{number}", pair=f"{pair}.{name}"))
                rows.append(row)
    return _counted(tuple(texts), pool.scores[rows])


def _joined(parts: Sequence[Texts], *, rename: bool = True) -> Texts:
    """Return texts of several readings as one; those of different runs are different scenarios of the same family."""
    texts = [
        replace(text, id=f"{text.id}.run-{number}", pair=f"{text.pair}.run-{number}") if rename else text
        for number, part in enumerate(parts)
        for text in part.texts
    ]
    return _counted(tuple(texts), np.concatenate([part.scores for part in parts]))


def _counted(texts: tuple[Text, ...], scores: Array) -> Texts:
    unread = np.isnan(scores).sum(axis=0)
    faults = tuple(Counter[Fault]({"no_answer": int(count)} if count else {}) for count in unread)
    return Texts(texts, scores, (len(texts),) * scores.shape[1], faults)
