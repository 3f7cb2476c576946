"""Hostile text in a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dossier.errors import ConfigError
from dossier.terminal import plain, print_error, print_findings, print_verdict
from dossier.verdict import CAVEAT, Finding, Verdict, plane_outcomes


@given(st.text())
def test_nothing_that_drives_a_terminal_gets_through(text):
    shown = plain(text)
    assert shown.isprintable()  # no line of its own either: a forged finding must not print a verdict's lines
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\x9b" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "⟨U+001B⟩[2Jgone"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("bell\a", "bell⟨U+0007⟩"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
    ],
)
def test_what_would_not_be_seen_as_itself_is_written_by_number(text, shown):
    assert plain(text) == shown


def test_a_finding_names_its_member_once(capsys):
    findings = [
        Finding(plane="INTEGRITY", outcome="failed", where="plan.json", what="plan.json: the pack has no such member."),
        Finding(plane="INTEGRITY", outcome="failed", where="salts.json", what="it was added"),
        Finding(plane="SCHEMA", outcome="failed", where="trials/a.jsonl", what="trials/a.jsonl:7/seed: expected text"),
    ]
    print_findings(findings)
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "plan.json: the pack has no such member.",
        "salts.json: it was added",
        "trials/a.jsonl:7/seed: expected text",
    ]


def test_an_error_is_printed_with_its_next_step_and_without_markup(capsys):
    print_error(ConfigError("x: [bold]not bold[/bold] \x1b[31m", hint="do this"))
    captured = capsys.readouterr()
    assert "[bold]not bold[/bold]" in captured.err
    assert "\x1b[31m" not in captured.err
    assert "do this" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("withheld", "said"),
    [
        (
            ("artifacts/a.json", "artifacts/b.json", "salts.json"),
            "edition for authority: 3 members are withheld: artifacts (2), salts.json (1)",
        ),
        ((), ""),
    ],
)
def test_an_edition_says_what_it_withholds(withheld, said, capsys):
    verdict = Verdict(
        verdict="passed",
        caveat=CAVEAT,
        demo=False,
        checked_at="2026-11-01T12:00:00Z",
        tool_version="dossier",
        planes=plane_outcomes(()),
        required_planes=("INTEGRITY",),
        findings=(),
        numbers=(),
        edition="authority" if withheld else None,
        withheld=withheld,
        gate=None,
        decisions=(),
    )
    print_verdict(verdict, name="pack.zip")
    shown = capsys.readouterr().err
    assert said in shown
    assert ("edition" in shown) == bool(withheld)
