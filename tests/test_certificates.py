"""The shipped certificates: documents of the contract, acceptable, of the instruments as they are, and printed as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

import evidence_collectors
from dossier import schema
from dossier.calibration_report import markdown
from dossier.model import Calibration, parse
from evidence_collectors.calibration import faults

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "samples/calibration"
KINDS = sorted(path.stem for path in FOLDER.glob("*.json"))


def shipped(kind):
    data = (FOLDER / f"{kind}.json").read_bytes().rstrip(b"\n")
    schema.validate("calibration.v1", data, where=kind)
    return parse(Calibration, data, where=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shipped_certificate_is_acceptable_and_of_the_instrument_as_it_is(kind):
    made, collector = shipped(kind), evidence_collectors.load(kind)
    assert (made.kind, made.protocol_version, made.analysis_version) == (
        kind,
        collector.protocol_version,
        collector.analysis_version,
    )
    assert faults(made) == ()


def test_every_instrument_has_one():
    assert sorted(evidence_collectors.COLLECTORS) == KINDS == sorted(evidence_collectors.CERTIFICATES)


def test_the_page_says_what_the_certificates_say():
    found = {f"samples/calibration/{kind}.json": shipped(kind) for kind in KINDS}
    assert (ROOT / "docs/calibration.md").read_text(encoding="utf-8") == markdown(found), (
        "docs/calibration.md is stale: run `dossier calibrate --page docs/calibration.md`"
    )
