"""Which model is read, on which texts, and with which files? Those an organism ships, and those that are drawn for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dossier import canonical
from dossier.model import Item
from evidence_collectors.items import contrast
from evidence_collectors.models.hf import HuggingFaceModel, load
from evidence_collectors.organisms import random_model, refusal_design
from evidence_collectors.organisms.everywhere_plan import RANDOM, Plan

SHIPPED, DRAWN, TRACED = "shipped", "random weights, drawn here", "traced here before"
FOLDERS = {"dictionary": "dictionary", "transcoders": "transcoders"}


@dataclass(frozen=True)
class Subject:
    """A model that is read, and where it lies; what has to be drawn for it goes to ``work``."""

    plan: Plan
    folder: Path
    work: Path
    model: HuggingFaceModel

    def items(self, kind: str) -> tuple[Item, ...]:
        """Return the items an instrument is given."""
        if self.plan.name == RANDOM:
            near = (row for row in refusal_design.items() if row["split"] != "transfer")  # a third less to compute
            return self.plan.kept(kind, near)
        name = self.plan.items_file(kind)
        return self.plan.kept(kind, canonical.load_lines((self.folder / name).read_bytes(), where=name))

    def file(self, role: str, items: Sequence[Item]) -> tuple[Path, str]:
        """Return a file an instrument needs by role, and where it came from; what is not shipped is drawn."""
        shipped = self.folder / FOLDERS[role]
        if shipped.is_dir():
            return shipped, SHIPPED
        drawn = self.work / f"{self.plan.name}-{role}"
        if not drawn.is_dir():
            texts = contrast.chosen(contrast.parse(items), splits=("train",))
            if role == "dictionary":
                random_model.write_dictionary(drawn, self.model, texts, point=self.plan.point)
            else:
                random_model.write_transcoders(drawn, self.model, texts)
        return drawn, DRAWN

    def keep_circuits(self, artifacts: Mapping[str, bytes]) -> None:
        """Keep the traced circuit whose core reaches deepest where the answer begins, the first by name of those alike."""
        depths = {
            name: _depth(json.loads(data))
            for name, data in sorted(artifacts.items())
            if name.startswith("circuit-") and name.endswith(".json")
        }
        if depths and max(depths.values()) >= 0:
            self._core.write_bytes(artifacts[max(depths, key=lambda name: depths[name])])

    def traced(self, items: Sequence[Item]) -> dict[str, tuple[Path, str]]:
        """Return a circuit that was traced before and the transcoders it names, nothing where there is none."""
        if not self._core.exists():
            return {}
        return {"core": (self._core, TRACED), "transcoders": self.file("transcoders", items)}

    @property
    def _core(self) -> Path:
        return self.work / f"{self.plan.name}-core.json"


def _depth(circuit: Mapping[str, Any]) -> int:
    """Return the last block with a feature that every pruning kept at the last token, -1 without one."""
    last = len(circuit["tokens"]) - 1
    return max(
        (
            one["layer"]
            for one in circuit["nodes"]
            if one["kind"] == "feature" and one["core"] and one["position"] == last
        ),
        default=-1,
    )


def opened(plan: Plan, samples: Path, work: Path) -> Subject:
    """Return a model, loaded; the one of random weights is drawn first. Raises ConfigError if it cannot be loaded."""
    folder = samples / plan.name
    if plan.name == RANDOM:
        folder = work / RANDOM
        random_model.write_model(folder, refusal_design.phrases())
    return Subject(plan, folder, work, load(str(folder), batch_size=128))
