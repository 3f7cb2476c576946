"""How fast does each variant read one model with one set of dictionaries? The variants take turns; see `benchmarks.gpu`."""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import measuring, shapes, variants
from benchmarks.measuring import MatrixProduct, Place
from benchmarks.shapes import Shape
from evidence_collectors.models.dictionaries import Dictionary

PRODUCT = "matrix product"  # takes turns with the variants


@dataclass(frozen=True)
class Case:
    """A model's shape, the width of a dictionary, the texts' length in tokens or ``mixed``, and how many dictionaries."""

    shape: Shape
    width: int
    length: str
    dictionaries: int = 1

    @property
    def key(self) -> tuple[str, int, str, int]:
        """The case as it is listed."""
        return self.shape.name, self.width, self.length, self.dictionaries

    def named(self) -> dict[str, Any]:
        """Return the case as it is written."""
        return dict(zip(("shape", "dictionary_width", "length", "dictionaries"), self.key, strict=True))


def measure(case: Case, options: argparse.Namespace, place: Place, *, until: float | None) -> dict[str, Any]:
    """Return what all variants did on one case, taking turns."""
    began = time.monotonic()
    model, dictionaries, rows = _prepared(case, options, place)
    runs: dict[str, _Run] = {}
    lacking = {}
    for name in variants.NAMES:
        if name == variants.PASS_EACH and case.dictionaries == 1:
            continue
        try:  # a peer that cannot do this shape is a result too
            run = _Run(variants.make(name, model, dictionaries, case.shape), rows, options.batch, place)
            with torch.inference_mode():
                run()  # the first warm-up; from here on a batch fits into memory
            runs[name] = run
        except Exception as error:
            if name == variants.OURS:
                raise
            lacking[name] = f"{type(error).__name__}: {str(error)[:500]}"
    product = MatrixProduct(place)
    clocked = measuring.take_turns(
        {**runs, PRODUCT: product}, place, warm_up=max(0, options.warm_up - 1), rounds=options.rounds, until=until
    )
    least = time.monotonic() - began - sum(sum(times[1:]) for times in clocked.seconds.values())
    tokens, operations = sum(map(len, rows)), case.shape.operations(case.width, dictionaries=case.dictionaries)
    peak = measuring.data_sheet_peak(place) or product.best
    ours = clocked.values[variants.OURS]
    held = _bytes(model.parameters()) + sum(_bytes(vars(one).values()) for one in dictionaries)
    report: dict[str, Any] = {
        **case.named(),
        "tokens": tokens,
        "rounds": len(clocked.seconds[PRODUCT]),
        "operations_per_token": operations,
        "active_per_token": float(ours[0][0].sum()) / tokens,
        "matrix_products_per_second": product.best,
        "least_seconds": least,
    }
    report["variants"] = {
        name: {
            "tokens_per_second": tokens / clocked.fastest(name),
            "median_seconds": sorted(clocked.seconds[name])[len(clocked.seconds[name]) // 2],
            "share_of_roofline": tokens / clocked.fastest(name) * operations / peak,
            "share_of_matrix_product": tokens / clocked.fastest(name) * operations / product.best,
            "texts_together": run.rows,
            "peak_bytes": held + run.added if place.cuda else _peak(case, name, options),
            "parity": _parity(clocked.values[name], ours),
        }
        for name, run in runs.items()
    }
    report["not_available"] = lacking
    report["ours_over"] = {
        name: clocked.fastest(name) / clocked.fastest(variants.OURS) for name in runs if name != variants.OURS
    }
    print(*case.key, {name: f"{ratio:.2f}x" for name, ratio in report["ours_over"].items()}, lacking, flush=True)
    return report


@dataclass
class _Run:
    """A variant on the texts. ``rows`` go together, half as many whenever they do not fit; ``added`` bytes are the most."""

    variant: variants.Variant
    texts: list[list[int]]
    rows: int
    place: Place
    added: int = 0

    def __call__(self) -> variants.Totals:
        while True:
            try:
                return self._once()
            except torch.OutOfMemoryError:
                if self.rows == 1:
                    raise
            self.rows //= 2
            self.place.free()  # only here: while the error was handled it held the batch

    def _once(self) -> variants.Totals:
        if not self.place.cuda:
            return self.variant(self.texts, self.rows)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        found = self.variant(self.texts, self.rows)
        self.added = max(self.added, torch.cuda.max_memory_allocated() - before)
        return found


def _prepared(case: Case, options: argparse.Namespace, place: Place) -> tuple[Any, list[Dictionary], list[list[int]]]:
    model = _model(case.shape, place)
    rows = shapes.texts(case.shape, case.length, tokens=options.tokens)
    sample = variants.activations(model, case.shape, rows[:2])[:512]
    made = [shapes.dictionary(case.shape, case.width, sample=sample, seed=1 + one) for one in range(case.dictionaries)]
    return model, made, rows


@functools.lru_cache(maxsize=1)
def _model(shape: Shape, place: Place) -> Any:
    return shapes.build(shape, device=place.device, dtype=place.dtype)


def alone(case: Case, options: argparse.Namespace, place: Place) -> dict[str, int]:
    """Return the peak memory of one variant in this process, in bytes."""
    model, dictionaries, rows = _prepared(case, options, place)
    run = variants.make(options.alone, model, dictionaries, case.shape)
    with torch.inference_mode():
        run(rows, options.batch)
    return {"peak": measuring.resident_peak()}


def _peak(case: Case, name: str, options: argparse.Namespace) -> int | None:
    """Return a variant's peak memory on a CPU in bytes, libraries included; None if it was not measured."""
    if options.no_memory or options.minutes or (options.lengths and case.length != options.lengths[0]):
        return None
    command = [sys.executable, "-m", "benchmarks.gpu", "--cpu", "--alone", name, "--shapes", case.shape.name]
    command += ["--widths", str(case.width), "--lengths", case.length, "--dictionaries", str(case.dictionaries)]
    command += [f"--{word}={getattr(options, word)}" for word in ("tokens", "batch", "threads")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
    return int(json.loads(done.stdout.splitlines()[-1])["peak"]) if done.returncode == 0 else None


def _parity(one: variants.Totals, ours: variants.Totals) -> dict[str, float]:
    """Return how far a variant's totals are from ours as shares, of the dictionary where they are farthest.

    ``flip_share``: entries on the other side of their threshold, of all active ones; two flips of one feature that cancel are
    not seen. ``sum_difference``: the largest difference of a feature's sum, of the largest sum.
    """
    pairs = list(zip(one, ours, strict=True))
    return {
        "flip_share": max(
            float((left[0] - right[0]).abs().sum() / right[0].sum().clamp(min=1)) for left, right in pairs
        ),
        "sum_difference": max(
            float((left[1] - right[1]).abs().max() / right[1].abs().max().clamp(min=1e-9)) for left, right in pairs
        ),
    }


def _bytes(tensors: Iterable[Any]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors if isinstance(one, torch.Tensor))
