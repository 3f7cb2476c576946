"""A reduced calibration, as `dossier calibrate --reduced` runs it, is acceptable; `make calibrate` makes all of them whole."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from dossier import model
from dossier.model import Calibration
from evidence_collectors import CERTIFICATES, certify

SAMPLES = Path(__file__).parents[3] / "samples/organisms"


def test_every_recipe_can_be_found():
    for recipe in CERTIFICATES.values():
        module, name = recipe.split(":")
        assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("kind", ["interpretability.sae_features"])
def test_a_reduced_certificate_is_acceptable(kind, tmp_path):
    made, faults = certify(kind, reduced=True, samples=SAMPLES, work=tmp_path, report=lambda line: None)
    assert faults == ()
    assert made.kind == kind
    assert model.parse(Calibration, model.dump(made), where="calibration") == made
