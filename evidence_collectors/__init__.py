"""The instruments: which kind is which object, looked up lazily so that listing imports nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dossier.collector import Collector

COLLECTORS = {
    "cot_faithfulness.hint": "evidence_collectors.cot_faithfulness.hint:COLLECTOR",
}


def load(kind: str) -> Collector[Any]:
    """Return the collector of a kind. Raises KeyError for an unknown one."""
    module, name = COLLECTORS[kind].split(":")
    collector: Collector[Any] = getattr(import_module(module), name)
    return collector
