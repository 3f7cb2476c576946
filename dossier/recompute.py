"""Do the numbers follow from the answers, and are the answers the promised ones?

From the plan, the items and the seed come the trials that were promised; from the trials come the observations. Both are
derived again here with the collector's pure half, without the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dossier.collector import Collector, evidence_key
from dossier.errors import DossierError
from dossier.model import Evidence, Item, Plan, PlannedEvidence, Trial, as_json, digest_of, parse
from dossier.statistics import root_seed
from dossier.verdict import Finding, NumberDepth, differences

MAX_REPORTED = 5  # differences of one kind that are spelled out; the rest is counted


@dataclass(frozen=True)
class EvidenceFiles:
    """One evidence with what it cites. ``where`` is its member name; ``withheld``: an edition leaves some artifacts out."""

    where: str
    evidence: Evidence
    planned: PlannedEvidence
    items: Sequence[Item]
    trials: bytes
    artifacts: Mapping[str, bytes]
    withheld: bool = False


def check_evidence(
    files: EvidenceFiles, plan: Plan, *, nonce: str | None, collector: Collector[Any] | None
) -> tuple[list[Finding], list[NumberDepth]]:
    """Return what recomputation found, and how far each number was checked."""
    trials_where = f"trials/{files.evidence.trials.sha256}.jsonl"
    try:
        trials = parse_trials(files.trials, where=trials_where)
    except DossierError as error:
        return [_failed(trials_where, "", error.message)], depths(files.evidence, recomputed=False)
    findings = [_failed(files.where, pointer, what) for pointer, what in _identity(files, trials, plan, nonce)]
    reason = _cannot(files.evidence, collector)
    if reason is not None or collector is None:
        findings.append(Finding(plane="RECOMPUTATION", outcome="not_checked", where=files.where, what=reason or ""))
        return findings, depths(files.evidence, recomputed=False)
    try:
        params = collector.parse(files.planned.parameters)
        expected = list(collector.expected(params, files.items, files.evidence.root_seed))
        findings += [_failed(trials_where, "", what) for what in _limited(_against_expected(trials, expected))]
        again = collector.summarise(trials, files.artifacts, params, files.evidence.root_seed)
    except DossierError as error:
        findings.append(_failed(trials_where, "", f"cannot be recomputed: {error.message}"))
        return findings, depths(files.evidence, recomputed=False)
    except LookupError:
        if not files.withheld:
            raise
        what = "not checked: it is computed from an artifact that this edition withholds"
        findings.append(Finding(plane="RECOMPUTATION", outcome="not_checked", where=files.where, what=what))
        return findings, depths(files.evidence, recomputed=False)
    recorded = [as_json(observation) for observation in files.evidence.observations]
    wrong = list(differences(recorded, [as_json(observation) for observation in again], pointer="/observations"))
    findings += [_failed(files.where, pointer, what) for pointer, what in wrong[:MAX_REPORTED]]
    if len(wrong) > MAX_REPORTED:
        findings.append(_failed(files.where, "/observations", f"{len(wrong) - MAX_REPORTED} more differences"))
    if not findings:
        what = f"{len(trials)} promised trials are there, and {len(recorded)} observations follow from them"
        findings.append(Finding(plane="RECOMPUTATION", outcome="passed", where=files.where, what=what))
    return findings, depths(files.evidence, recomputed=not wrong)


def parse_trials(data: bytes, *, where: str) -> tuple[Trial, ...]:
    """Return the trials of a file. Raises SchemaError for a line that is none."""
    return tuple(
        parse(Trial, line, where=f"{where}:{number}") for number, line in enumerate(data.splitlines(), start=1)
    )


def _identity(
    files: EvidenceFiles, trials: Sequence[Trial], plan: Plan, nonce: str | None
) -> Iterator[tuple[str, str]]:
    """Yield where the evidence is not the run the plan binds."""
    evidence, planned = files.evidence, files.planned
    seed = root_seed(digest_of(plan), nonce)
    if evidence.root_seed != seed:
        yield "/root_seed", f"recorded {evidence.root_seed}, plan and nonce give {seed}"
    key = evidence_key(
        planned, subject_sha256=digest_of(plan.subject), seed=evidence.root_seed, environment=evidence.environment
    )
    if evidence.key != key:
        yield "/key", f"recorded {evidence.key[:16]}…, the run's identity gives {key[:16]}…"
    if evidence.trials.count != len(trials):
        yield "/trials/count", f"recorded {evidence.trials.count}, the file has {len(trials)}"
    failed = sum(trial.error is not None for trial in trials)
    if evidence.trials.failed != failed:
        yield "/trials/failed", f"recorded {evidence.trials.failed}, the file has {failed}"


def _against_expected(trials: Sequence[Trial], expected: Sequence[Any]) -> Iterator[str]:
    """Yield where the trials are not the promised ones."""
    promised = {promise.key.order: promise for promise in expected}
    orders = [trial.key.order for trial in trials]
    if orders != sorted(orders):
        yield "the trials are not sorted by key"
    seen: set[tuple[str, str, int]] = set()
    for trial in trials:
        name = "/".join(str(part) for part in trial.key.order)
        promise = promised.get(trial.key.order)
        if trial.key.order in seen:
            yield f"trial {name} stands there twice"
        seen.add(trial.key.order)
        if promise is None:
            yield f"trial {name} was not promised"
            continue
        asked = None if trial.request is None else digest_of(trial.request)
        if trial.seed != promise.seed:
            yield f"trial {name}: seed {trial.seed}, promised {promise.seed}"
        if promise.request_sha256 is not None and asked != promise.request_sha256:
            yield f"trial {name}: the recorded request is not the promised one"
        if trial.completion is not None and trial.completion.request_sha256 != asked:
            yield f"trial {name}: the answer names another request"
        answered = trial.completion is not None if promise.request_sha256 is not None else bool(trial.measurements)
        if answered == (trial.error is not None):
            yield f"trial {name}: exactly one of an answer and an error must be there"
    for order in sorted(promised.keys() - seen):
        yield f"trial {'/'.join(str(part) for part in order)} was promised and is missing without a recorded reason"


def _cannot(evidence: Evidence, collector: Collector[Any] | None) -> str | None:
    if collector is None:
        return f"not checked, no collector for {evidence.kind} is installed here; its numbers are stated"
    have = (collector.protocol_version, collector.analysis_version)
    need = (evidence.protocol_version, evidence.analysis_version)
    if have != need:
        return (
            f"not checked, needs {evidence.kind} protocol {need[0]} analysis {need[1]}; here are {have[0]}, {have[1]}"
        )
    return None


def depths(evidence: Evidence, *, recomputed: bool) -> list[NumberDepth]:
    """Return how far each number of an evidence was checked."""
    return [
        NumberDepth(
            evidence=evidence.id,
            observation=observation.id,
            depth="recomputed" if recomputed and observation.recomputable else "stated",
        )
        for observation in evidence.observations
    ]


def _limited(sentences: Iterator[str]) -> list[str]:
    found = list(sentences)
    more = [f"{len(found) - MAX_REPORTED} more of this kind"] if len(found) > MAX_REPORTED else []
    return found[:MAX_REPORTED] + more


def _failed(where: str, pointer: str, what: str) -> Finding:
    return Finding(plane="RECOMPUTATION", outcome="failed", where=f"{where}#{pointer}" if pointer else where, what=what)
