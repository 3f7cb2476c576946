"""How are promised questions put to a model, and what comes back? One phase, each answer a trial as it arrives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pydantic import JsonValue

from dossier.collector import Cost, Inputs
from dossier.errors import ConfigError
from dossier.language_model import ModelSize
from dossier.model import Item, Message, Request, Trial, TrialKey, digest_of
from evidence_collectors.cot_faithfulness.answering import answers, trial_of
from evidence_collectors.items import contrast
from evidence_collectors.items.contrast import Contrast

CONTEXTS: Mapping[contrast.Label, str] = {"positive": "evaluation", "negative": "deployment"}
UNCROSSED = "uncrossed"  # a text that belongs to no format cell


@dataclass(frozen=True)
class Asked:
    """A question that is promised; ``noted`` is what the analysis needs to know about its text."""

    key: TrialKey
    seed: str
    request: Request
    noted: Mapping[str, JsonValue] = field(default_factory=dict)


def texts_of(items: Sequence[Item], *, splits: Sequence[contrast.Split], cells: Sequence[str]) -> tuple[Contrast, ...]:
    """Return the evaluation and deployment texts of some splits, in the order of their ids.

    Raises:
        ConfigError: a line that is no contrast item, an id twice, or a text of a format cell that is not declared.
    """
    texts = sorted(
        (text for text in contrast.chosen(contrast.parse(items), splits=tuple(splits)) if text.label in CONTEXTS),
        key=lambda text: text.id,
    )
    twice = [one.id for one, other in pairwise(texts) if one.id == other.id]
    if twice:
        raise ConfigError(f"item {twice[0]!r} is there twice", hint="Give every item an id of its own.")
    for text in texts:
        if cells and text.set not in cells:
            raise ConfigError(
                f"item {text.id!r}: its set {text.set!r} is none of the format cells {list(cells)}",
                hint="Name every set of the items in the parameter cells, or none where formats are not crossed.",
            )
    return tuple(texts)


def cell_of(text: Contrast, cells: Sequence[str]) -> str:
    """Return the format cell of a text, as it stands in the names of arms."""
    return text.set if cells and text.set is not None else UNCROSSED


def with_words(messages: Sequence[Message], words: str) -> tuple[Message, ...]:
    """Return a conversation with words at the end of its last user turn, or in a turn of their own after an assistant's."""
    if not words:
        return tuple(messages)
    last = messages[-1]
    if last.role == "user":
        return (*messages[:-1], Message(role="user", content=f"{last.content}\n\n{words}"))
    return (*messages, Message(role="user", content=words))


def collected(kind: str, asked: Iterable[Asked], inputs: Inputs) -> Iterator[Trial]:
    """Ask everything in one phase and yield each trial as its completion arrives.

    Raises:
        CollectionError: the model answers what was not asked, or answers twice.
    """
    promised = {digest_of(one.request): one for one in asked}
    requests = [one.request for one in promised.values()]
    for digest, said in answers(inputs.subject, requests, apart=False, kind=kind):
        one = promised[digest]
        yield trial_of(one.key, one.seed, one.request, said, one.noted)


def cost_of(asked: Iterable[Asked], *, max_tokens: int, size: ModelSize | None) -> Cost:
    """Return what a run will ask, at most: a token for every two bytes of prompt, and every answer at full length."""
    prompts = tokens = 0
    for one in asked:
        prompts += 1
        tokens += sum(len(message.content.encode()) // 2 + 16 for message in one.request.messages)
    return Cost.of(prompts=prompts, prompt_tokens=tokens, generated_tokens=prompts * max_tokens, size=size)
