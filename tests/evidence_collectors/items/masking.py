"""Do two texts share a template, once their entities are masked?

Masked are quoted spans, numbers in digits and in words, names (words with a capital letter inside a sentence) and single
letters. What is left are the words of the template. Two texts share one if these are equal, or if most of their word
triples (Jaccard index `NEAR` or more) are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NEAR = 0.5
_QUOTED = re.compile(r"“[^”]*”|\"[^\"]*\"|`[^`]*`|(?<!\w)'[^']*'(?!\w)")
_TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\d+(?:[.,:/]\d+)*|[.!?\n]")
_NUMBERS = frozenset({
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen",
    "twenty", "thirty", "forty", "fifty", "hundred", "thousand", "million", "half", "third", "quarter", "first", "second",
    "fourth", "fifth", "sixth",
})  # fmt: skip


def template(text: str) -> tuple[str, ...]:
    """Return the words of a text with its entities masked."""
    words: list[str] = []
    opening = True
    for token in _TOKEN.findall(_QUOTED.sub(" ⟨quoted⟩ ", text)):
        if token in ".!?\n":
            opening = True
            continue
        if token[0].isdigit() or token.lower() in _NUMBERS:
            word = "0"
        elif len(token) == 1 and token.lower() not in ("a", "i"):
            word = "x"
        elif token[0].isupper() and not opening:
            word = "N"
        else:
            word = token.lower()
        if not words or word != words[-1] or word not in ("0", "x", "N"):
            words.append(word)  # a list of names or numbers is one entity
        opening = False
    return tuple(words)


def sharing(texts: Sequence[str]) -> list[int]:
    """Return the places of texts that share their template with another one."""
    templates = [template(text) for text in texts]
    triples = [frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset({words}) for words in templates]
    found: set[int] = set()
    for place, own in enumerate(triples):
        for other in range(place):
            common = len(own & triples[other])
            if common >= NEAR * (len(own) + len(triples[other]) - common):
                found |= {place, other}
    return sorted(found)
