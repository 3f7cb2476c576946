"""How do answers become evidence, so that no crash loses one and no rerun hides?

Every start, abort and finish enters the ledger. Answers go through the journal, so an interrupted run resumes where it
was and ends with the same bytes. A key that ran to the end is not run again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from dossier import canonical
from dossier.collector import FIRST_RUN, Artifact, Collector, Inputs, evidence_key, lacking
from dossier.errors import CollectionError, StoreError
from dossier.inputs import EvidenceInputs, check_inputs
from dossier.language_model import LanguageModel, WhiteBoxModel
from dossier.model import (
    Environment,
    Evidence,
    FileRef,
    Item,
    LedgerEntry,
    NotCollected,
    Observation,
    Plan,
    PlannedEvidence,
    Trial,
    TrialFile,
    as_json,
    digest_of,
    dump,
    parse,
)
from dossier.pack import member
from dossier.statistics import root_seed
from dossier.store import JournaledModel, Store

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Progress:
    """How far one piece of evidence is. ``replayed`` answers came from the journal."""

    evidence: str
    done: int
    promised: int
    replayed: int


@dataclass(frozen=True)
class Collected:
    """What a run left: evidence by id, with the members it puts into a pack, and what could not be collected."""

    evidence: Mapping[str, Evidence]
    members: Mapping[str, bytes]
    not_collected: tuple[NotCollected, ...]


def collect(
    plan: Plan,
    *,
    model: LanguageModel,
    items: Mapping[str, Sequence[Item]],
    inputs: Mapping[str, EvidenceInputs],
    collectors: Mapping[str, Collector[Any]],
    store: Store,
    nonce: str | None,
    clock: Callable[[], str],
    progress: Callable[[Progress], None],
) -> Collected:
    """Run every piece of evidence of a plan. ``items`` are by the SHA-256 of their file, ``inputs`` by evidence id.

    A collector that fails is recorded as not collected, which keeps the gate shut; the others still run. A store that
    cannot be written says nothing about the model: it stops the run, and the next one resumes.

    Raises:
        CollectionError: the model is not the planned subject.
        StoreError: the store cannot be written.
    """
    if digest_of(model.subject) != digest_of(plan.subject):
        raise CollectionError(
            f"the loaded model is not the planned subject: weights {model.subject.weights_sha256} "
            f"instead of {plan.subject.weights_sha256}, or another tokenizer, template or configuration.",
            hint="Plan again for this model; a plan binds exactly one.",
        )
    evidence: dict[str, Evidence] = {}
    members: dict[str, bytes] = {}
    failures = []
    for planned in plan.evidence:
        run = _Run(plan, planned, collectors[planned.kind], nonce, store, clock)
        try:
            digest = run.finished_evidence(model.environment) or run.execute(
                model, items[planned.items.sha256], inputs.get(planned.id, EvidenceInputs()), progress
            )
        except CollectionError as error:
            failures.append(NotCollected(id=planned.id, kind=planned.kind, reason=_reason(error)))
            continue
        found = parse(Evidence, store.get(digest), where=planned.id)
        evidence[planned.id] = found
        members |= _members(found, digest, store)
    return Collected(evidence, members, tuple(failures))


@dataclass(frozen=True)
class _Run:
    """One run of one collector: what is fixed before the first question."""

    plan: Plan
    planned: PlannedEvidence
    collector: Collector[Any]
    nonce: str | None
    store: Store
    clock: Callable[[], str]

    @property
    def seed(self) -> str:
        return root_seed(digest_of(self.plan), self.nonce)

    def key(self, environment: Environment) -> str:
        subject_sha256 = digest_of(self.plan.subject)
        return evidence_key(self.planned, subject_sha256=subject_sha256, seed=self.seed, environment=environment)

    def finished_evidence(self, environment: Environment) -> str | None:
        """Return the digest of what this key gave. The ledger decides: a crash may come right after its entry."""
        key = self.key(environment)
        logged = [entry.detail for entry in self._entries(key) if entry.event == "finished"]
        return self.store.finished(key) or (logged[-1] if logged else None)

    def execute(
        self,
        model: LanguageModel,
        items: Sequence[Item],
        given: EvidenceInputs,
        progress: Callable[[Progress], None],
    ) -> str:
        """Ask, summarise, keep; return the evidence's digest."""
        check_inputs(self.planned, given)
        key = self.key(model.environment)
        params = self.collector.parse(self.planned.parameters)
        if problem := lacking(self.collector, model, params):
            raise CollectionError(problem)
        started_at = self._start(key)
        with self._end_noted(key):
            trials, artifacts = self._gather(model, items, given, params, progress)
            observations = self.collector.summarise(trials, artifacts, params, self.seed)
            digest = self.store.put(dump(self._evidence(model, key, started_at, trials, artifacts, observations)))
        self._note("finished", key, digest)
        self.store.finish(key, digest)
        return digest

    def _evidence(
        self,
        model: LanguageModel,
        key: str,
        started_at: str,
        trials: Sequence[Trial],
        artifacts: Mapping[str, bytes],
        observations: tuple[Observation, ...],
    ) -> Evidence:
        """Keep trials and artefacts, and return the evidence that cites them."""
        collected_at = self.clock()
        return Evidence(
            id=self.planned.id,
            kind=self.planned.kind,
            protocol_version=self.collector.protocol_version,
            analysis_version=self.collector.analysis_version,
            key=key,
            run_ordinal=FIRST_RUN,
            plan_sha256=digest_of(self.plan),
            subject_sha256=digest_of(self.plan.subject),
            parameters=self.planned.parameters,
            items_sha256=self.planned.items.sha256,
            root_seed=self.seed,
            environment=model.environment,
            started_at=started_at,
            collected_at=collected_at,
            expires_at=add_days(collected_at, self.planned.expires_after_days),
            trials=self._keep_trials(trials),
            artifacts=tuple(self._keep_artifact(name, data) for name, data in sorted(artifacts.items())),
            calibration_sha256=None if self.planned.calibration is None else self.planned.calibration.sha256,
            observations=observations,
        )

    def _start(self, key: str) -> str:
        """Note the start; return when this key was first started, so that a resumed run shows its whole span."""
        earlier = [entry.at for entry in self._entries(key) if entry.event == "started"]
        self._note("resumed" if earlier else "started", key, "")
        return earlier[0] if earlier else self.clock()

    def _entries(self, key: str) -> list[LedgerEntry]:
        entries = (parse(LedgerEntry, line, where="ledger") for line in self.store.ledger().splitlines())
        return [entry for entry in entries if entry.key == key]

    def _gather(
        self,
        model: LanguageModel,
        items: Sequence[Item],
        given: EvidenceInputs,
        params: Any,
        progress: Callable[[Progress], None],
    ) -> tuple[list[Trial], dict[str, bytes]]:
        trials: list[Trial] = []
        artifacts: dict[str, bytes] = {}
        journaled = JournaledModel(model, self.store)
        inside = cast("WhiteBoxModel", model) if "capture" in model.capabilities else None
        others = {role: JournaledModel(other, self.store) for role, other in given.models.items()}
        handed = Inputs(subject=journaled, items=items, white_box=inside, models=others, files=given.files)
        for product in self.collector.collect(handed, params, self.seed):
            if isinstance(product, Artifact):
                artifacts[product.name] = product.data
                continue
            trials.append(product)
            progress(Progress(self.planned.id, len(trials), self.planned.promised_trials, journaled.replayed))
        return sorted(trials, key=lambda trial: trial.key.order), artifacts

    def _keep_trials(self, trials: Sequence[Trial]) -> TrialFile:
        data = canonical.dump_lines(as_json(trial) for trial in trials)
        failed = sum(trial.error is not None for trial in trials)
        return TrialFile(sha256=self.store.put(data), count=len(trials), failed=failed)

    def _keep_artifact(self, name: str, data: bytes) -> FileRef:
        media_type = "application/json" if name.endswith(".json") else "application/vnd.safetensors"
        return FileRef(name=name, sha256=self.store.put(data), size=len(data), media_type=media_type)

    @contextlib.contextmanager
    def _end_noted(self, key: str) -> Iterator[None]:
        """Note in the ledger how a run ended that gave no evidence."""
        try:
            yield
        except CollectionError as error:
            self._note("failed", key, error.message)
            raise
        except KeyboardInterrupt:
            self._note("aborted", key, "interrupted")
            raise
        except StoreError:
            with contextlib.suppress(StoreError):  # where an answer did not fit, this line may not fit either
                self._note("aborted", key, "the store could not be written")  # no path: the ledger is handed over
            raise

    def _note(self, event: Any, key: str, detail: str) -> None:
        self.store.append_ledger(
            LedgerEntry(
                previous="0" * 64,
                at=self.clock(),
                event=event,
                evidence=self.planned.id,
                key=key,
                run_ordinal=FIRST_RUN,
                plan_sha256=digest_of(self.plan),
                detail=detail[:2000],
            )
        )


def utc_now() -> str:
    """Return the clock's time as a time stamp of ours."""
    return datetime.now(UTC).strftime(TIME_FORMAT)


def add_days(timestamp: str, days: int) -> str:
    """Return a time stamp some days later."""
    moment = datetime.strptime(timestamp, TIME_FORMAT).replace(tzinfo=UTC)
    return (moment + timedelta(days=days)).strftime(TIME_FORMAT)


def _members(evidence: Evidence, digest: str, store: Store) -> dict[str, bytes]:
    """Return what an evidence puts into a pack."""
    members = {
        f"evidence/{evidence.kind}/{digest}.json": store.get(digest),
        f"trials/{evidence.trials.sha256}.jsonl": store.get(evidence.trials.sha256),
    }
    for artifact in evidence.artifacts:
        members[member("artifacts", artifact)] = store.get(artifact.sha256)
    return members


def _reason(error: CollectionError) -> str:
    """Return what went wrong, and what would help, where the error says that."""
    return f"{error.message.rstrip('.')}. {error.hint}" if error.hint else error.message
