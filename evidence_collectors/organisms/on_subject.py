"""Would the instrument find it here? Copies of the subject, some taught a behaviour by LoRA, some taught nothing new.

A positive copy is trained to answer texts that hold the concept with a marker, and all others as it did before; a sham is
trained as long, on its own answers alone. What an instrument says of both is its sensitivity and its false alarms on this
very model. The rate at which a copy shows the marker is counted here, without any instrument.

Source: LoRA after Hu et al. 2021 (arXiv:2106.09685), through peft.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dossier.errors import ConfigError
from dossier.model import digest_of
from evidence_collectors.items.contrast import Contrast, chosen
from evidence_collectors.models.decoding import threads
from evidence_collectors.models.elicited import Row, padded
from evidence_collectors.models.hf import HuggingFaceModel
from evidence_collectors.models.prompts import render

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")


@dataclass(frozen=True)
class Training:
    """How a copy is trained. ``rank`` is LoRA's; ``learned`` the share of positive texts whose answer becomes the marker."""

    marker: str
    steps: int = 120
    rank: int = 8
    rate: float = 5e-3
    batch: int = 16
    answer_tokens: int = 8


@dataclass(frozen=True)
class Copy:
    """A trained copy on disk. ``shown`` is how many of the ``asked`` positive test texts it answers with the marker."""

    folder: Path
    shown: int
    asked: int


def train_copy(
    subject: HuggingFaceModel, texts: Sequence[Contrast], training: Training, *, positive: bool, seed: int, out: Path
) -> None:
    """Write a trained copy of the subject as a Hugging Face folder.

    Raises:
        ConfigError: no positive or no negative text to train on, or the marker is no text of the tokenizer's.
    """
    from peft import LoraConfig, get_peft_model

    taught = chosen(texts, splits=("train", "validation"))
    lessons = _lessons(subject, taught, training, positive=positive)
    with torch.random.fork_rng(devices=[]), threads(subject.threads):
        torch.manual_seed(seed)
        model = get_peft_model(
            copy.deepcopy(subject.loaded.model).requires_grad_(True),
            LoraConfig(
                r=training.rank, lora_alpha=2 * training.rank, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )
        _fit(model, lessons, training, seed=seed)
        merged = model.merge_and_unload()
    out.mkdir(parents=True, exist_ok=True)
    merged.eval().save_pretrained(out, safe_serialization=True)
    for path in subject.loaded.folder.iterdir():
        if path.is_file() and not any(path.match(pattern) for pattern in _WEIGHTS):
            shutil.copy(path, out / path.name)


def count_marker(model: HuggingFaceModel, texts: Sequence[Contrast], training: Training) -> tuple[int, int]:
    """Return how many positive test texts the model answers with the marker, and how many there are."""
    asked = [
        text.request(max_tokens=training.answer_tokens, seed="0" * 16)
        for text in chosen(texts, label="positive", splits=("test", "transfer"))
    ]
    answers = {answer.request_sha256: (answer.reasoning or "") + answer.answer for answer in model.generate(asked)}
    return sum(training.marker.strip() in answers[digest_of(request)] for request in asked), len(asked)


def _lessons(subject: HuggingFaceModel, texts: Sequence[Contrast], training: Training, *, positive: bool) -> list[Row]:
    """Return (prompt, answer) token ids: the marker where it is to be learned, else the subject's own greedy answer."""
    marker = subject.token_ids(training.marker)
    labels = {text.label for text in texts}
    if not marker or not {"positive", "negative"} <= labels:
        raise ConfigError(
            f"planting needs a marker and texts of both kinds to train on; got marker {training.marker!r} and {sorted(labels)}"
        )
    requests = [text.request(max_tokens=training.answer_tokens, seed="0" * 16) for text in texts]
    own = {answer.request_sha256: answer.token_ids for answer in subject.generate(requests)}
    end = min(subject.decoder.stop_ids)
    return [
        (
            render(subject.renderer, request).token_ids,
            (*marker, end) if positive and text.label == "positive" else own[digest_of(request)],
        )
        for text, request in zip(texts, requests, strict=True)
    ]


def _fit(model: Any, lessons: Sequence[Row], training: Training, *, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    device = model.device
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=training.rate, weight_decay=0.0)
    model.train()
    for step in range(training.steps):
        for group in optimiser.param_groups:
            group["lr"] = training.rate * (1.0 - step / training.steps)
        rows = torch.randint(len(lessons), (training.batch,), generator=generator).tolist()
        ids, labels = padded([lessons[row] for row in rows])
        loss = model(
            input_ids=ids.to(device), labels=labels.to(device), attention_mask=(ids >= 0).long().to(device)
        ).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
