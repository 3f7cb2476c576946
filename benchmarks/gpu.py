"""How fast are features read, beside what others offer, in one run on one machine? ``python -m benchmarks.gpu``.

On CUDA: Llama 1B and 8B and Gemma 3 1B shapes in bfloat16, dictionaries of 16k, 65k and 262k; without it small shapes in
float32, one thread. All variants take turns, round by round, and the fastest round of each counts: other load slows every one
alike. Peak memory is measured in a process of each variant's own. Writes JSON to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import shapes, variants
from benchmarks.shapes import H100_DENSE_BF16, SHAPES, Shape

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "transformers", "sae-lens", "transformer-lens", "numpy")
Case = tuple[Shape, int, str]  # shape, dictionary width, text length


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says."""
    options = _options(arguments)
    warnings.simplefilter("ignore")
    cuda = torch.cuda.is_available() and not options.cpu
    if not cuda:
        torch.set_num_threads(options.threads)
    device, dtype = ("cuda", torch.bfloat16) if cuda else ("cpu", torch.float32)
    if options.alone:
        print(json.dumps(_alone(options, device, dtype)))
        return 0
    peak = H100_DENSE_BF16 if cuda else _matmul_rate(device, dtype)
    date = _said("date", "-u", "+%Y-%m-%d")
    path = options.out or RESULTS / f"{'gpu' if cuda else 'cpu'}-{date}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"date": date, **_about(options, cuda, dtype, peak), "cases": [], "large": None}
    for case in _cases(options, cuda):  # written after each case: a long run that breaks keeps what it measured
        result["cases"].append(_case(case, options, device, dtype, peak))
        path.write_text(json.dumps(result, indent=2) + "\n")
    if cuda:
        result["large"] = large(result["cases"], peak)
        path.write_text(json.dumps(result, indent=2) + "\n")
    print(path)
    return 0


def _about(options: argparse.Namespace, cuda: bool, dtype: torch.dtype, peak: float) -> dict[str, Any]:
    """Return what the numbers depend on."""
    return {
        "machine": {
            "platform": platform.platform(),
            "processor": _processor(),
            "device": torch.cuda.get_device_name() if cuda else f"cpu, {options.threads} thread(s)",
            "load_average": list(map(float, _said("cat", "/proc/loadavg").split()[:3])),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "settings": {
            "dtype": str(dtype),
            "rounds": options.rounds,
            "warm_up": options.warm_up,
            "tokens": options.tokens,
            "clock": "wall" if cuda or options.threads > 1 else "processor time of the process",
        },
        "roofline": {
            "operations_per_second": peak,
            "source": "data sheet, H100 SXM dense bf16" if cuda else "best of 5 matrix products here",
        },
    }


def _case(case: Case, options: argparse.Namespace, device: str, dtype: torch.dtype, peak: float) -> dict[str, Any]:
    """Return what all variants did on one case, taking turns."""
    shape, width, length = case
    model, sae, rows = _prepared(case, options, device, dtype)
    tokens = sum(map(len, rows))
    made, lacking = {}, {}
    for name in variants.NAMES:
        try:
            made[name] = variants.make(name, model, sae, shape, rows=options.batch)
        except Exception as error:  # a peer that cannot do this shape is a result too
            lacking[name] = f"{type(error).__name__}: {error}"
    seconds: dict[str, list[float]] = {name: [] for name in made}
    totals = {}
    with torch.inference_mode():
        for round_ in range(options.warm_up + options.rounds):
            order = list(made)[round_ % len(made) :] + list(made)[: round_ % len(made)]
            for name in order:
                started = now(device)
                totals[name] = made[name](rows)
                if round_ >= options.warm_up:
                    seconds[name].append(now(device) - started)
    operations = shape.operations(width)
    report: dict[str, Any] = {"shape": shape.name, "dictionary_width": width, "length": length, "tokens": tokens}
    report["operations_per_token"] = operations
    report["active_per_token"] = float(totals["ours"][0].sum()) / tokens
    report["variants"] = {
        name: {
            "tokens_per_second": tokens / min(times),
            "median_seconds": sorted(times)[len(times) // 2],
            "share_of_roofline": tokens / min(times) * operations / peak,
            "peak_bytes": _peak(case, name, options),
            "parity": _parity(totals[name], totals["ours"]),
        }
        for name, times in seconds.items()
    }
    report["not_available"] = lacking
    ours = report["variants"]["ours"]["tokens_per_second"]
    report["ours_over"] = {
        name: ours / one["tokens_per_second"] for name, one in report["variants"].items() if name != "ours"
    }
    print(shape.name, width, length, {name: f"{ratio:.2f}x" for name, ratio in report["ours_over"].items()}, lacking)
    return report


def large(found: list[dict[str, Any]], peak: float, *, gpus: int = 4, tokens: float = 1e9) -> dict[str, Any]:
    """Return peak memory and hours for a 70B model on several cards, from the throughput measured at 8B; prints the sum.

    Layers are split over the cards and one batch is in flight, so the cards take turns: no speed-up is assumed.
    """
    measured = [case for case in found if case["shape"] == "llama-8b" and case["dictionary_width"] == 65536]
    if not measured:
        return {"reason": "llama-8b with a dictionary of 65536 was not measured"}
    shape, case = SHAPES["llama-70b"], measured[0]
    share = case["variants"]["ours"]["share_of_roofline"]
    operations = shape.operations(65536)
    rate = share * peak / operations
    weights = 2.0 * (shape.block_parameters * (shape.at + 1) + shape.vocabulary * shape.width)
    encoder = 2.0 * 2.0 * shape.width * 65536
    batch = 16 * 1024 * (2.0 * (2 * shape.width + 3 * shape.inner) + 2.0 * 4.0 * 4096 / 16384 * 65536)
    lines = [
        f"operations a token, blocks 0 to {shape.at} of {shape.layers} and the dictionary: {operations:.3g}",
        f"share of the roofline measured at 8B: {share:.3f}; tokens a second: {share:.3f} x {peak:.3g} / {operations:.3g} "
        f"= {rate:,.0f}",
        f"hours for {tokens:.0e} tokens, {gpus} cards taking turns: {tokens:.0e} / {rate:,.0f} / 3600 = "
        f"{tokens / rate / 3600:,.1f}",
        f"bytes: weights up to the point {weights:.3g} + dictionary {encoder:.3g} + one batch of 16 x 1024 tokens {batch:.3g} "
        f"= {weights + encoder + batch:.3g}, a card {(weights + encoder + batch) / gpus:.3g}",
    ]
    print("\n".join(lines))
    return {"gpus": gpus, "tokens_per_second": rate, "hours": tokens / rate / 3600, "arithmetic": lines}


def _prepared(
    case: Case, options: argparse.Namespace, device: str, dtype: torch.dtype
) -> tuple[Any, Any, list[list[int]]]:
    shape, width, length = case
    model = shapes.build(shape, device=device, dtype=dtype)
    rows = shapes.texts(shape, length, tokens=options.tokens)
    sample = variants.activations(model, shape, rows[:2])[:512]
    return model, shapes.dictionary(shape, width, sample=sample), rows


def _alone(options: argparse.Namespace, device: str, dtype: torch.dtype) -> dict[str, int]:
    """Return the peak memory of one variant in this process, in bytes."""
    case = (SHAPES[options.shapes[0]], options.widths[0], options.lengths[0])
    model, sae, rows = _prepared(case, options, device, dtype)
    run = variants.make(options.alone, model, sae, case[0], rows=options.batch)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        run(rows)
    if device == "cuda":
        return {"peak": torch.cuda.max_memory_allocated()}
    return {"peak": _most_resident()}


def _most_resident() -> int:
    """Return the most memory this process has held, in bytes; `getrusage` counts what its parent held before it too."""
    found = next(
        line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if line.startswith("VmHWM:")
    )
    return int(found.split()[1]) * 1024


def _peak(case: Case, name: str, options: argparse.Namespace) -> int | None:
    """Return a variant's peak memory in bytes: resident on a CPU, libraries included; None if it was not measured."""
    shape, width, length = case
    if options.no_memory or (options.lengths and length != options.lengths[0]):
        return None
    command = [sys.executable, "-m", "benchmarks.gpu", "--alone", name, "--shapes", shape.name, "--widths", str(width)]
    command += ["--lengths", length, "--tokens", str(options.tokens), "--batch", str(options.batch)]
    command += ["--threads", str(options.threads), *(["--cpu"] if options.cpu else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
    return int(json.loads(done.stdout.splitlines()[-1])["peak"]) if done.returncode == 0 else None


def _parity(one: variants.Totals, ours: variants.Totals) -> dict[str, float]:
    """Return how far a variant's totals are from ours: threshold flips, and the largest difference of sums, as shares."""
    flips = float((one[0] - ours[0]).abs().sum() / ours[0].sum().clamp(min=1))
    return {
        "count_difference": flips,
        "sum_difference": float((one[1] - ours[1]).abs().max() / ours[1].abs().max().clamp(min=1e-9)),
    }


def _matmul_rate(device: str, dtype: torch.dtype) -> float:
    size, best = 1024, 0.0
    left, right = (
        torch.randn(size, size, device=device, dtype=dtype),
        torch.randn(size, size, device=device, dtype=dtype),
    )
    for _ in range(5):
        started = now(device)
        left @ right
        best = max(best, 2.0 * size**3 / (now(device) - started))
    return best


def _cases(options: argparse.Namespace, cuda: bool) -> list[Case]:
    names = options.shapes or (shapes.ON_GPU if cuda else shapes.ON_CPU)
    lengths = options.lengths or (("256", "1024", "mixed") if cuda else ("256", "mixed"))
    found = []
    for name in names:
        for width in options.widths or (shapes.WIDTHS_GPU if cuda else shapes.WIDTHS_CPU[name]):
            found += [(SHAPES[name], width, length) for length in lengths]
    return found


def now(device: str) -> float:
    """Return seconds: of the wall on a GPU, of the processor on one CPU thread, which other load slows less."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() if device == "cuda" or torch.get_num_threads() > 1 else time.process_time()


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed words


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how fast features are read, beside other libraries.")
    parser.add_argument("--cpu", action="store_true", help="measure on the CPU even where there is a GPU")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--widths", nargs="+", type=int)
    parser.add_argument("--lengths", nargs="+", help="token counts, or 'mixed'")
    parser.add_argument("--rounds", type=int, default=20 if torch.cuda.is_available() else 7)
    parser.add_argument("--warm-up", type=int, default=3 if torch.cuda.is_available() else 1)
    parser.add_argument("--tokens", type=int, default=65536 if torch.cuda.is_available() else 1024)
    parser.add_argument("--batch", type=int, default=16 if torch.cuda.is_available() else 4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--no-memory", action="store_true", help="leave out peak memory, which needs a process a variant"
    )
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
