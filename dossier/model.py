"""The nouns: what the documents of a dossier say, as frozen values without IO.

The contract is the handwritten files in ``schemas/``; these classes are their internal, equally strict form. A document
is read by ``dossier.canonical.loads`` and then by `parse`; it is written by `dump`. Units stand in names (``_days``).
Digests are SHA-256 in lower-case hexadecimal; times are UTC, ``YYYY-MM-DDTHH:MM:SSZ``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from dossier import canonical
from dossier.errors import SchemaError

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
_DAY = (  # a day that exists, in the years 2000 to 2099; written so that every regular-expression engine reads it alike
    "20(?:[0-9]{2}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[02468][048]|[13579][26])-02-29)"
)
Timestamp = Annotated[str, StringConstraints(pattern=f"^{_DAY}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$")]
Date = Annotated[str, StringConstraints(pattern=f"^{_DAY}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,127}$")]
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}\.[a-z][a-z0-9_]{0,63}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
Count = Annotated[int, Field(ge=0, le=canonical.MAX_INTEGER)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Parameters = Mapping[str, JsonValue]
Item = Mapping[str, JsonValue]  # one question; has at least "id"

Unit = Literal[
    "proportion",  # 0 to 1
    "proportion_difference",  # -1 to 1
    "auroc",  # 0 to 1
    "brier",
    "ece",
    "nats",
    "count",
    "seconds",
    "residual_norm_fraction",  # multiples of the mean residual norm
    "cosine",  # -1 to 1
    "ratio",
]


class Value(BaseModel):
    """A frozen value; unknown members and coercions are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


# --- questions and answers -----------------------------------------------------------------------------------------


class Message(Value):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Request(Value):
    """One question to a model, complete: the same request has the same digest and, from one model, the same completion.

    ``prefill`` is put after the opening of the assistant's turn and is not part of the completion. ``temperature`` 0 is
    greedy decoding.
    """

    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    prefill: str = ""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)]
    temperature: Annotated[Number, Field(ge=0.0, le=10.0)]
    top_p: Annotated[Number, Field(gt=0.0, le=1.0)] = 1.0
    seed: Seed


Parse = Literal["ok", "missing_reasoning_tag", "summary", "withheld"]


class Completion(Value):
    """What came back, verbatim: ``token_ids`` are all generated ids, ``reasoning`` and ``answer`` their text, split.

    ``parse`` is ``missing_reasoning_tag`` where no closed reasoning block was found: then ``reasoning`` is None and
    ``answer`` holds the whole text. It is ``summary`` where ``reasoning`` is a provider's summary of what the model wrote, and
    ``withheld`` where the provider kept that to itself. ``request_sha256`` names the request, since completions arrive in
    any order.
    """

    request_sha256: Digest
    reasoning: str | None
    answer: str
    parse: Parse
    finish_reason: Literal["stop", "length"]
    prompt_tokens: Count
    token_ids: tuple[Count, ...]

    @property
    def readable_reasoning(self) -> str | None:
        """The reasoning, or a provider's summary of it; None where neither can be told apart from the answer."""
        return self.reasoning if self.parse in ("ok", "summary") else None


class TrialKey(Value):
    """Which question: the item, the arm of the protocol, the repeat. Sorts as (item, arm, repeat)."""

    item: Slug
    arm: Slug
    repeat: Count

    @property
    def order(self) -> tuple[str, str, int]:
        """The sort key of trial files."""
        return (self.item, self.arm, self.repeat)


class Trial(Value):
    """One question to the model and what came back, or the smallest numbers the observations need.

    ``error`` is set for a trial that was asked and failed; then ``completion`` is None. Failed trials stay in the file.
    """

    key: TrialKey
    seed: Seed
    request: Request | None
    completion: Completion | None
    measurements: Mapping[str, JsonValue] = {}
    error: Text | None = None


class PromisedTrial(Value):
    """A trial the plan promises. ``request_sha256`` is None where the request depends on earlier answers."""

    key: TrialKey
    seed: Seed
    request_sha256: Digest | None


# --- subject and plan ----------------------------------------------------------------------------------------------


class Subject(Value):
    """What is assessed. ``identity`` is ``digests`` for weights that were read, ``asserted`` for an endpoint."""

    name: Text
    identity: Literal["digests", "asserted"]
    weights_sha256: Digest | None
    tokenizer_sha256: Digest | None
    chat_template_sha256: Digest | None
    config_sha256: Digest | None
    generation_sha256: Digest | None
    endpoint: str | None = None
    parameter_count: Count | None = None


class Provider(Value):
    """Who puts the model on the market, and in which role of Art. 3 AI Act they speak."""

    name: Text
    roles: Annotated[tuple[Literal["provider", "deployer"], ...], Field(min_length=1)]
    contact: Text


class Scope(Value):
    """What the provider says the system is; it decides which obligations apply. Classes as in the catalogue."""

    classes: Annotated[
        tuple[Literal["gpai", "gpai_systemic_risk", "high_risk_annex_iii", "high_risk_annex_i"], ...],
        Field(min_length=1),
    ]
    code_of_practice_signatory: bool
    placed_on_market: Date | None


class FileRef(Value):
    """A file named by digest. ``name`` is for humans."""

    name: Text
    sha256: Digest
    size: Count
    media_type: Text


class Criterion(Value):
    """A threshold on an observation, fixed before the run, judged at the unfavourable end of its interval.

    ``>=`` is judged at the interval's low end, ``<=`` at its high end.
    """

    id: Slug
    quantity: Slug
    comparator: Literal[">=", "<="]
    threshold: Number
    rationale: Text


class PlannedEvidence(Value):
    """One promised piece of evidence: a collector with parameters, items, inputs and criteria."""

    id: Slug
    kind: Kind
    protocol_version: Version
    analysis_version: Version
    parameters: Parameters
    items: FileRef
    item_count: Count
    inputs: Mapping[Slug, FileRef]
    promised_trials: Count
    expires_after_days: Annotated[int, Field(ge=1, le=3660)]
    criteria: tuple[Criterion, ...]
    calibration: FileRef | None = None
    sensitivity: FileRef | None = None
    reference: FileRef | None = None


class Plan(Value):
    """What will be measured and which thresholds decide; signed before anything runs.

    ``supersedes`` lists the digests of the plans this one replaces.
    """

    schema_version: Literal["plan.v1"] = "plan.v1"
    title: Text
    created_at: Timestamp
    provider: Provider
    scope: Scope
    subject: Subject
    regime: Literal["eu_ai_act"]
    catalogue_sha256: Digest
    evidence: tuple[PlannedEvidence, ...]
    approver_functions: tuple[Text, ...]
    supersedes: tuple[Digest, ...]
    demo: bool


# --- evidence ------------------------------------------------------------------------------------------------------


class Interval(Value):
    """An interval ``low <= high`` at coverage ``level``; ``method`` names the estimator."""

    low: Number
    high: Number
    level: Annotated[Number, Field(gt=0.0, lt=1.0)]
    method: Text


class Null(Value):
    """What the same estimate reads where there is nothing to find. ``what`` names the control."""

    what: Text
    estimate: Number
    low: Number | None = None
    high: Number | None = None


class Observation(Value):
    """One measured quantity.

    ``estimate`` None means "not estimable" and ``reasons`` says why; it is never 0 for lack of data. ``n`` counts
    ``n_counts`` (questions, switches, ...). ``smallest_detectable`` is in the same unit. ``facts`` holds the counts and
    nuisance terms the estimate was made from. ``recomputable`` is False where the pack withholds what it needs.
    """

    id: Slug
    estimand: Text
    unit: Unit
    estimate: Number | None
    interval: Interval | None
    n: Count
    n_counts: Text
    method: Text
    reasons: tuple[Text, ...] = ()
    null: Null | None = None
    smallest_detectable: Number | None = None
    facts: Mapping[str, int | float | str | None] = {}
    limits: tuple[Text, ...] = ()
    recomputable: bool = True


class Environment(Value):
    """Where the model ran. ``same_completion`` says what is claimed about batch size and order, in words."""

    engine: Text
    versions: Mapping[str, str]
    platform: Text
    device: Text
    dtype: Text
    quantisation: str | None
    batch_size: Count
    same_completion: Text


class TrialFile(Value):
    """The trials of an evidence: JSON Lines, sorted by key. ``failed`` counts those with an error, no answer."""

    sha256: Digest
    count: Count
    failed: Count


class Evidence(Value):
    """One run of one collector on one subject."""

    schema_version: Literal["evidence.v1"] = "evidence.v1"
    id: Slug
    kind: Kind
    protocol_version: Version
    analysis_version: Version
    key: Digest
    run_ordinal: Annotated[int, Field(ge=1)]
    plan_sha256: Digest
    subject_sha256: Digest
    parameters: Parameters
    items_sha256: Digest
    root_seed: Seed
    environment: Environment
    started_at: Timestamp
    collected_at: Timestamp
    expires_at: Timestamp
    trials: TrialFile
    artifacts: tuple[FileRef, ...]
    calibration_sha256: Digest | None
    observations: tuple[Observation, ...]


class Calibration(Value):
    """How a collector read planted truth: "estimator checked on organism O", never on the subject.

    ``cells`` are the studies: at a known truth, the mean bias and the coverage of the interval. The certificate holds
    for these versions, these parameters and, per quantity, the range of n of its cells; outside it the evidence is
    uncalibrated.
    """

    schema_version: Literal["calibration.v1"] = "calibration.v1"
    kind: Kind
    protocol_version: Version
    analysis_version: Version
    organisms: Annotated[tuple[FileRef, ...], Field(min_length=1)]
    truth: Text
    parameters: Parameters
    cells: Annotated[tuple[CalibrationCell, ...], Field(min_length=1)]
    negative_controls: Annotated[tuple[NegativeControl, ...], Field(min_length=1)]
    limits: tuple[Text, ...]


class CalibrationCell(Value):
    """One quantity at one known truth. Coverage is of the interval at its stated level, for ``n_low`` to ``n_high``.

    ``quantity`` is an observation's id; ``*.`` at its start stands for any group ("*.recall" for the recall under any
    attack). ``source`` says where the truth is known: an organism and how it was made, or a simulation.
    ``planted`` is what its training aimed at, None where that was no number or nothing was trained;
    ``smallest_detectable`` is the effect that a two-sided test at 5 % finds with a power of 80 % at this n.
    """

    quantity: Text
    source: Text
    planted: Number | None
    truth: Number
    studies: Count
    estimable: Count
    mean_bias: Number
    coverage: Annotated[Number, Field(ge=0.0, le=1.0)]
    coverage_standard_error: Number
    smallest_detectable: Number | None
    n_counts: Text
    mean_n: Number
    n_low: Count
    n_high: Count

    def speaks_of(self, observation: str) -> bool:
        """Return whether the cell is about an observation of this id."""
        return speaks_of(self.quantity, observation)


class NegativeControl(Value):
    """A case with nothing to find, what the instrument must say and what it said."""

    what: Text
    expected: Text
    studies: Count
    passed: Count


class Plant(Value):
    """A copy of the subject that was trained further, and what the instrument said of it.

    ``positive`` plants the behaviour; a sham is trained as long without it. ``rate`` is the planted behaviour as the copy
    shows it, counted by code that imports no instrument. ``flagged`` None means not estimable, and ``reason`` says why.
    """

    what: Text
    positive: bool
    weights_sha256: Digest
    rate: Annotated[Number, Field(ge=0.0, le=1.0)]
    flagged: bool | None
    reason: Text


class Sensitivity(Value):
    """Whether an instrument finds what was planted into this very subject, and stays silent on shams.

    ``rule`` says when the instrument counts as having found something. It speaks of planted behaviour of this kind and
    strength, on this subject, with these parameters.
    """

    schema_version: Literal["sensitivity.v1"] = "sensitivity.v1"
    kind: Kind
    protocol_version: Version
    analysis_version: Version
    subject_sha256: Digest
    parameters: Parameters
    rule: Text
    plants: Annotated[tuple[Plant, ...], Field(min_length=2)]
    limits: tuple[Text, ...]


class ReferenceValue(Value):
    """A quantity known by construction: as planted in training, and as read off the model's own probabilities."""

    quantity: Slug
    planted: Number
    exact: Number


class Reference(Value):
    """What is known by construction about an organism. Printed beside measurements, never used by them."""

    schema_version: Literal["reference.v1"] = "reference.v1"
    subject_weights_sha256: Digest
    how: Text
    values: tuple[ReferenceValue, ...]


# --- obligations, judgement, dossier ------------------------------------------------------------------------------


class Obligation(Value):
    """A requirement with its legal reference, and the evidence kinds that can speak to it.

    ``applies_from`` lacks a class where the sources disagree; ``note`` then gives both readings. ``needs_statement``:
    only a named person's statement can complete it. ``how`` says how such evidence supports it, and where it stops.
    """

    id: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2,6}-[A-Za-z0-9.-]{1,60}$")]
    title: Text
    legal_ref: Text
    instrument: Literal["ai_act", "gpai_code_safety_security", "gpai_code_transparency"]
    binding: Literal["law", "code_signatories"]
    role: Literal["provider", "deployer"]
    classes: Annotated[
        tuple[Literal["gpai", "gpai_systemic_risk", "high_risk_annex_iii", "high_risk_annex_i"], ...],
        Field(min_length=1),
    ]
    applies_from: Mapping[Literal["gpai", "gpai_systemic_risk", "high_risk_annex_iii", "high_risk_annex_i"], Date]
    evidence_kinds: tuple[Kind, ...]
    needs_statement: bool
    how: Text
    note: str


class Catalogue(Value):
    """The obligations of a regime, as of a date."""

    schema_version: Literal["catalogue.v1"] = "catalogue.v1"
    regime: Literal["eu_ai_act"]
    as_of: Date
    sources: tuple[Text, ...]
    obligations: Annotated[tuple[Obligation, ...], Field(min_length=1)]


class CriterionResult(Value):
    """A criterion, judged. ``judged_value`` is the end of the interval that was looked at."""

    evidence: Slug
    criterion: Slug
    outcome: Literal["met", "not_met", "indeterminate"]
    judged_value: Number | None
    reason: Text


class ObligationState(Value):
    """What is on file for an obligation. It says nothing about whether the obligation is fulfilled."""

    obligation: str
    state: Literal[
        "evidence_on_file",
        "no_estimate",
        "missing",
        "expired",
        "awaiting_statement",
        "not_applicable",
        "not_yet_applicable",
    ]
    evidence: tuple[Slug, ...]
    reason: Text


class Decision(Value):
    """The gate's answer; it informs a named person's decision. Open means: nothing blocks."""

    state: Literal["open", "shut"]
    blocked_by: tuple[Text, ...]


class EvidenceRef(Value):
    """A piece of evidence in the pack, by digest of its stored bytes."""

    id: Slug
    kind: Kind
    sha256: Digest


class NotCollected(Value):
    """A promised piece of evidence that is not there, and why."""

    id: Slug
    kind: Kind
    reason: Text


class NotMeasured(Value):
    """What a reader might think was measured, and was not. ``kind`` is the instrument whose limit it is, None for the whole."""

    kind: Kind | None
    says: Text


class StatementRef(Value):
    """What a named person stated about an obligation; the envelope lies in ``statements/``."""

    obligation: str
    sha256: Digest


class Dossier(Value):
    """Subject, plan, evidence, criteria, obligation states and gate: one canonical JSON document.

    ``nonce`` is what another party issued after the plan was signed; it enters the root seed. None means "self-chosen
    seed; reruns not excluded".
    """

    schema_version: Literal["dossier.v1"] = "dossier.v1"
    title: Text
    as_of: Timestamp
    tool_version: Text
    plan_sha256: Digest
    nonce: Text | None
    catalogue_sha256: Digest
    ledger_sha256: Digest
    provider: Provider
    scope: Scope
    subject: Subject
    evidence: tuple[EvidenceRef, ...]
    not_collected: tuple[NotCollected, ...]
    statements: tuple[StatementRef, ...]
    criteria: tuple[CriterionResult, ...]
    obligations: tuple[ObligationState, ...]
    gate: Decision
    not_measured: tuple[NotMeasured, ...]
    approver_functions: tuple[Text, ...]
    demo: bool


# --- the pack ------------------------------------------------------------------------------------------------------


class LedgerEntry(Value):
    """One line of the run ledger. ``previous`` is the SHA-256 of the line before, 64 zeros for the first."""

    schema_version: Literal["ledger_entry.v1"] = "ledger_entry.v1"
    previous: Digest
    at: Timestamp
    event: Literal["started", "resumed", "aborted", "finished", "failed"]
    evidence: Slug
    key: Digest
    run_ordinal: Annotated[int, Field(ge=1)]
    plan_sha256: Digest
    detail: str


class ManifestEntry(Value):
    """One member of the pack. ``leaf`` and ``merkle_root`` allow a redacted edition to prove what it withholds."""

    path: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*){0,3}$")]
    sha256: Digest
    size: Count
    media_type: Text
    confidentiality: Literal["public", "authority", "confidential"]
    leaf: Digest
    merkle_root: Digest | None = None


class Manifest(Value):
    """Every member of the pack but the manifest itself, the PDF, the approvals and the attestation."""

    schema_version: Literal["manifest.v1"] = "manifest.v1"
    files: Annotated[tuple[ManifestEntry, ...], Field(min_length=1)]


Document = TypeVar("Document", bound=Value)


def speaks_of(name: str, observation: str) -> bool:
    """Return whether a name is that of an observation; ``*.`` at its start stands for any group."""
    return observation.endswith(name[1:]) if name.startswith("*.") else observation == name


def parse(model: type[Document], data: bytes, *, where: str) -> Document:
    """Return the value of one document, read strictly.

    Raises:
        SchemaError: not strict JSON, or not a document of this type; carries the JSON pointer of the first fault.
    """
    canonical.loads(data, where=where)
    try:
        value = model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in first["loc"])
        raise SchemaError(f"{where}{pointer or '/'}: {first['msg']}", pointer=pointer) from error
    for pointer in () if _is_complete(value) else _missing(value):
        raise SchemaError(f"{where}{pointer}: the member is missing", pointer=pointer)
    return value


_SCALARS = frozenset({str, int, float, bool, type(None)})


@functools.cache
def _member_count(kind: type[Value]) -> int:
    return len(kind.model_fields)


def _is_complete(value: object) -> bool:
    """Return whether `_missing` would yield nothing; asked of every line of a trials file."""
    if type(value) in _SCALARS:
        return True
    if isinstance(value, Value):
        if len(value.model_fields_set) != _member_count(type(value)):
            return False
        return all(_is_complete(member) for member in value.__dict__.values())
    if isinstance(value, tuple):
        return all(_is_complete(member) for member in value if type(member) not in _SCALARS)
    return not isinstance(value, Mapping) or all(_is_complete(member) for member in value.values())


def _missing(value: object, pointer: str = "") -> Iterator[str]:
    """Yield the members a document lacks: the defaults of these classes are for values made in Python."""
    if isinstance(value, Value):
        yield from (f"{pointer}/{name}" for name in type(value).model_fields if name not in value.model_fields_set)
        for name in value.model_fields_set:
            yield from _missing(getattr(value, name), f"{pointer}/{name}")
    elif isinstance(value, tuple):
        for index, member in enumerate(value):
            yield from _missing(member, f"{pointer}/{index}")
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from _missing(member, f"{pointer}/{name}")


def dump(value: Value) -> bytes:
    """Return the canonical bytes of a value: what is stored, digested and signed."""
    return canonical.encode(as_json(value))


def as_json(value: Value) -> Any:
    """Return a value as plain JSON objects; integral floats become integers, as RFC 8785 writes them."""
    return value.model_dump(mode="json")


def digest_of(value: Value) -> str:
    """Return the SHA-256 of the canonical bytes of a value."""
    return canonical.sha256(dump(value))


Calibration.model_rebuild()
