"""What would a forger do? Each function returns a forged pack that a verification must refuse.

An outsider changes bytes. A provider who holds every key re-digests and re-signs everything honestly afterwards, so that
every signature is good: `rebuild` does that for them. The demo shows a few of these; the tests run all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dossier import attest, canonical, closing, pack
from dossier.attest import ApprovalPredicate
from dossier.documents import load_documents
from dossier.keys import SigningKey
from dossier.model import Dossier, Evidence, Plan, Trial, TrialFile, as_json, digest_of, dump
from dossier.pack import Pack
from dossier.recompute import parse_trials
from dossier.store import GENESIS, check_ledger

Summarise = Callable[[Evidence, Sequence[Trial]], Evidence]


@dataclass(frozen=True)
class Forger:
    """A provider who holds every key. ``resummarise`` computes an evidence's observations again from forged trials."""

    provider: SigningKey
    approver: SigningKey
    resummarise: Summarise


@dataclass(frozen=True)
class Forgery:
    """A named forgery, and what finds it."""

    name: str
    caught_by: str
    forge: Callable[[Pack, Forger], Pack]


def flipped_byte(contents: Pack, name: str, *, position: int) -> Pack:
    """Return the pack with the lowest bit of one byte of a member flipped: what an outsider, or a bad disk, does."""
    data = bytearray(contents.get(name))
    data[position] ^= 1
    return Pack({**contents.members, name: bytes(data)})


def rebuild(
    contents: Pack,
    forger: Forger,
    *,
    plan: Callable[[Plan], Plan] = lambda plan: plan,
    trials: Callable[[list[Trial]], list[Trial]] | None = None,
    evidence: Callable[[Evidence], Evidence] = lambda evidence: evidence,
    dossier: Callable[[Dossier], Dossier] = lambda dossier: dossier,
    keep: tuple[str, ...] = (),
) -> Pack:
    """Return the pack with documents changed and everything after them digested, decided, signed and closed again.

    ``keep`` names members of the evidence's folders to carry over although nothing cites them.
    """
    documents = load_documents(contents)
    forged_plan = plan(documents.plan)
    members: dict[str, bytes] = {
        name: data
        for name, data in contents.members.items()
        if name in keep or (pack.covered(name) and not name.startswith(("evidence/", "trials/")) and name != pack.SALTS)
    }
    members |= closing.plan_members(forged_plan, {}, key=forger.provider)
    digests: dict[str, str] = {}
    for piece in documents.evidence.values():
        data = contents.get(f"trials/{piece.trials.sha256}.jsonl")
        forged = piece.model_copy(update={"plan_sha256": digest_of(forged_plan)})
        if trials is not None:
            changed = trials(list(parse_trials(data, where="trials")))
            data = canonical.dump_lines(as_json(trial) for trial in changed)
            failed = sum(trial.error is not None for trial in changed)
            file = TrialFile(sha256=canonical.sha256(data), count=len(changed), failed=failed)
            forged = forger.resummarise(forged.model_copy(update={"trials": file}), changed)
        forged = evidence(forged)
        members[f"trials/{forged.trials.sha256}.jsonl"] = data
        members[f"evidence/{forged.kind}/{digest_of(forged)}.json"] = dump(forged)
        digests[digest_of(piece)] = digest_of(forged)
    members[pack.LEDGER] = _ledger(contents.get(pack.LEDGER), digests, digest_of(forged_plan))
    refs = tuple(ref.model_copy(update={"sha256": digests[ref.sha256]}) for ref in documents.dossier.evidence)
    fields = {
        "plan_sha256": digest_of(forged_plan),
        "evidence": refs,
        "ledger_sha256": canonical.sha256(members[pack.LEDGER]),
    }
    members[pack.DOSSIER] = dump(dossier(documents.dossier.model_copy(update=fields)))
    return _closed(Pack(members), contents, forger)


def _closed(open_pack: Pack, original: Pack, forger: Forger) -> Pack:
    listed = pack.build_manifest(open_pack.members, confidentiality=closing.CONFIDENTIALITY)
    forged = Pack({**listed, pack.PDF: closing.rerender(Pack(listed))})
    members = dict(forged.members)
    for name in original.under(pack.APPROVALS):
        payload = attest.payload(original.get(name), where=name)
        predicate, _ = attest.parse_statement(ApprovalPredicate, payload, where=name)
        members |= closing.approval(forged, predicate, key=forger.approver)
    closed_at = load_documents(original).dossier.as_of
    return closing.close(Pack(members), key=forger.provider, now=closed_at)


def _ledger(data: bytes, digests: Mapping[str, str], plan_sha256: str) -> bytes:
    """Return the ledger with its chain made good again after the digests changed."""
    previous, lines = GENESIS, []
    for entry in check_ledger(data, where=pack.LEDGER):
        detail = digests.get(entry.detail, entry.detail)
        line = dump(entry.model_copy(update={"previous": previous, "detail": detail, "plan_sha256": plan_sha256}))
        previous = canonical.sha256(line)
        lines.append(line + b"\n")
    return b"".join(lines)


def _delete_trials(trials: list[Trial]) -> list[Trial]:
    """Drop the tenth part: say, the unfavourable ones."""
    return [trial for index, trial in enumerate(trials) if index % 10]


def _edit_observation(evidence: Evidence) -> Evidence:
    first = next(o for o in evidence.observations if o.estimate is not None and o.interval is not None)
    better = first.model_copy(update={"estimate": 0.75 + 0.1 * (first.estimate or 0.0)})
    others = [better if o.id == first.id else o for o in evidence.observations]
    return evidence.model_copy(update={"observations": tuple(others)})


def _loosen(plan: Plan) -> Plan:
    pieces = [
        piece.model_copy(
            update={"criteria": tuple(c.model_copy(update={"threshold": c.threshold / 2}) for c in piece.criteria)}
        )
        for piece in plan.evidence
    ]
    return plan.model_copy(update={"evidence": tuple(pieces)})


def _open_gate(dossier: Dossier) -> Dossier:
    gate: Any = dossier.gate.model_copy(update={"state": "open", "blocked_by": ()})
    return dossier.model_copy(update={"gate": gate})


def _meet_criteria(dossier: Dossier) -> Dossier:
    met = tuple(result.model_copy(update={"outcome": "met"}) for result in dossier.criteria)
    return _open_gate(dossier.model_copy(update={"criteria": met}))


def _more_on_file(dossier: Dossier) -> Dossier:
    states = tuple(state.model_copy(update={"state": "evidence_on_file"}) for state in dossier.obligations)
    return dossier.model_copy(update={"obligations": states})


def _another_seed(evidence: Evidence) -> Evidence:
    return evidence.model_copy(update={"root_seed": f"{int(evidence.root_seed, 16) ^ 1:016x}"})


BY_KEY_HOLDER: tuple[Forgery, ...] = (
    Forgery("trials deleted", "expected trials", lambda p, f: rebuild(p, f, trials=_delete_trials)),
    Forgery("trials duplicated", "expected trials", lambda p, f: rebuild(p, f, trials=lambda t: [*t, t[-1]])),
    Forgery("trials reordered", "expected trials", lambda p, f: rebuild(p, f, trials=lambda t: t[::-1])),
    Forgery("an observation changed", "recomputation", lambda p, f: rebuild(p, f, evidence=_edit_observation)),
    Forgery("a criterion loosened after the run", "plan-bound seed", lambda p, f: rebuild(p, f, plan=_loosen)),
    Forgery("another seed claimed", "plan-bound seed", lambda p, f: rebuild(p, f, evidence=_another_seed)),
    Forgery("the gate opened", "recomputation", lambda p, f: rebuild(p, f, dossier=_open_gate)),
    Forgery("criteria called met", "recomputation", lambda p, f: rebuild(p, f, dossier=_meet_criteria)),
    Forgery("obligation states improved", "recomputation", lambda p, f: rebuild(p, f, dossier=_more_on_file)),
)
