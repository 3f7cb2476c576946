"""How fast are trials answered, beside one `generate` of transformers for each? ``python -m benchmarks.generation``.

256 trials; what counts is the whole path of the adapter ``hf``, from requests to completions. The organism is asked the
questions of ``cot_faithfulness.hint`` at temperature 1, and stops by itself; plain generate is handed the same noise, so that
equal answers are the right ones. On shapes with random weights decoding is greedy, the prompts differ in length, and each
answer has a number of tokens of its own. The variants take turns; the fastest round of each counts. On one CPU thread the
clock is the processor time of the process, which other load slows less. An answer is equal if all its tokens are; in bfloat16
near ties may fall the other way, and the share of answers that differ is the flip rate.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import shapes
from benchmarks.gpu import RESULTS, now
from dossier import canonical
from dossier.model import Message, Request, digest_of
from evidence_collectors.cot_faithfulness.hint.collector import COLLECTOR, asked
from evidence_collectors.models.hf import HuggingFaceModel, load
from evidence_collectors.models.sampling import gumbel, seed_word
from evidence_collectors.organisms import tokens

SAMPLES, ORGANISM = Path(__file__).parents[1] / "samples" / "organisms", "hint-mcq"
TRIALS = 256
SHORTEST, LONGEST = 40, 320  # bytes of a question, a token each
FEWEST, MOST = 8, 128  # tokens of an answer
Answers = Mapping[str, tuple[int, ...]]  # generated tokens by request


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description="Time generation.")
    parser.add_argument("--shapes", nargs="+", choices=[ORGANISM, *shapes.SHAPES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    cuda = torch.cuda.is_available() and not options.cpu
    if not cuda:
        torch.set_num_threads(1)
    names = options.shapes or (["llama-1b"] if cuda else [ORGANISM, "llama-tiny"])
    date = time.strftime("%Y-%m-%d", time.gmtime())
    path = options.out or RESULTS / f"generation-{'gpu' if cuda else 'cpu'}-{date}.json"
    result = {
        "date": date,
        "machine": {
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name() if cuda else "cpu, 1 thread",
            "clock": "wall" if cuda else "processor time of the process",
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers")},
        },
        "trials": TRIALS,
        "cases": [],
    }
    for name in names:
        for dtype in ("float32", "bfloat16") if cuda else ("float32",):
            result["cases"].append(_case(name, dtype, cuda=cuda, rounds=options.rounds))
            path.write_text(json.dumps(result, indent=2) + "\n")
    print(path)
    return 0


def _case(name: str, dtype: str, *, cuda: bool, rounds: int) -> dict[str, Any]:
    """Return what the variants did on one model, taking turns."""
    device = "cuda" if cuda else "cpu"
    with tempfile.TemporaryDirectory() as made:
        folder = SAMPLES / ORGANISM if name == ORGANISM else Path(made)
        if name != ORGANISM:
            _save(folder, shapes.SHAPES[name], device, dtype)
        model = load(str(folder), dtype=dtype, device=device, batch_size=TRIALS if cuda else 64)
        single = load(str(folder), dtype=dtype, device=device, batch_size=1)
    requests = _questions() if name == ORGANISM else _requests()
    variants: dict[str, Callable[[], Answers]] = {
        "ours": lambda: _ours(model, requests),
        "ours, one at a time": lambda: _ours(single, requests),
        "transformers generate, one at a time": lambda: _plain(model, requests),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    answers: dict[str, Answers] = {}
    for number in range(rounds):
        for variant in [*variants][number % len(variants) :] + [*variants][: number % len(variants)]:
            started = now(device)
            answers[variant] = variants[variant]()
            seconds[variant].append(now(device) - started)
    generated = sum(map(len, answers["ours"].values()))
    fastest = {name: min(times) for name, times in seconds.items()}
    report = {
        "model": name,
        "dtype": dtype,
        "generated_tokens": generated,
        "tokens_per_second": {name: generated / value for name, value in fastest.items()},
        "seconds": seconds,
        "ours_over": {name: value / fastest["ours"] for name, value in fastest.items() if name != "ours"},
        "answers_equal_to_ours": {
            name: sum(found[one] == answers["ours"][one] for one in answers["ours"])
            for name, found in answers.items()
            if name != "ours"
        },
    }
    print(name, dtype, {name: f"{ratio:.2f}x" for name, ratio in report["ours_over"].items()})
    print("  equal answers of", TRIALS, report["answers_equal_to_ours"])
    return report


def _save(folder: Path, shape: shapes.Shape, device: str, dtype: str) -> None:
    """Write a random model of a shape, with a tokenizer that knows as many tokens, as a folder the adapter loads."""
    shapes.build(shape, device=device, dtype=getattr(torch, dtype)).save_pretrained(folder, safe_serialization=True)
    known = len(tokens.build(()))
    tokens.build(f"<{number}>" for number in range(shape.vocabulary - known)).save_pretrained(folder)


def _questions() -> Sequence[Request]:
    """Return the first questions that the hint instrument asks the shipped organism."""
    items = canonical.load_lines((SAMPLES / ORGANISM / "items.jsonl").read_bytes(), where="items.jsonl")
    return [request for _, _, request in asked(COLLECTOR.parse({"max_tokens": 32}), items, "0" * 16)][:TRIALS]


def _requests() -> Sequence[Request]:
    draw = torch.Generator().manual_seed(3)
    made = []
    for number in range(TRIALS):
        length, share = (float(one) for one in torch.rand(2, generator=draw))
        text = "".join(
            map(chr, torch.randint(97, 123, (round(SHORTEST + (LONGEST - SHORTEST) * length),), generator=draw))
        )
        made.append(
            Request(
                messages=(Message(role="user", content=text),),
                max_tokens=round(FEWEST * (MOST / FEWEST) ** share),
                temperature=0.0,
                seed=f"{number:016x}",
            )
        )
    return made


def _ours(model: HuggingFaceModel, requests: Sequence[Request]) -> Answers:
    return {found.request_sha256: found.token_ids for found in model.generate(requests)}


def _plain(model: HuggingFaceModel, requests: Sequence[Request]) -> Answers:
    """Ask as most scripts do: one prompt, one call."""
    inner, tokenizer = model.loaded.model, model.loaded.tokenizer
    found = {}
    for request in requests:
        turns = [message.model_dump() for message in request.messages]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt").to(inner.device)
        with torch.inference_mode():
            out = inner.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                logits_processor=[_Noise(request, ids.shape[1])] if request.temperature else [],
                max_new_tokens=request.max_tokens,
                eos_token_id=sorted(model.decoder.stop_ids),
                pad_token_id=0,
            )
        found[digest_of(request)] = tuple(out[0, ids.shape[1] :].tolist())
    return found


@dataclass(frozen=True)
class _Noise:
    """Adds the noise of a request to the logits, so that the largest is the token that is drawn."""

    request: Request
    prompt_tokens: int

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Return logits (1, v) with noise, for the next token after ``input_ids`` (1, p)."""
        seed = torch.tensor([seed_word(self.request.seed)], device=scores.device)
        noise = gumbel(seed, input_ids.shape[1] - self.prompt_tokens, scores.shape[1])
        return scores.double() + self.request.temperature * noise


if __name__ == "__main__":
    raise SystemExit(main())
