"""How is a value written for a person? Numbers, intervals, times and states, in the same words everywhere.

Numbers in the documents stay as they are; these are their pictures. A value that would round to a bound it does not have
(0.9996 to 1.00) gets more digits, so that nothing reads as certain that is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import JsonValue

from dossier.model import Completion, Interval, Observation, Parameters, Unit

NOT_ESTIMABLE = "not estimable"
EXCERPT_CHARACTERS = 1200
MINUS = "\N{MINUS SIGN}"

_TWO_DECIMALS: frozenset[Unit] = frozenset({"proportion", "proportion_difference", "auroc", "cosine", "ratio"})

UNIT_WORDS: Mapping[Unit, str] = {
    "proportion": "proportion, 0 to 1",
    "proportion_difference": "difference of proportions, -1 to 1",
    "auroc": "AUROC, 0 to 1",
    "brier": "Brier score, 0 to 1",
    "ece": "expected calibration error, 0 to 1",
    "nats": "nats",
    "count": "count",
    "seconds": "seconds",
    "residual_norm_fraction": "multiples of the mean residual norm",
    "cosine": "cosine, -1 to 1",
    "ratio": "ratio",
}

KIND_WORDS: Mapping[str, str] = {
    "cot_faithfulness.hint": "mention of hints in reasoning",
    "cot_faithfulness.monitorability": "what a reader of the reasoning can catch",
    "cot_faithfulness.perturbation": "dependence of the answer on the reasoning",
    "evaluation_awareness.behaviour_shift": "behaving otherwise under test",
    "evaluation_awareness.discrimination": "telling tests from use",
    "evaluation_awareness.probe": "internal signal of being tested",
    "evaluation_awareness.sandbagging": "accuracy gained under elicitation",
    "evaluation_awareness.verbalised": "saying that it is being tested",
    "interpretability.adversarial_stability": "stability of internal signals under attack",
    "interpretability.causal_intervention": "effect of changing internal states",
    "interpretability.circuit_trace": "traced paths inside the model",
    "interpretability.concept_direction": "directions that stand for concepts",
    "interpretability.sae_features": "sparse features inside the model",
}

OUTCOME_WORDS: Mapping[str, str] = {"met": "Met", "not_met": "Not met", "indeterminate": "Indeterminate"}

STATE_WORDS: Mapping[str, tuple[str, str]] = {
    "evidence_on_file": (
        "Evidence on file",
        "Unexpired evidence of a kind that can speak to the requirement is in this pack. Whether it suffices is a "
        "person's decision.",
    ),
    "no_estimate": (
        "On file, no estimate",
        "Unexpired evidence of a kind that can speak to the requirement is in this pack, and could estimate nothing: it speaks "
        "to nothing yet.",
    ),
    "missing": ("Nothing on file", "It applies, and no evidence of a kind that can speak to it is in this pack."),
    "expired": ("Expired", "It applies. Evidence was collected and is older than the plan allows."),
    "awaiting_statement": (
        "Awaiting a statement",
        "Evidence may be on file; a named person of the provider must state what follows from it, and no such statement "
        "is in this pack.",
    ),
    "not_yet_applicable": ("Applies later", "The requirement starts to apply after the date of this dossier."),
    "not_applicable": (
        "Does not apply",
        "By the provider's own declaration: the requirement addresses another role, another class of model or system, or "
        "signatories of a code that the provider has not signed. The declaration was not checked.",
    ),
}


CHECKS = "Checks on the run"
ANY = "*"  # in a certificate: whatever the group


@dataclass(frozen=True)
class QuantityWords:
    """A quantity in a sentence and in a column head. ``main``: a reader needs it first."""

    says: str
    short: str
    main: bool


@dataclass(frozen=True)
class Words:
    """How the quantities of one kind are said to a person: an id is ``group.quantity``. Empty where none are known.

    ``heading`` stands above the main quantities of groups without a name.
    """

    groups: Mapping[str, str] = field(default_factory=dict)
    quantities: Mapping[str, QuantityWords] = field(default_factory=dict)
    heading: str = CHECKS

    def quantity(self, name: str) -> QuantityWords | None:
        """Return the words of a quantity by the id of its observation, None where there are none."""
        group, _, rest = name.partition(".")
        return self.quantities.get(name, self.quantities.get(rest)) if group in self.groups or group == ANY else None

    def title(self, name: str) -> str:
        """Return an id in words, or the id where no words are known."""
        known, group = self.quantity(name), self.group(name)
        return name if known is None else known.says + (f" ({group})" if group else "")

    def brief(self, name: str) -> str:
        """Return an id in few words, or the id where no words are known."""
        known, group = self.quantity(name), self.group(name)
        return name if known is None else ", ".join(part for part in (known.short, group) if part)

    def because(self, reason: str, *, evidence: str, quantity: str) -> str:
        """Return why a criterion was judged as it was, as a sentence that stands beside it.

        The quantity is named by its column head, and an id keeps its small letter.
        """
        known = self.quantity(quantity)
        if known is not None:
            said = f"\N{LEFT DOUBLE QUOTATION MARK}{known.short}\N{RIGHT DOUBLE QUOTATION MARK}"
            reason = re.sub(rf"(?<![\w.]){re.escape(quantity)}(?![\w.])", lambda _: said, reason)
        starts_with_id = reason.startswith((f"{evidence} ", f"{quantity} "))
        return sentence(reason if starts_with_id else capital(reason))

    def group(self, name: str) -> str:
        """Return the group of an id in words."""
        group = name.partition(".")[0]
        return "any" if group == ANY else self.groups.get(group, "")


def number(value: float, unit: Unit) -> str:
    """Return a value in its unit, such as ``0.39``, ``-0.04`` with a true minus sign, ``1,204`` or ``0.9996``."""
    if unit == "count":
        return f"{value:,.0f}"
    decimals = 2 if unit in _TWO_DECIMALS else 3
    while decimals < 6 and round(value, decimals) in (-1.0, 0.0, 1.0) and value not in (-1.0, 0.0, 1.0):
        decimals += 1
    text = f"{abs(value):.{decimals}f}"
    return f"{MINUS}{text}" if value < 0 and float(text) else text


def span(ends: tuple[float, float], unit: Unit) -> str:
    """Return a range, such as ``0.05 to 0.90``, or one number where both ends read alike."""
    low, high = (number(end, unit) for end in ends)
    return low if low == high else f"{low} to {high}"


def interval(value: Interval, unit: Unit) -> str:
    """Return an interval, such as ``[0.31, 0.47]``."""
    return f"[{number(value.low, unit)}, {number(value.high, unit)}]"


def estimate(observation: Observation) -> str:
    """Return an observation's estimate, or ``not estimable``."""
    return NOT_ESTIMABLE if observation.estimate is None else number(observation.estimate, observation.unit)


def flops(value: float | None) -> str:
    """Return a number of floating-point operations, such as ``1.4 GFLOP``, or ``unknown``."""
    if value is None:
        return "unknown"
    scale = next((scale for scale in _FLOPS if value >= scale[0]), _FLOPS[-1])
    return f"{value / scale[0]:,.3g} {scale[1]}"


def count(value: int) -> str:
    """Return a whole number with thousands separated."""
    return f"{value:,}"


def moment(timestamp: str) -> str:
    """Return ``2026-11-20T10:00:00Z`` as ``20 November 2026, 10:00 UTC``. English whatever the locale."""
    at = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return f"{day(timestamp[:10])}, {at:%H:%M} UTC"


def day(date: str) -> str:
    """Return ``2026-11-20`` as ``20 November 2026``."""
    year, month, number_of_day = date.split("-")
    return f"{int(number_of_day)} {_MONTHS[int(month) - 1]} {year}"


def kind(name: str) -> str:
    """Return what an instrument looks at in words, or its name where no words are known."""
    return KIND_WORDS.get(name, name)


def plain(text: str) -> str:
    """Return a text with names of known instruments in quoted words and ISO days in words. Annex C gives the names."""
    return _DAY.sub(
        lambda found: day(found[0]),
        _KIND.sub(
            lambda found: f"\N{LEFT DOUBLE QUOTATION MARK}{KIND_WORDS[found[0]]}\N{RIGHT DOUBLE QUOTATION MARK}", text
        ),
    )


def capital(text: str) -> str:
    """Return a text that begins with a capital."""
    return text[:1].upper() + text[1:]


def excerpt(text: str, *, limit: int = EXCERPT_CHARACTERS) -> str:
    """Return ``text`` without outer blank lines, cut to ``limit`` characters with a note of how many follow."""
    text = text.strip("\n")
    rest = len(text) - limit
    return text if rest <= 0 else f"{text[:limit]} [… {rest:,} more characters]"


def sentence(text: str) -> str:
    """Return a text that ends with one full stop, whether its author wrote one or not."""
    return text if text.endswith(("?", "!")) else text.rstrip(".") + "."


def parameters(values: Parameters) -> str:
    """Return parameters as ``name: value``, lists written out, sorted by name."""
    shown = (f"{name}: {_plain(value)}" for name, value in sorted(values.items()))
    return "; ".join(shown) or "none"


def measurements(values: Mapping[str, JsonValue]) -> str:
    """Return what a trial measured as ``name: value``; of a list, its first members and how many there are."""
    return "; ".join(f"{name}: {_brief(value)}" for name, value in sorted(values.items()))


def fact(value: float | str | None) -> str:
    """Return a count or nuisance term behind a number, to six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) else _plain(value)


def answer(completion: Completion) -> str:
    """Return what came after the reasoning, and whether the token limit cut it."""
    return completion.answer + (" [cut at the token limit]" if completion.finish_reason == "length" else "")


def listing(words: Sequence[str], *, empty: str) -> str:
    """Return words as a list in a sentence: ``a, b and c``; ``empty`` if there is none.

    Words that hold commas themselves are parted by semicolons: ``a, one; b, two; and c, three``.
    """
    if not words:
        return empty
    if len(words) > 1 and any("," in word for word in words):
        return f"{'; '.join(words[:-1])}; and {words[-1]}"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _brief(value: JsonValue) -> str:
    if isinstance(value, list):
        shown = ", ".join(_brief(member) for member in value[:3])
        return shown if len(value) <= 3 else f"{shown}, … ({len(value)} values)"
    if isinstance(value, Mapping):
        return f"{{{measurements(value)}}}"
    return f"{value:.4g}" if isinstance(value, float) else _plain(value)


def _plain(value: JsonValue) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(member) for member in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


_FLOPS = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1.0, "FLOP"))
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_KIND = re.compile(rf"(?<![\w./])(?:{'|'.join(map(re.escape, KIND_WORDS))})(?![\w/]|\.\w)")
_DAY = re.compile(r"(?<![\w-])[0-9]{4}-(?:0[1-9]|1[0-2])-[0-3][0-9](?![\w-])")
