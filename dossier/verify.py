"""Is this pack what its signers made, and do its numbers follow from its answers? Offline, without the model.

The order is the security: container, signatures and digests first; only bytes that somebody trusted has signed are parsed.

    1  the attestation is signed by a trusted key
    2  manifest, PDF and approvals are the attested bytes, and no other approval is there
    3  the manifest lists every other member, and each has its digest, size, leaf and Merkle root
    4  the plan is signed by a trusted key, and plan.json is that payload
    5  approvals and statements are signed by trusted keys and are about this dossier and this plan
    6  the PDF's signature covers the whole file, and the PDF carries this dossier.json and this manifest.json
       -- if anything failed, stop here --
    7  every document is valid against its schema
    8  the documents cite each other by the right digests
    9  the ledger is an unbroken chain and hides no run
   10  each evidence: the promised trials are there, and the observations follow from them
   11  criteria, obligation states, gate and everything else in dossier.json follow from plan and evidence
   12  the recorded times do not contradict each other (that they are true, only a time-stamp authority could show)
   13  the evidence is fresh now
   14  the trust policy is met

An edition (`dossier.editions`) withholds members: what can be checked without them is, the rest is told as not checked.

What no step can see: whether the model gave these answers (`dossier replay` can), and whether a second set of ledger and
answers was thrown away before this one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from dossier import __version__, assemble, pack, schema
from dossier.attest import Plane, Trust
from dossier.authenticity import Signed, check_signatures
from dossier.bindings import check_bindings
from dossier.collector import Collector
from dossier.documents import Documents, cited, load_documents
from dossier.errors import ConfigError, DossierError, IntegrityError, SchemaError
from dossier.model import Decision, Evidence, PlannedEvidence, StatementRef, as_json, digest_of, parse
from dossier.pack import Pack, member
from dossier.recompute import EvidenceFiles, check_evidence, depths
from dossier.standing import check_freshness, check_policy, check_time
from dossier.verdict import CAVEAT, Outcome, Report, Verdict, conclude, differences, plane_outcomes

NOT_RENDERED_AGAIN = (
    "carries this dossier.json; that its pages show the same was not checked (`--rerender` does): rely on dossier.json"
)
Rerender = Callable[[Pack], bytes]


def verify(
    contents: Pack,
    *,
    trust: Trust,
    collectors: Mapping[str, Collector[Any]],
    now: str,
    rerender: Rerender | None = None,
) -> Verdict:
    """Return the verdict on a pack. Pure: nothing is read but ``contents``, and ``now`` is the only clock.

    ``collectors`` are the instruments installed here; numbers of others are "stated". ``rerender`` makes the PDF again.
    """
    report = Report()
    signed = check_signatures(contents, trust, report)
    if report.broken:
        return _verdict(report, trust, now)
    documents = _check_schemas(contents, report)
    if documents is None:
        return _verdict(report, trust, now)
    entries = check_bindings(contents, documents, signed, report)
    _check_recomputation(contents, documents, signed, collectors, report)
    if rerender is not None and signed.withheld.keys() - {pack.SALTS}:
        report.add("RECOMPUTATION", "not_checked", pack.PDF, "not rendered again: an edition lacks what its pages show")
    elif rerender is None:
        report.add("POLICY", "passed", pack.PDF, NOT_RENDERED_AGAIN)
    else:
        report.check("RECOMPUTATION", pack.PDF, lambda: _same_pdf(rerender(contents), signed.rendered))
    check_time(documents, signed, entries, report)
    check_freshness(documents, signed, now, report)
    check_policy(documents, signed, report)
    return _verdict(report, trust, now, documents=documents, signed=signed)


def broken_container(error: DossierError, *, trust: Trust, now: str) -> Verdict:
    """Return the verdict on a pack whose container is damaged or hostile: nothing in it was looked at."""
    report = Report()
    report.add("INTEGRITY", "failed", error.message.split(":")[0], error.message)
    return _verdict(report, trust, now)


def require_readable(trust: bytes, *, where: str) -> Trust:
    """Return a trust policy.

    Raises:
        ConfigError: it is not one.
    """
    try:
        schema.validate("trust.v1", trust, where=where)
        return parse(Trust, trust, where=where)
    except SchemaError as error:
        raise ConfigError(error.message, hint="`dossier init` writes a trust policy to start from.") from error


# --- step 7: documents -----------------------------------------------------------------------------------------------


def _check_schemas(contents: Pack, report: Report) -> Documents | None:
    """Step 7: validate against the schemas, then parse."""
    try:
        documents = load_documents(contents, validated=True)
    except DossierError as error:
        plane: Plane = "INTEGRITY" if isinstance(error, IntegrityError) else "SCHEMA"
        report.add(plane, "failed", error.message.split(":")[0], error.message)
        return None
    report.add("SCHEMA", "passed", "", "every document is valid against its schema")
    return documents


# --- steps 10 and 11: recomputation --------------------------------------------------------------------------------


def _check_recomputation(
    contents: Pack,
    documents: Documents,
    signed: Signed,
    collectors: Mapping[str, Collector[Any]],
    report: Report,
) -> None:
    slots = {planned.id: planned for planned in documents.plan.evidence}
    for piece in documents.evidence.values():
        name = f"evidence/{piece.kind}/{digest_of(piece)}.json"
        planned = slots.get(piece.id)
        if planned is None:
            report.add("RECOMPUTATION", "failed", f"{name}#/id", f"{piece.id} is not in the plan")
            continue
        if f"trials/{piece.trials.sha256}.jsonl" in signed.withheld:
            report.add(
                "RECOMPUTATION", "not_checked", name, "this edition withholds its trials; its numbers are stated"
            )
            report.numbers += depths(piece, recomputed=False)
            continue
        try:
            files = _evidence_files(contents, documents, piece, planned, name, withheld=signed.withheld)
            findings, numbers = check_evidence(
                files, documents.plan, nonce=documents.dossier.nonce, collector=collectors.get(piece.kind)
            )
        except DossierError as error:
            report.add("RECOMPUTATION", "failed", name, error.message)
            continue
        report.findings += findings
        report.numbers += numbers
    _check_dossier_again(contents, documents, signed, collectors, report)


def _evidence_files(
    contents: Pack,
    documents: Documents,
    piece: Evidence,
    planned: PlannedEvidence,
    name: str,
    *,
    withheld: Collection[str],
) -> EvidenceFiles:
    stored = {artifact.name: (member("artifacts", artifact), artifact) for artifact in piece.artifacts}
    artifacts = {
        called: cited(contents, path, artifact) for called, (path, artifact) in stored.items() if path not in withheld
    }
    return EvidenceFiles(
        where=name,
        evidence=piece,
        planned=planned,
        items=documents.items[planned.items.sha256],
        trials=contents.get(f"trials/{piece.trials.sha256}.jsonl"),
        artifacts=artifacts,
        withheld=len(artifacts) < len(stored),
    )


def _check_dossier_again(
    contents: Pack,
    documents: Documents,
    signed: Signed,
    collectors: Mapping[str, Collector[Any]],
    report: Report,
) -> None:
    """Step 11."""
    found, plan = documents.dossier, documents.plan
    known = [collectors[planned.kind] for planned in plan.evidence if planned.kind in collectors]
    complete = len(known) == len(plan.evidence)
    again = assemble.make_dossier(
        plan,
        catalogue=documents.catalogue,
        evidence=documents.evidence,
        not_collected=found.not_collected,
        statements=_statements(documents, signed, report),
        calibrations=documents.calibrations,
        ledger=contents.get(pack.LEDGER),
        nonce=found.nonce,
        not_measured=assemble.not_measured(plan, documents.catalogue, collectors=known, nonce=found.nonce)
        if complete
        else found.not_measured,
        as_of=found.as_of,
    )
    recorded = as_json(found)
    same_tool = recorded["tool_version"] == again.tool_version
    wrong = list(differences(recorded, as_json(again.model_copy(update={"tool_version": found.tool_version}))))
    for pointer, what in wrong[:10]:
        outcome: Outcome = "failed" if same_tool else "not_checked"
        reason = what if same_tool else f"{what}; not checked, needs {found.tool_version}"
        report.add("RECOMPUTATION", outcome, f"{pack.DOSSIER}#{pointer}", reason)
    if not wrong:
        what = f"{len(found.criteria)} criteria, {len(found.obligations)} obligation states and the gate follow"
        report.add("RECOMPUTATION", "passed", pack.DOSSIER, what)


def _statements(documents: Documents, signed: Signed, report: Report) -> tuple[StatementRef, ...]:
    """Return the statements that were opened, with those of the dossier that the edition withholds, which are not checked."""
    taken = [ref for ref in documents.dossier.statements if f"statements/{ref.sha256}.dsse.json" in signed.withheld]
    if taken:
        what = f"this edition withholds {len(taken)} statements: who made them, and that they did, was not checked"
        report.add("AUTHENTICITY", "not_checked", f"{pack.DOSSIER}#/statements", what)
    return tuple(sorted((*signed.statements, *taken), key=lambda ref: ref.sha256))  # as their members are


def _same_pdf(again: bytes, recorded: bytes) -> str:
    if again != recorded:
        raise IntegrityError(
            f"{pack.PDF}: rendering it again gives other bytes ({len(again)}, the file has {len(recorded)}).",
            hint="Other versions of WeasyPrint, Pango or HarfBuzz give other bytes too; `dossier doctor` lists them.",
        )
    return "rendering it again gives the same bytes"


def _verdict(
    report: Report, trust: Trust, now: str, *, documents: Documents | None = None, signed: Signed | None = None
) -> Verdict:
    planes = plane_outcomes(report.findings)
    gate: Decision | None = None if documents is None else documents.dossier.gate
    return Verdict(
        verdict=conclude(planes, trust.required_planes),
        caveat=CAVEAT,
        demo=None if documents is None else documents.dossier.demo,
        checked_at=now,
        tool_version=f"dossier {__version__}",
        planes=planes,
        required_planes=trust.required_planes,
        findings=tuple(report.findings),
        numbers=tuple(report.numbers),
        edition=None if signed is None else signed.readers,
        withheld=() if signed is None else tuple(sorted(signed.withheld)),
        gate=gate,
        decisions=() if signed is None else tuple(approval.decision for approval, _ in signed.approvals),
    )
