"""A copy of a model folder whose weights went through int8 and back: what a replay must tell from the original."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def int8_copy(source: Path, target: Path) -> Path:
    """Write the copy and return its folder: every matrix rounded to int8 per output channel, then dequantised."""
    shutil.copytree(source, target)
    for path in sorted(target.glob("*.safetensors")):
        weights = {name: _rounded(tensor) for name, tensor in load_file(path).items()}
        save_file(weights, path, metadata={"format": "pt"})
    return target


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.ndim < 2:
        return tensor
    scale = tensor.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
    return ((tensor.float() / scale).round().clamp(-127, 127) * scale).to(tensor.dtype).contiguous()
