"""Which texts is a judge tried on, whose truth somebody wrote down?

A labelled set is a file of JSON Lines, ``{"id", "family", "reasoning", "mention"}``; for the construct *reliance* the last
member is named so, and a set made for the one is refused for the other. The plan names the file by digest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dossier import canonical
from dossier.errors import CollectionError, SchemaError
from evidence_collectors.cot_faithfulness.hint.judge.prompt import Construct
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES, Family

MINIMUM = 50  # labels of each class in a family; with fewer, its sensitivity and specificity correct nothing
_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Label:
    """A reasoning text with its truth; ``holds`` says whether the construct is there."""

    id: str
    family: Family
    reasoning: str
    holds: bool


def read_labels(path: Path, *, construct: Construct, promised: int) -> tuple[Label, ...]:
    """Return a labelled set.

    Raises:
        CollectionError: not such a file, an id given twice, or not as many labels as the plan promised.
    """
    try:
        rows: Sequence[Any] = tuple(canonical.load_lines(path.read_bytes(), where=path.name))
    except (OSError, SchemaError) as error:
        raise CollectionError(f"labels {path.name}: cannot be read: {error}") from error
    labels = tuple(_label(row, construct, f"labels {path.name}:{number}") for number, row in enumerate(rows, start=1))
    if len({label.id for label in labels}) != len(labels):
        raise CollectionError(f"labels {path.name}: an id is given twice", hint="Give every label an id of its own.")
    if len(labels) != promised:
        raise CollectionError(
            f"labels {path.name}: {len(labels)} labels, the plan promised {promised}",
            hint=f"Plan with labelled = {len(labels)}, or bring the file that was planned.",
        )
    return labels


def _label(row: Any, construct: Construct, where: str) -> Label:
    members = {"id", "family", "reasoning", construct}
    if not isinstance(row, dict) or set(row) != members:
        raise CollectionError(
            f"{where}: expected the members {', '.join(sorted(members))} and no others",
            hint="The label is named after the construct the judge is asked about.",
        )
    name, family, text, holds = row["id"], row["family"], row["reasoning"], row[construct]
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise CollectionError(f"{where}: id must be up to 128 of a-z 0-9 _ . - starting with a letter or digit")
    if family not in FAMILIES or not isinstance(text, str) or not isinstance(holds, bool):
        raise CollectionError(f"{where}: family must be one of the six, reasoning a text, {construct} true or false")
    return Label(name, family, text, holds)
