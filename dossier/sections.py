"""What does the section on one piece of evidence show? The values its template prints, arranged and not changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dossier import faults, wording
from dossier.calibration_report import Checked, by_quantity, planted_counts
from dossier.figures import Chart, circuits, figures
from dossier.model import (
    Calibration,
    Evidence,
    Observation,
    PlannedEvidence,
    Reference,
    ReferenceValue,
    Sensitivity,
    Trial,
    digest_of,
)
from dossier.wording import Words

GENERIC_TEMPLATE = "evidence/base.html.j2"
COLUMNS = 6  # of a table behind the main numbers, as many as a page's width holds
Shared = tuple[tuple[str, str], ...]  # (text, which quantities it holds for)
_Fact = tuple[str, int | float | str | None]


@dataclass(frozen=True)
class Line:
    """An observation, its position in the evidence, and the name it has where it stands."""

    position: int
    observation: Observation
    label: str


@dataclass(frozen=True)
class Block:
    """One main quantity: what it says, its definitions, and a line for each group. ``says`` is empty without words."""

    says: str
    definitions: Shared
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Matrix:
    """Quantities behind the main ones: a column each, a row for each group; None where there is no such value."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Line | None, ...]], ...]
    definitions: Shared


@dataclass(frozen=True)
class Facts:
    """The facts of one group: those that several lines share, and what each line adds (or has instead)."""

    label: str
    shared: str
    lines: tuple[tuple[Line, str], ...]


@dataclass(frozen=True)
class Truth:
    """A quantity known by construction beside its measurement; ``held`` is yes, no or not estimable."""

    value: ReferenceValue
    observation: Observation
    position: int
    held: str
    label: str


@dataclass(frozen=True)
class Section:
    """What a section's template shows. Texts that several observations share come once, with their names."""

    number: int
    slot: PlannedEvidence
    template: str
    evidence: Evidence | None
    reason: str
    path: str
    organism: bool
    reference: Reference | None
    reference_path: str
    truths: tuple[Truth, ...]
    calibration: Calibration | None
    checked: tuple[Checked, ...]
    sensitivity: Sensitivity | None
    planted: str
    samples: tuple[Trial, ...]
    charts: tuple[Chart, ...]
    methods: Shared
    nulls: Shared
    limits: Shared
    blocks: tuple[Block, ...]
    matrices: tuple[Matrix, ...]
    common_facts: str
    facts: tuple[Facts, ...]
    parameters: str
    engine: str


def section(
    slot: PlannedEvidence,
    evidence: Evidence | None,
    *,
    number: int,
    template: str,
    words: Words,
    reason: str,
    reference: Reference | None,
    calibration: Calibration | None,
    sensitivity: Sensitivity | None,
    samples: tuple[Trial, ...],
    graphs: tuple[tuple[str, bytes], ...],
) -> Section:
    """Return the section on what the plan promised in ``slot``; ``reason`` says why ``evidence`` is None."""
    observations = evidence.observations if evidence else ()
    common = _common_facts(observations)
    return Section(
        number=number,
        slot=slot,
        template=template,
        evidence=evidence,
        reason=reason,
        path="" if evidence is None else f"evidence/{slot.kind}/{digest_of(evidence)}.json",
        organism=reference is not None,
        reference=reference,
        reference_path=f"references/{slot.reference.sha256}.json" if slot.reference else "the organism's folder",
        truths=_truths(observations, reference, words),
        calibration=calibration,
        checked=() if calibration is None else by_quantity(calibration),
        sensitivity=sensitivity,
        planted="" if sensitivity is None else planted_counts(sensitivity),
        samples=samples,
        charts=(*figures(observations, slot, reference, words), *circuits(graphs)),
        methods=_shared(observations, words, _methods),
        nulls=_shared(observations, words, lambda found: [found.null.what] if found.null else []),
        limits=_shared(observations, words, lambda found: found.limits),
        blocks=_blocks(observations, words),
        matrices=tuple(_matrices(observations, words)),
        common_facts=_facts(common),
        facts=_fact_groups(observations, common, words),
        parameters=wording.parameters(slot.parameters),
        engine="" if evidence is None else _engine(evidence),
    )


def _methods(observation: Observation) -> tuple[str, ...]:
    if observation.interval is None:
        return (observation.method,)
    return observation.method, f"Interval: {observation.interval.method}"


def _shared(observations: Sequence[Observation], words: Words, texts: Callable[[Observation], Iterable[str]]) -> Shared:
    """Group equal texts: (text, the quantities that carry it in words), in order of first appearance."""
    names: dict[str, list[str]] = {}
    for observation in observations:
        for text in texts(observation):
            names.setdefault(text, []).append(observation.id)
    everyone = [observation.id for observation in observations]
    return tuple((wording.sentence(text), _of(found, everyone, words)) for text, found in names.items())


def _of(found: Sequence[str], everyone: Sequence[str], words: Words) -> str:
    """Name quantities in few words, with the groups where not all of them are meant."""
    if len(found) == len(everyone):
        return "all quantities"
    said = []
    for short in dict.fromkeys(_short(name, words) for name in found):
        alike = [name for name in everyone if _short(name, words) == short]
        groups = [words.group(name) for name in alike if name in found]
        others = [words.group(name) for name in alike if name not in found]
        if not others:
            said.append(short)
        elif len(others) < len(groups):
            said.append(f"{short}, but for {wording.listing(others, empty='')}")
        else:
            said.append(f"{short}, {wording.listing(groups, empty='')}")
    return "; ".join(said)


def _short(name: str, words: Words) -> str:
    known = words.quantity(name)
    return name if known is None else known.short


def _truths(observations: tuple[Observation, ...], reference: Reference | None, words: Words) -> tuple[Truth, ...]:
    position = {observation.id: index for index, observation in enumerate(observations)}
    rows = []
    for value in reference.values if reference else ():
        if value.quantity not in position:
            continue
        found = observations[position[value.quantity]]
        held = wording.NOT_ESTIMABLE
        if found.interval is not None:
            held = "yes" if found.interval.low <= value.exact <= found.interval.high else "no"
        rows.append(Truth(value, found, position[value.quantity], held, words.brief(value.quantity)))
    return tuple(rows)


# --- numbers ---------------------------------------------------------------------------------------------------------


def _blocks(observations: Sequence[Observation], words: Words) -> tuple[Block, ...]:
    """A block for each main quantity in the order of the words, one for those without groups, one for those unknown."""
    order = [known.says for known in words.quantities.values()] + [words.heading, ""]
    found: dict[str, list[Line]] = {}
    for position, observation in enumerate(observations):
        known, group = words.quantity(observation.id), words.group(observation.id)
        if known is None:
            found.setdefault("", []).append(Line(position, observation, observation.id))
        elif known.main:
            line = Line(position, observation, wording.capital(group or known.says))
            found.setdefault(known.says if group else words.heading, []).append(line)
    return tuple(
        Block(says, _definitions(found[says]) if says else (), tuple(found[says]))
        for says in sorted(found, key=order.index)
    )


def _matrices(observations: Sequence[Observation], words: Words) -> Iterator[Matrix]:
    """Yield what is behind the main quantities, a table for each set of groups that have some quantity in common."""
    cells: dict[str, dict[str, Line]] = {}
    for position, observation in enumerate(observations):
        known = words.quantity(observation.id)
        if known is not None and not known.main:
            cells.setdefault(words.group(observation.id), {})[known.short] = Line(position, observation, "")
    order = [known.short for known in words.quantities.values()]
    while cells:
        groups = [next(iter(cells))]
        for group in groups:  # grows by those that share a column with one of them
            groups += [other for other in cells if other not in groups and cells[other].keys() & cells[group].keys()]
        rows = {group: own for group, own in cells.items() if group in groups}
        cells = {group: own for group, own in cells.items() if group not in groups}
        columns = sorted({short for own in rows.values() for short in own}, key=order.index)
        for start in range(0, len(columns), COLUMNS):
            yield _matrix(columns[start : start + COLUMNS], rows, words)


def _matrix(columns: Sequence[str], cells: Mapping[str, Mapping[str, Line]], words: Words) -> Matrix:
    rows = {group: own for group, own in cells.items() if own.keys() & set(columns)}
    lines = [own[short] for own in rows.values() for short in columns if short in own]
    return Matrix(
        tuple(columns),
        tuple(
            (wording.capital(group or words.heading), tuple(own.get(short) for short in columns))
            for group, own in rows.items()
        ),
        _definitions(sorted(lines, key=lambda line: line.position), words),
    )


def _definitions(lines: Sequence[Line], words: Words | None = None) -> Shared:
    """The estimands and what n counts; the group's own name is written as "such", so that equal definitions are equal."""
    texts: dict[str, list[str]] = {}
    for line in lines:
        found, group = line.observation, line.observation.id.partition(".")[0]
        estimand = re.sub(rf"\b{re.escape(group)}(?= (?:hints?|switches)\b)", "such", found.estimand)
        text = f"{wording.sentence(estimand)} n counts {found.n_counts}."
        known = words.quantity(found.id) if words else None
        texts.setdefault(f"{known.short}: {text}" if known else text, []).append(line.label)
    if len(texts) == 1 or words:
        return tuple((text, "") for text in texts)
    most = max(texts.values(), key=len)
    return tuple(
        (text, "the others" if names is most and len(names) > 1 else wording.listing(names, empty=""))
        for text, names in texts.items()
    )


# --- facts -----------------------------------------------------------------------------------------------------------


def _fact_groups(observations: Sequence[Observation], common: set[_Fact], words: Words) -> tuple[Facts, ...]:
    """Facts by group. A line that has all of the shared ones says only what it adds; any other gives its own in full."""
    grouped: dict[str, list[Line]] = {}
    for position, observation in enumerate(observations):
        grouped.setdefault(words.group(observation.id), []).append(Line(position, observation, observation.id))
    return tuple(_fact_group(label, lines, common) for label, lines in grouped.items())


def _fact_group(label: str, lines: Sequence[Line], common: set[_Fact]) -> Facts:
    own = [set(line.observation.facts.items()) - common for line in lines]
    often = Counter(item for facts in own for item in facts)
    names = Counter(item[0] for item, times in often.items() if times > 2)
    shared = {item for item, times in often.items() if times > 2 and names[item[0]] == 1}
    told = []
    for line, facts in zip(lines, own, strict=True):
        as_above = bool(shared) and shared <= facts
        rest = _facts(facts - shared if as_above else facts)
        told.append((line, "; ".join(part for part in ("as above" if as_above else "", rest) if part)))
    return Facts(wording.capital(label), _facts(shared), tuple(told))


def _common_facts(observations: Sequence[Observation]) -> set[_Fact]:
    """Facts that every observation with a fact of that name has alike, such as the detector's version."""
    values: dict[str, list[_Fact]] = {}
    for observation in observations:
        for item in observation.facts.items():
            values.setdefault(item[0], []).append(item)
    return {items[0] for items in values.values() if len(items) > 2 and len(set(items)) == 1}


def _facts(items: Iterable[_Fact]) -> str:
    return "; ".join(
        f"{faults.fact(name)} = {wording.fact(value)}" for name, value in sorted(items, key=lambda item: item[0])
    )


def _engine(evidence: Evidence) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(evidence.environment.versions.items()))
    return f"{evidence.environment.engine} ({versions}), batches of {evidence.environment.batch_size}"
