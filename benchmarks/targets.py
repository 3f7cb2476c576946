"""Which of the targets of ``README.md`` does a result meet? And what follows from it for a model that was not measured?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.shapes import SHAPES, Shape
from benchmarks.variants import BEST_PEER, OURS, PASS_EACH, TUTORIAL

Case = Mapping[str, Any]  # as `benchmarks.gpu` and `benchmarks.generation` write them


def reading(cases: Sequence[Case], *, cuda: bool) -> list[dict[str, Any]]:
    """Return the targets for reading features, each with what was measured."""
    single = [case for case in cases if case["dictionaries"] == 1]
    several = [case for case in cases if case["dictionaries"] == 4]
    best = _judged("at least SAELens' best path, in every case", 1.0, _ratios(single, BEST_PEER))
    if not cuda:
        return [best, _judged("at least 2x the tutorial, in every case", 2.0, _ratios(single, TUTORIAL))]
    deep = [case for case in single if (case["shape"], case["dictionary_width"]) == ("llama-8b", 65536)]
    wide = max(single, key=_dictionary_share, default=None)
    dominated = [] if wide is None or wide["dictionary_width"] < 262144 else [wide]
    return [
        best,
        _judged(
            "at least half the roofline: llama-8b, a dictionary of 65536",
            0.5,
            ((_name(case), case["variants"][OURS]["share_of_roofline"]) for case in deep[:1]),
        ),
        _judged(
            "at least 1.5x SAELens' best path where the dictionary dominates: 262144 features, its largest share of operations",
            1.5,
            _ratios(dominated, BEST_PEER),
        ),
        _judged(
            "four dictionaries in one pass, at least 1.5x SAELens' one cached pass", 1.5, _ratios(several, BEST_PEER)
        ),
        _judged("four dictionaries in one pass, at least 1.5x SAELens' four passes", 1.5, _ratios(several, PASS_EACH)),
    ]


def generation(cases: Sequence[Case], *, plain: str, cuda: bool) -> list[dict[str, Any]]:
    """Return the target for generation, with what was measured against the variant named ``plain``."""
    least, model = (20.0, "llama-1b") if cuda else (3.0, "hint-mcq")
    found = ((f"{case['model']} {case['dtype']}", case["ours_over"][plain]) for case in cases if case["model"] == model)
    return [_judged(f"at least {least:g}x one call of generate a trial, {model}", least, found)]


def large(cases: Sequence[Case], *, gpus: int = 4, tokens: float = 1e9) -> dict[str, Any]:
    """Return peak memory and hours for a 70B model on several cards, from the operations a second reached at 8B.

    Layers are split over the cards and one batch is in flight, so the cards take turns: no speed-up is assumed.
    """
    wanted = ("llama-8b", 65536, 1)
    measured = [case for case in cases if (case["shape"], case["dictionary_width"], case["dictionaries"]) == wanted]
    if not measured:
        return {"reason": "llama-8b with a dictionary of 65536 was not measured"}
    shape: Shape = SHAPES["llama-70b"]
    reached = measured[0]["variants"][OURS]["tokens_per_second"] * measured[0]["operations_per_token"]
    operations = shape.operations(65536)
    rate = reached / operations
    weights = 2.0 * (shape.block_parameters * (shape.at + 1) + shape.vocabulary * shape.width)
    encoder = 2.0 * 2.0 * shape.width * 65536
    batch = 16 * 1024 * (2.0 * (2 * shape.width + 3 * shape.inner) + 2.0 * 4.0 * 4096 / 16384 * 65536)
    total = weights + encoder + batch
    lines = [
        f"operations a token, blocks 0 to {shape.at} of {shape.layers} and the dictionary: {operations:.3g}",
        f"operations a second reached at 8B: {reached:.3g}; tokens a second: {reached:.3g} / {operations:.3g} = {rate:,.0f}",
        f"hours for {tokens:.0e} tokens, {gpus} cards taking turns: {tokens:.0e} / {rate:,.0f} / 3600 = "
        f"{tokens / rate / 3600:,.1f}",
        f"bytes: weights up to the point {weights:.3g} + dictionary {encoder:.3g} + one batch of 16 x 1024 tokens {batch:.3g} "
        f"= {total:.3g}, a card {total / gpus:.3g}",
    ]
    return {"gpus": gpus, "tokens_per_second": rate, "hours": tokens / rate / 3600, "arithmetic": lines}


def show(targets: Iterable[Mapping[str, Any]]) -> None:
    """Print targets, a line each."""
    for one in targets:
        state = "not measured" if one["met"] is None else "met" if one["met"] else "missed"
        print(f"{state}: {one['target']}", "" if one["measured"] is None else f"({one['measured']:.3f}, {one['case']})")


def _judged(target: str, least: float, found: Iterable[tuple[str, float]]) -> dict[str, Any]:
    """Return a target with the lowest of what was found, and whether that reaches it; None where nothing was found."""
    case, measured = min(found, key=lambda one: one[1], default=(None, None))
    return {
        "target": target,
        "at_least": least,
        "measured": measured,
        "case": case,
        "met": None if measured is None else measured >= least,
    }


def _ratios(cases: Iterable[Case], over: str) -> list[tuple[str, float]]:
    return [(_name(case), case["ours_over"][over]) for case in cases if over in case["ours_over"]]


def _dictionary_share(case: Case) -> float:
    """Return the share of the operations that the encoder takes."""
    width: float = SHAPES[case["shape"]].width
    return 2.0 * width * float(case["dictionary_width"]) / float(case["operations_per_token"])


def _name(case: Case) -> str:
    more = f" x {case['dictionaries']}" if case["dictionaries"] > 1 else ""
    return f"{case['shape']}, {case['dictionary_width']}{more}, {case['length']}"
