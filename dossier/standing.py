"""Do the recorded times agree, is the evidence fresh, and did those decide whom the plan names? Steps 12 to 14 of `verify`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from dossier import canonical, pack
from dossier.attest import ApprovalPredicate
from dossier.authenticity import Signed
from dossier.documents import Documents
from dossier.model import LedgerEntry
from dossier.obligations import catalogue_bytes
from dossier.verdict import Outcome, Report


def check_time(documents: Documents, signed: Signed, entries: tuple[LedgerEntry, ...], report: Report) -> None:
    """Step 12. Times that contradict each other are an INTEGRITY failure; that they are true, nothing here can show."""
    plan, found = documents.plan, documents.dossier
    tail = [("the dossier's as_of", found.as_of)]
    if signed.attestation is not None:
        tail.append(("the attestation", signed.attestation.closed_at))
    _check_order([("the plan's creation", plan.created_at), *tail], report)
    for piece in documents.evidence.values():
        logged = {entry.event: entry.at for entry in entries if entry.key == piece.key}
        span = [
            ("the plan's creation", plan.created_at),
            (f"the ledger's start of {piece.id}", logged.get("started", piece.started_at)),
            (f"the start of {piece.id}", piece.started_at),
            (f"the end of {piece.id}", piece.collected_at),
            (f"the ledger's finish of {piece.id}", logged.get("finished", piece.collected_at)),
        ]
        _check_order([*span, *tail], report)
    for approval, _ in signed.approvals:
        _check_order([tail[0], (f"the decision of {approval.person}", approval.at), *tail[1:]], report)
    _check_order([(f"ledger line {number}", entry.at) for number, entry in enumerate(entries, start=1)], report)
    asserted = "all times are the provider's own: the order is asserted, not time-stamped"
    report.add("TIME", "indeterminate", pack.PLAN, asserted)


def _check_order(moments: list[tuple[str, str]], report: Report) -> None:
    for (earlier, first), (later, second) in itertools.pairwise(moments):
        if first > second:
            report.add("INTEGRITY", "failed", pack.DOSSIER, f"{earlier} ({first}) comes after {later} ({second})")


def check_freshness(documents: Documents, signed: Signed, now: str, report: Report) -> None:
    """Step 13, the only one that reads the clock."""
    if documents.dossier.as_of > now:
        report.add("FRESHNESS", "failed", f"{pack.DOSSIER}#/as_of", f"{documents.dossier.as_of} lies after now, {now}")
    if signed.attestation is not None and signed.attestation.closed_at > now:
        report.add(
            "FRESHNESS", "failed", pack.ATTESTATION, f"closed at {signed.attestation.closed_at}, after now, {now}"
        )
    for piece in documents.evidence.values():
        outcome: Outcome = "passed" if now < piece.expires_at else "failed"
        report.add("FRESHNESS", outcome, piece.id, f"holds until {piece.expires_at}")


def check_policy(documents: Documents, signed: Signed, report: Report) -> None:
    """Step 14."""
    if signed.demo_signers and not documents.dossier.demo:
        report.add(
            "POLICY",
            "failed",
            pack.DOSSIER,
            f"demo keys signed ({', '.join(signed.demo_signers)}), and the dossier does not say so",
        )
    if documents.dossier.demo:
        report.add("POLICY", "passed", pack.DOSSIER, "DEMO: this dossier says of itself that it is no evidence")
    if documents.dossier.catalogue_sha256 != canonical.sha256(catalogue_bytes(documents.plan.regime)):
        other = "not the catalogue this version ships: the provider's or an older one; read it before its table"
        report.add("POLICY", "passed", pack.CATALOGUE, other)
    _check_decisions([approval for approval, _ in signed.approvals], documents.plan.approver_functions, report)
    if not documents.plan.approver_functions:
        report.add("POLICY", "indeterminate", pack.PLAN, "the plan names nobody who decides")
    for approval, _ in signed.approvals:
        if approval.gate_state != documents.dossier.gate.state:
            report.add(
                "POLICY",
                "failed",
                pack.APPROVALS,
                f"{approval.person} decided on a gate that was {approval.gate_state}",
            )


def _check_decisions(decisions: Sequence[ApprovalPredicate], functions: Sequence[str], report: Report) -> None:
    """Tell every decision; one function that decided both ways has decided nothing."""
    for decision in decisions:
        said = f"{decision.decision.upper()} by {decision.person}, {decision.function}: {decision.reason}"
        report.add("POLICY", "passed", pack.APPROVALS, said)
    for function in dict.fromkeys((*functions, *(decision.function for decision in decisions))):
        ways = {decision.decision for decision in decisions if decision.function == function}
        if not ways:
            what = f"{function} has not decided: the plan names this function"
            report.add("POLICY", "indeterminate", pack.APPROVALS, what)
        if len(ways) > 1:
            report.add("POLICY", "failed", pack.APPROVALS, f"{function} has both approved and rejected this dossier")
