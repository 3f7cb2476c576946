"""How is a run through everything printed? A page of Markdown with a table of the models and one of what was said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evidence_collectors.organisms.everywhere_plan import NOTHING

_TOP = """# Every instrument on every organism

Made by `python -m evidence_collectors.organisms.everywhere --out {file} --page docs/everywhere.md`
on {date}, {device} with {threads} thread(s), Python {python}, {versions}.

Every white-box instrument was run with reduced parameters on every shipped organism and on a Llama of random weights. The
table shows what each said: the estimate, its interval, and the number of things it counts. This page says that the
instruments run and what they say; how well they say it is in their calibration certificates. Nothing here says anything about
another model.

- **Found** names the observations whose interval lies beyond zero, or beyond what random directions do. In the random
  weights and in `refusal-null` there is nothing to find{verdict}.
- A dash is "not estimable"; the reason follows the table, as it does for what could not be run.
- Where an organism has no dictionary or transcoders of its own, random ones were drawn, marked by *.

## Models

| model | parameters | blocks | weights | note |
|---|---|---|---|---|
{models}

## What they say

| model | instrument | texts | said | found | CPU s |
|---|---|---|---|---|---|
{rows}

## Not estimable, and not run

{reasons}
"""
_LONGEST = 260  # characters of a reason


def page(made: Mapping[str, Any]) -> str:
    """Return the page of a record that `everywhere.everything` made."""
    machine, runs = made["machine"], made["runs"]
    return _TOP.format(
        file=f"benchmarks/results/everywhere-{machine['date']}.json",
        date=machine["date"],
        device=machine["device"].upper(),
        threads=machine["threads"],
        python=machine["python"],
        versions=", ".join(f"{name} {number}" for name, number in machine["versions"].items()),
        verdict=_verdict(made),
        models="\n".join(
            f"| {one['name']} | {one['parameters']:,} | {one['blocks']} | `{str(one['weights_sha256'])[:16]}` | {one['note']} |"
            for one in made["models"]
        ),
        rows="\n".join(_row(one) for one in runs),
        reasons="\n".join(_reasons(runs)) or "Everything was run and could be estimated.",
    )


def _verdict(made: Mapping[str, Any]) -> str:
    here = [one for one in made["runs"] if one["model"] in NOTHING]
    if not here:
        return "; they were not read in this run"
    found = [f"{_name(one)} on {one['model']} ({', '.join(one['found'])})" for one in here if one.get("found")]
    ran = sum("error" not in one for one in here)
    if found:
        rest = f"None of the other {ran - len(found)} found anything"
        return f", and yet something was found by {'; '.join(found)}: a false alarm. {rest}"
    return f", and none of the {ran} that ran found anything"


def _name(run: Mapping[str, Any]) -> str:
    name: str = run["kind"].partition(".")[2]
    return name


def _row(run: Mapping[str, Any]) -> str:
    name = _name(run)
    if "error" in run:
        return f"| {run['model']} | {name} | | not run: {run['error']['type']} | | {run['cpu_seconds']:.1f} |"
    drawn = "*" if any(origin.startswith("random weights") for origin in run["inputs"].values()) else ""
    said = "; ".join(_said(one) for one in run["observations"])
    found = ", ".join(run["found"]) or "nothing"
    return f"| {run['model']} | {name}{drawn} | {run['items']['count']} | {said} | {found} | {run['cpu_seconds']:.1f} |"


def _said(observed: Mapping[str, Any]) -> str:
    if observed["estimate"] is None:
        return f"{observed['id']} -"
    between = "" if observed["interval"] is None else " [{:.3g}, {:.3g}]".format(*observed["interval"])
    return f"{observed['id']} {observed['estimate']:.3g}{between}, n {observed['n']}"


def _reasons(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each run that failed and for each reason that an observation was not estimable for."""
    for run in runs:
        where = f"- {run['model']}, {_name(run)}"
        if "error" in run:
            error = run["error"]
            hint = f" {error['hint']}" if error["hint"] else ""
            yield f"{where}: not run. {error['type']}: {_short(error['message'])}{hint}"
            continue
        why: dict[str, list[str]] = {}
        for one in run["observations"]:
            if one["estimate"] is None:
                why.setdefault("; ".join(one["reasons"]), []).append(one["id"])
        for reason, names in why.items():
            yield f"{where}: {', '.join(names)}: {_short(reason)}"


def _short(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= _LONGEST else f"{flat[:_LONGEST]} ..."
