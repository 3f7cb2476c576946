"""Hostile text in a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dossier.errors import ConfigError
from dossier.terminal import plain, print_error


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


def test_an_error_is_printed_with_its_next_step_and_without_markup(capsys):
    print_error(ConfigError("x: [bold]not bold[/bold] \x1b[31m", hint="do this"))
    captured = capsys.readouterr()
    assert "[bold]not bold[/bold]" in captured.err
    assert "\x1b[31m" not in captured.err
    assert "do this" in captured.err
    assert captured.out == ""
