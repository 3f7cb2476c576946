"""Did this model give these answers? Ask some of them again.

Another party's nonce picks the trials, so that the provider could not know which; each is asked again from its recorded
seed. On the platform of the dossier the answers must be equal to the last token. Elsewhere floating point differs in its
last bits and now and then flips a token: there the number of differing answers is held against a same-model band, measured
here by running the same weights at another precision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from scipy.special import bdtr, bdtri

from dossier import __version__
from dossier.collector import Collector
from dossier.documents import Documents
from dossier.errors import ConfigError
from dossier.inputs import SUBJECT, EvidenceInputs
from dossier.language_model import LanguageModel
from dossier.model import Completion, Count, Environment, Number, Slug, Text, Trial, TrialKey, Value, digest_of
from dossier.pack import Pack
from dossier.recompute import parse_trials
from dossier.remeasure import Remeasured, agrees, is_measured, remeasure
from dossier.statistics import wilson

HIDDEN = "an error was recorded, and the model answers"
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


def _refuse_other_models(documents: Documents, trials: Mapping[str, Sequence[Trial]]) -> None:
    """Refuse what another model answered, such as a judge: the subject cannot be asked for its verdicts."""
    for planned in documents.plan.evidence:
        for role, reference in planned.inputs.items():
            asked = any(trial.key.arm.startswith(f"{role}.") for trial in trials.get(planned.id, ()))
            if reference.media_type == SUBJECT and asked:
                raise ConfigError(
                    f"evidence {planned.id!r}: another model, {reference.name!r}, answered as {role!r}; replay asks the "
                    "subject alone and cannot compare its answers yet.",
                    hint="`dossier verify` computes the numbers again from the recorded answers of both.",
                )


def choose(trials: Mapping[str, Sequence[Trial]], *, sample: int, nonce: str) -> list[tuple[str, Trial]]:
    """Return (evidence id, trial) for ``sample`` trials that were asked, the first by SHA-256 of nonce, evidence id and key.

    Trials that recorded an error are among them: an unfavourable answer may have been turned into one.

    Raises:
        ConfigError: there are not that many, or the nonce is empty.
    """
    if not nonce:
        raise ConfigError("the nonce is empty.", hint="Whoever replays picks one the provider could not have known.")
    asked = [(name, trial) for name, all_of in trials.items() for trial in all_of if trial.request is not None]
    if not min(1, len(asked)) <= sample <= len(asked):
        raise ConfigError(f"--sample {sample}: expected 1 to {len(asked)}, the trials of this pack that were asked.")

    def rank(pair: tuple[str, Trial]) -> bytes:
        item, arm, repeat = pair[1].key.order
        return hashlib.sha256("\0".join((nonce, pair[0], item, arm, str(repeat))).encode()).digest()

    return sorted(asked, key=rank)[:sample]


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
        ConfigError: the sample is impossible, a band is needed and ``band_model`` is None, or another model than the subject
            was asked as well.
    """
    trials = {
        name: parse_trials(contents.get(f"trials/{piece.trials.sha256}.jsonl"), where=name)
        for name, piece in documents.evidence.items()
    }
    _refuse_other_models(documents, trials)
    chosen = choose(trials, sample=sample, nonce=nonce)
    measured = _remeasure(documents, trials, model, collectors, inputs)
    again = _ask(model, chosen)
    mismatches = _compare(chosen, again)
    recorded_on = [documents.evidence[name].environment for name in dict.fromkeys(name for name, _ in chosen)]
    same = all(same_platform(environment, model.environment) for environment in recorded_on)
    allowed, band = (
        (0, "same platform: every answer must be equal") if same or not chosen else _band(chosen, again, band_model)
    )
    problems = subject_problems(documents, model)
    agreements = [mismatch.agreement for mismatch in mismatches]
    edited = any(mismatch.what in (EDITED, HIDDEN) for mismatch in mismatches)  # no rounding does that
    asked = [trial for all_of in trials.values() for trial in all_of if trial.request is not None]
    return Replay(
        verdict=_verdict(
            bool(problems) or edited or len(mismatches) > allowed or not all(agreed for _, agreed in measured),
            unmeasured=any(found.problem for found, _ in measured),
        ),
        tool_version=f"dossier {__version__}",
        pack_verified=pack_verified,
        nonce=nonce,
        sampled=sample,
        trials=len(asked),
        unanswered=sum(trial.completion is None for trial in asked),
        exact=sample - len(mismatches),
        token_agreement=(sum(agreements) + sample - len(agreements)) / sample if sample else 1.0,
        same_platform=same,
        allowed=allowed,
        band=band,
        undetected_share=_undetected_share(sample, allowed),
        subject_problems=problems,
        mismatches=tuple(mismatches),
        remeasured=tuple(found for found, _ in measured),
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
    for name, piece in documents.evidence.items():
        if not is_measured(trials[name]):
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


def _ask(model: LanguageModel, chosen: Sequence[tuple[str, Trial]]) -> dict[str, Completion]:
    requests = [trial.request for _, trial in chosen if trial.request is not None]
    return {completion.request_sha256: completion for completion in model.generate(requests)}


def _compare(chosen: Sequence[tuple[str, Trial]], again: Mapping[str, Completion]) -> list[Mismatch]:
    mismatches = []
    for name, trial in chosen:
        old = trial.completion
        new = again.get(digest_of(trial.request)) if trial.request is not None else None
        if new == old:
            continue
        if old is None:
            what, share = HIDDEN, 0.0
        elif new is None:
            what, share = "no answer came back", 0.0
        else:
            share = agreement(old.token_ids, new.token_ids)
            what = "the tokens differ" if share < 1.0 else EDITED
        mismatches.append(Mismatch(evidence=name, key=trial.key, agreement=share, what=what))
    return mismatches


def _band(
    chosen: Sequence[tuple[str, Trial]], again: Mapping[str, Completion], band_model: LanguageModel | None
) -> tuple[int, str]:
    """Return how many of the sampled answers may differ on another platform, and how that was found."""
    if band_model is None:
        raise ConfigError(
            "this platform is not the dossier's, so a same-model band is needed.",
            hint="Replay with --band-dtype float64, or on the platform of evidence.environment.",
        )
    other = _ask(band_model, chosen)
    flips = sum(other.get(digest) is None or other[digest].token_ids != again[digest].token_ids for digest in again)
    _, high = wilson(flips / len(again), len(again), BAND_CONFIDENCE)
    allowed = next(k for k in range(len(chosen) + 1) if bdtr(k, len(chosen), high) >= BAND_LEVEL)
    return allowed, (
        f"another platform: {flips} of {len(again)} answers differ between {band_model.environment.dtype} and the "
        f"replay's precision on the same weights, so at most {allowed} may differ (one-sided {BAND_LEVEL:.0%})"
    )
