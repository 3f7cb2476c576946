"""Are these the bytes that somebody trusted has signed? Steps 1 to 6 of `dossier.verify`; no content is interpreted here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dossier import attest, canonical, editions, pack, sign
from dossier.attest import ApprovalPredicate, AttestationPredicate, Opened, StatementPredicate, Trust
from dossier.errors import DossierError, IntegrityError, SignatureError
from dossier.model import ManifestEntry, StatementRef
from dossier.pack import Pack
from dossier.verdict import Report


@dataclass(frozen=True)
class Signed:
    """What steps 1 to 6 established. ``withheld`` are the members that the edition leaves out."""

    attestation: AttestationPredicate | None
    approvals: tuple[tuple[ApprovalPredicate, Opened], ...]
    statements: tuple[StatementRef, ...]
    demo_signers: tuple[str, ...]
    rendered: bytes
    withheld: Mapping[str, ManifestEntry]
    readers: editions.Readers | None


def check_signatures(contents: Pack, trust: Trust, report: Report) -> Signed:
    """Run steps 1 to 6 and return what they established; what failed stands in ``report``."""
    attestation: list[AttestationPredicate] = []
    subjects: dict[str, str] = {}
    demo: list[str] = []

    def opened(name: str, payload_type: str, function: attest.Function) -> Opened:
        result = attest.open_envelope(
            contents.get(name), payload_type=payload_type, trust=trust, function=function, where=name
        )
        if result.signer.demo:
            demo.append(result.signer.name)
        return result

    def step_1() -> str:
        envelope = opened(pack.ATTESTATION, attest.STATEMENT_TYPE, "attestation")
        predicate, found = attest.parse_statement(AttestationPredicate, envelope.payload, where=pack.ATTESTATION)
        attestation.append(predicate)
        subjects.update(found)
        return f"signed by {envelope.signer.name}"

    report.check("AUTHENTICITY", pack.ATTESTATION, step_1)
    if subjects:
        _check_attested(contents, subjects, attestation[0], report)
    readers, withheld = _check_manifest(contents, report)
    report.check("AUTHENTICITY", pack.PLAN_ENVELOPE, lambda: _plan_signed(contents, opened))
    approvals = [_approval(contents, name, opened, report) for name in contents.under(pack.APPROVALS)]
    statements = [_statement(contents, name, opened, report) for name in contents.under("statements/")]
    rendered: list[bytes] = []
    if report.broken:  # a hostile PDF can cost much to read: only one that somebody trusted has attested is opened
        report.add("AUTHENTICITY", "not_checked", pack.PDF, "not opened, since the pack is broken already")
    else:
        report.check("AUTHENTICITY", pack.PDF, lambda: _pdf_signed(contents, trust, rendered, demo))
    return Signed(
        attestation=attestation[0] if attestation else None,
        approvals=tuple(approval for approval in approvals if approval is not None),
        statements=tuple(statement for statement in statements if statement is not None),
        demo_signers=tuple(dict.fromkeys(demo)),
        rendered=rendered[0] if rendered else b"",
        withheld=withheld,
        readers=readers,
    )


def _check_attested(
    contents: Pack, subjects: Mapping[str, str], predicate: AttestationPredicate, report: Report
) -> None:
    """Step 2."""
    wanted = {pack.MANIFEST, pack.PDF, *contents.under(pack.APPROVALS)}
    for name in sorted(wanted | subjects.keys()):
        report.check("INTEGRITY", name, lambda name=name: _attested(contents, name, subjects))  # type: ignore[misc]

    def facts() -> str:
        pdf = contents.get(pack.PDF)
        if (predicate.pdf.sha256, predicate.pdf.length) != (canonical.sha256(pdf), len(pdf)):
            raise IntegrityError(f"{pack.PDF}: not the PDF that was attested.")
        for name, digest in ((pack.DOSSIER, predicate.dossier_sha256), (pack.PLAN, predicate.plan_sha256)):
            if canonical.sha256(contents.get(name)) != digest:
                raise IntegrityError(f"{name}: not the bytes that were attested.")
        return "the attested dossier, plan and PDF are these"

    report.check("INTEGRITY", pack.ATTESTATION, facts)


def _attested(contents: Pack, name: str, subjects: Mapping[str, str]) -> str:
    if name not in subjects:
        raise IntegrityError(f"{name}: not among the members the attestation closes.")
    if canonical.sha256(contents.get(name)) != subjects[name]:
        raise IntegrityError(f"{name}: the bytes are not the attested ones.")
    return "as attested"


def _check_manifest(contents: Pack, report: Report) -> tuple[editions.Readers | None, Mapping[str, ManifestEntry]]:
    """Step 3. Return for whom an edition is and what it withholds by class; whatever else is missing was removed."""
    try:
        data = contents.get(pack.MANIFEST)
        listed = editions.listed(data)
        readers, salts = editions.salts_of(contents)
    except DossierError as error:
        report.add("INTEGRITY", "failed", pack.MANIFEST, error.message)
        return None, {}
    there = {name for name in contents.members if pack.covered(name)}
    withheld = {name: listed[name] for name in editions.withheld(listed, readers)} if readers else {}
    shown = listed.keys() - withheld.keys()
    if readers and salts.keys() != shown:
        report.add("INTEGRITY", "failed", pack.EDITION, "its salts are not those of the members that are not withheld")
    for name in sorted(there - shown):
        what = "above this edition's class" if name in withheld else "not listed in the manifest"
        report.add("INTEGRITY", "failed", name, f"{what}: it was added")
    for name in sorted(shown - there):
        report.add("INTEGRITY", "failed", name, "listed in the manifest and not there: it was removed")
    good = 0
    for name in sorted(there & listed.keys()):
        entry = listed[name]
        member_bytes = contents.get(name)
        if (entry.sha256, entry.size) != (canonical.sha256(member_bytes), len(member_bytes)):
            report.add("INTEGRITY", "failed", name, "the bytes are not those the manifest lists")
        elif name not in salts or not _leaves_match(entry, member_bytes, salts[name]):
            report.add("INTEGRITY", "failed", name, "leaf or Merkle root does not belong to these bytes")
        else:
            good += 1
    if there == shown and good == len(there):
        report.add("INTEGRITY", "passed", pack.MANIFEST, f"{good} members are the listed ones, and no other is there")
    return readers, withheld


def _leaves_match(entry: ManifestEntry, data: bytes, salt: str) -> bool:
    return pack.entry_of(entry.path, data, salt=salt, confidentiality={entry.path: entry.confidentiality}) == entry


def _plan_signed(contents: Pack, opened: Callable[[str, str, attest.Function], Opened]) -> str:
    """Step 4."""
    envelope = opened(pack.PLAN_ENVELOPE, attest.PLAN_TYPE, "plan")
    if envelope.payload != contents.get(pack.PLAN):
        raise IntegrityError(f"{pack.PLAN}: not the plan that was signed.")
    return f"the plan was signed by {envelope.signer.name}"


def _approval(
    contents: Pack, name: str, opened: Callable[[str, str, attest.Function], Opened], report: Report
) -> tuple[ApprovalPredicate, Opened] | None:
    """Step 5, an approval."""
    result: list[tuple[ApprovalPredicate, Opened]] = []

    def step() -> str:
        envelope = opened(name, attest.STATEMENT_TYPE, "approval")
        predicate, subjects = attest.parse_statement(ApprovalPredicate, envelope.payload, where=name)
        if subjects != {pack.DOSSIER: canonical.sha256(contents.get(pack.DOSSIER))}:
            raise SignatureError(f"{name}: a decision about another dossier.")
        result.append((predicate, envelope))
        return f"{predicate.decision} by {predicate.person}, {predicate.function}"

    report.check("AUTHENTICITY", name, step)
    return result[0] if result else None


def _statement(
    contents: Pack, name: str, opened: Callable[[str, str, attest.Function], Opened], report: Report
) -> StatementRef | None:
    """Step 5, a statement."""
    result: list[StatementRef] = []

    def step() -> str:
        envelope = opened(name, attest.STATEMENT_TYPE, "statement")
        predicate, subjects = attest.parse_statement(StatementPredicate, envelope.payload, where=name)
        digest = canonical.sha256(contents.get(name))
        if subjects != {pack.PLAN: canonical.sha256(contents.get(pack.PLAN))} or digest not in name:
            raise SignatureError(f"{name}: a statement about another plan, or under another name than its digest.")
        result.append(StatementRef(obligation=predicate.obligation, sha256=digest))
        return f"{predicate.person}, {predicate.function}, stated on {predicate.obligation}"

    report.check("AUTHENTICITY", name, step)
    return result[0] if result else None


def _pdf_signed(contents: Pack, trust: Trust, rendered: list[bytes], demo: list[str]) -> str:
    """Step 6."""
    data = contents.get(pack.PDF)
    found = sign.check_pdf(data, attest.load_roots(trust))
    if found.problems:
        raise SignatureError(f"{pack.PDF}: {'; '.join(found.problems)}.")
    signer = next((key for key in trust.keys if key.keyid == found.keyid and "pdf" in key.functions), None)
    if signer is None:
        raise SignatureError(f"{pack.PDF}: signed by a key that is not trusted for 'pdf'.")
    for name in (pack.DOSSIER, pack.MANIFEST):
        if found.attachments.get(name) != contents.get(name):
            raise IntegrityError(f"{pack.PDF}: the {name} in it is not the pack's.")
    if signer.demo:
        demo.append(signer.name)
    rendered.append(data[: found.unsigned_bytes])
    return f"signed by {signer.name}; the signature covers the whole file"
