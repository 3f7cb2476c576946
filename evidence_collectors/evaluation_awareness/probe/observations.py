"""Which observations does the probe give, and in which words?

A group of observations for every set of texts it is read on: ``test`` and ``transfer``, and ``from_CELL``, fitted on the
texts of one format and read on test texts of the others. Each AUROC stands beside what the text alone gives and beside its
nulls; there is no sum of them.
"""

from __future__ import annotations

from dossier.model import Observation
from evidence_collectors.evaluation_awareness.probe import effects
from evidence_collectors.evaluation_awareness.probe.parameters import ProbeParameters
from evidence_collectors.evaluation_awareness.probe.reading import Reading
from evidence_collectors.evaluation_awareness.probe.separation import (
    PER_GROUP,
    TEXTS,
    Group,
    associations,
    largest,
    separation,
)
from evidence_collectors.evaluation_awareness.probe.trials import ALL, REPORTED, SPLITS
from evidence_collectors.interpretability.quantities import Value, write

NO_CELLS = "the plan declares no format cells, so that format is not crossed with context"


def groups(params: ProbeParameters) -> tuple[Group, ...]:
    """Return the groups, in order."""
    own = [Group(split, ALL, split) for split in REPORTED]
    return (*own, *(Group(f"from_{cell}", cell, "test") for cell in params.cells))


def quantities(params: ProbeParameters) -> tuple[str, ...]:
    """Return the ids of the observations, in order."""
    names = [f"{group.name}.{what}" for group in groups(params) for what in PER_GROUP]
    names += [f"{split}.first_component_share" for split in REPORTED]
    return (*names, "formats.association", *effects.quantities(params), "self_test.parity")


def observations(reading: Reading, params: ProbeParameters) -> tuple[Observation, ...]:
    """Return the observations of a reading, in the order of `quantities`."""
    found: list[Observation] = []
    for group in groups(params):
        found += separation(reading, params, group)
    found += [_spread(reading, params, split) for split in REPORTED]
    found.append(_association(reading, params))
    found += effects.observations(reading, params)
    found.append(_parity(reading, params))
    return tuple(found)


def _association(reading: Reading, params: ProbeParameters) -> Observation:
    found = associations(reading, SPLITS)
    most = largest(found)
    value = Value.unknown(NO_CELLS if not params.cells else "format or context does not vary in any split")
    counts = [sum(pair) for cells in reading.formats.values() for pair in cells.values()]
    return write(
        "formats.association",
        "How far the format of a text tells its context in these items: the largest Cramer's V of a split.",
        value if most is None else Value(most),
        unit="ratio",
        n=(sum(counts), TEXTS),
        method="Cramer's V of format cell and context, largest over train, test and transfer",
        interval=("none", params.interval_level),
        facts={f"{split}_association": one for split, one in found.items()},
        limits=("Only declared formats are seen; texts can go together with contexts in other ways.",),
    )


def _spread(reading: Reading, params: ProbeParameters, split: str) -> Observation:
    share = reading.spectra.get(split)
    return write(
        f"{split}.first_component_share",
        "Share of the variance of the activations, where the probe reads, along their first principal component.",
        Value.unknown("the activations of this split were not read, or are too few") if share is None else Value(share),
        unit="proportion",
        n=(int(reading.scored.where(split=split, without=None).sum()), TEXTS),
        method="largest squared singular value of the centred activations / sum of all",
        interval=("none", params.interval_level),
        limits=("Near 1 almost any direction orders the texts alike, and an AUROC says little.",),
    )


def _parity(reading: Reading, params: ProbeParameters) -> Observation:
    tested = reading.self_test
    return write(
        "self_test.parity",
        "Largest difference between captured activations and the engine's own, as a share of the mean residual norm.",
        Value(float(tested["parity"])) if tested else Value.unknown(reading.why),
        unit="ratio",
        n=(1 if tested else 0, "passes of a fixed text"),
        method="largest absolute difference / mean norm",
        interval=("none", params.interval_level),
        facts={"d_model": tested["d_model"], "blocks": tested["blocks"]} if tested else {},
    )
