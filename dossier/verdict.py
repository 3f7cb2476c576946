"""What does a verification say? Findings on seven planes, reported one by one and never summed into a score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from dossier.attest import Plane
from dossier.errors import DossierError
from dossier.model import Decision, Slug, Text, Timestamp, Value

Outcome = Literal["passed", "failed", "indeterminate", "not_checked"]
Depth = Literal["stated", "recomputed", "replayed"]
PLANES: tuple[Plane, ...] = get_args(Plane)
ALWAYS_REQUIRED: tuple[Plane, ...] = ("INTEGRITY", "AUTHENTICITY")  # no policy can do without them
CAVEAT = "Passing does not show that the model gave these answers: whoever held the keys could have written them. Replay does."
MAX_TEXT = 2000  # characters of a finding; parts of it may be a hostile document's own
RELATIVE_TOLERANCE = 1e-9  # estimates; counts, states and the gate are compared exactly


class Finding(Value):
    """What one step saw. ``where`` is a member of the pack, with a JSON pointer after ``#`` where there is one."""

    plane: Plane
    outcome: Outcome
    where: str
    what: Text


class NumberDepth(Value):
    """How far one number was checked."""

    evidence: Slug
    observation: Slug
    depth: Depth


class Verdict(Value):
    """The whole answer. It judges the pack, not the gate: a genuine pack with a shut gate passes.

    ``edition`` says for whom members were left out, and ``withheld`` names them; None and empty for a whole pack.
    """

    schema_version: Literal["verdict.v1"] = "verdict.v1"
    verdict: Literal["passed", "failed", "indeterminate"]
    caveat: Text
    demo: bool | None
    checked_at: Timestamp
    tool_version: Text
    planes: Mapping[Plane, Outcome]
    required_planes: tuple[Plane, ...]
    findings: tuple[Finding, ...]
    numbers: tuple[NumberDepth, ...]
    edition: Literal["authority", "public"] | None
    withheld: tuple[str, ...]
    gate: Decision | None
    decisions: tuple[Literal["approved", "rejected"], ...]


@dataclass
class Report:
    """Findings as they come, while a verification runs."""

    findings: list[Finding] = field(default_factory=list)
    numbers: list[NumberDepth] = field(default_factory=list)

    def add(self, plane: Plane, outcome: Outcome, where: str, what: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(plane=plane, outcome=outcome, where=where[:MAX_TEXT], what=what[:MAX_TEXT]))

    def check(self, plane: Plane, where: str, step: Callable[[], str]) -> None:
        """Run a step that returns what passed, or raises what failed."""
        try:
            self.add(plane, "passed", where, step())
        except DossierError as error:
            self.add(plane, "failed", where, error.message)

    @property
    def broken(self) -> bool:
        """Whether anything failed so far."""
        return any(finding.outcome == "failed" for finding in self.findings)


def plane_outcomes(findings: Iterable[Finding]) -> dict[Plane, Outcome]:
    """Return each plane's outcome: the worst of its findings; a plane nobody looked at is not checked."""
    order: tuple[Outcome, ...] = ("failed", "indeterminate", "not_checked", "passed")
    seen: dict[Plane, set[Outcome]] = {plane: set() for plane in PLANES}
    for finding in findings:
        seen[finding.plane].add(finding.outcome)
    return {plane: next((o for o in order if o in outcomes), "not_checked") for plane, outcomes in seen.items()}


def conclude(
    planes: Mapping[Plane, Outcome], required: Sequence[Plane]
) -> Literal["passed", "failed", "indeterminate"]:
    """Return the verdict: failed if a required plane failed, passed if all of them passed, else indeterminate."""
    outcomes = {planes[plane] for plane in (*ALWAYS_REQUIRED, *required)}
    if "failed" in outcomes:
        return "failed"
    return "passed" if outcomes == {"passed"} else "indeterminate"


def differences(recorded: Any, again: Any, *, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Yield (JSON pointer, sentence) for each place where a recomputed JSON value differs from the recorded one.

    Two floats are equal within ``RELATIVE_TOLERANCE``; everything else must be equal exactly.
    """
    if isinstance(recorded, dict) and isinstance(again, dict):
        for key in sorted(recorded.keys() | again.keys()):
            if key not in recorded or key not in again:
                side = "recorded and not recomputed" if key in recorded else "recomputed and not recorded"
                yield f"{pointer}/{key}", side
            else:
                yield from differences(recorded[key], again[key], pointer=f"{pointer}/{key}")
    elif isinstance(recorded, list) and isinstance(again, list):
        if len(recorded) != len(again):
            yield pointer, f"{len(recorded)} entries recorded, {len(again)} recomputed"
        for index, (left, right) in enumerate(zip(recorded, again, strict=False)):
            yield from differences(left, right, pointer=f"{pointer}/{index}")
    elif not _same(recorded, again):
        yield pointer, f"recorded {_short(recorded)}, recomputed {_short(again)}"


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        if isinstance(left, int) and isinstance(right, int):
            return left == right
        return abs(left - right) <= RELATIVE_TOLERANCE * max(abs(left), abs(right))
    return type(left) is type(right) and bool(left == right)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
