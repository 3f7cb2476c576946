"""Does every white-box instrument run on every shipped organism, and does it find nothing where nothing is?

    python -m evidence_collectors.organisms.everywhere --out FILE [--page PAGE]

Each instrument is run with reduced parameters on each organism and on a Llama of more than 100 million random weights. What
it says is written down beside the time it took; what cannot run is written down with the reason, never left out. This is a
run through everything, not a calibration: what an instrument's numbers are worth stands in its certificate.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dossier import canonical
from dossier.collector import Artifact, Collector, Inputs
from dossier.errors import DossierError
from dossier.model import Observation, Trial
from evidence_collectors import COLLECTORS
from evidence_collectors import load as load_collector
from evidence_collectors.organisms.everywhere_headlines import HEADLINES, Headline
from evidence_collectors.organisms.everywhere_page import page
from evidence_collectors.organisms.everywhere_plan import CIRCUIT, PLANS, RANDOM, STABILITY, Plan, planned
from evidence_collectors.organisms.everywhere_subject import FOLDERS, Subject, opened

SEED = canonical.sha256(b"every instrument on every organism")[:16]
LIBRARIES = ("dossier", "torch", "transformers", "sae-lens", "circuit-tracer", "nnsight", "numpy")
SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "organisms"
Report = Callable[[str], object]
Entry = dict[str, Any]


def white_box() -> tuple[str, ...]:
    """Return the kinds of all instruments that read the model's computation; the one that takes a traced circuit comes last."""
    kinds = [kind for kind in COLLECTORS if "capture" in load_collector(kind).needs]
    return tuple(sorted(kinds, key=lambda kind: kind == STABILITY))


def entry_of(plan: Plan, kind: str) -> Entry:
    """Return what every entry says of itself."""
    collector = load_collector(kind)
    return {
        "model": plan.name,
        "kind": kind,
        "protocol_version": collector.protocol_version,
        "analysis_version": collector.analysis_version,
    }


def measured(subject: Subject, kind: str) -> Entry:
    """Return what an instrument says of a model, or why it could not be run."""
    collector, entry = load_collector(kind), entry_of(subject.plan, kind)
    clock, processor = time.perf_counter(), time.process_time()
    try:
        entry |= _run(subject, collector)
    except DossierError as error:
        entry["error"] = _said(error)
    except Exception as error:  # a library's own: it is a result as well, and must not take the others with it
        entry["error"] = {"type": type(error).__name__, "message": str(error)[:1000], "hint": None}
    entry["seconds"] = round(time.perf_counter() - clock, 2)
    entry["cpu_seconds"] = round(time.process_time() - processor, 2)
    return entry


def _run(subject: Subject, collector: Collector[Any]) -> Entry:
    kind, items = collector.kind, subject.items(collector.kind)
    parameters = subject.plan.parameters(kind)
    if parameters is None:
        return {
            "error": {
                "type": "NotPlanned",
                "message": f"no reduced parameters are written for {kind} here",
                "hint": None,
            }
        }
    traced = subject.traced(items) if kind == STABILITY else {}
    params = collector.parse({**parameters, **({"use_core": True} if traced else {})})
    promised = len(
        list(collector.expected(params, items, SEED))
    )  # refuses what cannot be asked, before any file is drawn
    files = traced | {
        role: subject.file(role, items) for role, what in collector.roles.items() if what == "file" and role in FOLDERS
    }
    given = Inputs(
        subject=subject.model,
        items=items,
        white_box=subject.model,
        files={role: path for role, (path, _) in files.items()},
    )
    products = list(collector.collect(given, params, SEED))
    trials = [one for one in products if isinstance(one, Trial)]
    artifacts = {one.name: one.data for one in products if isinstance(one, Artifact)}
    if kind == CIRCUIT:
        subject.keep_circuits(artifacts)
    found = {one.id: one for one in collector.summarise(trials, artifacts, params, SEED)}
    return {
        "items": {
            "file": "items of refusal" if subject.plan.name == RANDOM else subject.plan.items_file(kind),
            "count": len(items),
            "sha256": canonical.sha256(canonical.dump_lines(items)),
        },
        "parameters": collector.dump(params),
        "inputs": {role: origin for role, (_, origin) in files.items()},
        "trials": {
            "promised": promised,
            "failed": sum(one.error is not None for one in trials),
            "errors": sorted({one.error for one in trials if one.error})[:3],
        },
        "estimable": sum(one.estimate is not None for one in found.values()),
        "not_estimable": sum(one.estimate is None for one in found.values()),
        "observations": [_headline(found[one.id], one) for one in HEADLINES[kind] if one.id in found],
        "found": [one.id for one in HEADLINES[kind] if one.id in found and shows(found[one.id], one)],
    }


def shows(observed: Observation, headline: Headline) -> bool:
    """Return whether an observation says that something was found: its interval lies where the headline's test wants it."""
    if headline.test is None or observed.estimate is None or observed.interval is None:
        return False
    low, high = observed.interval.low, observed.interval.high
    if headline.test == "away from zero":
        return low > 0.0 or high < 0.0
    null = observed.null
    bar = 0.0
    if headline.test == "above its null" and null is not None:
        bar = max(bar, null.estimate, null.high if null.high is not None else null.estimate)
    return low > bar


def _headline(observed: Observation, headline: Headline) -> Entry:
    interval, null = observed.interval, observed.null
    return {
        "id": observed.id,
        "unit": observed.unit,
        "estimate": observed.estimate,
        "interval": None if interval is None else [interval.low, interval.high],
        "null": None if null is None else {"estimate": null.estimate, "low": null.low, "high": null.high},
        "n": observed.n,
        "n_counts": observed.n_counts,
        "reasons": list(observed.reasons),
        "shows_if": headline.test,
    }


def everything(
    samples: Path, work: Path, *, plans: Sequence[Plan] = PLANS, kinds: Sequence[str] | None = None, report: Report
) -> Iterator[tuple[Entry, list[Entry]]]:
    """Yield each model with an entry for every instrument, as soon as it is known."""
    chosen = white_box() if kinds is None else kinds
    for plan in plans:
        try:
            subject = opened(plan, samples, work)
        except DossierError as error:
            unread = {"seconds": 0.0, "cpu_seconds": 0.0, "error": _said(error)}
            nothing = {"name": plan.name, "parameters": 0, "weights_sha256": None, "blocks": 0, "note": plan.note}
            yield nothing, [entry_of(plan, kind) | unread for kind in chosen]
            continue
        runs = []
        for kind in chosen:
            entry = measured(subject, kind)
            runs.append(entry)
            said = entry["error"]["message"] if "error" in entry else f"found {entry['found'] or 'nothing'}"
            report(f"{subject.plan.name:22} {kind:40} {entry['cpu_seconds']:7.1f} s  {said[:160]}")
        own = subject.model.subject
        model = {
            "name": subject.plan.name,
            "parameters": own.parameter_count,
            "weights_sha256": own.weights_sha256,
            "blocks": len(subject.model.layout.residual),
            "note": subject.plan.note,
        }
        yield model, runs


def _said(error: DossierError) -> Entry:
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


def record(found: Sequence[tuple[Entry, Sequence[Entry]]]) -> dict[str, Any]:
    """Return the record of a run: the machine, the models in the order of the plans, and the entries."""
    order = {plan.name: place for place, plan in enumerate(PLANS)}
    ordered = sorted(found, key=lambda one: order.get(one[0]["name"], len(order)))
    return {
        "format": "everywhere.v1",
        "seed": SEED,
        "machine": _machine(),
        "models": [model for model, _ in ordered],
        "runs": [entry for _, runs in ordered for entry in runs],
    }


def _machine() -> Mapping[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": platform.python_version(),
        "platform": platform.machine(),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; return 1 if something was found in random weights, 0 otherwise."""
    parser = argparse.ArgumentParser(description="Run every white-box instrument on every organism.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write, after every model")
    parser.add_argument("--page", type=Path, help="Markdown file to write")
    parser.add_argument("--samples", type=Path, default=SAMPLES, help="folder of the shipped organisms")
    parser.add_argument("--models", nargs="*", help="names of models; default: all")
    parser.add_argument("--resume", action="store_true", help="keep what the JSON file holds, and run the other models")
    options = parser.parse_args(arguments)
    found = _before(options.out) if options.resume else []
    known = {model["name"] for model, _ in found}
    shipped = [path.parent.name for path in options.samples.glob("*/model.safetensors")]
    plans = [one for one in planned(shipped) if one.name not in known and one.name in (options.models or [one.name])]
    torch.set_num_threads(1)
    made = record(found)
    with tempfile.TemporaryDirectory() as work:
        for one in everything(options.samples, Path(work), plans=plans, report=_print):
            found.append(one)
            made = record(found)
            options.out.write_text(json.dumps(made, indent=1, sort_keys=True, allow_nan=False) + "\n", "utf-8")
    if options.page:
        options.page.write_text(page(made), "utf-8")
    return int(any(run.get("found") for run in made["runs"] if run["model"] == RANDOM))


def _before(path: Path) -> list[tuple[Entry, list[Entry]]]:
    """Return what an earlier run wrote, nothing where there was none."""
    if not path.exists():
        return []
    made = json.loads(path.read_text("utf-8"))
    return [(model, [run for run in made["runs"] if run["model"] == model["name"]]) for model in made["models"]]


def _print(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
