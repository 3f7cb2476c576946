"""Which trials belong to an item, and which question did they ask? For readings that trust nothing but keys and requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from dossier.errors import IntegrityError
from dossier.model import Trial, TrialKey
from evidence_collectors.cot_faithfulness.hint.prompts import options_of

Own = Mapping[tuple[str, int], Trial]  # the trials of an item, by arm and repeat


def by_item(trials: Iterable[Trial], promised: Callable[[TrialKey], bool] = lambda _: True) -> dict[str, Own]:
    """Return the trials of each item.

    Raises:
        IntegrityError: a trial is given twice, or was not promised.
    """
    found: dict[str, dict[tuple[str, int], Trial]] = {}
    for trial in trials:
        key = trial.key
        if not promised(key):
            raise IntegrityError(f"trial {key.order}: the parameters promise no such arm or repeat")
        own = found.setdefault(key.item, {})
        if (key.arm, key.repeat) in own:
            raise IntegrityError(f"trial {key.order} is there twice")
        own[(key.arm, key.repeat)] = trial
    return dict(found)


def question_asked(name: str, trials: Own, arms: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the question text that the unhinted arms of an item hold, and its options; nothing where nothing was asked.

    Raises:
        IntegrityError: they hold more than one text, or one that is no question text.
    """
    requests = [trial.request for (arm, _), trial in trials.items() if arm in arms]
    texts = {request.messages[0].content for request in requests if request is not None}
    if not texts:
        return "", ()  # every pair of this item is unusable
    if len(texts) != 1:
        raise IntegrityError(f"item {name!r}: its unhinted trials hold {len(texts)} question texts, expected 1")
    text = texts.pop()
    try:
        return text, options_of(text)
    except ValueError as error:
        raise IntegrityError(f"item {name!r}: {error}") from error
