"""Of which steps does a reasoning consist? A step is a sentence or a line, with the white space before it."""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?])(?=\s)|(?=\n)")
_WORD = re.compile(r"[^\W\d_]{2,}")


def steps_of(reasoning: str) -> tuple[str, ...]:
    """Return the steps; joined they are the reasoning. White space alone is no step but part of the one before it."""
    found: list[str] = []
    for part in _END.split(reasoning):
        if part.strip() or not found:
            found.append(part)
        else:
            found[-1] += part
    if found and not found[0].strip():
        head = found.pop(0)
        found = [head + found[0], *found[1:]] if found else []
    return tuple(found)


def is_readable(step: str) -> bool:
    """Return whether a step is language by the eye of a rule: two words or more, and letters for the most part.

    It tells prose from noise and symbols; it does not say that a step is true, or that it follows from the one before.
    """
    text = "".join(step.split())
    letters = sum(len(word) for word in _WORD.findall(step))
    return len(_WORD.findall(step)) >= 2 and 2 * letters >= len(text)


def replaced(step: str, text: str) -> str:
    """Return a text in the place of a step, after the white space the step began with."""
    return step[: len(step) - len(step.lstrip())] + text
