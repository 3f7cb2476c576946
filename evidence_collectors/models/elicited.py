"""How is a loaded model copied with noise on its weights, or after training on a few demonstrations?

The model itself is left as it is. Noise comes from raw PCG64 words by our own code, so that a seed names the same noise in
every version of the engine; of a demonstration only the answer is learned, by LoRA in float32, all demonstrations at every
step in the order given.

Sources: Tice et al. 2024 (arXiv:2412.01784) for the noise; Greenblatt et al. 2024 (arXiv:2405.19550) for the training; Hu et
al. 2021 (arXiv:2106.09685) for LoRA, through peft.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri

from dossier.errors import CollectionError
from evidence_collectors.models import digests

RANK = 8  # of LoRA; its scale is 2
IGNORED = -100  # torch's label for a token that is not learned
_CHUNK = 1 << 22  # numbers drawn at a time
_HALF = 2.0**-53

Row = tuple[Sequence[int], Sequence[int]]  # token ids of a prompt and of the answer that is learned


def with_noise(model: Any, *, seed: str, strength: float) -> Any:
    """Return a copy with Gaussian noise on every weight matrix, of ``strength`` times the matrix's own standard deviation.

    Vectors (norms, biases) stay as they are; tied matrices get one noise.

    Raises:
        CollectionError: the copy does not fit beside the model.
    """
    with _room():
        noisy = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in digests.untied(dict(noisy.named_parameters())):
            if weight.dim() >= 2:
                spread = float(weight.double().std(correction=0))
                flat = weight.view(-1)
                for start, noise in _gaussian(f"{seed}\0{name}", weight.numel()):
                    part = flat[start : start + len(noise)]
                    part += (strength * spread * torch.from_numpy(noise)).to(part)
    return noisy


def with_demonstrations(model: Any, rows: Sequence[Row], *, steps: int, learning_rate: float, seed: str) -> Any:
    """Return a copy trained on the answers of ``rows``; the seed draws where LoRA begins.

    Raises:
        CollectionError: the copy does not fit beside the model, the training diverges, or the architecture has no linear
            layer that peft knows.
    """
    from peft import LoraConfig, get_peft_model

    with _room(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed, 16) % 2**63)
        try:
            tuned = get_peft_model(
                copy.deepcopy(model),
                LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
            )
        except ValueError as error:
            raise CollectionError(f"{type(model).__name__} cannot be trained by LoRA: {error}") from error
        _fit(tuned, rows, steps=steps, learning_rate=learning_rate)
    return tuned.get_base_model().eval().requires_grad_(False)


def _fit(model: Any, rows: Sequence[Row], *, steps: int, learning_rate: float) -> None:
    ids, labels = (part.to(model.device) for part in padded(rows))
    mask = (torch.arange(ids.shape[1], device=ids.device) < _lengths(rows, ids.device)[:, None]).long()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learned, lr=learning_rate)
    model.eval()  # no dropout: the same steps every time
    for _ in range(steps):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        if not bool(torch.isfinite(loss)):
            raise CollectionError("training on the demonstrations diverged", hint="Lower the learning rate.")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def padded(rows: Sequence[Row]) -> tuple[Any, Any]:
    """Return ids and labels (row, position), padded on the right, where a causal model cannot see."""
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.int64)
    labels = torch.full_like(ids, IGNORED)
    for row, (prompt, answer) in enumerate(rows):
        whole = torch.tensor([*prompt, *answer])
        ids[row, : len(whole)] = whole
        labels[row, len(prompt) : len(whole)] = whole[len(prompt) :]
    return ids, labels


def _lengths(rows: Sequence[Row], device: Any) -> Any:
    return torch.tensor([len(prompt) + len(answer) for prompt, answer in rows], device=device)


def _gaussian(what: str, count: int) -> Iterator[tuple[int, Any]]:
    """Yield (start, float64 numbers): standard normal, by inversion of raw PCG64 words, named by a text."""
    source = np.random.PCG64(int.from_bytes(hashlib.sha256(f"weight noise\0{what}".encode()).digest()[:8], "big"))
    for start in range(0, count, _CHUNK):
        words = source.random_raw(min(_CHUNK, count - start)) >> np.uint64(12)
        yield start, ndtri((words.astype(np.float64) * 2.0 + 1.0) * _HALF)


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise CollectionError(
            "a changed copy of the model does not fit beside it into the device's memory",
            hint="Use a smaller dtype or more devices, or leave out the elicitations that change weights.",
        ) from error
