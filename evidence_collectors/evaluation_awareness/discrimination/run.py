"""What is a discrimination run made of, and why can some of it not be estimated?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dossier.faults import counted
from evidence_collectors.evaluation_awareness.answers import Fault
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
            f"{self.params.maximum_association:g} allowed): read the cells one by one",
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
        """Return why some texts cannot be compared in some formats, in one reason; nothing where they can.

        Unread answers leave few texts, and few texts few families: the first of these that fails is said.
        """
        why = self._unread(columns) or _few(self.texts, rows, columns, self.params)
        known = rows & ~np.isnan(self.texts.scores[:, list(columns)]).any(axis=1)
        families = len({self.texts.texts[row].family for row in np.flatnonzero(known)})
        if not why and families < self.params.minimum_families:
            return (f"{families} families; {self.params.minimum_families} are needed for an interval over them",)
        return why

    def unfit_to_choose(self, what: str) -> tuple[str, ...]:
        """Return why nothing can be chosen on the other texts; nothing where it can."""
        rows = np.ones(len(self.choosing.texts), dtype=np.bool_)
        return tuple(f"{what}: {reason}" for reason in _few(self.choosing, rows, (), self.params))

    def _unread(self, columns: Sequence[int]) -> tuple[str, ...]:
        """Return why too little was read in some ways of asking; the counts are those of the ways that fall short."""
        counts, faults = self.texts.trials, self.texts.faults
        limit = self.params.maximum_unusable
        short = [one for one in columns if faults[one].total() > limit * counts[one] or not counts[one]]
        if not short:
            return ()
        found = sum((faults[one] for one in short), Counter[Fault]())
        where = "" if len(short) == len(columns) else f" in {len(short)} of {len(columns)} ways of asking"
        kinds = f" ({counted(found)})" if found else ""
        asked = sum(counts[one] for one in short)
        return (f"{found.total()} of {asked} answers{where} could not be read{kinds}; at most {limit:.1%} may be",)


def groups(params: DiscriminationParameters) -> tuple[str, ...]:
    """Return the names of the formats of the question, as they stand in the ids of observations."""
    return tuple(f"{asking}_{question}" for asking, question in params.formats)


def _few(texts: Texts, rows: Mask, columns: Sequence[int], params: DiscriminationParameters) -> tuple[str, ...]:
    known = rows & ~np.isnan(texts.scores[:, list(columns)]).any(axis=1)
    of_test, of_use = int((known & texts.positive).sum()), int((known & ~texts.positive).sum())
    if min(of_test, of_use) >= params.minimum_texts:
        return ()
    return (f"{of_test} evaluation and {of_use} deployment texts; {params.minimum_texts} of each are needed",)
