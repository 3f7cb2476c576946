"""The instruments: which kind is which object, looked up lazily so that listing imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from dossier.collector import Collector
from dossier.errors import ConfigError
from dossier.model import Calibration, Item, Parameters, Sensitivity

_NAMES = {
    "cot_faithfulness": ("hint", "monitorability", "perturbation"),
    "evaluation_awareness": ("behaviour_shift", "discrimination", "probe", "sandbagging", "verbalised"),
    "interpretability": (
        "adversarial_stability",
        "causal_intervention",
        "circuit_trace",
        "concept_direction",
        "sae_features",
    ),
}

COLLECTORS = {
    f"{group}.{name}": f"evidence_collectors.{group}.{name}.collector:COLLECTOR"
    for group, names in _NAMES.items()
    for name in names
}

CERTIFICATES = {kind: f"evidence_collectors.recipes.{kind.partition('.')[2]}:certify" for kind in COLLECTORS}


def load(kind: str) -> Collector[Any]:
    """Return the collector of a kind. Raises KeyError for an unknown one."""
    module, name = COLLECTORS[kind].split(":")
    collector: Collector[Any] = getattr(import_module(module), name)
    return collector


def certify(
    kind: str, *, reduced: bool, samples: Path, work: Path, report: Callable[[str], None]
) -> tuple[Calibration, tuple[str, ...]]:
    """Return an instrument's certificate, from runs where the truth is known, and why it is not good enough, if it is not.

    Args:
        kind: the instrument.
        reduced: few studies of one make of each organism, as continuous integration runs it.
        samples: the folder with the shipped organisms.
        work: where other makes are trained, and found again.
        report: told of progress, a line at a time.

    Raises:
        KeyError: no recipe makes a certificate of this kind.
    """
    from evidence_collectors.calibration import faults
    from evidence_collectors.recipes.makes import FULL, REDUCED, Place

    module, name = CERTIFICATES[kind].split(":")
    made: Calibration = getattr(import_module(module), name)(REDUCED if reduced else FULL, Place(samples, work, report))
    return made, faults(made)


def planted_sensitivity(
    kind: str,
    subject: Any,
    *,
    parameters: Parameters,
    items: Sequence[Item],
    marker: str,
    plants: int,
    report: Callable[[str], None],
) -> Sensitivity:
    """Return what an instrument finds of a marker planted into copies of the subject; see ``organisms.planted``.

    Raises:
        ConfigError: the subject is no local model, or nothing is planted for this kind.
    """
    from evidence_collectors.models.hf import HuggingFaceModel
    from evidence_collectors.organisms.on_subject import Training
    from evidence_collectors.organisms.planted import sensitivity

    if not isinstance(subject, HuggingFaceModel):
        raise ConfigError("only a subject loaded through the adapter 'hf' can be trained further.")
    return sensitivity(
        subject,
        load(kind),
        parameters=parameters,
        items=items,
        training=Training(marker=marker),
        plants=plants,
        report=report,
    )
