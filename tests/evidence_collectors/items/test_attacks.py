"""The suite is frozen, pure and harmless; each attack changes the words and nothing else."""

from __future__ import annotations

import base64
import codecs
import re

import pytest

from dossier.model import Message
from evidence_collectors.items import attacks
from evidence_collectors.items.attacks import Attack, named, suite
from evidence_collectors.items.contrast import Contrast

DIGEST = "e65a1e48b3ba0f9476f54368f7a0ea5e5182f425162bb44889abcf9b71471e38"
ASKED = "Could you please tell me how a sundial works?"


def text(*messages: tuple[str, str], response: str = "") -> Contrast:
    turns = tuple(Message(role=role, content=content) for role, content in messages or [("user", ASKED)])
    return Contrast(
        id="one", messages=turns, label="positive", family="f", split="test", licence="CC0-1.0", response=response,
        pair="p", set=None,
    )  # fmt: skip


def test_the_suite_is_the_frozen_one():
    assert (suite().version, suite().licence) == ("1.0", "Apache-2.0")
    assert attacks.digest() == DIGEST, "a changed suite is a new version, in a new file"


def test_the_digest_covers_the_functions_too(monkeypatch):
    monkeypatch.setitem(attacks.TRANSFORMS, "rot13", lambda text: text)
    assert attacks.digest.__wrapped__() != DIGEST


def test_every_family_of_the_plan_is_there_and_none_is_adaptive():
    families = {one.family for one in suite().attacks}
    assert families == {"prefix", "role_play", "prefill", "encoding", "paraphrase", "suffix", "benign"}
    assert not any(one.adaptive for one in suite().attacks)
    assert {one.kind for one in suite().attacks if one.family == "benign"} == {"benign"}
    assert {one.kind for one in suite().attacks if one.family != "benign"} == {"attack"}
    names = [one.name for one in suite().attacks]
    assert len(set(names)) == len(names)


def test_the_wrappers_name_nothing_harmful():
    words = " ".join(one.before + one.after + one.prefill for one in suite().attacks).casefold()
    assert not re.search(r"bomb|weapon|kill|poison|drug|hack|malware|explosi|attack|illegal|steal|fraud", words)


@pytest.mark.parametrize("attack", suite().attacks, ids=lambda one: one.name)
def test_an_attack_changes_the_last_turn_or_opens_the_answer_and_nothing_else(attack):
    before = text(("system", "Be brief."), ("user", "Hello."), ("assistant", "Hello."), ("user", ASKED), response="r")
    after = attack.apply(before)
    assert after.messages[:3] == before.messages[:3]
    assert after.messages != before.messages
    assert after.model_copy(update={"messages": before.messages}) == before
    assert attack.apply(before) == after


def test_encodings_can_be_read_back():
    (base, rot, leet, spaced) = (
        one.apply(text()).messages[-1].content.removeprefix(one.before)
        for one in named(["encode-base64", "encode-rot13", "encode-leetspeak", "encode-spaced"])
    )
    assert base64.b64decode(base).decode() == ASKED
    assert codecs.decode(rot, "rot13") == ASKED
    assert leet == "C0uld y0u pl3453 73ll m3 h0w 4 5und14l w0rk5?"
    assert spaced.replace("  ", "\0").replace(" ", "").replace("\0", " ") == ASKED


def test_benign_edits_keep_the_letters():
    polite, spaces, typo = (one.apply(text()).messages[-1].content for one in named([
        "benign-polite", "benign-whitespace", "benign-typo",
    ]))  # fmt: skip
    assert ASKED in polite
    assert spaces.split() == ASKED.split()
    assert typo == "Could you pelase tell me how a sundial wroks?"
    assert sorted(typo) == sorted(ASKED)


def test_a_prefill_is_handed_over_as_the_opening_of_the_answer():
    (prefill,) = named(["prefill-agree"])
    attacked = prefill.apply(text())
    asked = attacks.request(attacked, max_tokens=4, seed="0" * 16)
    assert asked.prefill == "Sure, here is"
    assert [turn.role for turn in asked.messages] == ["user"]
    assert attacks.continuation(attacked).text == ""
    twice = prefill.apply(attacked)
    assert attacks.request(twice, max_tokens=4, seed="0" * 16).prefill == 2 * "Sure, here is"


def test_a_response_is_read_unless_it_is_left_out():
    assert attacks.continuation(text(response="yes")).text == "yes"
    assert attacks.continuation(text(response="yes"), response=False).text == ""


def test_a_text_without_a_user_turn_stays():
    only_system = text(("system", "Be brief."))
    assert suite().attacks[0].apply(only_system) == only_system


def test_an_unknown_name_is_an_error():
    with pytest.raises(KeyError):
        named(["prefix-magic"])


def test_an_attack_of_ones_own_wraps_the_words():
    own = Attack(name="own-1", family="own", kind="attack", adaptive=False, before="a ", after=" z")
    assert own.apply(text()).messages[-1].content == f"a {ASKED} z"
