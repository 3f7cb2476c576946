"""What is a discrimination run made of, and why can some of it not be estimated?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evidence_collectors.evaluation_awareness.discrimination import estimates
from evidence_collectors.evaluation_awareness.discrimination.parameters import DiscriminationParameters
from evidence_collectors.evaluation_awareness.discrimination.reading import Mask, Texts
from evidence_collectors.evaluation_awareness.discrimination.trials import CHOOSING, REPORTED
from evidence_collectors.interpretability.quantities import Facts


@dataclass(frozen=True)
class Run:
    """What all observations are made from: the texts reported on, and those to choose on."""

    texts: Texts
    choosing: Texts
    params: DiscriminationParameters
    seed: str
    association: float | None

    @staticmethod
    def of(texts: Texts, params: DiscriminationParameters, seed: str) -> Run:
        """Return the run of a reading."""
        reported = texts.where(splits=REPORTED)
        association = estimates.association(reported) if params.cells else None
        return Run(reported, texts.where(splits=CHOOSING), params, seed, association)

    @property
    def rows(self) -> Mask:
        """All texts reported on."""
        return np.ones(len(self.texts.texts), dtype=np.bool_)

    @property
    def columns(self) -> Sequence[int]:
        """All formats of the question."""
        return range(self.texts.scores.shape[1])

    @property
    def confounded(self) -> bool:
        """Whether format correlates with context."""
        return self.association is not None and self.association > self.params.maximum_association

    @property
    def confounding(self) -> tuple[str, ...]:
        """Why nothing is estimable over all formats of the texts; nothing where format does not correlate with context."""
        if not self.confounded:
            return ()
        return (
            f"format correlates with context (Cramer's V {self.association:.2f}, at most "
            f"{self.params.maximum_association:g}): a reader of format alone would look like a reader of context; read the "
            "cells one by one",
        )

    @property
    def facts(self) -> Facts:
        """What stands beside every observation."""
        flag = "yes" if self.confounded else "no"
        return {
            "format_confounded": "unknown" if self.association is None else flag,
            "format_association": self.association,
            "families": len({text.family for text in self.texts.texts}),
            "evaluation_texts": int(self.texts.positive.sum()),
            "deployment_texts": int((~self.texts.positive).sum()),
            "read": self.params.read,
        }

    def unfit(self, rows: Mask, columns: Sequence[int]) -> tuple[str, ...]:
        """Return why some texts cannot be compared in some formats; nothing where they can."""
        reasons = [*self._unread(columns), *_few(self.texts, rows, columns, self.params)]
        known = rows & ~np.isnan(self.texts.scores[:, list(columns)]).any(axis=1)
        families = len({self.texts.texts[row].family for row in np.flatnonzero(known)})
        if families < self.params.minimum_families:
            reasons.append(f"{families} families; {self.params.minimum_families} are needed for an interval over them")
        return tuple(reasons)

    def unfit_to_choose(self, what: str) -> tuple[str, ...]:
        """Return why nothing can be chosen on the other texts; nothing where it can."""
        rows = np.ones(len(self.choosing.texts), dtype=np.bool_)
        return tuple(f"{what}: {reason}" for reason in _few(self.choosing, rows, (), self.params))

    def _unread(self, columns: Sequence[int]) -> list[str]:
        reasons = []
        for column in columns:
            count, faults = self.texts.trials[column], self.texts.faults[column]
            if faults.total() > self.params.maximum_unusable * count or not count:
                kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(faults.items()))
                reasons.append(
                    f"{groups(self.params)[column]}: {faults.total()} of {count} trials could not be read ({kinds}), more "
                    f"than {self.params.maximum_unusable:.1%}: what is left may not stand for the rest"
                )
        return reasons


def groups(params: DiscriminationParameters) -> tuple[str, ...]:
    """Return the names of the formats of the question, as they stand in the ids of observations."""
    return tuple(f"{asking}_{question}" for asking, question in params.formats)


def _few(texts: Texts, rows: Mask, columns: Sequence[int], params: DiscriminationParameters) -> list[str]:
    known = rows & ~np.isnan(texts.scores[:, list(columns)]).any(axis=1)
    counts = (("evaluation", (known & texts.positive).sum()), ("deployment", (known & ~texts.positive).sum()))
    needed = params.minimum_texts
    return [f"{count} {label} texts; {needed} are needed" for label, count in counts if count < needed]
