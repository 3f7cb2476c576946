"""What do many features do over many texts, without ever holding them all at once?

A dictionary of 65,536 features takes 262 KB a token in float32 and a few hundred bytes where only active entries count. So
features are computed for a chunk of tokens, their active entries are added up by index, and the dense chunk is dropped.
Several dictionaries are read on one pass of the model.

Shapes: n tokens, m active entries, t texts, w features watched, F the width, d the width of the activations. Positions:
`last_prompt`, `last_prompt-k` as in `reading`; `prompt_max`, `prompt_mean`, `response_max`, `response_mean` take the maximum
or mean of each feature over those tokens. Each text's first token counts for no running statistic: its norm is often many
times the others' (attention sinks), and dictionaries are not trained on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dossier.errors import CollectionError
from dossier.language_model import Activations, Array, Continuation, WhiteBoxModel

if TYPE_CHECKING:
    from evidence_collectors.models.dictionaries import Dictionary

CHUNK = 4096  # tokens encoded at a time; at 65,536 features in float32 1 GiB
POOLED = ("prompt_max", "prompt_mean", "response_max", "response_mean")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Reading:
    """One dictionary to read: where, at which position of each text, and which features to keep whole.

    ``whole`` asks for all features and the running statistics; without it only the watched ones are computed, w columns of
    the encoder instead of F. ``scale`` multiplies the activations first, for models whose residual norm differs.
    """

    dictionary: Dictionary
    point: str
    position: str
    watch: tuple[int, ...] = ()
    whole: bool = True
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """Features at the position, active entries only: entry e says that text ``text[e]`` has ``feature[e]`` at ``value[e]``."""

    text: Integers
    feature: Integers
    value: Floats


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What was added up.

    Attributes:
        tokens: how many counted.
        counts: (F,) tokens on which each feature was active.
        sums: (F,) of activations; ``squares`` of their squares, ``largest`` their maximum.
        text_tokens: (t,) tokens of each text that counted; ``text_active`` (t,) active entries on them.
        text_error: (t,) squared error of the reconstruction, summed over tokens.
        text_spread: (t,) squared distance from the mean activation of all texts, summed over tokens.
        at_position: features of each text at the position.
        watched: (t, w) watched features at the position; ``watched_max``, ``watched_mean`` over the text's tokens that count.
        activations: (t, d) at the position, the mean over its tokens where it is several.
        norm: the mean Euclidean norm of the activations that counted.
    """

    tokens: int
    counts: Integers
    sums: Floats
    squares: Floats
    largest: Floats
    text_tokens: Integers
    text_active: Integers
    text_error: Floats
    text_spread: Floats
    at_position: TextFeatures
    watched: Floats
    watched_max: Floats
    watched_mean: Floats
    activations: Floats
    norm: float

    def top_texts(self, place: int, count: int) -> tuple[int, ...]:
        """Return the texts in which the watched feature at a place was strongest, strongest first, at most ``count``."""
        column = self.watched_max[:, place]
        order = np.lexsort((np.arange(column.size), -column))[:count]
        return tuple(int(text) for text in order if column[text] > 0.0)


def stream(
    model: WhiteBoxModel, texts: Sequence[Continuation], readings: Mapping[str, Reading], *, chunk: int = CHUNK
) -> dict[str, FeatureStatistics]:
    """Return the statistics of each reading, by name, from one pass over the texts.

    Raises:
        CollectionError: an unknown position or one that a text lacks, or what `capture` raises.
    """
    for reading in readings.values():
        check_position(reading.position)
    points = tuple(dict.fromkeys(reading.point for reading in readings.values()))
    tallies = {name: _Tally(reading, len(texts), chunk) for name, reading in readings.items()}
    for batch in model.capture(texts, points):
        for tally in tallies.values():
            tally.add(batch)
    return {name: tally.finished() for name, tally in tallies.items()}


def check_position(position: str) -> None:
    """Raise CollectionError for a position nobody can read."""
    name, _, back = position.partition("-")
    if position not in POOLED and (name != "last_prompt" or not (back.isdigit() or position == name)):
        raise CollectionError(
            f"position {position!r} is unknown; expected 'last_prompt', 'last_prompt-k' or one of {', '.join(POOLED)}"
        )


def used_tokens(batch: Activations, position: str) -> Array:
    """Return (r, p): which tokens a position stands for. Raises CollectionError where a text has none."""
    prompt = batch.mask & ~batch.response
    if position in POOLED:
        used = prompt if position.startswith("prompt") else batch.response
        if not bool(used.any(dim=1).all()):
            raise CollectionError(f"a text has no token at position {position!r}; every item needs a response")
        return used
    ends = prompt.sum(dim=1) - 1 - int(position.partition("-")[2] or 0)
    if bool((ends < 0).any()):
        raise CollectionError(f"a prompt is too short for position {position!r}")
    used = batch.mask.clone().fill_(False)
    return used.scatter_(1, ends[:, None], True)


def active_entries(dictionary: Dictionary, value: Array, *, chunk: int) -> Iterator[tuple[Array, Array, Array]]:
    """Yield (token, feature, value), each (m,), of activations (n, d), a chunk of tokens at a time."""
    for start in range(0, len(value), chunk):
        token, feature, strength = dictionary.active(value[start : start + chunk])
        yield token + start, feature, strength


# --- one dictionary ------------------------------------------------------------------------------------------------


@dataclass
class _Tally:
    """Adds up batch by batch; what grows with F lies on the device, what grows with the texts is numpy."""

    reading: Reading
    texts: int
    chunk: int
    running: dict[str, Any] = field(default_factory=dict)
    entries: list[tuple[Any, Any, Any]] = field(default_factory=list)
    by_text: dict[str, Any] = field(default_factory=dict)
    total: Any = None  # (d,) sum of activations that counted
    norms: float = 0.0

    def add(self, batch: Activations) -> None:
        import torch

        reading = self.reading
        value = batch.at[reading.point].float() * reading.scale
        dictionary = reading.dictionary.like(value)
        rows = torch.as_tensor(batch.index, device=value.device)
        used = used_tokens(batch, reading.position).to(value.device)
        counted = batch.mask.to(value.device).clone()
        counted[:, 0] = False
        self._keep_activations(value, used, counted, rows)
        self._keep_watched(dictionary, value, used, counted, rows)
        if reading.whole:
            self._keep_position(dictionary, value, used, rows)
            self._run(dictionary, value, counted, rows)

    def _keep_activations(self, value: Array, used: Array, counted: Array, rows: Array) -> None:
        weights = used.double() / used.double().sum(dim=1, keepdim=True)
        at = (value.double() * weights[:, :, None]).sum(dim=1)
        chosen = value.double() * counted[:, :, None]
        sums = chosen.sum(dim=1)
        self.total = sums.sum(dim=0) + (0.0 if self.total is None else self.total)
        self.norms += float(chosen.norm(dim=-1).sum())
        self._store("activations", rows, at)
        self._store("sums", rows, sums)
        self._store("squares", rows, (chosen**2).sum(dim=(1, 2)))
        self._store("tokens", rows, counted.sum(dim=1))

    def _keep_watched(self, dictionary: Dictionary, value: Array, used: Array, counted: Array, rows: Array) -> None:
        watch = self.reading.watch
        if not watch:
            return
        step = max(1, self.chunk // value.shape[1])
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            features = dictionary.encode_watched(value[part], watch).double()
            here, all_ = used[part][:, :, None], counted[part][:, :, None]
            pooled = features.masked_fill(~here, 0.0)
            maximum = self.reading.position.endswith("max")
            pooled = pooled.amax(dim=1) if maximum else pooled.sum(dim=1) / here.sum(dim=1)
            own = features.masked_fill(~all_, 0.0)
            self._store("watched", rows[part], pooled)
            self._store("watched_max", rows[part], own.amax(dim=1))
            self._store("watched_mean", rows[part], own.sum(dim=1) / all_.sum(dim=1).clamp(min=1))

    def _keep_position(self, dictionary: Dictionary, value: Array, used: Array, rows: Array) -> None:
        """Pool active entries by text: the dense (rows, F) table lives for one batch of texts."""
        import torch

        row_of, _ = used.nonzero(as_tuple=True)
        width, maximum = dictionary.width, self.reading.position.endswith("max")
        pooled = torch.zeros(len(rows) * width, dtype=torch.float64, device=value.device)
        for token, feature, strength in active_entries(dictionary, value[used], chunk=self.chunk):
            place = row_of[token] * width + feature
            if maximum:
                pooled.scatter_reduce_(0, place, strength.double(), "amax")
            else:
                pooled.index_add_(0, place, strength.double() / used.sum(dim=1)[row_of[token]])
        (place,) = pooled.nonzero(as_tuple=True)
        self.entries.append((rows[place // width].cpu(), (place % width).cpu(), pooled[place].cpu()))

    def _run(self, dictionary: Dictionary, value: Array, counted: Array, rows: Array) -> None:
        import torch

        tokens = value[counted]
        row_of, _ = counted.nonzero(as_tuple=True)
        if not self.running:
            zeros = torch.zeros(dictionary.width, dtype=torch.float64, device=value.device)
            self.running = {name: zeros.clone() for name in ("counts", "sums", "squares", "largest")}
        active = torch.zeros(len(rows), dtype=torch.float64, device=value.device)
        error = torch.zeros_like(active)
        for start in range(0, len(tokens), self.chunk):
            own, text = tokens[start : start + self.chunk], row_of[start : start + self.chunk]
            features = dictionary.encode(own)
            token, feature = features.nonzero(as_tuple=True)
            strength = features[token, feature].double()
            self.running["counts"].index_add_(0, feature, torch.ones_like(strength))
            self.running["sums"].index_add_(0, feature, strength)
            self.running["squares"].index_add_(0, feature, strength**2)
            self.running["largest"].scatter_reduce_(0, feature, strength, "amax")
            active.index_add_(0, text[token], torch.ones_like(strength))
            missed = (own.double() - dictionary.decode(features, own).double()).square().sum(dim=-1)
            error.index_add_(0, text, missed)
        self._store("active", rows, active)
        self._store("error", rows, error)

    def _store(self, name: str, rows: Array, values: Array) -> None:
        array = values.double().cpu().numpy()
        if name not in self.by_text:
            self.by_text[name] = np.zeros((self.texts, *array.shape[1:]))
        self.by_text[name][rows.cpu().numpy()] = array

    def finished(self) -> FeatureStatistics:
        """Return what was added up; the spread is about the mean of all tokens that counted."""
        tokens = self._texts("tokens")
        count = int(tokens.sum())
        if not count:
            raise CollectionError("no text has more than one token")
        mean = self.total.cpu().numpy() / count
        spread = self.by_text["squares"] - 2.0 * self.by_text["sums"] @ mean + tokens * float(mean @ mean)
        running = {name: value.cpu().numpy() for name, value in self.running.items()}
        empty = np.zeros((self.texts, 0))
        parts = [np.concatenate([one[place].numpy() for one in self.entries] or [np.zeros(0)]) for place in range(3)]
        order = np.lexsort((parts[1], parts[0]))
        return FeatureStatistics(
            tokens=count,
            counts=running.get("counts", np.zeros(0)).astype(np.int64),
            sums=running.get("sums", np.zeros(0)),
            squares=running.get("squares", np.zeros(0)),
            largest=running.get("largest", np.zeros(0)),
            text_tokens=tokens.astype(np.int64),
            text_active=self._texts("active").astype(np.int64),
            text_error=self._texts("error"),
            text_spread=np.maximum(spread, 0.0),
            at_position=TextFeatures(
                parts[0][order].astype(np.int64), parts[1][order].astype(np.int64), parts[2][order].astype(np.float64)
            ),
            watched=self.by_text.get("watched", empty),
            watched_max=self.by_text.get("watched_max", empty),
            watched_mean=self.by_text.get("watched_mean", empty),
            activations=self.by_text["activations"],
            norm=self.norms / count,
        )

    def _texts(self, name: str) -> Floats:
        found: Floats = self.by_text.get(name, np.zeros(self.texts))
        return found
