"""How do a plan and its evidence become a pack that closes? Draft, decide, sign.

`draft` adds dossier.json, manifest and the rendered PDF to the plan's files and the evidence; `approval` is a named
person's decision over the dossier's digest; `close` signs the PDF and closes everything with the attestation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dossier import __version__, assemble, attest, canonical, pack, render
from dossier.attest import (
    ApprovalPredicate,
    AttestationPredicate,
    PdfFacts,
    Resource,
    StatementPredicate,
)
from dossier.collector import Collector
from dossier.documents import cited, load_documents
from dossier.errors import ConfigError, SigningError
from dossier.keys import SigningKey
from dossier.model import Calibration, Dossier, Evidence, Plan, StatementRef, Trial, dump, parse
from dossier.obligations import parse_catalogue
from dossier.pack import Pack
from dossier.recompute import parse_trials
from dossier.run import TIME_FORMAT, Collected
from dossier.sign import sign_pdf

GRAPHS = 2  # drawn in the PDF; all are in the pack
SAMPLES = 5  # Code of Practice, Safety and Security, Measure 7.3(1)(f): at least five random samples per evaluation

# Who may see what by default; a redacted edition withholds from the top down.
CONFIDENTIALITY = {"trials": "authority", "artifacts": "confidential", "statements": "authority"}


def plan_members(plan: Plan, files: Mapping[str, bytes], *, key: SigningKey) -> dict[str, bytes]:
    """Return what a signed plan puts into the pack."""
    data = dump(plan)
    envelope = attest.sign(data, payload_type=attest.PLAN_TYPE, key=key)
    return {**files, pack.PLAN: data, pack.PLAN_ENVELOPE: envelope}


def stated(plan_bytes: bytes, predicate: StatementPredicate, *, key: SigningKey) -> dict[str, bytes]:
    """Return a named person's statement about an obligation as a member of the pack.

    Raises:
        ConfigError: a demo key on a real plan, or the other way round.
    """
    _refuse_mixed_keys(parse(Plan, plan_bytes, where=pack.PLAN).demo, key)
    payload = attest.statement(predicate, [Resource.of(pack.PLAN, plan_bytes)])
    envelope = attest.sign(payload, payload_type=attest.STATEMENT_TYPE, key=key)
    return {f"statements/{canonical.sha256(envelope)}.dsse.json": envelope}


def draft(
    contents: Pack,
    *,
    collected: Collected,
    collectors: Mapping[str, Collector[Any]],
    ledger: bytes,
    nonce: str | None,
    as_of: str,
) -> Pack:
    """Return the pack up to its unsigned PDF, from the plan's members in ``contents`` and what was collected.

    Raises:
        RenderError: the PDF could not be made.
    """
    plan = parse(Plan, contents.get(pack.PLAN), where=pack.PLAN)
    catalogue = parse_catalogue(contents.get(pack.CATALOGUE), where=pack.CATALOGUE)
    dossier = assemble.make_dossier(
        plan,
        catalogue=catalogue,
        evidence=collected.evidence,
        not_collected=collected.not_collected,
        statements=_statements(contents),
        calibrations=_calibrations(contents, plan),
        ledger=ledger,
        nonce=nonce,
        not_measured=assemble.not_measured(
            plan, catalogue, collectors=[collectors[p.kind] for p in plan.evidence], nonce=nonce
        ),
        as_of=as_of,
    )
    members = {**contents.members, **collected.members, pack.LEDGER: ledger, pack.DOSSIER: dump(dossier)}
    listed = pack.build_manifest(
        {name: data for name, data in members.items() if pack.covered(name) and name != pack.SALTS},
        confidentiality=CONFIDENTIALITY,
    )
    unsigned = Pack(listed)
    return Pack({**listed, pack.PDF: rerender(unsigned)})


def rerender(contents: Pack) -> bytes:
    """Return the unsigned PDF of a pack: the same bytes for the same members.

    Raises:
        RenderError: the PDF could not be made.
    """
    documents = load_documents(contents)
    samples = {
        name: _samples(contents.get(f"trials/{evidence.trials.sha256}.jsonl"), evidence.root_seed)
        for name, evidence in documents.evidence.items()
    }
    return render.render(
        render.DossierView(
            dossier=documents.dossier,
            plan=documents.plan,
            catalogue=documents.catalogue,
            evidence=documents.evidence,
            calibrations=documents.calibrations,
            sensitivities=documents.sensitivities,
            references=documents.references,
            samples=samples,
            graphs={name: _graphs(contents, evidence) for name, evidence in documents.evidence.items()},
            dossier_bytes=contents.get(pack.DOSSIER),
            manifest_bytes=contents.get(pack.MANIFEST),
        )
    )


def _graphs(contents: Pack, evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Return the first few graphs that an instrument left, by artefact name."""
    named = [one for one in evidence.artifacts if one.name.startswith("circuit-") and one.name.endswith(".json")]
    return tuple((one.name, cited(contents, pack.member("artifacts", one), one)) for one in named[:GRAPHS])


def approval(contents: Pack, predicate: ApprovalPredicate, *, key: SigningKey) -> dict[str, bytes]:
    """Return a named person's decision over this dossier as a member of the pack.

    Raises:
        ConfigError: this function has decided already, or a demo key on a real dossier, or the other way round.
    """
    data = contents.get(pack.DOSSIER)
    _refuse_mixed_keys(parse(Dossier, data, where=pack.DOSSIER).demo, key)
    earlier = next((one for one in _decisions(contents) if one.function == predicate.function), None)
    if earlier is not None:
        raise ConfigError(
            f"{predicate.function} has decided on this dossier already: {earlier.decision} by {earlier.person}.",
            hint="A decision stands. For another one, draft a new dossier in another output folder.",
        )
    payload = attest.statement(predicate, [Resource.of(pack.DOSSIER, data)])
    envelope = attest.sign(payload, payload_type=attest.STATEMENT_TYPE, key=key)
    return {f"{pack.APPROVALS}{canonical.sha256(envelope)}.dsse.json": envelope}


def undecided(contents: Pack) -> tuple[str, ...]:
    """Return the functions that the plan names and that have not decided on this dossier yet."""
    plan = parse(Plan, contents.get(pack.PLAN), where=pack.PLAN)
    decided = {decision.function for decision in _decisions(contents)}
    return tuple(function for function in plan.approver_functions if function not in decided)


def _decisions(contents: Pack) -> list[ApprovalPredicate]:
    decisions = []
    for name in contents.under(pack.APPROVALS):
        predicate, subjects = attest.parse_statement(
            ApprovalPredicate, attest.payload(contents.get(name), where=name), where=name
        )
        if subjects != {pack.DOSSIER: canonical.sha256(contents.get(pack.DOSSIER))}:
            raise ConfigError(f"{name}: a decision about another dossier.", hint="Remove it, and ask the person again.")
        decisions.append(predicate)
    return decisions


def _refuse_mixed_keys(demo: bool, key: SigningKey) -> None:
    if demo != key.demo:
        keys, papers = ("a demo key", "a real dossier") if key.demo else ("a real key", "a demo dossier")
        raise ConfigError(
            f"{keys} does not sign on {papers}: verification would refuse it, or a person's word would stand on a toy.",
            hint="`dossier plan` decides which it is: a plan signed with a demo key makes a demo.",
        )


def close(contents: Pack, *, key: SigningKey, now: str) -> Pack:
    """Return the closed pack: the PDF signed, and the attestation over manifest, PDF and approvals.

    Raises:
        SigningError: the pack is closed already, or the key cannot sign.
    """
    if pack.ATTESTATION in contents.members:
        raise SigningError(f"{pack.ATTESTATION}: this pack is closed already.", hint="Start from a new draft.")
    at = datetime.strptime(now, TIME_FORMAT).replace(tzinfo=UTC)
    pdf = sign_pdf(contents.get(pack.PDF), key, reason="Dossier closed by its provider", at=at)
    closed = {**contents.members, pack.PDF: pdf}
    predicate = AttestationPredicate(
        dossier_sha256=canonical.sha256(closed[pack.DOSSIER]),
        plan_sha256=canonical.sha256(closed[pack.PLAN]),
        pdf=PdfFacts(sha256=canonical.sha256(pdf), length=len(pdf)),
        tool_version=f"dossier {__version__}",
        closed_at=now,
    )
    names = (pack.MANIFEST, pack.PDF, *contents.under(pack.APPROVALS))
    payload = attest.statement(predicate, [Resource.of(name, closed[name]) for name in names])
    closed[pack.ATTESTATION] = attest.sign(payload, payload_type=attest.STATEMENT_TYPE, key=key)
    return Pack(closed)


def _statements(contents: Pack) -> tuple[StatementRef, ...]:
    references = []
    for name in contents.under("statements/"):
        envelope = contents.get(name)
        predicate, _ = attest.parse_statement(StatementPredicate, attest.payload(envelope, where=name), where=name)
        references.append(StatementRef(obligation=predicate.obligation, sha256=canonical.sha256(envelope)))
    return tuple(references)


def _calibrations(contents: Pack, plan: Plan) -> dict[str, Calibration]:
    cited = [planned.calibration for planned in plan.evidence if planned.calibration is not None]
    names = {reference.sha256: pack.member("calibration", reference) for reference in cited}
    return {digest: parse(Calibration, contents.get(name), where=name) for digest, name in names.items()}


def _samples(trials: bytes, root_seed: str) -> tuple[Trial, ...]:
    """Return five trials that neither side chose: the first by SHA-256 of seed and line."""
    lines = sorted(
        trials.splitlines(keepends=True), key=lambda line: hashlib.sha256(root_seed.encode() + line).digest()
    )
    return parse_trials(b"".join(lines[:SAMPLES]), where="samples")
