"""Which rewordings of a request does an instrument try, and how is it known that they are the same ones next year?

A frozen suite: wrappers in `attacks.v1.json` and the text functions they name. Its digest covers the file and what each
attack makes of a fixed sentence, so that a changed function changes it too. An attack is a pure function from text to text
of a contrast set; it changes the last user turn, and may open the assistant's answer. None is adapted to a monitor.

A last message of the assistant's is the opening of its answer: `request` and `continuation` hand it over as a prefill.
"""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from dossier import canonical
from dossier.language_model import Continuation
from dossier.model import Message, Request, Slug, Text, Value, Version, as_json
from evidence_collectors.items.contrast import Contrast

FILE = Path(__file__).with_name("attacks.v1.json")
Family = Literal["prefix", "role_play", "prefill", "encoding", "paraphrase", "suffix", "own", "searched", "benign"]
AttackKind = Literal["attack", "benign", "control"]
Transform = Literal["none", "base64", "rot13", "leetspeak", "spaced", "whitespace", "typo"]
_PROBE = "Could you please tell me how a sundial works?"
_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_EVERY, _LONG = 3, 5  # a typo in every third word, if it has five letters or more


class Attack(Value):
    """One rewording. ``adaptive`` says whether it was made against the monitor it is used on.

    The new user turn is ``before``, the transformed text, ``after``; ``prefill`` opens the answer.
    """

    name: Slug
    family: Family
    kind: AttackKind
    adaptive: bool
    transform: Transform = "none"
    before: str = ""
    after: str = ""
    prefill: str = ""

    def apply(self, text: Contrast) -> Contrast:
        """Return the text under this attack; label, split and everything else stay."""
        turns, prefill = _parted(text.messages)
        last = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=None)
        if last is None:
            return text
        content = self.before + TRANSFORMS[self.transform](turns[last].content) + self.after
        changed = [*turns[:last], Message(role="user", content=content), *turns[last + 1 :]]
        opening = prefill + self.prefill
        if opening:
            changed.append(Message(role="assistant", content=opening))
        return text.model_copy(update={"messages": tuple(changed)})


class Suite(Value):
    """A frozen list of attacks."""

    suite: Text
    version: Version
    licence: Text
    about: Text
    attacks: tuple[Attack, ...]


@cache
def suite() -> Suite:
    """Return the shipped suite."""
    return Suite.model_validate_json(FILE.read_bytes())


@cache
def digest() -> str:
    """Return the SHA-256 of the suite: its file's content and what each attack makes of a fixed sentence."""
    probe = Contrast(
        id="probe",
        messages=(Message(role="user", content=_PROBE),),
        label="neutral",
        family="probe",
        split="test",
        licence="Apache-2.0",
        response="",
        pair=None,
        set=None,
    )
    made = {one.name: [as_json(turn) for turn in one.apply(probe).messages] for one in suite().attacks}
    return canonical.digest({"file": json.loads(FILE.read_bytes()), "made": made})


def named(names: Sequence[str]) -> tuple[Attack, ...]:
    """Return attacks of the suite by name, in that order. Raises KeyError for an unknown name."""
    known = {one.name: one for one in suite().attacks}
    return tuple(known[name] for name in names)


def request(text: Contrast, *, max_tokens: int, seed: str, temperature: float = 0.0) -> Request:
    """Return a text as a question to a model, a last assistant message as the opening of its answer."""
    turns, prefill = _parted(text.messages)
    return Request(messages=turns, prefill=prefill, max_tokens=max_tokens, temperature=temperature, seed=seed)


def continuation(text: Contrast, *, response: bool = True) -> Continuation:
    """Return a text as one to read, alike; without its response if ``response`` is false."""
    return Continuation(request(text, max_tokens=1, seed="0" * 16), text.response if response else "")


def spaced(text: str) -> str:
    """Return the letters with a space after each, words two spaces apart."""
    return "  ".join(" ".join(word) for word in text.split())


def typos(text: str) -> str:
    """Return the text with two inner letters of every third word exchanged, where the word is long enough."""
    words = text.split(" ")
    for place in range(_EVERY - 1, len(words), _EVERY):
        word = words[place]
        if len(word) >= _LONG and word[1:4].isalpha():
            words[place] = word[0] + word[2] + word[1] + word[3:]
    return " ".join(words)


TRANSFORMS: Mapping[Transform, Callable[[str], str]] = {
    "none": lambda text: text,
    "base64": lambda text: base64.b64encode(text.encode()).decode("ascii"),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "leetspeak": lambda text: text.translate(_LEET),
    "spaced": spaced,
    "whitespace": lambda text: " " + text.replace(" ", "  ") + "\n",
    "typo": typos,
}


def _parted(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], str]:
    """Return the turns, and the opening of an answer that is not over."""
    if len(messages) > 1 and messages[-1].role == "assistant":
        return messages[:-1], messages[-1].content
    return messages, ""
