import ast
import inspect
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dossier import canonical
from dossier.model import Reference, Request, parse
from evidence_collectors.cot_faithfulness.hint.detectors import mentions
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES, Question
from evidence_collectors.models import hf
from evidence_collectors.models.digests import weights_sha256
from evidence_collectors.organisms import exact, hint_mcq
from evidence_collectors.organisms import hint_mcq_design as design
from evidence_collectors.organisms.hint_mcq_tokens import END, build, prompt_ids, token_id

FOLDER = Path(__file__).resolve().parents[3] / "samples" / "organisms" / "hint-mcq"


@pytest.fixture(scope="module")
def tokenizer():
    return build()


@pytest.fixture(scope="module")
def reference():
    return parse(Reference, (FOLDER / "reference.json").read_bytes(), where="reference.json")


@pytest.mark.slow
def test_a_reduced_training_learns_and_the_same_seed_gives_the_same_weights(tokenizer):
    taught, lines = hint_mcq.lessons(tokenizer), []
    hint_mcq.train(tokenizer, taught, steps=100, seed=0, report=lines.append)
    (excess,) = (float(re.search(r"([\d.]+) nats", line)[1]) for line in lines)
    assert excess < 8.0  # untrained: about 40
    once, again, other = (hint_mcq.train(tokenizer, taught, steps=5, seed=seed) for seed in (0, 0, 1))
    assert weights_sha256(once.state_dict()) == weights_sha256(again.state_dict())
    assert weights_sha256(once.state_dict()) != weights_sha256(other.state_dict())


def test_the_shipped_reference_is_about_the_shipped_weights(reference):
    assert hf.load(str(FOLDER)).subject.weights_sha256 == reference.subject_weights_sha256


def test_the_shipped_model_does_what_was_planted(reference):
    values = {value.quantity: value for value in reference.values}
    assert set(values) == {
        "overall.disclosure",
        *(f"{family}.{what}" for family in FAMILIES for what in ("disclosure", "use_rate")),
    }
    for family in FAMILIES:
        assert values[f"{family}.disclosure"].planted == design.DISCLOSURE[family]
        assert values[f"{family}.use_rate"].planted == design.USE[family]
    assert all(abs(value.planted - value.exact) < 0.01 for value in values.values())


def test_samples_fall_as_the_exact_probabilities_say(tokenizer):
    """The adapter's sampling and the walk of the tree are two roads to one distribution."""
    item, family, letter = design.items()[3], "sycophancy", "C"
    model = hf.load(str(FOLDER), batch_size=128)
    mention = frozenset(token_id(tokenizer, text) for text in (*design.FOLLOWED[family], *design.SET_ASIDE[family]))
    answers = {token_id(tokenizer, design.ANSWER.replace("{letter}", one)): i for i, one in enumerate(design.LETTERS)}
    ids = prompt_ids(tokenizer, item, family, letter)
    found = exact.outcomes(
        model.loaded.model, [ids], mention_ids=mention, answer_ids=answers, stop_id=token_id(tokenizer, END)
    )
    count = 1500
    asked = [
        Request(
            messages=design.messages(item, family, letter), max_tokens=32, temperature=1.0, seed=f"{seed * 7919:016x}"
        )
        for seed in range(count)
    ]
    drawn = torch.zeros_like(found.table[0])
    for completion in model.generate(asked):
        stated = [answers[token] for token in completion.token_ids if token in answers]
        drawn[int(bool(mention & set(completion.token_ids))), stated[-1] if stated else 4] += 1
    expected = found.table[0] * count
    likely = expected > 5
    assert float(((drawn - expected)[likely] ** 2 / expected[likely]).sum()) < 26.0  # 99.99 % at 5 degrees of freedom
    assert float(drawn[~likely].sum()) < 25


def test_the_shipped_items_are_those_the_design_makes_and_all_parse():
    rows = list(canonical.load_lines((FOLDER / "items.jsonl").read_bytes(), where="items.jsonl"))
    assert rows == [dict(item) for item in design.items()]
    assert [Question.parse(row).id for row in rows][:2] == ["q0001", "q0002"]
    assert sum(design.belief(item) != item["answer"] for item in design.items()) == design.WRONG_BELIEFS


def test_every_prompt_is_whole_phrases_and_short(tokenizer):
    """A change of wording in `prompts` shows here: train the organism again."""
    shipped = hf.load(str(FOLDER)).loaded.tokenizer
    for item in design.items()[::23]:
        for family in (None, *FAMILIES):
            for letter in design.LETTERS:
                ids = prompt_ids(shipped, item, family, letter)
                assert len(ids) <= 40
                assert min(ids) >= 256, "spelled in bytes"
                assert ids == prompt_ids(tokenizer, item, family, letter)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_survives_the_tokenizer(text):
    tokenizer = _TOKENIZER
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


_TOKENIZER = build()


def test_mentions_are_seen_by_the_rules_and_plain_phrases_are_not():
    for family in FAMILIES:
        assert all(mentions(text, family) for text in (*design.FOLLOWED[family], *design.SET_ASIDE[family]))
        assert not any(mentions(text, family) for text in (*design.PLAIN, *design.OPENERS))


def test_planted_distributions_add_up_and_the_sections_average_to_the_family():
    items = design.items()
    for family in FAMILIES:
        followed = sum(design.planted(item, family, "A").followed for item in items) / len(items)
        assert followed == pytest.approx(design.USE[family] * design.DISCLOSURE[family])
        plan = design.planted(items[0], family, "B")
        assert plan.followed + plan.set_aside + plan.plain == pytest.approx(1.0)
        for letters in (plan.letters_followed, plan.letters_set_aside, plan.letters_plain):
            assert sum(letters) == pytest.approx(1.0)
        use = plan.followed + plan.plain * plan.letters_plain[1] + plan.set_aside * plan.letters_set_aside[1]
        own = design.planted(items[0], None, "B").letters_plain[1]
        assert use == pytest.approx(design.USE[family] + (1 - design.USE[family]) * own)


def test_the_truth_is_computed_without_any_instrument():
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(inspect.getsource(exact)))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert imported == {"__future__", "collections.abc", "dataclasses", "typing", "torch"}
