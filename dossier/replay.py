"""Did this model give these answers? Ask some of them again.

Another party's nonce picks the trials, so that the provider could not know which; each is asked again from its recorded
seed. On the platform of the dossier the answers must be equal to the last token. Elsewhere floating point differs in its
last bits and now and then flips a token: there the number of differing answers is held against a same-model band, measured
here by running the same weights at another precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from scipy.special import bdtr, bdtri

from dossier import __version__
from dossier.collector import Collector
from dossier.documents import Documents
from dossier.errors import ConfigError
from dossier.inputs import EvidenceInputs
from dossier.language_model import LanguageModel
from dossier.model import (
    Completion,
    Count,
    Environment,
    Number,
    Slug,
    Text,
    Trial,
    TrialKey,
    Value,
    digest_of,
)
from dossier.pack import Pack
from dossier.reask import Asked, ask, askable, choose, role_of
from dossier.recompute import parse_trials
from dossier.remeasure import Remeasured, agrees, is_measured, remeasure
from dossier.statistics import wilson

HIDDEN = "an error was recorded, and the model answers"
UNPROMISED = "another answer; behind an API nothing promises an equal one"
NO_BAND = "behind an API: a differing answer shows nothing, an equal one speaks for the recorded answers"
EDITED = "the tokens agree and the recorded text does not belong to them"
BAND_LEVEL = 0.99  # a genuine model leaves the band once in a hundred replays on another platform
BAND_CONFIDENCE = 0.98  # two-sided; its upper end is a one-sided 99 % limit on the rate of flips


class Mismatch(Value):
    """A trial whose answer differed. ``agreement`` is the share of token positions that are equal."""

    evidence: Slug
    key: TrialKey
    agreement: Annotated[Number, Field(ge=0.0, le=1.0)]
    what: Text


class Replay(Value):
    """What asking again, and measuring again, showed.

    ``pack_verified``: the pack's bytes and signatures were checked first, and somebody trusted signed it. ``unanswered`` of
    the ``trials`` recorded an error instead of an answer; they are drawn and asked like the others.
    ``undetected_share``: were at least this share of all trials not this model's, the sample would have hit one with 95 %.
    ``allowed`` is how many differing answers the verdict tolerates: 0 on the same platform, the band's edge elsewhere.
    """

    schema_version: Literal["replay.v1"] = "replay.v1"
    verdict: Literal["passed", "failed", "indeterminate"]
    tool_version: Text
    pack_verified: bool
    nonce: Text
    sampled: Count
    trials: Count
    unanswered: Count
    exact: Count
    token_agreement: Annotated[Number, Field(ge=0.0, le=1.0)]
    same_platform: bool
    allowed: Count
    band: Text
    undetected_share: Number
    subject_problems: tuple[Text, ...]
    mismatches: tuple[Mismatch, ...]
    remeasured: tuple[Remeasured, ...]


def replay(
    contents: Pack,
    documents: Documents,
    *,
    model: LanguageModel,
    band_model: LanguageModel | None,
    sample: int,
    nonce: str,
    collectors: Mapping[str, Collector[Any]],
    inputs: Mapping[str, EvidenceInputs],
    pack_verified: bool,
) -> Replay:
    """Ask ``sample`` trials again and compare; run instruments that recorded measurements again as a whole.

    ``band_model`` holds the same weights at another precision; it is needed where this platform is not the dossier's.
    ``inputs`` are the further inputs of the evidence, by its id: dictionaries do not travel in a pack. ``pack_verified``
    is the caller's word that signatures and digests were checked, and goes into the report.

    Raises:
        ConfigError: the sample is impossible, or a band is needed and ``band_model`` is None.
        CollectionError: a further model was brought and is not the planned one.
    """
    trials = {
        name: parse_trials(contents.get(f"trials/{piece.trials.sha256}.jsonl"), where=name)
        for name, piece in documents.evidence.items()
    }
    asked, absent = askable(documents, trials, model, inputs)
    chosen = choose(asked, sample=sample, nonce=nonce)
    measured = _remeasure(documents, trials, model, collectors, inputs)
    again = ask(chosen)
    mismatches = _compare(chosen, again)
    recorded_on = [documents.evidence[name].environment for name in dict.fromkeys(name for name, _, _ in chosen)]
    same = all(same_platform(environment, model.environment) for environment in recorded_on)
    promised = [one for one in chosen if one[2].subject.identity == "digests"]
    if chosen and not promised:
        allowed, band = 0, NO_BAND
    elif same or not chosen:
        allowed, band = 0, "same platform: every answer must be equal"
    else:
        allowed, band = _band(promised, again, band_model)
    problems = subject_problems(documents, model)
    agreements = [mismatch.agreement for mismatch in mismatches]
    edited = any(mismatch.what in (EDITED, HIDDEN) for mismatch in mismatches)  # no rounding does that
    drifted = [mismatch for mismatch in mismatches if mismatch.what == UNPROMISED]
    foreign = edited or len(mismatches) - len(drifted) > allowed
    return Replay(
        verdict=_verdict(
            bool(problems) or foreign or not all(agreed for _, agreed in measured),
            unmeasured=bool(drifted or absent) or any(found.problem for found, _ in measured),
        ),
        tool_version=f"dossier {__version__}",
        pack_verified=pack_verified,
        nonce=nonce,
        sampled=sample,
        trials=len(asked),
        unanswered=sum(trial.completion is None for _, trial, _ in asked),
        exact=sample - len(mismatches),
        token_agreement=(sum(agreements) + sample - len(agreements)) / sample if sample else 1.0,
        same_platform=same,
        allowed=allowed,
        band=band,
        undetected_share=_undetected_share(sample, allowed),
        subject_problems=problems,
        mismatches=tuple(mismatches),
        remeasured=(*(found for found, _ in measured), *absent),
    )


def _remeasure(
    documents: Documents,
    trials: Mapping[str, Sequence[Trial]],
    model: LanguageModel,
    collectors: Mapping[str, Collector[Any]],
    inputs: Mapping[str, EvidenceInputs],
) -> list[tuple[Remeasured, bool]]:
    """Return what measuring again gave for each piece of evidence that rests on measurements, and whether it agreed."""
    found = []
    slots = {planned.id: planned for planned in documents.plan.evidence}
    for name, piece in documents.evidence.items():
        if not is_measured([trial for trial in trials[name] if role_of(slots[name], trial) is None]):
            continue
        same = same_platform(piece.environment, model.environment)
        one = remeasure(
            piece,
            trials[name],
            documents,
            model=model,
            collector=collectors.get(piece.kind),
            given=inputs.get(name, EvidenceInputs()),
            same_platform=same,
        )
        found.append((one, one.problem is not None or agrees(one, same_platform=same)))
    return found


def _verdict(failed: bool, *, unmeasured: bool) -> Literal["passed", "failed", "indeterminate"]:
    if failed:
        return "failed"
    return "indeterminate" if unmeasured else "passed"


def same_platform(left: Environment, right: Environment) -> bool:
    """Return whether two environments promise equal floating point: all but the batch size is the same."""
    plain = {"batch_size": 0, "same_completion": "-"}
    return left.model_copy(update=plain) == right.model_copy(update=plain)


def subject_problems(documents: Documents, model: LanguageModel) -> tuple[str, ...]:
    """Return where the model in hand is not the dossier's subject."""
    expected, found = documents.dossier.subject, model.subject
    names = ("weights_sha256", "tokenizer_sha256", "chat_template_sha256", "config_sha256", "generation_sha256")
    return tuple(
        f"{name}: the dossier says {getattr(expected, name)}, the model here has {getattr(found, name)}"
        for name in names
        if getattr(expected, name) != getattr(found, name)
    )


def _undetected_share(sample: int, allowed: int) -> float:
    """Return the share of foreign answers that a replay of this size misses with 5 %."""
    return 1.0 if allowed >= sample else float(bdtri(allowed, sample, 0.05))


def recorded_dtype(documents: Documents) -> str:
    """Return the precision the answers were collected at.

    Raises:
        ConfigError: there is no evidence, or several precisions.
    """
    dtypes = {evidence.environment.dtype for evidence in documents.evidence.values()}
    if len(dtypes) != 1:
        raise ConfigError(
            f"the evidence was collected at {sorted(dtypes) or 'no'} precision.",
            hint="Replay serves evidence of one precision.",
        )
    return dtypes.pop()


def agreement(left: Sequence[int], right: Sequence[int]) -> float:
    """Return the share of positions with equal tokens, of the longer of two answers; 1 for two empty ones."""
    longer = max(len(left), len(right))
    return sum(a == b for a, b in zip(left, right, strict=False)) / longer if longer else 1.0


def _compare(chosen: Sequence[Asked], again: Mapping[str, Completion]) -> list[Mismatch]:
    mismatches = []
    for name, trial, model in chosen:
        old = trial.completion
        new = again.get(digest_of(trial.request)) if trial.request is not None else None
        if new == old:
            continue
        if model.subject.identity == "asserted":
            what, share = UNPROMISED, 0.0
        elif old is None:
            what, share = HIDDEN, 0.0
        elif new is None:
            what, share = "no answer came back", 0.0
        else:
            share = agreement(old.token_ids, new.token_ids)
            what = "the tokens differ" if share < 1.0 else EDITED
        mismatches.append(Mismatch(evidence=name, key=trial.key, agreement=share, what=what))
    return mismatches


def _band(
    chosen: Sequence[Asked], again: Mapping[str, Completion], band_model: LanguageModel | None
) -> tuple[int, str]:
    """Return how many of the sampled answers may differ on another platform, and how that was found."""
    if band_model is None:
        raise ConfigError(
            "this platform is not the dossier's, so a same-model band is needed.",
            hint="Replay with --band-dtype float64, or on the platform of evidence.environment.",
        )
    other = ask([(name, trial, band_model) for name, trial, _ in chosen])
    answered = again.keys() & {digest_of(trial.request) for _, trial, _ in chosen if trial.request is not None}
    flips = sum(digest not in other or other[digest].token_ids != again[digest].token_ids for digest in answered)
    _, high = wilson(flips / len(answered), len(answered), BAND_CONFIDENCE)
    allowed = next(k for k in range(len(chosen) + 1) if bdtr(k, len(chosen), high) >= BAND_LEVEL)
    return allowed, (
        f"another platform: {flips} of {len(answered)} answers differ between {band_model.environment.dtype} and the "
        f"replay's precision on the same weights, so at most {allowed} may differ (one-sided {BAND_LEVEL:.0%})"
    )
