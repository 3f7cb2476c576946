"""How is one batch decoded so that no row can tell that it had neighbours?

Rows are padded on the left, see their own positions, and choose by noise that depends on their own request alone
(`sampling`). Where rounding could decide, the row is asked again alone: one row, no padding, no cache. That answer
depends on nothing but the row, so the batch cannot show, as long as batching moves a logit by less than half the
tolerance; this is measured at each such step, and a larger shift stops the run.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from dossier.errors import CollectionError
from evidence_collectors.models.prompts import Prompt
from evidence_collectors.models.sampling import choose, gumbel, seed_word


@dataclass(frozen=True)
class Decoder:
    """A model with what its forward takes. ``tolerance`` is in units of logits; None: no row is ever asked again."""

    model: Any
    stop_ids: frozenset[int]
    tolerance: float | None
    takes: frozenset[str]

    @staticmethod
    def of(model: Any, stop_ids: frozenset[int], tolerance: float | None) -> Decoder:
        """Return the decoder of a model."""
        return Decoder(model, stop_ids, tolerance, frozenset(inspect.signature(model.forward).parameters))


@dataclass
class Row:
    """One request while it is decoded."""

    prompt: Prompt
    generated: list[int] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None

    @property
    def token_ids(self) -> list[int]:
        """Prompt and generated tokens."""
        return [*self.prompt.token_ids, *self.generated]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads inside the block; torch knows only one number for the process, so it is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def decode(decoder: Decoder, prompts: Sequence[Prompt]) -> list[Row]:
    """Return the finished rows of one batch, in the order of ``prompts``.

    Raises:
        CollectionError: the model keeps no cache, gives logits that are not finite, or batching moves its logits by
            more than the tolerance allows.
    """
    rows = [Row(prompt) for prompt in prompts]
    running, state = rows, _start(decoder, rows)
    while True:
        for row, token in zip(running, _next_tokens(decoder, running, state.logits), strict=True):
            _append(row, token, decoder.stop_ids)
        keep = [index for index, row in enumerate(running) if row.finish_reason is None]
        if not keep:
            return rows
        if len(keep) < len(running):
            state = _select(state, keep)
            running = [running[index] for index in keep]
        state = _advance(decoder, state, [row.generated[-1] for row in running])


def alone(decoder: Decoder, token_ids: Sequence[int], *, last: bool = True) -> Any:
    """Return one row's logits without padding or cache: (1, vocabulary), or (position, vocabulary) if not ``last``."""
    device = next(decoder.model.parameters()).device
    ids = torch.tensor([list(token_ids)], dtype=torch.int64, device=device)
    with torch.inference_mode():
        options: dict[str, Any] = {"logits_to_keep": 1} if last and "logits_to_keep" in decoder.takes else {}
        logits = decoder.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **options).logits
    return logits[:, -1] if last else logits[0]


def largest_shift(decoder: Decoder, token_ids: Sequence[int]) -> float:
    """Return by how much padding and neighbours move a row's logits: the largest difference to the row alone."""
    long, short = list(token_ids), list(token_ids)[: len(token_ids) // 2]
    with torch.inference_mode():
        together = _forward_padded(decoder, [long, short, short]).logits
    return max(
        float((together[index].float() - alone(decoder, ids)[0].float()).abs().max())
        for index, ids in enumerate((long, short))
    )


@dataclass(frozen=True)
class _State:
    """Between two steps: last logits (row, vocabulary), mask (row, position) over everything seen, and the cache."""

    logits: Any
    mask: Any
    cache: Any


def _start(decoder: Decoder, rows: Sequence[Row]) -> _State:
    with torch.inference_mode():
        state = _forward_padded(decoder, [list(row.prompt.token_ids) for row in rows])
    if not all(hasattr(part, "batch_select_indices") for part in (state.cache, *getattr(state.cache, "layers", ()))):
        raise CollectionError(
            f"{type(decoder.model).__name__} keeps {'nothing' if state.cache is None else type(state.cache).__name__} between "
            "tokens; expected a key-value cache whose rows can be chosen",
            hint="Recurrent and mixed architectures need an adapter of their own; register it under 'dossier.models'.",
        )
    return state


def _forward_padded(decoder: Decoder, token_ids: Sequence[list[int]]) -> _State:
    width = max(map(len, token_ids))
    device = next(decoder.model.parameters()).device
    filler = min(decoder.stop_ids, default=0)  # masked: any id will do
    ids = torch.tensor([[filler] * (width - len(row)) + row for row in token_ids], dtype=torch.int64, device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in token_ids], device=device)
    return _forward(decoder, ids, mask, (mask.cumsum(dim=-1) - 1).clamp(min=0), None)


def _advance(decoder: Decoder, state: _State, tokens: Sequence[int]) -> _State:
    ids = torch.tensor(tokens, dtype=torch.int64, device=state.mask.device)[:, None]
    mask = torch.cat([state.mask, torch.ones_like(ids)], dim=-1)
    with torch.inference_mode():
        return _forward(decoder, ids, mask, mask.sum(dim=-1, keepdim=True) - 1, state.cache)


def _forward(decoder: Decoder, ids: Any, mask: Any, positions: Any, cache: Any) -> _State:
    options: dict[str, Any] = {}
    if "position_ids" in decoder.takes:
        options["position_ids"] = positions
    if "logits_to_keep" in decoder.takes:
        options["logits_to_keep"] = 1
    # transformers renames the argument in its fifth version, and warns of the old name.
    options["cache" if "cache" in decoder.takes else "past_key_values"] = cache
    out = decoder.model(input_ids=ids, attention_mask=mask, use_cache=True, **options)
    return _State(out.logits[:, -1], mask, kept_cache(out))


def _select(state: _State, keep: Sequence[int]) -> _State:
    index = torch.tensor(keep, dtype=torch.int64)  # on the CPU it fits the cache of a sharded model on every device
    with torch.inference_mode():
        state.cache.batch_select_indices(index)
    return _State(state.logits[index], state.mask[index], state.cache)


def _next_tokens(decoder: Decoder, rows: Sequence[Row], logits: Any) -> list[int]:
    choice = _choose(decoder, rows, logits)
    tokens: list[int] = choice.token.tolist()
    if decoder.tolerance is None:
        return tokens
    for index, robust in enumerate(choice.robust.tolist()):
        if not robust:
            own = alone(decoder, rows[index].token_ids)
            _check_shift(decoder, own[0], logits[index])
            tokens[index] = int(_choose(decoder, [rows[index]], own).token[0])
    return tokens


def _choose(decoder: Decoder, rows: Sequence[Row], logits: Any) -> Any:
    if not bool(torch.isfinite(logits).all()):
        raise CollectionError(
            f"{type(decoder.model).__name__} gave logits that are not finite",
            hint="float16 overflows in some models: try bfloat16 or float32.",
        )
    seeds = torch.tensor([seed_word(row.prompt.request.seed) for row in rows], device=logits.device)
    temperature = [row.prompt.request.temperature for row in rows]
    top_p = [row.prompt.request.top_p for row in rows]
    return choose(
        logits,
        gumbel(seeds, len(rows[0].generated), logits.shape[-1]),
        temperature=torch.tensor(temperature, dtype=torch.float64, device=logits.device),
        top_p=torch.tensor(top_p, dtype=torch.float64, device=logits.device),
        tolerance=decoder.tolerance or 0.0,
    )


def _check_shift(decoder: Decoder, own: Any, batched: Any) -> None:
    shift = float((own.float() - batched.float()).abs().max())
    if decoder.tolerance is not None and shift > decoder.tolerance / 2:
        raise CollectionError(
            f"batching moved a logit by {shift:.2g}, more than half the tolerance of {decoder.tolerance:g}: equal "
            "completions at every batch size cannot be promised for this model",
            hint="Load it with batch_size=1.",
        )


def _append(row: Row, token: int, stop_ids: frozenset[int]) -> None:
    row.generated.append(token)
    if token in stop_ids:
        row.finish_reason = "stop"
    elif len(row.generated) == row.prompt.request.max_tokens:
        row.finish_reason = "length"


def kept_cache(out: Any) -> Any:
    """Return the keys and values in what a model returned, under either name; None if it keeps none."""
    found = getattr(out, "cache", None)
    return getattr(out, "past_key_values", None) if found is None else found
