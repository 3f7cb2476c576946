"""What is loaded here, and where does it run? The subject and the environment of a Hugging Face model."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

import tokenizers
import torch
import transformers

from dossier import canonical
from dossier.errors import ConfigError
from dossier.model import Environment, Subject
from evidence_collectors.models import digests
from evidence_collectors.models.hf_loading import Loaded
from evidence_collectors.models.sampling import SAMPLER

_PROMISED = (
    "The same request gives the same completion at every batch size and in every order, on this platform with this "
    "number of threads: near ties are decided on the row alone, and a shift that could "
    "break this stops the run. Across platforms float32 rounding may change a token now and then."
)
_NOT_PROMISED = (
    "Not claimed: on this device or dtype the batch may change a completion by rounding. The noise of each draw still "
    "depends on its request alone."
)


def stop_ids(loaded: Loaded) -> frozenset[int]:
    """Return the tokens that end an answer. Raises ConfigError if the folder names none."""
    ids: set[int] = set()
    generation = getattr(loaded.model, "generation_config", None)
    for holder in (generation, loaded.model.config, loaded.tokenizer):
        value = getattr(holder, "eos_token_id", None)
        ids.update([value] if isinstance(value, int) else value or [])
    if not ids:
        raise ConfigError(
            f"{loaded.folder}: no end-of-sequence token in generation_config.json, config.json or the tokenizer",
            hint="Set eos_token_id; without it every answer runs to max_tokens.",
        )
    return frozenset(ids)


def subject(loaded: Loaded, stop_ids: frozenset[int], tags: tuple[str, str]) -> Subject:
    """Return what is assessed: digests of what was really loaded."""
    generation = {"reasoning_tags": list(tags), "sampler": SAMPLER, "stop_token_ids": sorted(stop_ids)}
    return Subject(
        name=loaded.name,
        identity="digests",
        weights_sha256=digests.weights_sha256(loaded.model.state_dict()),
        tokenizer_sha256=digests.tokenizer_sha256(loaded.folder, loaded.tokenizer.special_tokens_map),
        chat_template_sha256=canonical.sha256(loaded.chat_template.encode()),
        config_sha256=canonical.sha256((loaded.folder / "config.json").read_bytes()),
        generation_sha256=canonical.digest(generation),
        parameter_count=sum(tensor.numel() for _, tensor in _parameters(loaded.model)),
    )


def environment(
    dtype: str, device: str, batch_size: int, *, attention: str, thread_count: int, exact: bool
) -> Environment:
    """Return where the model runs; ``exact`` says whether equal completions are promised there."""
    kind = (
        "cuda" if device == "auto" and torch.cuda.is_available() else torch.device(device.replace("auto", "cpu")).type
    )
    return Environment(
        engine=f"transformers {transformers.__version__}",
        versions={
            "attention": attention,
            "python": platform.python_version(),
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            **(_on_cuda() if kind == "cuda" else {}),
        },
        platform=f"{platform.system()} {platform.machine()}, {thread_count} threads",
        device=_device(device, kind),
        dtype=dtype,
        quantisation=None,
        batch_size=batch_size,
        same_completion=_PROMISED if exact else _NOT_PROMISED,
    )


def _on_cuda() -> dict[str, str]:
    """Return what else numbers on a GPU depend on: CUDA, and whether float32 products are rounded to TF32 (not "highest")."""
    return {"cuda": str(torch.version.cuda), "float32_matmul": torch.get_float32_matmul_precision()}


def _device(device: str, kind: str) -> str:
    if kind != "cuda":
        return device
    if device == "auto":
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"cuda: {len(names)} devices, {', '.join(sorted(set(names)))}"
    return f"cuda: {torch.cuda.get_device_name(device)}"


def _parameters(model: Any) -> Iterator[tuple[str, Any]]:
    names: Mapping[str, Any] = dict(model.named_parameters())
    return digests.untied(names)


def active_parameters(model: Any) -> int:
    """Count the parameters one token meets: of a mixture of experts, the share of the experts that is routed to."""
    config = model.config
    sizes = (getattr(config, name, None) for name in ("num_local_experts", "num_experts", "n_routed_experts"))
    experts = next((size for size in sizes if size), None)
    routed = getattr(config, "num_experts_per_tok", None)
    share = routed / experts if experts and routed else 1.0
    total: float = sum(tensor.numel() * (share if ".experts." in name else 1.0) for name, tensor in _parameters(model))
    return int(total)
