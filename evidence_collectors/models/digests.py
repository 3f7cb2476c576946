r"""Which bytes name a loaded model? SHA-256 digests of what is in memory, wherever the file could differ from it.

``weights_sha256`` is over ``b"dossier weights v1\n"`` followed by one record per tensor of the loaded state
dictionary, in order of the UTF-8 bytes of the tensors' names. A record is ``length(header) header length(data) data``:
``length`` is 8 bytes, big-endian; ``header`` is the RFC 8785 JSON of ``{"dtype": "float32", "name": ..., "shape":
[...]}``; ``data`` is the tensor in row-major order, little-endian. Tensors that share all their memory (tied weights)
are written once, under the first of their names. A cast or a quantised model has another digest. Names are those of the
loaded model, which may differ from the file's and, for some architectures, between versions of the engine; the
environment records the version.

``tokenizer_sha256`` is over the RFC 8785 JSON of ``{"files": {name: sha256}, "special_tokens": {role: token}}``: the
vocabulary files as on disk (`TOKENIZER_FILES`) and the special tokens as loaded. ``chat_template_sha256`` is over the
UTF-8 bytes of the template, ``config_sha256`` over the bytes of ``config.json``, ``generation_sha256`` over the RFC
8785 JSON of the settings that decide a completion beside the request (see ``hf.py``).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from dossier import canonical

TOKENIZER_FILES = ("merges.txt", "spiece.model", "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_CHUNK = 1 << 26  # bytes copied off the device at a time


def weights_sha256(state: Mapping[str, Any]) -> str:
    """Return the digest of a state dictionary of dense tensors, as the module's docstring defines it."""
    digest = hashlib.sha256(b"dossier weights v1\n")
    for name, tensor in untied(state):
        header = canonical.encode(
            {"dtype": str(tensor.dtype).removeprefix("torch."), "name": name, "shape": list(tensor.shape)}
        )
        digest.update(len(header).to_bytes(8, "big") + header)
        digest.update((tensor.numel() * tensor.element_size()).to_bytes(8, "big"))
        for part in _bytes_of(tensor):
            digest.update(part)
    return digest.hexdigest()


def untied(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and tensors in order of the names' UTF-8 bytes; of tensors that share all their memory, the first."""
    seen: set[tuple[Any, ...]] = set()
    for name in sorted(state, key=str.encode):
        tensor = state[name].detach()
        place = (str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() == 0 or place not in seen:
            seen.add(place)
            yield name, tensor


def tokenizer_sha256(folder: Path, special_tokens: Mapping[str, Any]) -> str:
    """Return the digest of a tokenizer: its vocabulary files and the special tokens as loaded."""
    files = {
        name: canonical.sha256((folder / name).read_bytes()) for name in TOKENIZER_FILES if (folder / name).is_file()
    }
    tokens = {
        role: [str(one) for one in token] if isinstance(token, (list, tuple)) else str(token)
        for role, token in special_tokens.items()
    }
    return canonical.digest({"files": files, "special_tokens": tokens})


def _bytes_of(tensor: Any) -> Iterator[bytes]:
    if sys.byteorder != "little":
        raise NotImplementedError("weights are digested as little-endian bytes; this machine is big-endian")
    flat = tensor.contiguous().reshape(-1)
    step = max(1, _CHUNK // flat.element_size())
    for start in range(0, flat.numel(), step):
        part = flat[start : start + step].cpu()
        yield part.view(torch.uint8).numpy().tobytes()
