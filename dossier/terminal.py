"""How does a verdict read in a terminal that its text may be trying to fool?

Text from a pack or a model is printed by `plain`: control characters, escape sequences and characters that reorder text
are written by number, and rich's markup is never interpreted in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dossier.calibration_report import by_quantity
from dossier.collector import Cost
from dossier.errors import DossierError
from dossier.model import Calibration, Decision, NotCollected
from dossier.replay import Replay
from dossier.run import Progress as RunProgress
from dossier.verdict import PLANES, Finding, Outcome, Verdict
from dossier.wording import flops

STYLES: Mapping[str, str] = {
    "passed": "green",
    "failed": "bold red",
    "indeterminate": "yellow",
    "not_checked": "dim",
    "open": "green",
    "shut": "yellow",
}
MAX_LINE = 2000


def plain(text: str) -> str:
    """Return ``text`` with everything that would not be printed as itself written as ⟨U+XXXX⟩."""
    shown = text[:MAX_LINE] + (" […]" if len(text) > MAX_LINE else "")
    return "".join(character if character.isprintable() else f"⟨U+{ord(character):04X}⟩" for character in shown)


def console() -> Console:
    """Return the console for humans: stderr; stdout is for ``--json``."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def print_error(error: DossierError) -> None:
    """Print an error and its next step."""
    out = console()
    out.print(Text.assemble(("error ", "bold red"), plain(error.message)))
    if error.hint:
        out.print(Text.assemble(("next  ", "bold"), plain(error.hint)))


def print_verdict(verdict: Verdict, *, name: str) -> None:
    """Print a verdict: caveat first, then plane by plane with what was found."""
    out = console()
    out.print(plain(verdict.caveat), style="italic")
    if verdict.demo:
        out.print("DEMO: signed with demo keys. Nothing here is evidence.", style="bold magenta")
    out.print()
    for plane in PLANES:
        outcome: Outcome = verdict.planes[plane]
        needed = "required" if plane in verdict.required_planes else "reported"
        label = outcome.replace("_", " ")
        out.print(Text.assemble(f"  {plane:14}", (f"{label:14}", STYLES[outcome]), (needed, "dim")))
        print_findings(
            finding
            for finding in verdict.findings
            if finding.plane == plane and (finding.outcome != "passed" or plane == "POLICY")
        )
    if verdict.withheld:
        folders = Counter(name.partition("/")[0] for name in verdict.withheld)
        listed = ", ".join(f"{name} ({count})" for name, count in folders.items())
        out.print(f"\n  edition for {verdict.edition}: {len(verdict.withheld)} members are withheld: {plain(listed)}")
    depths = [number.depth for number in verdict.numbers]
    if depths:
        counts = ", ".join(f"{depths.count(depth)} {depth}" for depth in dict.fromkeys(depths))
        out.print(f"\n  numbers: {counts}")
    if verdict.gate is not None:
        print_gate(verdict.gate)
    out.print(Text.assemble(f"\n{plain(name)}: ", (verdict.verdict.upper(), STYLES[verdict.verdict])))


def print_findings(findings: Iterable[Finding]) -> None:
    """Print findings, one a line."""
    out = console()
    for finding in findings:
        out.print(Text(f"      {plain(finding_line(finding))}", style=STYLES[finding.outcome]))


def finding_line(finding: Finding) -> str:
    """Return where and what, the place once. It may be hostile text: put it through `plain` before printing."""
    named = not finding.where or finding.what.startswith(finding.where)
    return finding.what if named else f"{finding.where}: {finding.what}"


def print_gate(gate: Decision) -> None:
    """Print the gate's decision and what blocks it."""
    out = console()
    out.print(Text.assemble("  gate: ", (gate.state, STYLES[gate.state]), " (informs a named person's decision)"))
    for reason in gate.blocked_by:
        out.print(f"      {plain(reason)}")


def print_not_collected(missing: Sequence[NotCollected]) -> None:
    """Print what the plan promised and the run could not collect, and why."""
    out = console()
    for one in missing:
        out.print(
            Text.assemble((f"  not collected: {plain(one.id)}", "bold red"), f" ({one.kind}): {plain(one.reason)}")
        )


def print_replay(replay: Replay) -> None:
    """Print what asking again showed."""
    out = console()
    if not replay.pack_verified:
        out.print("  PACK NOT VERIFIED: whose pack this is was not looked at (--trust does)", style="bold yellow")
    out.print(f"  asked again     {replay.sampled} of {replay.trials} trials, picked by nonce {plain(replay.nonce)!r}")
    out.print(f"  equal answers   {replay.exact} of {replay.sampled}; token agreement {replay.token_agreement:.4f}")
    if replay.unanswered:
        out.print(
            f"  no answer       {replay.unanswered} of {replay.trials} trials recorded an error instead of an answer"
        )
    out.print(f"  tolerated       {replay.allowed} differing ({plain(replay.band)})")
    out.print(f"  would be found  with 95 %: a share of {replay.undetected_share:.3f} or more of foreign answers")
    for again in replay.remeasured:
        if again.problem:
            said = f"not measured again: {again.problem}"
        else:
            difference = (
                "" if again.largest_difference is None else f", largest difference {again.largest_difference:.1e}"
            )
            said = f"{again.agreeing} of {again.trials} trials within {again.tolerance:g}{difference}"
        out.print(f"  measured again  {plain(again.evidence)}: {plain(said)}")
    for problem in replay.subject_problems:
        out.print(f"  subject         {plain(problem)}", style="bold red")
    for mismatch in replay.mismatches[:10]:
        key = "/".join(str(part) for part in mismatch.key.order)
        out.print(f"  differs         {plain(mismatch.evidence)} {plain(key)}: {plain(mismatch.what)}", style="red")
    out.print(Text.assemble("\nreplay: ", (replay.verdict.upper(), STYLES[replay.verdict])))


def print_costs(costs: Mapping[str, Cost]) -> None:
    """Print what a plan will ask, at most."""
    table = Table("evidence", "prompts", "prompt tokens", "generated tokens", "forward passes", box=None)
    for name, cost in costs.items():
        counts = (f"{number:,}" for number in (cost.prompts, cost.prompt_tokens, cost.generated_tokens))
        table.add_row(plain(name), *counts, flops(cost.forward_flops))
    console().print(table)


def print_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a plain table."""
    table = Table(box=None, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console().print(table)


def print_calibration(made: Calibration, faults: Iterable[str]) -> None:
    """Print what a certificate says of each quantity, its controls, and why it is refused."""
    rows = [
        (
            row.quantity,
            f"{row.truths[0]:.3f} to {row.truths[1]:.3f}",
            f"{row.bias:+.3f}",
            f"{row.coverage[0]:.3f} to {row.coverage[1]:.3f}",
            f"{row.n[0]} to {row.n[1]}",
            f"{row.estimable} of {row.studies}",
        )
        for row in by_quantity(made)
    ]
    print_table(("quantity", "truths", "largest bias", "coverage", "n", "estimable"), rows)
    print_table(
        ("control", "expected", "passed"),
        [(one.what, one.expected, f"{one.passed} of {one.studies}") for one in made.negative_controls],
    )
    for fault in faults:
        console().print(Text(plain(f"refused: {fault}"), style="red"))


class ProgressBar:
    """Progress with rate and time left, on stderr."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            console=console(),
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: RunProgress) -> None:
        """Show how far a piece of evidence is."""
        if progress.evidence not in self._tasks:
            self._tasks[progress.evidence] = self.bar.add_task(
                plain(progress.evidence), total=progress.promised, rate=""
            )
        task = self._tasks[progress.evidence]
        speed = self.bar.tasks[task].speed
        note = f", {progress.replayed} from the journal" if progress.replayed else ""
        self.bar.update(task, completed=progress.done, rate=f"{speed:.0f}/s{note}" if speed else note)
