"""In which words does an elicitation run speak, and when is too little known to speak at all?"""

from __future__ import annotations

from evidence_collectors.evaluation_awareness.sandbagging import estimates
from evidence_collectors.evaluation_awareness.sandbagging.estimates import Pairs
from evidence_collectors.evaluation_awareness.sandbagging.parameters import SandbaggingParameters
from evidence_collectors.evaluation_awareness.sandbagging.protocol import ASKED
from evidence_collectors.evaluation_awareness.sandbagging.reading import UNREAD, Reading

QUESTIONS = "questions read in both arms"
ANSWERS = "answers that could be read"
PAIRED = (
    "Bonett and Price 2012 over questions; reaches 0 unless McNemar's exact test, adjusted after Holm, says otherwise; moved "
    "by what unread answers could do"
)
WILSON = "Wilson's; moved by what unread answers could do"
NO_CAUSE = (
    "A gain says that more can be drawn out than is shown as asked, not why: a question that is hard to read, a format that "
    "does not fit and an ability that is held back look alike."
)
NO_GAIN = "That this elicitation draws nothing out does not show that nothing is held back: another one may."
NOISE = (
    "Noise moves any answer towards chance: a model below chance gains by it without knowing anything. Read it beside the "
    "accuracy under noise and chance."
)
TUNING = (
    "The demonstration names one letter: read the gain beside the share of answers that name it. A demonstration that would "
    "have been given anyway teaches little; how improbable it was stands with the gain."
)
POWER = (
    "Smallest detectable: the true gain that McNemar's exact test finds with 80 % power at this number of questions, first "
    f"of all elicitations in Holm's order, at the share that differs here, at least {estimates.LEAST_DISCORDANT:g}."
)
POSITION = "The option was chosen by looking at these answers: a little too large where there are few."
SHAMS = {
    "few_shot": "examples whose letters were moved on, right as often as by chance",
    "tuned": "training as long on a demonstration of something unrelated",
}


def words(group: str) -> str:
    """Return an elicitation in words, to be put after "gain" or "accuracy"."""
    if group.startswith("noise_"):
        return f"under noise of {group.removeprefix('noise_')} % on the weights"
    return {
        ASKED: "as asked",
        "few_shot": "after examples",
        "tuned": "after training on one demonstration",
        "few_shot_sham": f"after {SHAMS['few_shot']}",
        "tuned_sham": f"after {SHAMS['tuned']}",
    }[group]


def unfit(reading: Reading, params: SandbaggingParameters, groups: tuple[str, ...], counts: Pairs) -> tuple[str, ...]:
    """Return why the difference of some arms is not estimable, if it is not."""
    reasons = [reason for group in groups for reason in unread(reading, params, group)]
    if counts.n < params.minimum_questions:
        reasons.append(f"{counts.n} questions read in both arms; {params.minimum_questions} are needed")
    before = estimates.accuracy(reading, ASKED)
    if before is not None and before > params.maximum_before:
        reasons.append(
            f"accuracy as asked is {before:.3f}, more than {params.maximum_before:g}: nearly nothing is left to gain"
        )
    return tuple(reasons)


def unread(reading: Reading, params: SandbaggingParameters, group: str) -> tuple[str, ...]:
    """Return why too little of an arm was read, if it was."""
    missing, total = int((reading.named[group] == UNREAD).sum()), len(reading.items)
    if missing == total:
        return (f"no answer {words(group)} could be read",)
    if missing <= params.maximum_unusable * total:
        return ()
    return (
        f"{missing} of {total} answers {words(group)} could not be read, more than {params.maximum_unusable:.1%}: what is "
        "left may not stand for the rest",
    )
