"""How does a row of a public set become one of our items?

A format is a function from a row and the description of the set to an item (`schemas/item.v1.json`) or a text of a
contrast set (`schemas/contrast.v1.json`). It is pure, and depends on its row alone: rows that are added change no other
item. What does not fit is an error that names file, line and member; nothing is mended silently.

Sources: the data cards of cais/mmlu, Idavidrein/gpqa, allenai/ai2_arc and JailbreakBench/JBB-Behaviors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from dossier import canonical
from dossier.errors import ConfigError
from dossier.model import Digest, Item, Slug, Text, Value
from evidence_collectors.items.rows import Row

Format = Literal["mmlu", "gpqa", "arc", "jailbreakbench", "questions", "contrasts"]
Label = Literal["positive", "negative", "neutral"]
LETTERS = "ABCDEFGHIJ"
MMLU_COLUMNS = ("question", "A", "B", "C", "D", "answer")  # the published CSV files have no heading
GPQA_OPTIONS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
CHOOSE, JUDGE = 0.45, 0.65  # a pair's digest below the first: train, below the second: validation, else test


class Description(Value):
    """What the operator says about a set, in a file beside it.

    Attributes:
        format: how its rows are to be read.
        file: the data, relative to this file; a pattern such as ``data/test-*.parquet`` takes all that match, in order.
        licence: under which licence the operator uses it.
        sha256: of the data (of several files: of their digests, one a line). Required for GPQA.
        subject: of every item whose row names none.
        select: only the rows of these ids, as the source writes them; empty: all.
        leave_out: rows to leave out, by the same ids or by place ("file:line", as errors name it).
        duplicates: what becomes of a row that says exactly what an earlier one said.
        fields: for ``questions`` and ``contrasts``: which member of a row is which of ours.
        answer_is: for ``questions``: what stands in the answer: a letter, an index from 0, or the option's text.
        labels: for ``contrasts``: which of the source's labels is which of ours.
        benign: for ``jailbreakbench``: its file of benign behaviours, beside ``file``, which holds the harmful ones.
        transfer: for ``jailbreakbench`` and ``contrasts``: families kept for the split ``transfer``.
    """

    format: Format
    file: Text
    licence: Text
    sha256: Digest | None = None
    subject: str = ""
    select: tuple[Text, ...] = ()
    leave_out: tuple[Text, ...] = ()
    duplicates: Literal["error", "drop"] = "error"
    fields: Mapping[str, Text | tuple[Text, ...]] = {}
    answer_is: Literal["letter", "index", "text"] = "letter"
    labels: Mapping[str, Label] = {}
    benign: Text | None = None
    transfer: tuple[Slug, ...] = ()


def mmlu(row: Row, about: Description) -> tuple[str, Item]:
    """MMLU: ``question`` (or ``question_text``), ``choices`` (in CSV: A to D), ``answer`` as letter or index from 0."""
    question = row.text("question_text" if "question_text" in row.members else "question")
    if "choices" in row.members:
        choices = _texts(row, "choices", row.get("choices"))
    else:
        choices = tuple(row.line(name) for name in MMLU_COLUMNS[1:5])
    given = row.get("correct_label" if "correct_label" in row.members else "answer")
    answer = _letter(row, "answer", given, choices, "index" if isinstance(given, int) else "letter")
    if "correct_index" in row.members and row.get("correct_index") != LETTERS.index(answer):
        raise row.fault("correct_index", f"{LETTERS.index(answer)}, the place of {answer}", row.get("correct_index"))
    subject = row.text("subject") if "subject" in row.members else about.subject
    own = row.text("id") if "id" in row.members else f"mmlu-{slug(subject)}-{_short(question, choices)}"
    return own, _question(row, own, question, choices, answer, subject, about)


def gpqa(row: Row, about: Description) -> tuple[str, Item]:
    """GPQA: a right and three wrong options, put in an order that the record's id alone decides."""
    own = row.text("Record ID")
    options = [row.line(name) for name in GPQA_OPTIONS]
    order = sorted(range(len(options)), key=lambda place: canonical.sha256(f"gpqa/{own}/{place}".encode()))
    choices = tuple(options[place] for place in order)
    subject = row.text("High-level domain") if "High-level domain" in row.members else about.subject
    return own, _question(row, own, row.text("Question"), choices, LETTERS[order.index(0)], subject, about)


def arc(row: Row, about: Description) -> tuple[str, Item]:
    """ARC: as published (``question.stem``, ``question.choices``) or flat (``choices.text``, ``choices.label``)."""
    own = row.text("id")
    if isinstance(row.get("question"), str):
        question, texts, labels = row.text("question"), row.get("choices.text"), row.get("choices.label")
    else:
        question, listed = row.text("question.stem"), row.get("question.choices")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise row.fault("question.choices", "a list of objects", listed)
        texts, labels = ([one.get(name) for one in listed] for name in ("text", "label"))
    choices, names = _texts(row, "choices", texts), _texts(row, "labels of choices", labels)
    key = row.text("answerKey")
    if len(names) != len(choices) or names.count(key) != 1:
        raise row.fault("answerKey", f"one label of {', '.join(names)}", key)
    return own, _question(row, own, question, choices, LETTERS[names.index(key)], about.subject, about)


def jailbreakbench(row: Row, about: Description) -> tuple[str, Item]:
    """JailbreakBench: a goal of the harmful or of the benign file; goals of the same index are a pair."""
    index = str(row.get("Index")).strip()
    if not index.isdecimal():
        raise row.fault("Index", "a whole number", row.get("Index"))
    side, label = ("benign", "negative") if row.file == about.benign else ("harmful", "positive")
    pair, family = f"jbb-{int(index):03d}", slug(row.text("Category"))
    own = f"{pair}-{side}"
    return own, _contrast(row.text("Goal"), about, own=own, label=label, family=family, pair=pair)


def questions(row: Row, about: Description) -> tuple[str, Item]:
    """Any rows with a question, options and an answer, named by ``fields``; options may be a list or columns."""
    named = _fields(row, about, ("question", "choices", "answer"), ("id", "subject"))
    question = row.text(_one(row, named, "question"))
    where = named["choices"]
    listed = isinstance(where, str)
    choices = _texts(row, str(where), row.get(str(where))) if listed else tuple(row.line(name) for name in where)
    name = _one(row, named, "answer")
    answer = _letter(row, name, row.get(name), choices, about.answer_is)
    own = _named(row, named, "id") or _short(question, choices)
    return own, _question(row, own, question, choices, answer, _named(row, named, "subject") or about.subject, about)


def contrasts(row: Row, about: Description) -> tuple[str, Item]:
    """Any rows with a text and a label, named by ``fields``; the split follows from pair or id unless a row has one."""
    named = _fields(row, about, ("text", "label", "family"), ("id", "pair", "split", "set", "response"))
    text, source = row.text(_one(row, named, "text")), row.get(_one(row, named, "label"))
    if str(source) not in about.labels:
        raise row.fault(_one(row, named, "label"), f"one of {', '.join(about.labels)} (labels)", source)
    own, family = _named(row, named, "id") or _short(text, ()), slug(row.text(_one(row, named, "family")))
    pair = _named(row, named, "pair")
    label = about.labels[str(source)]
    made = _contrast(text, about, own=own, label=label, family=family, pair=slug(pair) if pair else None)
    rest: dict[str, Any] = {"response": _named(row, named, "response"), "set": _named(row, named, "set") or None}
    split = _named(row, named, "split")
    if split and split not in ("train", "validation", "test", "transfer"):
        raise row.fault("split", "train, validation, test or transfer", split)
    return own, {**made, **rest, **({"split": split} if split else {})}


READERS: Mapping[Format, Callable[[Row, Description], tuple[str, Item]]] = {
    "mmlu": mmlu, "gpqa": gpqa, "arc": arc, "jailbreakbench": jailbreakbench,
    "questions": questions, "contrasts": contrasts,
}  # fmt: skip


def slug(text: str) -> str:
    """Return a text as a slug: lower case, anything else than letters, digits, dot and underscore a hyphen."""
    return re.sub(r"[^a-z0-9_.-]+", "-", text.lower()).strip("-_.")[:128] or "none"


def _question(
    row: Row, own: str, question: str, choices: Sequence[str], answer: str, subject: str, about: Description
) -> Item:
    if not 2 <= len(choices) <= len(LETTERS):
        raise row.fault("choices", f"2 to {len(LETTERS)} options", len(choices))
    if len(set(choices)) != len(choices):
        raise ConfigError(
            f"{row.where}: choices: expected different options, got one twice.",
            hint=f'Leave the row out: leave_out = ["{row.where}"].',
        )
    return {
        "id": slug(own),
        "question": question,
        "choices": list(choices),
        "answer": answer,
        "subject": subject,
        "licence": about.licence,
    }


def _contrast(text: str, about: Description, *, own: str, label: str, family: str, pair: str | None) -> dict[str, Any]:
    part = int(canonical.sha256((pair or own).encode())[:8], 16) / 2**32
    split = (
        "transfer" if family in about.transfer else ("train", "validation", "test")[(part >= CHOOSE) + (part >= JUDGE)]
    )
    return {
        "id": slug(own),
        "messages": [{"role": "user", "content": text}],
        "label": label,
        "family": family,
        "split": split,
        "licence": about.licence,
        "response": "",
        "pair": pair,
        "set": None,
    }


def _texts(row: Row, name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise row.fault(name, "a list of texts that are not empty", value)
    return tuple(" ".join(one.split()) for one in value)


def _letter(row: Row, name: str, value: object, choices: Sequence[str], kind: str) -> str:
    if kind == "text" and isinstance(value, str) and " ".join(value.split()) in choices:
        return LETTERS[list(choices).index(" ".join(value.split()))]
    index = int(value) if isinstance(value, str) and value.isdecimal() else value
    if kind == "index" and isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(choices):
        return LETTERS[index]
    if kind == "letter" and isinstance(value, str) and len(value) == 1 and value in LETTERS[: len(choices)]:
        return value
    wanted = {
        "text": "the text of one option",
        "index": f"an index from 0 to {len(choices) - 1}",
        "letter": f"one letter of {LETTERS[: len(choices)]}",
    }
    raise row.fault(name, wanted[kind], value)


def _fields(
    row: Row, about: Description, needed: Sequence[str], optional: Sequence[str]
) -> Mapping[str, str | tuple[str, ...]]:
    unknown = sorted(set(about.fields) - {*needed, *optional})
    missing = [name for name in needed if name not in about.fields]
    if unknown or missing:
        fault = f"{unknown[0]!r}, which is none" if unknown else f"nothing for {missing[0]!r}"
        raise ConfigError(
            f"{row.where}: fields: expected {', '.join(needed)} and perhaps {', '.join(optional)}, got {fault}."
        )
    return about.fields


def _one(row: Row, named: Mapping[str, str | tuple[str, ...]], name: str) -> str:
    value = named[name]
    if not isinstance(value, str):
        raise ConfigError(f"{row.where}: fields.{name}: expected the name of one member, got several.")
    return value


def _named(row: Row, named: Mapping[str, str | tuple[str, ...]], name: str) -> str:
    """Return an optional member as a text, "" where the description names none or the row leaves it empty."""
    if name not in named:
        return ""
    value = row.get(_one(row, named, name))
    if value is not None and not isinstance(value, str | int):
        raise row.fault(name, "a text, a whole number or nothing", value)
    return "" if value is None else str(value).strip()


def _short(question: str, choices: Sequence[str]) -> str:
    """Return a name that the content decides, for rows without an id."""
    return canonical.digest([question, *choices])[:12]
