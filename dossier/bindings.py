"""Do the documents of a pack cite each other by the right digests, and hides the ledger no run? Steps 8 and 9 of `verify`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dossier import canonical, pack, store
from dossier.authenticity import Signed
from dossier.documents import Documents
from dossier.errors import DossierError
from dossier.model import LedgerEntry, ManifestEntry, digest_of
from dossier.pack import Pack, member
from dossier.verdict import Report

CITED_FOLDERS = ("items/", "calibration/", "references/", "trials/", "artifacts/")


def check_bindings(contents: Pack, documents: Documents, signed: Signed, report: Report) -> tuple[LedgerEntry, ...]:
    """Run steps 8 and 9 and return the ledger's entries; what failed stands in ``report``."""
    found, plan = documents.dossier, documents.plan
    cited = (
        ("/plan_sha256", found.plan_sha256, canonical.sha256(contents.get(pack.PLAN))),
        ("/catalogue_sha256", found.catalogue_sha256, canonical.sha256(contents.get(pack.CATALOGUE))),
        ("/ledger_sha256", found.ledger_sha256, canonical.sha256(contents.get(pack.LEDGER))),
    )
    before = len(report.findings)
    for pointer, recorded, actual in cited:
        if recorded != actual:
            report.add(
                "INTEGRITY",
                "failed",
                f"{pack.DOSSIER}#{pointer}",
                f"cites {recorded[:16]}…, the member is {actual[:16]}…",
            )
    if plan.catalogue_sha256 != found.catalogue_sha256:
        report.add("INTEGRITY", "failed", f"{pack.PLAN}#/catalogue_sha256", "another catalogue than the dossier's")
    if digest_of(plan) != found.plan_sha256:
        report.add("INTEGRITY", "failed", pack.PLAN, "not in canonical form")
    _check_evidence_names(contents, documents, signed.withheld, report)
    _check_withheld(documents, signed.withheld, report)
    entries: tuple[LedgerEntry, ...] = ()
    try:
        entries = store.check_ledger(contents.get(pack.LEDGER), where=pack.LEDGER)
        for what in _hidden_runs(entries, documents):
            report.add("INTEGRITY", "failed", pack.LEDGER, what)
    except DossierError as error:
        report.add("INTEGRITY", "failed", pack.LEDGER, error.message)
    if len(report.findings) == before:
        report.add("INTEGRITY", "passed", pack.DOSSIER, "the documents cite each other, and the ledger hides no run")
    return entries


def _check_evidence_names(contents: Pack, documents: Documents, withheld: Collection[str], report: Report) -> None:
    cited = {f"evidence/{ref.kind}/{ref.sha256}.json" for ref in documents.dossier.evidence}
    there = set(contents.under("evidence/"))
    for name in sorted(there ^ cited):
        report.add("INTEGRITY", "failed", name, "cited and not there" if name in cited else "there and not cited")
    for name in sorted(there & cited):
        if canonical.sha256(contents.get(name)) not in name:
            report.add("INTEGRITY", "failed", name, "stands under another name than its digest")
    cited_members = _cited_members(documents)
    for name in (name for folder in CITED_FOLDERS for name in contents.under(folder) if name not in cited_members):
        report.add("INTEGRITY", "failed", name, "there and not cited by any document")
    for piece in documents.evidence.values():
        trials = f"trials/{piece.trials.sha256}.jsonl"
        if trials in withheld:
            continue
        if trials not in contents.members or canonical.sha256(contents.get(trials)) != piece.trials.sha256:
            report.add("INTEGRITY", "failed", trials, f"the trials of {piece.id} are not these bytes, or not there")


def _check_withheld(documents: Documents, withheld: Mapping[str, ManifestEntry], report: Report) -> None:
    """What an edition withholds must be what the documents cite: bytes that are not there can be held against nothing else."""
    cited = _cited_members(documents)
    cited |= {f"statements/{ref.sha256}.dsse.json": (ref.sha256, None) for ref in documents.dossier.statements}
    for name, entry in sorted(withheld.items()):
        if name == pack.SALTS:
            continue
        if name not in cited:
            report.add("INTEGRITY", "failed", name, "withheld, and nothing that a document cites and may be withheld")
        elif cited[name] not in ((entry.sha256, entry.size), (entry.sha256, None)):
            report.add("INTEGRITY", "failed", name, "withheld, and listed with another digest or size than is cited")


def _cited_members(documents: Documents) -> dict[str, tuple[str, int | None]]:
    """Return what plan and evidence cite under ``CITED_FOLDERS``: digest, and size where it is said, by member name."""
    files = [("artifacts", ref) for piece in documents.evidence.values() for ref in piece.artifacts]
    for planned in documents.plan.evidence:
        files += [("items", planned.items)]
        inputs = (
            ("calibration", planned.calibration),
            ("calibration", planned.sensitivity),
            ("references", planned.reference),
        )
        files += [(folder, ref) for folder, ref in inputs if ref is not None]
    trials = {
        f"trials/{piece.trials.sha256}.jsonl": (piece.trials.sha256, None) for piece in documents.evidence.values()
    }
    return {**trials, **{member(folder, ref): (ref.sha256, ref.size) for folder, ref in files}}


def _hidden_runs(entries: tuple[LedgerEntry, ...], documents: Documents) -> list[str]:
    plan_sha256 = digest_of(documents.plan)
    cited = {ref.sha256 for ref in documents.dossier.evidence}
    finished = {e.detail for e in entries if e.event == "finished" and e.plan_sha256 == plan_sha256}
    hidden = [
        f"a finished run of this plan, evidence {digest[:16]}…, is not in the dossier"
        for digest in sorted(finished - cited)
    ]
    unlogged = [f"evidence {digest[:16]}… has no finished run in the ledger" for digest in sorted(cited - finished)]
    return hidden + unlogged
