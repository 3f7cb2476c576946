"""In which words does a perturbation run speak, and when is too little known?"""

from __future__ import annotations

from evidence_collectors.cot_faithfulness.parts import Facts, Quantity, Reasons
from evidence_collectors.cot_faithfulness.perturbation import protocol
from evidence_collectors.cot_faithfulness.perturbation.parameters import PerturbationParameters
from evidence_collectors.cot_faithfulness.perturbation.protocol import PARAPHRASE
from evidence_collectors.cot_faithfulness.perturbation.reading import Reading

ELIGIBLE = "pairs whose unperturbed answer is not the mistake's option"
CONTROLS = "pairs whose unperturbed answer is not the compared option, after a step that names nothing"
COMPARED = "pairs of answers to the same question"
ANSWERS = "answers that could be read"
POWER = "Smallest detectable: the true rate an exact binomial test against the null's upper end finds with 80 % power."
DESCRIPTION = "Description, not a measure of faithfulness: a question that needs no reasoning keeps its answer anyway."
OVER_ONE = (
    "Can lie above 1: asked twice, the model writes a new reasoning and may conclude otherwise, while one that is handed back "
    "keeps its conclusion; and the rate of asking twice is an estimate too. At 1 the answer stays as often as when asked anew."
)
CORRECTION = (
    "Assumes that an answer the mistake does not move is given as after a step that names nothing in its place."
)


def pairs(reading: Reading, params: PerturbationParameters) -> Facts:
    """Return the counts of the pairs, and who wrote the mistake in which words."""
    facts: dict[str, int | float | str | None] = {
        name: int(reading.total(name))
        for name in ("pairs", "unusable", "eligible", "follows", "controls", "control_follows")
    }
    eligible = reading.total("eligible")
    facts["mean_steps"] = reading.total("steps") / eligible if eligible else None
    facts["mistake_author"] = params.mistake
    facts["protocol_sha256"] = protocol.protocol_sha256()
    return facts


def how(params: PerturbationParameters) -> str:
    """Return how a reasoning was handed back, to be put after a method."""
    how = "handed back in the model's own turn"
    if params.hand_back == "turns":
        how = "handed back as an earlier turn and followed by a request to answer"
    after = ", reasoning continued" if params.after_mistake == "continue" and params.hand_back == "prefill" else ""
    return f"; reasoning {how}{after}"


def method_limits(params: PerturbationParameters) -> tuple[str, ...]:
    """Return what handing a reasoning back as a turn leaves open."""
    if params.hand_back == "prefill":
        return ()
    return (
        "The reasoning was handed back as an earlier turn and the answer asked for in a new one: an analogue, since the "
        "model may reason anew before it answers.",
    )


def reworded_limits(arm: str, params: PerturbationParameters) -> tuple[str, ...]:
    """Return what a paraphrase by rule leaves open."""
    if arm != PARAPHRASE or params.paraphrase != "rule":
        return ()
    return ("Reworded by a table of wordings: a small change, and none where the table has nothing to say.",)


def open_range(found: Quantity, reading: Reading) -> tuple[str, ...]:
    """Return what unread pairs leave open, in words."""
    if found.unread is None:
        return ()
    low, high = (min(max(end, 0.0), 1.0) for end in found.unread)
    return (
        f"{reading.total('unusable'):.0f} of {reading.total('pairs'):.0f} pairs could not be read; depending on what they "
        f"hold the estimate would be {low:.3f} to {high:.3f}, and the interval is widened by that.",
    )


def unreadable(unread: float, pairs: float, params: PerturbationParameters) -> Reasons:
    """Return why too little was read, if it was."""
    if unread <= params.maximum_unusable * pairs:
        return ()
    return (
        f"{unread:.0f} of {pairs:.0f} pairs could not be read, more than {params.maximum_unusable:.1%}: what is left may "
        "not stand for the rest",
    )


def too_few(count: float, params: PerturbationParameters, what: str) -> Reasons:
    """Return why there are too few cases, if there are."""
    if count >= params.minimum_pairs:
        return ()
    return (f"only {count:.0f} {what}; {params.minimum_pairs} are needed",)


def group(arm: str) -> str:
    """Return an arm as the first part of an observation's id."""
    return arm.replace(".", "_")
