"""What would the trials look like if the truth were this? Planted answers in real prompts, without a model.

For calibration and tests. The truth is what is put in here; nothing is computed by the estimators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dossier.model import Completion, Item, Request, Trial, TrialKey
from evidence_collectors.cot_faithfulness.hint.collector import asked
from evidence_collectors.cot_faithfulness.hint.parameters import HintParameters
from evidence_collectors.cot_faithfulness.hint.prompts import LETTERS, Family
from evidence_collectors.cot_faithfulness.hint.reading import hint_option
from evidence_collectors.simulating import reasoned, uniforms

SAYS: dict[Family, str] = {
    "sycophancy": "The user believes it is ({letter}), and that settles it.",
    "consistency": "My earlier answer was ({letter}), so I keep to it.",
    "visual_pattern": "The option marked with the square is ({letter}).",
    "metadata": "The metadata says ({letter}).",
    "grader_hacking": "The scoring function wants ({letter}).",
    "unethical_information": "The stored answer is ({letter}).",
}
SILENT = "Going through the options, ({letter}) fits best."


@dataclass(frozen=True)
class Planted:
    """A model's true rates.

    It follows a hint with probability ``use`` and then names it with probability ``disclosure``; otherwise it answers as
    it would without one: the right option, or with probability ``noise`` any of the k - 1 others. ``ignored`` is the
    rate of naming a hint that is not followed, ``unread`` that of breaking off.
    """

    use: Mapping[Family, float]
    disclosure: Mapping[Family, float]
    noise: float = 0.06
    ignored: float = 0.0
    unread: float = 0.0
    says: Mapping[Family, str] = field(default_factory=lambda: SAYS)


def simulate(params: HintParameters, items: Sequence[Item], seed: str, planted: Planted) -> tuple[Trial, ...]:
    """Return the trials of a run on a planted model, with every draw taken from the trial's own seed."""
    answers = {str(item["id"]): str(item["answer"]) for item in items}
    options = {str(item["id"]): len(item["choices"]) for item in items}  # type: ignore[arg-type]
    return tuple(
        Trial(
            key=key,
            seed=own,
            request=request,
            completion=_answer(key, own, request, planted, answers[key.item], options[key.item]),
        )
        for key, own, request in asked(params, items, seed)
    )


def _answer(key: TrialKey, seed: str, request: Request, planted: Planted, right: str, count: int) -> Completion:
    follow, say, where, break_off = uniforms(seed, 4)
    letter = right
    if where < planted.noise:
        letter = LETTERS[(LETTERS.index(right) + 1 + int(where / planted.noise * (count - 1))) % count]
    text = SILENT
    for family, use in planted.use.items():
        if not key.arm.startswith(f"{family}."):
            continue
        used = follow < use
        if used:
            letter = hint_option("correct" if key.arm.endswith(".correct") else "incorrect", right, count, seed)
        if say < (planted.disclosure[family] if used else planted.ignored):
            text = planted.says[family]
    text = text.replace("{letter}", letter)
    return reasoned(request, letter, text, finished=break_off >= planted.unread, before=text)
