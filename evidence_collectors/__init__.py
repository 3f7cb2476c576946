"""The instruments: which kind is which object, looked up lazily so that listing imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from dossier.collector import Collector
from dossier.errors import ConfigError
from dossier.model import Item, Parameters, Sensitivity

COLLECTORS = {
    "cot_faithfulness.hint": "evidence_collectors.cot_faithfulness.hint.collector:COLLECTOR",
    **{
        f"interpretability.{name}": f"evidence_collectors.interpretability.{name}.collector:COLLECTOR"
        for name in (
            "adversarial_stability",
            "causal_intervention",
            "circuit_trace",
            "concept_direction",
            "sae_features",
        )
    },
}


def load(kind: str) -> Collector[Any]:
    """Return the collector of a kind. Raises KeyError for an unknown one."""
    module, name = COLLECTORS[kind].split(":")
    collector: Collector[Any] = getattr(import_module(module), name)
    return collector


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
