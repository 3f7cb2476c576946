"""Which recorded answers can be asked again, of which model, and which of them does a nonce choose?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from dossier.documents import Documents
from dossier.errors import ConfigError
from dossier.inputs import SUBJECT, EvidenceInputs, check_inputs
from dossier.language_model import LanguageModel
from dossier.model import Completion, PlannedEvidence, Trial
from dossier.remeasure import SAME_PLATFORM, Remeasured

Asked = tuple[str, Trial, LanguageModel]  # evidence id, trial, and the model that is to answer it again


def askable(
    documents: Documents,
    trials: Mapping[str, Sequence[Trial]],
    model: LanguageModel,
    inputs: Mapping[str, EvidenceInputs],
) -> tuple[list[Asked], tuple[Remeasured, ...]]:
    """Return the trials that can be asked again, and what another model answered that was not brought.

    Raises:
        CollectionError: a model was brought for a role and is not the planned one.
    """
    found: list[Asked] = []
    absent = []
    for planned in documents.plan.evidence:
        asked = [trial for trial in trials.get(planned.id, ()) if trial.request is not None]
        given = inputs.get(planned.id, EvidenceInputs())
        found += [(planned.id, trial, model) for trial in asked if role_of(planned, trial) is None]
        for role, reference in planned.inputs.items():
            others = [trial for trial in asked if role_of(planned, trial) == role]
            if role in given.models:
                check_inputs(planned, given)
                found += [(planned.id, trial, given.models[role]) for trial in others]
            elif others:
                absent.append(_not_brought(planned.id, role, reference.name, len(others)))
    return found, tuple(absent)


def role_of(planned: PlannedEvidence, trial: Trial) -> str | None:
    """Return the role of the model that answered, such as a judge; None for the subject. Its arms start with the role."""
    roles = (role for role, reference in planned.inputs.items() if reference.media_type == SUBJECT)
    return next((role for role in roles if trial.key.arm.startswith(f"{role}.")), None)


def _not_brought(evidence: str, role: str, name: str, count: int) -> Remeasured:
    return Remeasured(
        evidence=evidence,
        trials=count,
        agreeing=0,
        largest_difference=None,
        tolerance=SAME_PLATFORM,
        problem=f"{name!r} answered as {role!r} and was not brought, so its answers were not asked again; "
        f"--input {evidence}.{role}=PATH brings it",
    )


def choose(asked: Sequence[Asked], *, sample: int, nonce: str) -> list[Asked]:
    """Return ``sample`` of the trials that can be asked, the first by SHA-256 of nonce, evidence id and key.

    Trials that recorded an error are among them: an unfavourable answer may have been turned into one.

    Raises:
        ConfigError: there are not that many, or the nonce is empty.
    """
    if not nonce:
        raise ConfigError("the nonce is empty.", hint="Whoever replays picks one the provider could not have known.")
    if not min(1, len(asked)) <= sample <= len(asked):
        raise ConfigError(
            f"--sample {sample}: expected {min(1, len(asked))} to {len(asked)}, the trials of this pack that can be asked.",
            hint="Measurements are taken again as a whole, whatever the sample.",
        )

    def rank(one: Asked) -> bytes:
        item, arm, repeat = one[1].key.order
        return hashlib.sha256("\0".join((nonce, one[0], item, arm, str(repeat))).encode()).digest()

    return sorted(asked, key=rank)[:sample]


def ask(chosen: Sequence[Asked]) -> dict[str, Completion]:
    """Ask each model what is its to answer, in one phase."""
    models = {id(model): model for _, _, model in chosen}
    phases = [
        (model, [trial.request for _, trial, asked in chosen if asked is model and trial.request is not None])
        for model in models.values()
    ]
    return {found.request_sha256: found for model, requests in phases for found in model.generate(requests)}
