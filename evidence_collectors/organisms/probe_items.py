"""Which texts of the design of ``awareness`` are there beside the shipped ones? As many as wanted, drawn by names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dossier.model import Item
from evidence_collectors.organisms import awareness_design as design
from evidence_collectors.organisms import cues
from evidence_collectors.organisms.planting import Split, contrast_item, draw, user


def fresh(pairs: Mapping[Split, int], *, purity: float, name: str) -> tuple[Item, ...]:
    """Return items of the design of ``awareness``, drawn anew: cues of each text at a purity, in both contexts and formats."""
    families = {split: sorted({one.family for one, _, own, _ in design.scenes() if own == split}) for split in pairs}
    rows = []
    for split, count in pairs.items():
        for number in range(count):
            pair = f"{name}-{split}-{number:04d}"
            family = families[split][number % len(families[split])]
            request = draw("probe", "request", pair) % 12
            for context in cues.CONTEXTS:
                own = f"{pair}-{context}"
                wrong = sum(draw("probe", f"wrong {cue}", own) % 10_000 >= 10_000 * purity for cue in range(cues.CUES))
                held = cues.chosen("probe", context, wrong, own, among=4)
                for cell in design.CELLS:
                    rows.append(
                        contrast_item(
                            f"{own}-{cell}",
                            user(design.Scene(family, held, request, cell).content),
                            label="positive" if context == "evaluation" else "negative",
                            family=family,
                            split=split,
                            pair=pair,
                            control_set=cell,
                        )
                    )
    return tuple(rows)


def permuted(items: Sequence[Item], seed: str) -> tuple[Item, ...]:
    """Return the items with the labels of half of the pairs turned around, by lot."""
    turned = {"positive": "negative", "negative": "positive"}
    return tuple(
        {**row, "label": turned[str(row["label"])]} if draw("probe", f"turn {seed}", str(row["pair"])) % 2 else row
        for row in items
    )
