"""Which texts differ in one concept, and which of them may choose what is reported on the others?

A contrast set has a line a text: its messages, whether the concept is present (`positive`), absent in a matched text
(`negative`) or not at issue (`neutral`), its family, and its split. What an instrument selects (a layer, a direction, a
feature) it selects on `train` and `validation`; it reports on `test`, and on `transfer`, whose families occur nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from dossier.errors import ConfigError
from dossier.language_model import Continuation
from dossier.model import Item, Message, Request, Slug, Text, Value

Label = Literal["positive", "negative", "neutral"]
Split = Literal["train", "validation", "test", "transfer"]


class Contrast(Value):
    """One text of a contrast set.

    ``pair`` is shared by matched texts; ``set`` names a control set; ``response`` is an assistant's text to read the model
    on, "" reads the prompt alone.
    """

    id: Slug
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    label: Label
    family: Slug
    split: Split
    licence: Text
    response: str
    pair: Slug | None
    set: Slug | None

    def request(self, *, max_tokens: int, seed: str, temperature: float = 0.0) -> Request:
        """Return the text as a question to a model."""
        return Request(messages=self.messages, max_tokens=max_tokens, temperature=temperature, seed=seed)

    def continuation(self) -> Continuation:
        """Return the text as one to read: nothing is generated."""
        return Continuation(self.request(max_tokens=1, seed="0" * 16), self.response)


def parse(items: Iterable[Item]) -> tuple[Contrast, ...]:
    """Return a contrast set.

    Raises:
        ConfigError: a line that is none, or a family of `transfer` that occurs in another split.
    """
    found = tuple(_parse(item) for item in items)
    inside = {text.family for text in found if text.split != "transfer" and text.label != "neutral"}
    leaked = sorted({text.family for text in found if text.split == "transfer" and text.label != "neutral"} & inside)
    if leaked:
        raise ConfigError(
            f"family {leaked[0]!r} is in the split 'transfer' and in another one",
            hint="An out-of-family test needs families that selected nothing.",
        )
    return found


def chosen(
    texts: Sequence[Contrast], *, label: Label | None = None, splits: Sequence[Split] = ()
) -> tuple[Contrast, ...]:
    """Return the texts of a label and of some splits, in order; no split means all."""
    return tuple(
        text for text in texts if (label is None or text.label == label) and (not splits or text.split in splits)
    )


def _parse(item: Item) -> Contrast:
    try:
        return Contrast.model_validate_json(json.dumps(dict(item), allow_nan=False))
    except (ValidationError, ValueError) as error:
        first = (
            error.errors(include_url=False)[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        )
        where = "/".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"item {item.get('id')!r}: {where}: {first['msg']}",
            hint="schemas/contrast.v1.json says what a line must hold.",
        ) from error
