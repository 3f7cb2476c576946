"""How does an instrument read a model on texts, change it, and see what it then does?

Shared by the white-box instruments. Arrays leave the engine as float64 numpy; edits are made of vectors, and live on
whatever device the activation lives on. Positions: `last_prompt` is the last token before the answer, where the chat
template has just opened the assistant's turn; `last_prompt-k` is k tokens earlier; `response_mean` is the mean over the
tokens of a text's response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dossier.errors import CollectionError
from dossier.language_model import Array, Continuation, Edit, WhiteBoxModel
from dossier.model import Completion, digest_of
from evidence_collectors.items.contrast import Contrast

Vector = NDArray[np.float64]  # (d,)
Matrix = NDArray[np.float64]  # (text, d)
Change = Callable[[Array], Array]


def residuals(
    model: WhiteBoxModel,
    texts: Sequence[Continuation],
    points: Sequence[str],
    *,
    position: str,
    edits: Sequence[Edit] = (),
) -> dict[str, Matrix]:
    """Return, by point, the activation of each text at a position, (text, d).

    Raises:
        CollectionError: an unknown position, a text too short for it, or one without a response.
    """
    found = {point: np.empty((len(texts), 0)) for point in points}
    for batch in model.capture(texts, points, edits=edits):
        weights = _weights(batch.mask, batch.response, position)
        for point in points:
            value = batch.at[point]
            taken = _numpy((value.double() * weights.to(value.device)[:, :, None]).sum(dim=1))
            if found[point].shape[1] == 0:
                found[point] = np.empty((len(texts), taken.shape[1]))
            found[point][list(batch.index)] = taken
    return found


def mean_norms(model: WhiteBoxModel, texts: Sequence[Continuation], points: Sequence[str]) -> dict[str, float]:
    """Return, by point, the mean Euclidean norm over all tokens of all texts: the unit of an intervention's strength.

    Each text's first token is left out: its norm is often many times the others' (attention sinks).
    """
    sums, counts = dict.fromkeys(points, 0.0), 0.0
    for batch in model.capture(texts, points):
        used = batch.mask.clone()
        used[:, 0] = False
        counts += float(used.sum())
        for point in points:
            value = batch.at[point]
            sums[point] += float(value.double().norm(dim=-1)[used.to(value.device)].sum())
    if not counts:
        raise CollectionError("no text has more than one token, so there is no mean residual norm")
    return {point: total / counts for point, total in sums.items()}


def log_odds(
    model: WhiteBoxModel, texts: Sequence[Continuation], token_ids: Iterable[int], *, edits: Sequence[Edit] = ()
) -> Vector:
    """Return log p(R) - log(1 - p(R)) of the next token being in R, for each text, in nats.

    Source: Arditi et al. 2024 (arXiv:2406.11717), section 2.4, the refusal metric.
    """
    inside = list(dict.fromkeys(token_ids))
    found = np.empty(len(texts))
    for batch in model.capture(texts, [], edits=edits, logits=True):
        logits = batch.logits.double()
        rest = logits.clone()
        rest[:, inside] = -float("inf")
        found[list(batch.index)] = _numpy(logits[:, inside].logsumexp(dim=-1) - rest.logsumexp(dim=-1))
    return found


def next_token_divergence(model: WhiteBoxModel, texts: Sequence[Continuation], *, edits: Sequence[Edit]) -> Vector:
    """Return KL(plain || edited) of the next-token distribution, for each text, in nats."""
    found = np.empty(len(texts))
    plain: dict[int, Any] = {}
    for batch in model.capture(texts, [], logits=True):
        for row, index in enumerate(batch.index):
            plain[index] = batch.logits[row].double().log_softmax(dim=-1).cpu()
    for batch in model.capture(texts, [], edits=edits, logits=True):
        for row, index in enumerate(batch.index):
            changed = batch.logits[row].double().log_softmax(dim=-1).cpu()
            found[index] = float((plain[index].exp() * (plain[index] - changed)).sum())
    return found


def mean_token_nats(model: WhiteBoxModel, texts: Sequence[Continuation], *, edits: Sequence[Edit] = ()) -> Vector:
    """Return the mean negative log-probability of each text's response tokens, in nats a token; of all tokens without one.

    The difference with and without edits is the capability change an intervention costs.
    """
    found = np.empty(len(texts))
    for batch in model.capture(texts, [], edits=edits, token_logprobs=True):
        used = batch.response.clone()
        whole = ~used.any(dim=1)
        used[whole] = batch.mask[whole]
        used[:, 0] = False
        used = used.to(batch.token_logprobs.device)
        total = -(batch.token_logprobs * used).sum(dim=1)
        found[list(batch.index)] = _numpy(total / used.sum(dim=1).clamp(min=1))
    return found


def generated(
    model: WhiteBoxModel,
    texts: Sequence[Contrast],
    *,
    seeds: Sequence[str],
    max_tokens: int,
    temperature: float,
    edits: Sequence[Edit] = (),
) -> list[str]:
    """Return what the model writes after each text, edits in force, as it wrote it: reasoning and answer."""
    found = completions(model, texts, seeds=seeds, max_tokens=max_tokens, temperature=temperature, edits=edits)
    return [(completion.reasoning or "") + completion.answer for completion in found]


def completions(
    model: WhiteBoxModel,
    texts: Sequence[Contrast],
    *,
    seeds: Sequence[str],
    max_tokens: int,
    temperature: float,
    edits: Sequence[Edit] = (),
) -> list[Completion]:
    """Return how the model completes each text, edits in force, in the order asked.

    Raises:
        CollectionError: the model cannot take a text, or leaves one without an answer.
    """
    requests = [
        text.request(max_tokens=max_tokens, seed=seed, temperature=temperature)
        for text, seed in zip(texts, seeds, strict=True)
    ]
    found = {one.request_sha256: one for one in model.generate_edited(requests, edits)}
    digests = [digest_of(request) for request in requests]
    missing = [text.id for text, digest in zip(texts, digests, strict=True) if digest not in found]
    if missing:
        raise CollectionError(f"the model gave no answer to {len(missing)} texts, the first {missing[0]!r}")
    return [found[digest] for digest in digests]


def ablate(direction: Vector) -> Change:
    """Return x - (x . u) u, for the unit vector u along ``direction``."""
    unit = direction / np.linalg.norm(direction)

    def change(value: Array) -> Array:
        u = _like(unit, value)
        return value - (value @ u)[..., None] * u

    return change


def add(vector: Vector) -> Change:
    """Return x + v."""

    def change(value: Array) -> Array:
        return value + _like(vector, value)

    return change


def clamp(direction: Vector, level: float) -> Change:
    """Return x with its coordinate along the unit vector u set to ``level``: x + (level - x . u) u."""
    unit = direction / np.linalg.norm(direction)

    def change(value: Array) -> Array:
        u = _like(unit, value)
        return value + (level - value @ u)[..., None] * u

    return change


def everywhere(model: WhiteBoxModel, change: Change) -> list[Edit]:
    """Return a change at every place that writes into the residual stream: embedding and block outputs."""
    layout = model.layout
    return [Edit(point, change) for point in (layout.embedding, *layout.residual)]


def random_directions(seed: str, count: int, width: int) -> Matrix:
    """Return unit vectors drawn evenly from the sphere, (count, d), from raw PCG64 words by Box and Muller."""
    words = np.random.PCG64(int(seed, 16)).random_raw(2 * count * width).reshape(2, count, width)
    uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    normal = np.sqrt(-2.0 * np.log(uniform[0])) * np.cos(2.0 * np.pi * uniform[1])
    units: Matrix = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return units


def to_safetensors(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as safetensors bytes, the same bytes for the same arrays."""
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}))


def _weights(mask: Array, response: Array, position: str) -> Array:
    """Return (r, p): which tokens of each row are read, with weights that sum to 1."""
    if position == "response_mean":
        if not bool(response.any(dim=1).all()):
            raise CollectionError("a text has no response to read; position 'response_mean' needs one in every item")
        return response.double() / response.double().sum(dim=1, keepdim=True)
    name, _, back = position.partition("-")
    if name != "last_prompt" or not (back.isdigit() or not back):
        raise CollectionError(
            f"position {position!r} is unknown; expected 'last_prompt', 'last_prompt-k' or 'response_mean'"
        )
    ends = (mask & ~response).sum(dim=1) - 1 - int(back or 0)
    if bool((ends < 0).any()):
        raise CollectionError(f"a prompt is too short for position {position!r}")
    chosen = mask.clone().fill_(False)
    chosen.scatter_(1, ends[:, None], True)
    return chosen.double()


def _like(vector: Vector, value: Array) -> Array:
    import torch

    return torch.as_tensor(vector, dtype=value.dtype, device=value.device)


def _numpy(value: Array) -> NDArray[np.float64]:
    array: NDArray[np.float64] = value.detach().double().cpu().numpy()
    return array
