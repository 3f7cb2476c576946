"""How fast are features read, beside what others offer, in one run on one machine? ``python -m benchmarks.gpu``.

On CUDA: Llama 1B and 8B and Gemma 3 1B shapes in bfloat16, dictionaries of 16k, 65k and 262k, and four at a time; without it
small shapes in float32, one thread. All variants take turns, round by round, and the fastest round of each counts: other load
slows every one alike. With ``--minutes`` the cases come in the order of what the targets need, and those that do not fit are
listed. Writes JSON to benchmarks/results/ after each case.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

if not __package__:  # run as a path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from benchmarks import measuring, targets
from benchmarks.measuring import Place
from benchmarks.reading import Case, alone, measure
from benchmarks.shapes import SHAPES

LIBRARIES = ("torch", "transformers", "sae-lens", "transformer-lens", "numpy")
Key = tuple[str, int, str, int]
ON_GPU, WIDTHS_ON_GPU = ("llama-8b", "llama-1b", "gemma3-1b"), (65536, 262144, 16384)
LENGTHS_ON_GPU = ("1024", "mixed", "256")
WIDTHS_ON_CPU, LENGTHS_ON_CPU = {"llama-tiny": 512, "llama-small": 8192, "gemma3-small": 8192}, ("256", "mixed")
SEVERAL_ON_GPU, SEVERAL_ON_CPU = ("llama-1b", 65536, "1024", 4), ("llama-small", 8192, "256", 4)
FIRST_ON_GPU: tuple[Key, ...] = (  # what the targets need
    ("llama-8b", 65536, "1024", 1),
    ("llama-1b", 262144, "1024", 1),
    SEVERAL_ON_GPU,
    ("llama-8b", 65536, "mixed", 1),
    ("llama-8b", 65536, "256", 1),
    ("gemma3-1b", 65536, "1024", 1),
    ("llama-8b", 262144, "1024", 1),
    ("llama-1b", 65536, "1024", 1),
    ("llama-1b", 65536, "mixed", 1),
)
SHORTEST_CASE = 15.0  # seconds; with fewer left none is begun


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says. Returns 1 if a case broke."""
    began = time.monotonic()
    options = _options(arguments)
    warnings.simplefilter("ignore")
    place = Place.of(cpu=options.cpu, threads=options.threads)
    cases = _cases(options, place)
    if options.alone:
        print(json.dumps(alone(cases[0], options, place)))
        return 0
    path = options.out or measuring.result_path("gpu" if place.cuda else "cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"date": measuring.date(), **_about(options, place), "cases": []}
    waiting = dict.fromkeys(cases, "the run ended before it")
    took: dict[str, float] = {}
    broken = False
    for number, case in enumerate(cases):
        left = None if options.minutes is None else began + 60.0 * options.minutes - time.monotonic()
        needed = 1.25 * took.get(case.shape.name, SHORTEST_CASE)
        if left is not None and left < needed:
            waiting[case] = f"{max(left, 0.0):.0f} s were left, and it needs {needed:.0f} s"
            continue
        share = None if left is None else max(left / (len(cases) - number), left / 4)
        try:
            found = measure(case, options, place, until=None if share is None else time.monotonic() + share)
            result["cases"].append(found)
            took[case.shape.name] = found["least_seconds"]
            del waiting[case]
        except Exception as error:  # one case that breaks takes no other with it
            waiting[case], broken = f"{type(error).__name__}: {str(error)[:500]}", True
            print(*case.key, waiting[case])
        place.free()
        _write(path, result, waiting, place)
    _write(path, result, waiting, place)
    for line in (result["large"] or {}).get("arithmetic", ()):
        print(line)
    targets.show(result["targets"])
    print(path)
    return int(broken)


def _write(path: Path, result: dict[str, Any], waiting: dict[Case, str], place: Place) -> None:
    """Write what is known so far: a long run that is cut off keeps what it measured."""
    result["not_run"] = [{**case.named(), "reason": reason} for case, reason in waiting.items()]
    result["targets"] = targets.reading(result["cases"], cuda=place.cuda)
    result["large"] = targets.large(result["cases"]) if place.cuda else None
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _about(options: argparse.Namespace, place: Place) -> dict[str, Any]:
    """Return what the numbers depend on."""
    settings = ("rounds", "warm_up", "tokens", "batch", "minutes")
    return {
        "machine": measuring.about(place),
        "versions": measuring.versions(LIBRARIES),
        "settings": {"dtype": str(place.dtype), **{name: getattr(options, name) for name in settings}},
        "roofline": {
            "data_sheet": measuring.data_sheet_peak(place),
            "source": "data sheet, dense bf16"
            if measuring.data_sheet_peak(place)
            else "best matrix product of a case's turns",
        },
        "peak_memory": "weights of the model and the dictionaries, and the most one run added to them"
        if place.cuda
        else "resident memory of a process of each variant's own",
    }


def _cases(options: argparse.Namespace, place: Place) -> list[Case]:
    """Return the cases, those first that the targets need."""
    names = options.shapes or (ON_GPU if place.cuda else tuple(WIDTHS_ON_CPU))
    lengths = options.lengths or (LENGTHS_ON_GPU if place.cuda else LENGTHS_ON_CPU)
    found: list[Key] = []
    for name in names:
        widths = options.widths or (WIDTHS_ON_GPU if place.cuda else (WIDTHS_ON_CPU.get(name, 16384),))
        found += [(name, width, length, options.dictionaries or 1) for width in widths for length in lengths]
    if not (options.shapes or options.widths or options.lengths or options.dictionaries):
        found.append(SEVERAL_ON_GPU if place.cuda else SEVERAL_ON_CPU)
    order = {key: number for number, key in enumerate(FIRST_ON_GPU)}
    found.sort(key=lambda key: order.get(key, len(order)))
    return [Case(SHAPES[name], width, length, count) for name, width, length, count in found]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description="Measure how fast features are read, beside other libraries.")
    parser.add_argument("--cpu", action="store_true", help="measure on the CPU even where there is a GPU")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--widths", nargs="+", type=int)
    parser.add_argument("--lengths", nargs="+", help="token counts, or 'mixed'")
    parser.add_argument(
        "--dictionaries", type=int, help="how many are read at once; the default has cases with 1 and with 4"
    )
    parser.add_argument(
        "--minutes", type=float, help="stop before so much time is over; fewer rounds, and fewer tokens on a GPU"
    )
    parser.add_argument("--rounds", type=int, help="20 on a GPU, else 7; at most, with --minutes")
    parser.add_argument("--warm-up", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--no-memory", action="store_true", help="leave out peak memory, on a CPU a process for each variant"
    )
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    usual = {"rounds": 20, "warm_up": 3, "tokens": 65536, "batch": 16} if cuda and not options.cpu else {}
    if options.minutes is not None and usual:
        usual |= {"warm_up": 1, "tokens": 32768}
    for name, value in ({"rounds": 7, "warm_up": 1, "tokens": 1024, "batch": 4} | usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


if __name__ == "__main__":
    raise SystemExit(main())
