"""What passes a point inside the model, and what happens when it is changed there?

A forward pass with hooks at the declared points only. It stops after the last point it needs, computes no logits unless
asked, and never keeps more than one batch. Rows are padded on the right, where a causal model cannot see: the attention
mask is then all ones, which lets the engine take its fastest kernel, and a row's values do not depend on its neighbours
but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from dossier.errors import CollectionError
from dossier.language_model import Activations, Array, Edit, Layout
from evidence_collectors.models.layout import SIDE, check_points

_PROBE = 24  # tokens of the self-test


@dataclass(frozen=True)
class TokenRow:
    """One row: prompt and text as tokens. ``index`` is its place in the order asked."""

    index: int
    token_ids: tuple[int, ...]
    prompt_length: int


@dataclass(frozen=True)
class Pass:
    """What one pass is to read."""

    points: tuple[str, ...]
    edits: tuple[Edit, ...] = ()
    logits: bool = False
    token_logprobs: bool = False
    objective: Callable[[Array], Array] | None = None

    @property
    def whole(self) -> bool:
        """Whether the pass must run to the logits."""
        return self.logits or self.token_logprobs or self.objective is not None or not self.points


@dataclass
class Batching:
    """How many rows go together. Halved when memory runs out, and never raised again."""

    rows: int

    def halve(self) -> bool:
        """Return whether there was anything to halve."""
        self.rows, before = max(1, self.rows // 2), self.rows
        return self.rows < before


class _Enough(Exception):  # noqa: N818 not an error: it unwinds a forward pass that has given all it was asked for
    pass


def passes(model: Any, sequences: Sequence[TokenRow], wanted: Pass, batching: Batching) -> Iterator[Activations]:
    """Yield the batches, shortest rows first. A batch that does not fit into memory is halved and asked again.

    Raises:
        CollectionError: an unknown point, activations that are not finite, or one row that does not fit into memory.
    """
    check_points(model, (*wanted.points, *(edit.point for edit in wanted.edits)))
    waiting = sorted(sequences, key=lambda row: (len(row.token_ids), row.index))
    while waiting:
        rows = waiting[: batching.rows]
        try:
            found = _one(model, rows, wanted)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            if not batching.halve():
                raise CollectionError(
                    f"a single row of {len(rows[0].token_ids)} tokens does not fit into the device's memory",
                    hint="Use a smaller dtype, a shorter text, more devices or fewer points.",
                ) from error
            continue
        waiting = waiting[len(rows) :]
        yield found


@contextmanager
def edited(model: Any, edits: Sequence[Edit], *, prompt_ends: Array | None = None) -> Iterator[None]:
    """Have the edits in force inside the block. ``prompt_ends`` (r,) is where each row's prompt ends."""
    check_points(model, [edit.point for edit in edits])
    handles = [_hook(model, edit.point, _changer(edit, prompt_ends)) for edit in edits]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def parity(model: Any, layout: Layout) -> float:
    """Return the largest difference between captured block outputs and the engine's own hidden states.

    In units of the mean norm of the residual stream there. The last block is compared before the final norm by comparing
    the norm's output.
    """
    device = model.get_input_embeddings().weight.device
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([[(7 * index + 3) % vocabulary for index in range(_PROBE)]], device=device)
    points = (*layout.residual[:-1], layout.final_norm)
    rows = [TokenRow(0, tuple(ids[0].tolist()), _PROBE)]
    (found,) = passes(model, rows, Pass(points), Batching(1))
    with torch.inference_mode():
        own = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True, use_cache=False)
    return max(
        float((found.at[point].float() - state.float().to(found.at[point].device)).abs().max())
        / float(state.float().norm(dim=-1).mean())
        for point, state in zip(points, own.hidden_states[1:], strict=True)
    )


def _one(model: Any, rows: Sequence[TokenRow], wanted: Pass) -> Activations:
    device = model.get_input_embeddings().weight.device
    width = max(len(row.token_ids) for row in rows)
    ids = torch.tensor([[*row.token_ids, *[0] * (width - len(row.token_ids))] for row in rows], device=device)
    lengths = torch.tensor([len(row.token_ids) for row in rows], device=device)
    prompts = torch.tensor([row.prompt_length for row in rows], device=device)
    place = torch.arange(width, device=device)
    mask = place < lengths[:, None]
    reader = _Reader(wanted, last=lengths - 1)
    with edited(model, wanted.edits, prompt_ends=prompts - 1), reader.reading(model):  # read after the change
        reader.forward(model, ids)
    for point, value in reader.at.items():
        if not _finite(value.detach(), mask):
            raise CollectionError(
                f"{type(model).__name__} has activations at {point} that are not finite",
                hint="float16 overflows in some models: try bfloat16 or float32.",
            )
    return Activations(
        index=tuple(row.index for row in rows),
        token_ids=ids,
        mask=mask,
        response=mask & (place >= prompts[:, None]),
        at={point: value.detach() for point, value in reader.at.items()},
        gradients=reader.gradients,
        logits=reader.logits if wanted.logits else None,
        token_logprobs=reader.token_logprobs,
    )


@dataclass
class _Reader:
    """Collects one pass. ``last`` (r,) is each row's last position."""

    wanted: Pass
    last: Array
    at: dict[str, Array] = field(default_factory=dict)
    gradients: dict[str, Array] = field(default_factory=dict)
    logits: Array | None = None
    token_logprobs: Array | None = None

    @contextmanager
    def reading(self, model: Any) -> Iterator[None]:
        handles = [_hook(model, point, self._keep(point)) for point in self.wanted.points]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _keep(self, point: str) -> Callable[[Array], Array | None]:
        def keep(value: Array) -> Array | None:
            if self.wanted.objective is not None and not value.requires_grad:
                value = value.detach().requires_grad_(True)  # the first point: everything before it needs no gradient
            self.at[point] = value
            if not self.wanted.whole and len(self.at) == len(self.wanted.points):
                raise _Enough
            return value if self.wanted.objective is not None else None

        return keep

    def forward(self, model: Any, ids: Array) -> None:
        gradient = self.wanted.objective is not None
        options: dict[str, Any] = {}
        if not self.wanted.token_logprobs:
            positions, where = torch.unique(self.last, return_inverse=True)
            # As a list, which fits a tensor on any device: a sharded model makes its logits on another than it is asked on.
            options = {"logits_to_keep": positions.tolist()} if "logits_to_keep" in _takes(model) else {}
        with torch.set_grad_enabled(gradient), torch.inference_mode(not gradient):
            try:
                out = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **options)
            except _Enough:
                return
            last = where if options else self.last
            self.logits = out.logits[torch.arange(len(ids), device=out.logits.device), last.to(out.logits.device)]
            if self.wanted.token_logprobs:
                self.token_logprobs = _token_logprobs(out.logits, ids)
            if self.wanted.objective is not None:
                self._differentiate(self.wanted.objective)

    def _differentiate(self, objective: Callable[[Array], Array]) -> None:
        values = [self.at[point] for point in self.wanted.points]
        found = torch.autograd.grad(objective(self.logits).sum(), values, allow_unused=True)
        assert self.logits is not None
        self.logits = self.logits.detach()
        for point, value, gradient in zip(self.wanted.points, values, found, strict=True):
            self.gradients[point] = torch.zeros_like(value) if gradient is None else gradient


def _finite(value: Array, mask: Array) -> bool:
    """Whether all values at real tokens are finite. Only if their sum is not, which needs no copy, is each looked at."""
    if bool(torch.isfinite(value.sum(dtype=torch.float32))):
        return True
    return bool(torch.isfinite(value[mask.to(value.device)]).all())


def _takes(model: Any) -> frozenset[str]:
    import inspect

    return frozenset(inspect.signature(model.forward).parameters)


def _token_logprobs(logits: Array, ids: Array) -> Array:
    """Return (r, p): the log-probability of each token after those before it; a row of logits at a time in float32."""
    found = torch.zeros(ids.shape, dtype=torch.float64, device=logits.device)
    for row, own in enumerate(ids.to(logits.device)):
        table = logits[row, :-1].float().log_softmax(dim=-1)
        found[row, 1:] = table.gather(1, own[1:, None])[:, 0].double()
    return found


def _changer(edit: Edit, prompt_ends: Array | None) -> Callable[[Array], Array]:
    if edit.where == "all":
        return edit.change
    if prompt_ends is None:
        raise ValueError(f"an edit at {edit.where!r} needs to know where the prompts end; generation does not")
    ends = prompt_ends

    def change(value: Array) -> Array:
        chosen = torch.arange(value.shape[1], device=value.device) == ends.to(value.device)[:, None]
        return torch.where(chosen[:, :, None], edit.change(value), value)

    return change


def _hook(model: Any, point: str, act: Callable[[Array], Array | None]) -> Any:
    """Call ``act`` with the tensor at a point; what it returns, if anything, takes the tensor's place."""
    module = model.get_submodule(point.removesuffix(SIDE))

    def before(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if args:
            new = act(args[0])
            return None if new is None else ((new, *args[1:]), kwargs)
        new = act(kwargs["hidden_states"])
        return None if new is None else (args, {**kwargs, "hidden_states": new})

    def after(_: Any, __: Any, out: Any) -> Any:
        new = act(out[0] if isinstance(out, tuple) else out)
        if new is None:
            return None
        return (new, *out[1:]) if isinstance(out, tuple) else new

    if point.endswith(SIDE):
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)
