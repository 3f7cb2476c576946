"""What a configuration plans can be done, or it is refused before anything is signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dossier import pack
from dossier.errors import ConfigError
from dossier.keys import make_demo_keys
from dossier.workspace import Workspace
from tests.planted import COLLECTORS, PlantedModel, config_text, items


def test_a_plan_of_what_the_adapter_cannot_do_is_refused_before_it_is_signed(tmp_path):
    (tmp_path / "items.jsonl").write_bytes(items())
    (tmp_path / "dossier.toml").write_text(config_text())
    workspace = Workspace(tmp_path / "dossier.toml")
    needy = {kind: replace(one, needs=frozenset({"capture"})) for kind, one in COLLECTORS.items()}
    with pytest.raises(ConfigError, match=r"needs \['capture'\], which this model's adapter lacks"):
        workspace.plan(PlantedModel(), key=make_demo_keys().provider, collectors=needy)
    assert not (workspace.folder / pack.PLAN).exists()
    workspace.plan(PlantedModel(), key=make_demo_keys().provider, collectors=COLLECTORS)
    assert (workspace.folder / pack.PLAN).exists()
