"""What does one run of the probe work on, and where in the model does it read?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dossier.errors import CollectionError
from dossier.language_model import WhiteBoxModel
from evidence_collectors.evaluation_awareness.probe.parameters import ProbeParameters
from evidence_collectors.evaluation_awareness.probe.trials import Texts


@dataclass(frozen=True)
class Run:
    """One run: the model opened, its texts, further files by role, what was asked for."""

    model: WhiteBoxModel
    texts: Texts
    files: Mapping[str, Path]
    params: ProbeParameters
    seed: str


def point_of(model: WhiteBoxModel, params: ProbeParameters) -> str:
    """Return the output of the block. Raises CollectionError where the model has no such block."""
    residual = model.layout.residual
    if params.layer >= len(residual):
        raise CollectionError(f"the model has {len(residual)} blocks, so there is no block {params.layer}")
    return residual[params.layer]
