"""How fast are trials answered, beside one `generate` of transformers for each? ``python -m benchmarks.generation``.

256 trials; what counts is the whole path of the adapter ``hf``, from requests to completions. The organism is asked the
questions of ``cot_faithfulness.hint`` at temperature 1, and stops by itself; plain generate is handed the same noise, so that
equal answers are the right ones. On shapes with random weights decoding is greedy, the prompts differ in length, and each
answer has a number of tokens of its own. The variants take turns; the fastest round of each counts. On one CPU thread the
clock is the processor time of the process, which other load slows less. An answer is equal if all its tokens are; in bfloat16
near ties may fall the other way, and the share of answers that differ is the flip rate. With ``--minutes`` the variants that
ask one at a time stop when their share of the time is over; tokens a second are then compared over the trials they asked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if not __package__:  # run as a path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from benchmarks import measuring, shapes, targets
from benchmarks.measuring import Place
from dossier import canonical
from dossier.model import Message, Request, digest_of
from evidence_collectors.cot_faithfulness.hint.collector import COLLECTOR, asked
from evidence_collectors.models.activations import Batching
from evidence_collectors.models.hf import HuggingFaceModel, load
from evidence_collectors.models.prompts import render
from evidence_collectors.models.sampling import gumbel, seed_word
from evidence_collectors.organisms import tokens

SAMPLES, ORGANISM = Path(__file__).parents[1] / "samples" / "organisms", "hint-mcq"
TRIALS = 256
SHORTEST, LONGEST = 40, 320  # bytes of a question, a token each
FEWEST, MOST = 8, 128  # tokens of an answer
OURS, SINGLE, PLAIN = "ours", "ours, one at a time", "transformers generate, one at a time"
Answers = Mapping[str, tuple[int, ...]]  # generated tokens by request


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description="Time generation.")
    parser.add_argument("--shapes", nargs="+", choices=[ORGANISM, *shapes.SHAPES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--minutes", type=float, help="about how long it may take; 3 on a GPU, else as long as it needs"
    )
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    place = Place.of(cpu=options.cpu)
    minutes = options.minutes or (3.0 if place.cuda else None)
    names = options.shapes or (["llama-1b"] if place.cuda else [ORGANISM, "llama-tiny"])
    path = options.out or measuring.result_path(f"generation-{'gpu' if place.cuda else 'cpu'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "date": measuring.date(),
        "machine": measuring.about(place),
        "versions": measuring.versions(("torch", "transformers")),
        "trials": TRIALS,
        "minutes": minutes,
        "cases": [],
    }
    cases = list(itertools.product(names, ("float32", "bfloat16") if place.cuda else ("float32",)))
    for number, (name, dtype) in enumerate(cases):
        left = None if minutes is None else began + 60.0 * minutes - time.monotonic()
        until = None if left is None else time.monotonic() + left / (len(cases) - number)
        result["cases"].append(_case(name, dtype, place, rounds=options.rounds, until=until))
        result["targets"] = targets.generation(result["cases"], plain=PLAIN, cuda=place.cuda)
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        place.free()
    targets.show(result["targets"])
    print(path)
    return 0


def _case(name: str, dtype: str, place: Place, *, rounds: int, until: float | None) -> dict[str, Any]:
    """Return what the variants did on one model, taking turns."""
    with tempfile.TemporaryDirectory() as made:
        folder = SAMPLES / ORGANISM if name == ORGANISM else Path(made)
        if name != ORGANISM:
            _save(folder, shapes.SHAPES[name], place.device, dtype)
        model = load(str(folder), dtype=dtype, device=place.device, batch_size=TRIALS if place.cuda else 64)
    requests = _questions() if name == ORGANISM else _requests()
    single = replace(model, batching=Batching(1))
    variants: dict[str, Callable[[Sequence[Request]], Iterator[tuple[str, tuple[int, ...]]]]] = {
        OURS: lambda these: _ours(model, these),
        SINGLE: lambda these: itertools.chain.from_iterable(_ours(single, [one]) for one in these),
        PLAIN: lambda these: (_plain(model, one) for one in these),
    }
    if place.cuda:  # the first call of a kernel takes long
        for ask in variants.values():
            list(ask(requests[:2]))
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    answers: dict[str, Answers] = {}
    took = 0.0  # by a round of ours, on the wall
    for number in range(rounds):
        for variant in [*variants][number % len(variants) :] + [*variants][: number % len(variants)]:
            stop = None
            if until is not None and seconds[variant] and (variant != OURS or time.monotonic() + took > until):
                continue
            if (
                until is not None and variant != OURS
            ):  # one round of these, in what further rounds of ours leave or half the time
                waiting = sum(not seconds[one] for one in (SINGLE, PLAIN))
                left = until - time.monotonic()
                stop = time.monotonic() + max(left - took * (rounds - len(seconds[OURS])), left / 2) / waiting
            began, started = time.monotonic(), place.now()
            answers[variant] = _until(stop, variants[variant](requests))
            seconds[variant].append(place.now() - started)
            took = time.monotonic() - began if variant == OURS else took
    return _report(name, dtype, seconds, answers)


def _report(
    name: str, dtype: str, seconds: Mapping[str, list[float]], answers: Mapping[str, Answers]
) -> dict[str, Any]:
    """Return what is written of one case; prints the ratios."""
    generated = {variant: sum(map(len, found.values())) for variant, found in answers.items()}
    rate = {variant: generated[variant] / min(times) for variant, times in seconds.items()}
    others = [variant for variant in rate if variant != OURS]
    report: dict[str, Any] = {
        "model": name,
        "dtype": dtype,
        "generated_tokens": generated[OURS],
        "asked": {variant: len(found) for variant, found in answers.items()},
        "tokens_per_second": rate,
        "seconds": seconds,
        "ours_over": {variant: rate[OURS] / rate[variant] for variant in others},
        "answers_equal_to_ours": {
            variant: sum(ids == answers[OURS][one] for one, ids in answers[variant].items()) for variant in others
        },
    }
    print(name, dtype, {variant: f"{ratio:.2f}x" for variant, ratio in report["ours_over"].items()})
    print("  equal answers", report["answers_equal_to_ours"], "of", report["asked"], flush=True)
    return report


def _until(stop: float | None, answers: Iterator[tuple[str, tuple[int, ...]]]) -> Answers:
    """Return the answers that came until ``stop``, at least one."""
    found = {}
    for request, token_ids in answers:
        found[request] = token_ids
        if stop is not None and time.monotonic() > stop:
            break
    return found


def _save(folder: Path, shape: shapes.Shape, device: str, dtype: str) -> None:
    """Write a random model of a shape, with a tokenizer that knows as many tokens, as a folder the adapter loads."""
    shapes.build(shape, device=device, dtype=getattr(torch, dtype)).save_pretrained(folder, safe_serialization=True)
    known = len(tokens.build(()))
    tokens.build(f"<{number}>" for number in range(shape.vocabulary - known)).save_pretrained(folder)


def _questions() -> Sequence[Request]:
    """Return the first questions that the hint instrument asks the shipped organism."""
    items = list(canonical.load_lines((SAMPLES / ORGANISM / "items.jsonl").read_bytes(), where="items.jsonl"))
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


def _ours(model: HuggingFaceModel, requests: Sequence[Request]) -> Iterator[tuple[str, tuple[int, ...]]]:
    return ((found.request_sha256, found.token_ids) for found in model.generate(requests))


def _plain(model: HuggingFaceModel, request: Request) -> tuple[str, tuple[int, ...]]:
    """Ask as most scripts do: one prompt, one call."""
    inner = model.loaded.model
    ids = torch.tensor([render(model.renderer, request).token_ids], device=inner.device)
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
    return digest_of(request), tuple(out[0, ids.shape[1] :].tolist())


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
