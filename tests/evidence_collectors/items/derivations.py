"""How is the answer of a shipped question derived a second time?

`questions.v1.checks.jsonl` holds a Python expression for each question. It is evaluated once for every option, with the
names below. A truth value says whether the option is right; a text must equal the right option; a number must equal the
one number the right option holds. So a derivation also shows that each other option is wrong. Facts that cannot be
computed come from `questions.v1.facts.json` or from the tables of Python and SciPy.
"""

from __future__ import annotations

import calendar
import contextlib
import html
import io
import json
import keyword
import re
import statistics
import string
import textwrap
import unicodedata
from collections import Counter, deque
from datetime import date, datetime, timedelta
from fractions import Fraction
from http import HTTPStatus
from itertools import combinations, permutations, product
from math import ceil, comb, factorial, gcd, isqrt, lcm, log2, log10, pi, prod, sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from scipy import constants as scipy_constants

import evidence_collectors.items

ITEMS = Path(evidence_collectors.items.__file__).parent
MINUS = "\N{MINUS SIGN}"  # as questions and options write it
TOLERANCE = 1e-9  # of results computed with floats: square roots, logarithms, physical constants
_SUPERSCRIPTS = str.maketrans("²³⁴⁵⁶⁷⁸⁹", "23456789")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_ROMAN = [
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
    (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
]  # fmt: skip
_NUMBER = re.compile(r"[-\u2212]?\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?")
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "no": 0, "none": 0}


def derived(expression: str, item: dict[str, Any]) -> list[bool]:
    """Return for each option of a question whether the expression finds it right."""
    code = compile(expression, item["id"], "eval")
    return [_right(eval(code, _names(item, option)), option) for option in item["choices"]]


def num(text: str) -> Fraction | int:
    """Return the only number in a text: 1,200 or 0.5 or 3/8; superscripts and subscripts belong to units."""
    found = _NUMBER.findall(re.sub(r"[²³⁻⁰-⁹₀-₉]", "", text))
    if len(found) != 1:
        raise ValueError(f"not one number: {text!r}")
    value = Fraction(found[0].replace(",", "").replace(MINUS, "-"))
    return value.numerator if value.denominator == 1 else value


def algebra(text: str, **values: float) -> float:
    """Return the value of a school formula such as 3x(2y + 3) or x² + 5."""
    text = re.sub(r"([²³⁴⁵⁶⁷⁸⁹])", lambda match: "**" + match[1].translate(_SUPERSCRIPTS), text.replace(MINUS, "-"))
    text = re.sub(r"(?<=[0-9a-z)])(?=[a-z(])", "*", text)
    return eval(text, {"__builtins__": {}}, values)


def relation(text: str, **values: float) -> bool:
    """Return whether an inequality holds."""
    left, sign, right = re.split(r" ([<>]) ", text)
    first, second = algebra(left, **values), algebra(right, **values)
    return first < second if sign == "<" else first > second


def output(question: str) -> str:
    """Return what the indented Python program in a question prints."""
    program = textwrap.dedent("\n".join(line for line in question.split("\n") if line.startswith("    ")))
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        exec(program, {})
    return screen.getvalue().strip()


def raised(expression: str) -> str:
    """Return the name of the exception that an expression ends with."""
    try:
        eval(expression, {})
    except Exception as error:
        return type(error).__name__
    raise ValueError(f"{expression} raises nothing")


def simulate(kind: str, moves: str) -> list[int]:
    """Return what is left in a stack or queue after moves such as '+1 +2 -'."""
    left: deque[int] = deque()
    for move in moves.split():
        if move == "-":
            left.pop() if kind == "stack" else left.popleft()
        else:
            left.append(int(move))
    return list(left)


def subsets(members: Any) -> list[set[Any]]:
    """Return all subsets."""
    every = list(members)
    return [set(chosen) for size in range(len(every) + 1) for chosen in combinations(every, size)]


def syllogism(premises: str, conclusion: str) -> bool:
    """Return whether a conclusion holds in every world of three individuals in which the premises hold."""
    terms = sorted({word for part in (*premises.split("; "), conclusion) for word in part.split()[1:]})
    kinds = subsets(terms)
    worlds = [world for world in product(kinds, repeat=3) if all(_holds(part, world) for part in premises.split("; "))]
    return bool(worlds) and all(_holds(conclusion, world) for world in worlds)


def roman(number: int) -> str:
    """Return a Roman numeral."""
    text = ""
    for value, sign in _ROMAN:
        text += sign * (number // value)
        number %= value
    return text


def atoms(formula: str) -> dict[str, int]:
    """Return the atoms of a formula without brackets."""
    return {sign: int(count or 1) for sign, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula.translate(_SUBSCRIPTS))}


def largest_remainder(votes: dict[str, int], seats: int) -> dict[str, int]:
    """Return the seats of each list by the method of largest remainders."""
    quotas = {name: Fraction(count * seats, sum(votes.values())) for name, count in votes.items()}
    given = {name: int(quota) for name, quota in quotas.items()}
    for name in sorted(quotas, key=lambda name: quotas[name] - given[name], reverse=True)[
        : seats - sum(given.values())
    ]:
        given[name] += 1
    return given


def shortest_path(start: str, goal: str) -> list[str]:
    """Return the countries on the shortest way over borders, both ends included."""
    ways = deque([[start]])
    while ways:
        way = ways.popleft()
        if way[-1] == goal:
            return way
        for pair in FACTS.borders:
            if way[-1] in pair:
                ways.append([*way, pair[1 - pair.index(way[-1])]])
    raise ValueError("no way")


def _facts() -> SimpleNamespace:
    tables = json.loads((ITEMS / "questions.v1.facts.json").read_text(encoding="utf-8"))["facts"]
    return SimpleNamespace(**{name: _rows(table) for name, table in tables.items()})


def _rows(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    return {key: SimpleNamespace(**row) if isinstance(row, dict) else row for key, row in table.items()}


def _right(value: Any, option: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value == option
    held = Fraction(_WORDS[option]) if option in _WORDS else num(option)
    return held == value or (isinstance(value, float) and abs(float(held) - value) < TOLERANCE)


def _holds(statement: str, world: tuple[set[str], ...]) -> bool:
    kind, first, second = statement.split()
    inside = [second in one for one in world if first in one]
    return {"all": all(inside), "no": not any(inside), "some": any(inside), "somenot": not all(inside)}[kind]


FACTS = _facts()


def _names(item: dict[str, Any], option: str) -> dict[str, Any]:
    return {**_TOOLS, "o": option, "q": item["question"], "options": item["choices"]}


_TOOLS: dict[str, Any] = {
    "F": Fraction, "num": num, "algebra": algebra, "relation": relation, "output": output, "raised": raised,
    "simulate": simulate, "subsets": subsets, "syllogism": syllogism, "roman": roman, "atoms": atoms,
    "largest_remainder": largest_remainder, "shortest_path": shortest_path, "fact": FACTS,
    "element": FACTS.elements.__getitem__, "planet": FACTS.planets.__getitem__,
    "named": lambda name: Fraction(FACTS.number_name[name]),
    "days": list(calendar.day_name), "notes": ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"],
    "Counter": Counter, "ceil": ceil, "comb": comb, "factorial": factorial, "gcd": gcd, "isqrt": isqrt, "lcm": lcm,
    "log2": log2, "log10": log10, "pi": pi, "prod": prod, "sqrt": sqrt, "combinations": combinations,
    "permutations": permutations, "product": product, "date": date, "datetime": datetime, "timedelta": timedelta,
    "ZoneInfo": ZoneInfo, "calendar": calendar, "html": html, "HTTPStatus": HTTPStatus, "keyword": keyword, "re": re,
    "scipy_constants": scipy_constants, "statistics": statistics, "string": string, "unicodedata": unicodedata,
}  # fmt: skip
