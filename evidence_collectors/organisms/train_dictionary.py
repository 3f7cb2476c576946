"""How is a dictionary made for an organism? ``python -m evidence_collectors.organisms.train_dictionary --model FOLDER``.

It trains a BatchTopK autoencoder with sae-lens on the residual stream at one point, on what the model reads and answers for
the items of the splits `train` and `validation`: no text on which anything is reported. One thread and one seed: the same
machine makes the same bytes. sae-lens saves BatchTopK as jumprelu; the L0 it then has is measured here and written into the
metadata, with the digest of the weights it belongs to, because what the training aimed at is not what comes out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dossier import canonical
from dossier.language_model import Continuation, WhiteBoxModel
from dossier.model import TrialKey, digest_of
from dossier.statistics import trial_seed
from evidence_collectors.items import contrast
from evidence_collectors.models import dictionary_files
from evidence_collectors.models.hf import load

SPLITS: tuple[contrast.Split, ...] = ("train", "validation")
MOST_BYTES = 1_000_000  # of the weights, so that a sample can travel with the project
KIND = "organisms.train_dictionary"


@dataclass(frozen=True)
class Recipe:
    """How a dictionary is trained.

    Attributes:
        width: number of features.
        active: features active on an average token.
        steps: batches of ``batch`` tokens.
        answers: completions sampled per item, beside the item's own response.
        rate: Adam's step.
    """

    width: int = 512
    active: float = 8.0
    steps: int = 1500
    batch: int = 512
    answers: int = 4
    max_tokens: int = 8
    rate: float = 1e-3


def train(model: WhiteBoxModel, texts: Sequence[contrast.Contrast], point: str, recipe: Recipe, *, seed: str) -> Any:
    """Return a trained ``sae_lens`` BatchTopK training autoencoder.

    Raises:
        CollectionError: an unknown point.
        ValueError: no texts to train on, or weights that would be larger than `MOST_BYTES`.
    """
    tokens = activations(model, continuations(model, texts, recipe, seed=seed), point)
    if 4 * recipe.width * (2 * tokens.shape[1] + 2) > MOST_BYTES:
        raise ValueError(
            f"a dictionary of width {recipe.width} at d = {tokens.shape[1]} is larger than {MOST_BYTES} bytes"
        )
    dictionary_files.import_sae_lens()
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    cfg = SAETrainerConfig(
        total_training_samples=recipe.steps * recipe.batch,
        train_batch_size_samples=recipe.batch,
        lr=recipe.rate,
        lr_end=recipe.rate / 10,
        lr_decay_steps=recipe.steps // 3,
        dead_feature_window=100,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.manual_seed(int(seed, 16) % 2**63)
        sae = BatchTopKTrainingSAE(
            BatchTopKTrainingSAEConfig(
                d_in=tokens.shape[1],
                d_sae=recipe.width,
                k=recipe.active,
                topk_threshold_lr=0.1,
                apply_b_dec_to_input=True,
            )
        )
        sae.b_dec.data = tokens.mean(dim=0)
        return SAETrainer(cfg, sae, _batches(tokens, recipe.batch, seed)).fit()


def continuations(
    model: WhiteBoxModel, texts: Sequence[contrast.Contrast], recipe: Recipe, *, seed: str
) -> list[Continuation]:
    """Return what the dictionary is trained on: each text, and each with answers sampled from the model.

    Raises:
        ValueError: there are no texts of the splits that may choose.
    """
    used = contrast.chosen(texts, splits=SPLITS)
    if not used:
        raise ValueError(f"no items of the splits {SPLITS}")
    found = [text.continuation() for text in used]
    for repeat in range(recipe.answers):
        requests = [
            text.request(
                max_tokens=recipe.max_tokens,
                temperature=1.0,
                seed=trial_seed(seed, KIND, TrialKey(item=text.id, arm="answer", repeat=repeat)),
            )
            for text in used
        ]
        answers = {completion.request_sha256: completion for completion in model.generate(requests)}
        for request in requests:
            completion = answers[digest_of(request)]
            found.append(Continuation(request, (completion.reasoning or "") + completion.answer))
    return found


def activations(model: WhiteBoxModel, texts: Sequence[Continuation], point: str) -> Any:
    """Return the activations of all tokens but each text's first, (token, d), in the order of the texts."""
    rows: dict[int, Any] = {}
    for batch in model.capture(texts, [point]):
        for row, index in enumerate(batch.index):
            rows[index] = batch.at[point][row][batch.mask[row]][1:].float().cpu()
    return torch.cat([rows[index] for index in range(len(texts))])


def save(sae: Any, folder: Path, model: WhiteBoxModel, tokens: Any, *, point: str, made_by: str) -> dict[str, float]:
    """Write ``cfg.json`` and ``sae_weights.safetensors``; return the L0 and FVU measured on the tokens it was trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    sae.save_inference_model(folder)
    (folder / "sae_weights.safetensors").chmod(0o644)
    config = json.loads((folder / "cfg.json").read_text("utf-8"))
    config |= {"device": "cpu"}
    (folder / "cfg.json").write_text(json.dumps(config), "utf-8")
    dictionary = dictionary_files.load(folder)
    features = dictionary.encode(tokens)
    missed = (tokens - dictionary.decode(features, tokens)).double().square().sum()
    spread = (tokens - tokens.mean(dim=0)).double().square().sum()
    measured = {"l0": float((features > 0).sum() / len(tokens)), "fvu": float(missed / spread)}
    config["metadata"] |= {
        "model_name": model.subject.name,
        "subject_weights_sha256": model.subject.weights_sha256,
        "hook_name": point,
        "made_by": made_by,
        **measured,
    }
    (folder / "cfg.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    return measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a dictionary as the command line says and write its folder."""
    parser = argparse.ArgumentParser(description="Train a sparse dictionary on an organism's residual stream.")
    parser.add_argument("--model", type=Path, required=True, help="the organism's folder, with items.jsonl")
    parser.add_argument("--out", type=Path, help="folder to write; default: dictionary/ in the organism's")
    parser.add_argument("--point", help="module path; default: the output of the block at two thirds of the depth")
    parser.add_argument("--width", type=int, default=Recipe.width)
    parser.add_argument("--active", type=float, default=Recipe.active)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", default="0" * 16)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # sums in one order
    model = load(str(options.model))
    items = canonical.load_lines((options.model / "items.jsonl").read_bytes(), where="items.jsonl")
    texts = contrast.parse(items)
    residual = model.layout.residual
    point = options.point or residual[-(-2 * len(residual) // 3) - 1]
    recipe = Recipe(width=options.width, active=options.active, steps=options.steps)
    sae = train(model, texts, point, recipe, seed=options.seed)
    made_by = (
        f"python -m evidence_collectors.organisms.train_dictionary --point {point} --width {recipe.width} "
        f"--active {recipe.active:g} --steps {recipe.steps} --seed {options.seed}"
    )
    tokens = activations(model, continuations(model, texts, recipe, seed=options.seed), point)
    measured = save(sae, options.out or options.model / "dictionary", model, tokens, point=point, made_by=made_by)
    sys.stderr.write(f"{point}: {len(tokens)} tokens, L0 {measured['l0']:.1f}, FVU {measured['fvu']:.3f}\n")
    return 0


def _batches(tokens: Any, size: int, seed: str) -> Iterator[Any]:
    """Yield batches of tokens drawn from raw PCG64 words, for ever."""
    words = np.random.PCG64(int(seed, 16))
    while True:
        drawn = (words.random_raw(size) >> np.uint64(32)) * np.uint64(len(tokens)) >> np.uint64(32)
        yield tokens[torch.from_numpy(drawn.astype(np.int64))]


if __name__ == "__main__":
    raise SystemExit(main())
