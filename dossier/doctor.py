"""What is installed here, and what is each missing part needed for?"""

from __future__ import annotations

import ctypes
import re
import shutil
from dataclasses import dataclass
from importlib import metadata

# part, kind of look-up, what for, whether the verifier needs it
_PARTS: tuple[tuple[str, str, str, bool], ...] = (
    ("pydantic", "package", "documents", True),
    ("jsonschema", "package", "schemas: the reference verdict", True),
    ("jsonschema-rs", "package", "schemas: JSON Lines in bulk", True),
    ("rfc8785", "package", "canonical JSON", True),
    ("cryptography", "package", "signatures", True),
    ("pyhanko", "package", "PAdES signatures", True),
    ("numpy", "package", "recomputation", True),
    ("scipy", "package", "recomputation", True),
    ("weasyprint", "package", "rendering the PDF [render]", False),
    ("jinja2", "package", "rendering the PDF [render]", False),
    ("pikepdf", "package", "rendering the PDF [render]", False),
    ("libpango-1.0.so.0", "library", "rendering the PDF: apt-get install libpango-1.0-0 libpangoft2-1.0-0", False),
    ("libharfbuzz-subset.so.0", "library", "equal PDF bytes elsewhere: apt-get install libharfbuzz-subset0", False),
    ("fonttools", "package", "rendering the PDF [render]", False),
    ("torch", "package", "collecting and replay [collect]", False),
    ("transformers", "package", "collecting and replay [collect]", False),
    ("tokenizers", "package", "collecting and replay [collect]", False),
    ("safetensors", "package", "collecting and replay [collect]", False),
    ("sae-lens", "package", "dictionaries of sparse features [collect]", False),
    ("peft", "package", "behaviour planted into copies of the subject [collect]", False),
    ("circuit-tracer", "package", "traced circuits [circuits]", False),
    ("nnsight", "package", "traced circuits [circuits]", False),
    ("inspect-ai", "package", "models behind an API [api]", False),
    ("openai", "package", "models behind an API [api]", False),
    ("pdfsig", "program", "a second opinion on the PDF's signature (poppler-utils)", False),
    ("verapdf", "program", "a second opinion on PDF/A-3a and PDF/UA-1", False),
)


@dataclass(frozen=True)
class Part:
    """A part of the installation. ``found`` is its version or place, "" if it is missing; ``base``: a verifier needs it."""

    name: str
    found: str
    purpose: str
    base: bool


def checks() -> tuple[Part, ...]:
    """Return every part, found or not."""
    look = {"package": _package, "library": _library, "program": _program}
    return tuple(Part(name, look[kind](name), purpose, base) for name, kind, purpose, base in _PARTS)


def extra_of(module: str) -> str | None:
    """Return the extra of this project that installs an importable module, or None if none does."""
    wanted = _plain(module.partition(".")[0])
    try:
        requirements = metadata.requires("dossier") or []
    except metadata.PackageNotFoundError:
        return None
    for requirement in requirements:
        package, _, condition = requirement.partition(";")
        name = re.match(r"[\w.-]+", package)
        extra = re.search(r"extra == ['\"](\w+)['\"]", condition)
        if name and extra and _plain(name.group()) == wanted:
            return extra.group(1)
    return None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _library(name: str) -> str:
    try:
        ctypes.CDLL(name)
    except OSError:
        return ""
    return "present"


def _program(name: str) -> str:
    return shutil.which(name) or ""
