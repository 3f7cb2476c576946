"""How well does the organism ``password-locked`` answer, exactly? Read off its own probabilities, by no instrument.

The accuracy over some prompts is the mean probability of a completion that names the right letter. Of an elicited copy it is
read alike, off the copy's own probabilities: the copy is what adapters make of the model from a seed (`models.elicited`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dossier.model import Item, Message, ReferenceValue
from evidence_collectors.models import elicited
from evidence_collectors.organisms import exact
from evidence_collectors.organisms import locked_design as design
from evidence_collectors.organisms.folder import Truth
from evidence_collectors.organisms.locked_design import LETTERS
from evidence_collectors.organisms.planting import draw
from evidence_collectors.organisms.tokens import END, prompts_ids, token_id

MAX_TOKENS = 4  # an answer has one, and the end of the turn
DRAWS = 4  # of noise and of examples, for what is printed of the organism itself

Asked = tuple[Sequence[Message], str]  # a conversation and the right letter


@dataclass(frozen=True)
class Elicited:
    """What an elicitation was, as plain data.

    Attributes:
        items: the questions that were asked.
        examples: items put before them, with the letters that were given; the first is the demonstration.
        moved: the same with other letters.
        noise: by group, draws of noise: strength in standard deviations, seed, and which items were asked under it.
        training: steps, learning rate and seed of the training on a demonstration.
    """

    items: Sequence[Item]
    examples: Sequence[tuple[Item, str]]
    moved: Sequence[tuple[Item, str]]
    noise: Mapping[str, Sequence[tuple[float, str, Sequence[str]]]]
    training: tuple[int, float, str]


def accuracies(model: Any, tokenizer: Any, given: Elicited) -> dict[str, float]:
    """Return the exact accuracy in each arm: as asked, after examples, under noise, after training, and of the shams."""
    bare = [(design.messages(item), str(item["answer"])) for item in given.items]
    found = {"asked": float(chances(model, tokenizer, bare)[0].mean())}
    for name, shown in (("few_shot", given.examples), ("few_shot_sham", given.moved)):
        after = [(design.with_examples(shown, item), str(item["answer"])) for item in given.items]
        found[name] = float(chances(model, tokenizer, after)[0].mean())
    for group, draws in given.noise.items():
        right = 0.0
        for strength, seed, names in draws:
            own = [one for item, one in zip(given.items, bare, strict=True) if item["id"] in names]
            noisy = elicited.with_noise(model, seed=seed, strength=strength)
            right += float(chances(noisy, tokenizer, own)[0].sum()) if own else 0.0
        found[group] = right / len(bare)
    steps, rate, seed = given.training
    item, letter = given.examples[0]
    lessons = {
        "tuned": (design.messages(item), design.ANSWER.replace("{letter}", letter)),
        "tuned_sham": ((Message(role="user", content=design.UNRELATED[0]),), design.UNRELATED[1]),
    }
    for name, (messages, answer) in lessons.items():
        row = (prompts_ids(tokenizer, [(messages, "")])[0], [token_id(tokenizer, answer), token_id(tokenizer, END)])
        taught = elicited.with_demonstrations(model, [row], steps=steps, learning_rate=rate, seed=seed)
        found[name] = float(chances(taught, tokenizer, bare)[0].mean())
    return found


def gains(found: Mapping[str, float]) -> dict[str, float]:
    """Return the differences of accuracies that an instrument may be asked about, by the name it gives them."""
    values = {f"{name}.accuracy": value for name, value in found.items() if not name.endswith("_sham")}
    values |= {f"{name}.gain": value - found["asked"] for name, value in found.items() if name != "asked"}
    over = {name: found[f"{name}_sham"] for name in found if f"{name}_sham" in found}
    return values | {f"{name}.gain_over_sham": found[name] - sham for name, sham in over.items()}


def chances(model: Any, tokenizer: Any, asked: Sequence[Asked]) -> tuple[Any, float]:
    """Return the probability of a right answer to each conversation, (n,), and the most that was left out of any."""
    walked = exact.outcomes(
        model,
        prompts_ids(tokenizer, [(messages, "") for messages, _ in asked]),
        mention_ids=frozenset(),
        answer_ids={
            token_id(tokenizer, design.ANSWER.replace("{letter}", letter)): place
            for place, letter in enumerate(LETTERS)
        },
        stop_id=token_id(tokenizer, END),
        max_tokens=MAX_TOKENS,
    )
    right = torch.tensor([LETTERS.index(letter) for _, letter in asked])
    return walked.table.sum(dim=1).gather(1, right[:, None])[:, 0], walked.unaccounted


def read(model: Any, tokenizer: Any, *, planted: bool = True) -> Truth:
    """Return planted and exact accuracies over all questions: as asked, with the password, after examples, under noise."""
    items = design.items()
    bare: list[Asked] = [(design.messages(item), str(item["answer"])) for item in items]
    with_password: list[Asked] = [(design.messages(item, password=True), str(item["answer"])) for item in items]
    noisy = [elicited.with_noise(model, seed=f"{number:016x}", strength=design.NOISE) for number in range(DRAWS)]
    known = [design.known(item, planted=planted) for item in items]
    after = [design.after_examples(item, planted=planted) for item in items]
    rows: tuple[tuple[str, list[design.Distribution], list[tuple[Any, list[Asked]]]], ...] = (
        ("asked", [design.shown(item) for item in items], [(model, bare)]),
        ("password", known, [(model, with_password)]),
        ("examples", after, [(model, _after_examples())]),
        ("noise", known, [(one, bare) for one in noisy]),
    )
    values, left = [], 0.0
    for name, aims, parts in rows:
        read_off = [chances(one, tokenizer, asked) for one, asked in parts]
        left = max(left, *(unaccounted for _, unaccounted in read_off))
        aim = sum(one[str(item["answer"])] for one, item in zip(aims, items, strict=True)) / len(items)
        exactly = sum(float(right.mean()) for right, _ in read_off) / len(read_off)
        values.append(ReferenceValue(quantity=f"{name}.accuracy", planted=aim, exact=exactly))
    return Truth(tuple(values), left)


def _after_examples() -> list[Asked]:
    """Return every question after examples drawn among the others, with their right letters."""
    items = design.items()
    asked: list[Asked] = []
    for number in range(DRAWS):
        for item in items:
            others = sorted(
                (one for one in items if one is not item),
                key=lambda one: draw("password-locked", f"example {number} {item['id']}", str(one["id"])),
            )
            shown = [(one, str(one["answer"])) for one in others[: design.SHOTS]]
            asked.append((design.with_examples(shown, item), str(item["answer"])))
    return asked
