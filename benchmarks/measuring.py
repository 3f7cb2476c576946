"""How long do several things take on one machine, in turns, and what can that machine do at most?"""

from __future__ import annotations

import gc
import itertools
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
DENSE_BF16 = {  # operations a second, data sheets of the SXM cards
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


@dataclass(frozen=True)
class Place:
    """Where is measured. On one CPU thread the clock is processor time, which other load slows less."""

    device: str
    dtype: Any
    threads: int

    @staticmethod
    def of(*, cpu: bool, threads: int = 1) -> Place:
        """Return CUDA in bfloat16 where there is one and ``cpu`` does not forbid it, else the CPU in float32."""
        if torch.cuda.is_available() and not cpu:
            return Place("cuda", torch.bfloat16, torch.get_num_threads())
        torch.set_num_threads(threads)
        return Place("cpu", torch.float32, threads)

    @property
    def cuda(self) -> bool:
        """Whether this is a GPU."""
        return self.device == "cuda"

    @property
    def clock(self) -> str:
        """What is counted as time."""
        return "wall" if self.cuda or self.threads > 1 else "processor time of the process"

    def now(self) -> float:
        """Return seconds of the clock, once all work handed to the device is done."""
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter() if self.clock == "wall" else time.process_time()

    def free(self) -> None:
        """Let go of what is no longer used."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()


@dataclass
class Clocked:
    """Seconds of each round and the last value, by name."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def fastest(self, name: str) -> float:
        """Return the seconds of the fastest round."""
        return min(self.seconds[name])


def take_turns(
    runs: Mapping[str, Callable[[], Any]], place: Place, *, warm_up: int, rounds: int, until: float | None = None
) -> Clocked:
    """Return how long each took, round by round, each round beginning with another one.

    After the first timed round none begins that would not end before ``until``, in `time.monotonic` seconds, if it takes as
    long as the last.
    """
    found, names = Clocked({name: [] for name in runs}), list(runs)
    with torch.inference_mode():
        for number in range(warm_up + rounds):
            began = time.monotonic()
            for name in names[number % len(names) :] + names[: number % len(names)]:
                started = place.now()
                found.values[name] = runs[name]()
                if number >= warm_up:
                    found.seconds[name].append(place.now() - started)
            if until is not None and number >= warm_up and 2 * time.monotonic() - began > until:
                break
    return found


class MatrixProduct:
    """Times products of square matrices whenever it is called; ``best`` is the most operations a second so far."""

    def __init__(self, place: Place) -> None:
        self.place, self.best = place, 0.0
        sizes = ((8192, 10),) if place.cuda else ((512, 16), (1024, 4), (2048, 1))
        draw = {"device": place.device, "dtype": place.dtype}
        self.factors = [
            (torch.randn(size, size, **draw), torch.randn(size, size, **draw), times) for size, times in sizes
        ]

    def __call__(self) -> None:
        """Multiply."""
        for left, right, times in self.factors:
            started = self.place.now()
            for _ in range(times):
                left @ right
            self.best = max(self.best, 2.0 * len(left) ** 3 * times / (self.place.now() - started))


def data_sheet_peak(place: Place) -> float | None:
    """Return the operations a second that the data sheet of the card states; None if it is not known here."""
    return DENSE_BF16.get(torch.cuda.get_device_name()) if place.cuda else None


def about(place: Place) -> dict[str, Any]:
    """Return what the numbers depend on: the machine."""
    found: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if place.cuda else f"cpu, {place.threads} thread(s)",
        "clock": place.clock,
        "float32_matrix_products": torch.get_float32_matmul_precision(),
    }
    if place.cuda:
        found["cuda"] = torch.version.cuda
        found["memory_bytes"] = torch.cuda.get_device_properties(0).total_memory
    if Path("/proc/loadavg").exists():
        found["load_average"] = list(map(float, Path("/proc/loadavg").read_text("utf-8").split()[:3]))
    return found


def versions(names: Sequence[str]) -> dict[str, str | None]:
    """Return versions of Python and of packages; None for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def date() -> str:
    """Return today, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime())


def result_path(name: str) -> Path:
    """Return where a result is written if nobody says: named by today, numbered where today has one already."""
    first = RESULTS / f"{name}-{date()}.json"
    numbered = (first.with_name(f"{name}-{date()}-{number}.json") for number in itertools.count(2))
    return first if not first.exists() else next(path for path in numbered if not path.exists())


def resident_peak() -> int:
    """Return the most memory this process has held, in bytes; `getrusage` counts what its parent held before it too."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
