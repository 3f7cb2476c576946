"""What does a reader see? A dossier and what it cites, as HTML and then as a PDF that carries dossier.json inside.

The PDF is a picture: everything in it comes from a `DossierView`, whose values were read and checked elsewhere, and every
number in it links to the evidence file and JSON pointer it was copied from. The same view gives the same bytes.

All text is escaped; model output is hostile text. Long texts are cut and say so.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dossier import canonical, wording
from dossier.assess import calibration_doubt
from dossier.errors import RenderError
from dossier.model import (
    Calibration,
    Catalogue,
    Criterion,
    CriterionResult,
    Dossier,
    Evidence,
    Obligation,
    ObligationState,
    Observation,
    Plan,
    PlannedEvidence,
    Reference,
    Sensitivity,
    Trial,
)
from dossier.obligations import CLASS_WORDS, applies
from dossier.sections import GENERIC_TEMPLATE, Section, section
from dossier.typeset import EmbeddedFile, typeset
from dossier.wording import QuantityWords, Words

MAX_HEADLINES = 8  # quantities on the first page; the rest stand in their sections
_FIRST_SECTION = 4  # after summary, reading, requirements
_APART = frozenset({"not_applicable"})


@dataclass(frozen=True)
class DossierView:
    """A dossier and everything it cites, read and checked.

    ``evidence``, ``sensitivities``, ``references`` and ``samples`` are keyed by the slot id of the plan, ``calibrations``
    by digest. ``samples`` are a few trials to print as examples, in the order given; ``graphs`` a few traced
    circuits by name. ``dossier_bytes`` and ``manifest_bytes`` are the stored bytes; they go into the PDF as they are.
    """

    dossier: Dossier
    plan: Plan
    catalogue: Catalogue
    evidence: Mapping[str, Evidence]
    calibrations: Mapping[str, Calibration]
    sensitivities: Mapping[str, Sensitivity]
    references: Mapping[str, Reference]
    samples: Mapping[str, tuple[Trial, ...]]
    graphs: Mapping[str, tuple[tuple[str, bytes], ...]]
    dossier_bytes: bytes
    manifest_bytes: bytes


def render(view: DossierView) -> bytes:
    """Return the unsigned PDF of a dossier: PDF/A-3a and PDF/UA-1, the same bytes for the same view.

    Raises:
        RenderError: the PDF could not be made whole.
    """
    at = datetime.strptime(view.dossier.as_of, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    files = (
        EmbeddedFile("dossier.json", view.dossier_bytes, "The dossier; this PDF is a picture of it", "Data"),
        EmbeddedFile("manifest.json", view.manifest_bytes, "Digests of every file in the pack", "Supplement"),
    )
    return typeset(to_html(view), files=files, at=at)


def to_html(view: DossierView) -> str:
    """Return the HTML that `render` typesets.

    Raises:
        RenderError: a template does not fit the view.
    """
    import jinja2

    environment = _environment()
    templates = frozenset(environment.list_templates())
    words = {slot.id: _words(slot.kind, templates) for slot in view.plan.evidence}
    numbered = enumerate(view.plan.evidence, start=_FIRST_SECTION)
    try:
        text: str = environment.get_template("dossier.html.j2").render(
            dossier=view.dossier,
            plan=view.plan,
            catalogue=view.catalogue,
            sections=[
                _section(view, slot, number=number, templates=templates, words=words[slot.id])
                for number, slot in numbered
            ],
            words=words,
            dossier_sha256=canonical.sha256(view.dossier_bytes),
            say=wording,
            digests=_digests(view),
            **_summary(view, words),
            **_obligations(view),
        )
    except jinja2.TemplateError as error:
        raise RenderError(f"template {getattr(error, 'name', None)}: {error}") from error
    return text


def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("dossier.templates", "eu_ai_act"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _words(kind: str, templates: frozenset[str]) -> Words:
    """Return how a kind's quantities are said to a person; a kind may have no such file."""
    name = f"evidence/{kind}.words.json"
    if name not in templates:
        return Words()
    read = canonical.loads(
        importlib.resources.files("dossier.templates").joinpath("eu_ai_act", name).read_bytes(), where=name
    )
    said = {rest: QuantityWords(**one) for rest, one in read["quantities"].items()}
    return Words(read["groups"], said, read.get("heading", wording.CHECKS))


def _section(
    view: DossierView, slot: PlannedEvidence, *, number: int, templates: frozenset[str], words: Words
) -> Section:
    own = f"evidence/{slot.kind}.html.j2"
    evidence = view.evidence.get(slot.id)
    reasons = {missing.id: missing.reason for missing in view.dossier.not_collected}
    return section(
        slot,
        evidence,
        number=number,
        template=own if own in templates else GENERIC_TEMPLATE,
        words=words,
        reason=reasons.get(slot.id, "none is recorded"),
        reference=view.references.get(slot.id),
        calibration=view.calibrations.get(evidence.calibration_sha256 or "") if evidence else None,
        sensitivity=view.sensitivities.get(slot.id),
        samples=view.samples.get(slot.id, ()),
        graphs=view.graphs.get(slot.id, ()),
    )


# --- the summary page ----------------------------------------------------------------------------------------------


def _summary(view: DossierView, words: Mapping[str, Words]) -> dict[str, Any]:
    found = [
        (slot.id, position, observation)
        for slot in view.plan.evidence
        if slot.id in view.evidence
        for position, observation in enumerate(view.evidence[slot.id].observations)
    ]
    judged = {(slot.id, criterion.quantity) for slot in view.plan.evidence for criterion in slot.criteria}
    weighed = sorted(found, key=lambda row: ((row[0], row[2].id) not in judged, not row[2].id.startswith("overall.")))
    leading = [
        row
        for row in weighed
        if (row[0], row[2].id) in judged or (row[2].id.startswith("overall.") and _is_main(words[row[0]], row[2].id))
    ]
    headlines = (leading or weighed)[:MAX_HEADLINES]
    return {
        "headlines": headlines,
        "uncalibrated": {(slot, position) for slot, position, one in found if _is_unchecked(view, slot, one)},
        "headline_rest": len(found) - len(headlines),
        "criteria": _criteria(view),
        "awaiting": [
            obligation.legal_ref
            for state in view.dossier.obligations
            for obligation in view.catalogue.obligations
            if state.state == "awaiting_statement" and state.obligation == obligation.id
        ],
    }


def _is_unchecked(view: DossierView, name: str, observation: Observation) -> bool:
    """Whether no certificate vouches for the interval of a number."""
    slot = next(slot for slot in view.plan.evidence if slot.id == name)
    certificate = view.calibrations.get(slot.calibration.sha256) if slot.calibration else None
    doubt = calibration_doubt(slot, view.evidence[name], observation, certificate)
    return observation.interval is not None and bool(doubt)


def _is_main(words: Words, name: str) -> bool:
    known = words.quantity(name)
    return known is None or known.main


def _criteria(view: DossierView) -> list[tuple[Criterion, CriterionResult]]:
    fixed = {(slot.id, criterion.id): criterion for slot in view.plan.evidence for criterion in slot.criteria}
    try:
        return [(fixed[result.evidence, result.criterion], result) for result in view.dossier.criteria]
    except KeyError as error:
        raise RenderError(f"dossier.json judges criterion {error}, which the plan does not fix") from error


def _obligations(view: DossierView) -> dict[str, Any]:
    by_id = {obligation.id: obligation for obligation in view.catalogue.obligations}
    unknown = [state.obligation for state in view.dossier.obligations if state.obligation not in by_id]
    if unknown:
        raise RenderError(f"dossier.json names obligation {unknown[0]!r}, which the catalogue does not have")
    pairs = [(by_id[state.obligation], state) for state in view.dossier.obligations]
    return {
        "obligations": pairs,
        "obligations_apply": [
            (
                binding,
                [
                    (*pair, _since(pair[0], view))
                    for pair in pairs
                    if pair[1].state not in _APART and pair[0].binding == binding
                ],
            )
            for binding in ("law", "code_signatories")
        ],
        "obligations_apart": _by_reason(pair for pair in pairs if pair[1].state in _APART),
        "scope_words": [CLASS_WORDS[name] for name in view.dossier.scope.classes],
    }


def _since(obligation: Obligation, view: DossierView) -> str:
    """Return from when a requirement applies, as the catalogue dates it; nothing for a code, which has no such day."""
    if obligation.binding != "law":
        return ""
    return applies(obligation, view.plan.scope, provider=view.plan.provider, as_of=view.dossier.as_of).reason


def _by_reason(pairs: Iterable[tuple[Obligation, ObligationState]]) -> dict[str, list[Obligation]]:
    grouped: dict[str, list[Obligation]] = {}
    for obligation, state in pairs:
        grouped.setdefault(state.reason, []).append(obligation)
    return grouped


def _digests(view: DossierView) -> list[tuple[str, str]]:
    dossier, subject = view.dossier, view.dossier.subject
    rows = [
        ("Dossier", canonical.sha256(view.dossier_bytes)),
        ("Manifest", canonical.sha256(view.manifest_bytes)),
        ("Plan", dossier.plan_sha256),
        ("Catalogue", dossier.catalogue_sha256),
        ("Run ledger", dossier.ledger_sha256),
        ("Weights", subject.weights_sha256),
        ("Tokenizer", subject.tokenizer_sha256),
        ("Chat template", subject.chat_template_sha256),
        ("Configuration", subject.config_sha256),
        ("Generation settings", subject.generation_sha256),
    ]
    for reference in dossier.evidence:
        rows.append((f"Evidence {reference.id}", reference.sha256))
        if reference.id in view.evidence:
            rows.append((f"Trials of {reference.id}", view.evidence[reference.id].trials.sha256))
            rows.append((f"Items of {reference.id}", view.evidence[reference.id].items_sha256))
            rows.append((f"Calibration of {reference.id}", view.evidence[reference.id].calibration_sha256))
    return [(name, digest or "none on file") for name, digest in rows]
