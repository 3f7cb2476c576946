"""Which obligations concern this provider, for this kind of model, on this day?

The catalogue is data: ``templates/<regime>/obligations.json``. This module reads it and decides applicability from what
the provider says about itself. It never says that an obligation is fulfilled; what is on file is `dossier.assess`'s
question.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dossier import model
from dossier.errors import ConfigError, SchemaError
from dossier.model import Catalogue, Obligation, Provider, Scope

GPAI_CLASSES = frozenset({"gpai", "gpai_systemic_risk"})
HIGH_RISK_CLASSES = frozenset({"high_risk_annex_iii", "high_risk_annex_i"})

CLASS_WORDS: Mapping[str, str] = {
    "gpai": "a general-purpose AI model",
    "gpai_systemic_risk": "a general-purpose AI model with systemic risk",
    "high_risk_annex_iii": "a high-risk system (Annex III)",
    "high_risk_annex_i": "a high-risk system (Annex I)",
}

# Art. 111(3) AI Act: a general-purpose model placed on the market before the first date has until the second.
LEGACY_MODEL_BEFORE = "2025-08-02"
LEGACY_MODEL_FROM = "2027-08-02"


@dataclass(frozen=True)
class Applicability:
    """Whether an obligation applies. ``reason`` is one sentence that names the fact that decided."""

    state: Literal["applies", "not_applicable", "not_yet_applicable"]
    reason: str


@functools.cache
def load_catalogue(regime: str) -> Catalogue:
    """Return the catalogue that ships with this version of the tool.

    Raises:
        ConfigError: no catalogue of that regime ships.
        SchemaError: the shipped file does not parse.
    """
    return parse_catalogue(catalogue_bytes(regime), where=f"the shipped catalogue {regime!r}")


def catalogue_bytes(regime: str) -> bytes:
    """Return the shipped catalogue's file, byte for byte: what a plan digests and a pack carries.

    Raises:
        ConfigError: no catalogue of that regime ships.
    """
    shipped = importlib.resources.files("dossier.templates")
    known = sorted(entry.name for entry in shipped.iterdir() if entry.joinpath("obligations.json").is_file())
    if regime not in known:
        raise ConfigError(
            f"no catalogue of obligations for the regime {regime!r}", hint=f"Known regimes: {', '.join(known)}."
        )
    return shipped.joinpath(regime, "obligations.json").read_bytes()


def parse_catalogue(data: bytes, *, where: str) -> Catalogue:
    """Return a catalogue from its bytes. ``where`` names the file in errors.

    Raises:
        SchemaError: not a ``catalogue.v1``; an id used twice; a date for a class the obligation does not have.
    """
    catalogue = model.parse(Catalogue, data, where=where)
    seen: set[str] = set()
    for index, obligation in enumerate(catalogue.obligations):
        pointer = f"/obligations/{index}"
        if obligation.id in seen:
            raise SchemaError(f"{where}{pointer}/id: {obligation.id} stands there twice", pointer=f"{pointer}/id")
        seen.add(obligation.id)
        stray = sorted(set(obligation.applies_from) - set(obligation.classes))
        if stray:
            raise SchemaError(
                f"{where}{pointer}/applies_from: {obligation.id} dates {stray[0]}, which is none of its classes",
                pointer=f"{pointer}/applies_from",
            )
    return catalogue


def applies(obligation: Obligation, scope: Scope, *, provider: Provider, as_of: str) -> Applicability:
    """Decide whether an obligation applies to a provider and its model or system at ``as_of``. Pure.

    ``as_of`` is a UTC time stamp or a date. A class without a date in the catalogue has disputed dates and counts as
    applying, so that doubt never removes an obligation. What the provider says of itself in ``scope`` is not checked.
    """
    if obligation.role not in provider.roles:
        return Applicability(
            "not_applicable", f"it is a {obligation.role}'s; the roles here: {', '.join(provider.roles)}"
        )
    classes = [name for name in obligation.classes if name in scope.classes]
    if not classes:
        return Applicability(
            "not_applicable",
            f"it applies only to {_in_words(obligation.classes, joined='or')}; declared here is "
            f"{_in_words(scope.classes, joined='and')}",
        )
    if obligation.binding == "code_signatories" and not scope.code_of_practice_signatory:
        return Applicability(
            "not_applicable", "the Code of Practice binds its signatories only; the provider is not one"
        )
    return _at(obligation, classes, scope, as_of[:10])


def _in_words(classes: Sequence[str], *, joined: str) -> str:
    return f" {joined} ".join(CLASS_WORDS[name] for name in classes)


def _at(obligation: Obligation, classes: Sequence[str], scope: Scope, day: str) -> Applicability:
    """Decide by date, for the classes that obligation and scope share: the first of them that applies decides."""
    dates = {name: _applies_from(obligation, name, scope) for name in classes}
    disputed = [name for name, date in dates.items() if date is None]
    if disputed:
        return Applicability("applies", f"its date for {CLASS_WORDS[disputed[0]]} is disputed, so it is taken to apply")
    date, name = min((date, name) for name, date in dates.items() if date is not None)
    legacy = date == LEGACY_MODEL_FROM and _is_legacy_model(obligation, name, scope)
    basis = f" (Art. 111(3): placed on the market before {LEGACY_MODEL_BEFORE})" if legacy else ""
    if day < date:
        return Applicability("not_yet_applicable", f"it applies from {date}{basis}; the day looked at is {day}")
    if name in HIGH_RISK_CLASSES and scope.placed_on_market is not None and scope.placed_on_market < date:
        return Applicability(
            "applies",
            f"it has applied since {date}; Art. 111(2) may except a system placed on the market before and not "
            "significantly changed in design since, which is not judged here",
        )
    return Applicability("applies", f"it has applied since {date}{basis}")


def _applies_from(obligation: Obligation, name: str, scope: Scope) -> str | None:
    date = next((date for key, date in obligation.applies_from.items() if key == name), None)
    if date is not None and _is_legacy_model(obligation, name, scope):
        return max(date, LEGACY_MODEL_FROM)
    return date


def _is_legacy_model(obligation: Obligation, name: str, scope: Scope) -> bool:
    """Art. 111(3) delays the Regulation's own obligations; a signatory's commitments to the Code have no such delay."""
    placed = scope.placed_on_market
    return obligation.binding == "law" and name in GPAI_CLASSES and placed is not None and placed < LEGACY_MODEL_BEFORE
