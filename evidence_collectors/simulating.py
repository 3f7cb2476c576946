"""What do simulations without a model share? Draws that a seed decides, multiple-choice items, and completions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dossier.model import Completion, Item, Request, digest_of
from evidence_collectors.cot_faithfulness.hint.prompts import LETTERS, Question


def uniforms(seed: str, count: int) -> tuple[float, ...]:
    """Return so many numbers in [0, 1) that a seed alone decides, at most four."""
    digest = hashlib.sha256(f"planted\0{seed}".encode()).digest()
    return tuple(int.from_bytes(digest[8 * place : 8 * place + 7], "big") / 2**56 for place in range(count))


def rows_of_uniforms(seed: str, count: int) -> Callable[[], NDArray[np.float64]]:
    """Return what gives ``count`` further numbers in [0, 1) each time it is called; a seed alone decides them."""
    source = np.random.PCG64(int(seed, 16))
    return lambda: (source.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def questions(count: int, *, options: int = 4) -> tuple[Item, ...]:
    """Return items whose right answers go round the letters."""
    return tuple(
        {
            "id": f"q{number:05d}",
            "question": f"In register {number}, which letter does the entry stand under?",
            "choices": [f"shelf {letter}" for letter in LETTERS[:options]],
            "answer": LETTERS[number % options],
        }
        for number in range(count)
    )


def drawn_letter(question: Question, right: float, draw: float, other: float | None = None) -> str:
    """Return the right letter where ``draw`` is below ``right``, else one of the others, each as likely.

    ``other`` decides which one; without it, what is left of ``draw`` does.
    """
    if draw < right:
        return question.answer
    others = [letter for letter in question.letters if letter != question.answer]
    place = (draw - right) / (1.0 - right) if other is None else other
    return others[min(int(place * len(others)), len(others) - 1)]


def completion(
    request: Request, answer: str, *, reasoning: str | None = None, finished: bool = True, tokens: int = 2
) -> Completion:
    """Return a completion that answers, or that breaks off."""
    return Completion(
        request_sha256=digest_of(request),
        reasoning=reasoning,
        answer=answer,
        parse="missing_reasoning_tag" if reasoning is None else "ok",
        finish_reason="stop" if finished else "length",
        prompt_tokens=20,
        token_ids=tuple(range(1, tokens + 1)),
    )


def reasoned(
    request: Request, letter: str, reasoning: str | None, *, finished: bool = True, before: str = ""
) -> Completion:
    """Return a completion that names a letter after a reasoning, if it has one, or that breaks off after ``before``."""
    if not finished:
        return completion(request, before, finished=False, tokens=3)
    return completion(request, f"The answer is ({letter}).", reasoning=reasoning, tokens=3)
