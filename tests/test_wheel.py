"""The wheel alone: a verifier with the base install, outside the checkout."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dossier import pack
from dossier.model import dump
from tests.planted import world

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "transformers", "weasyprint", "jinja2", "pikepdf", "sae_lens"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: other test processes build at the same time
    for part in ("dossier", "evidence_collectors", "schemas", "templates"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_every_schema_template_and_instrument(wheel):
    def digests(folder, *, into):
        return {
            f"{into}/{file.relative_to(folder).as_posix()}": hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }

    expected = (
        digests(ROOT / "schemas", into="dossier/schemas")
        | digests(ROOT / "templates", into="dossier/templates")
        | digests(ROOT / "dossier", into="dossier")
        | digests(ROOT / "evidence_collectors", into="evidence_collectors")
    )
    with zipfile.ZipFile(wheel) as archive:
        found = {n: hashlib.sha256(archive.read(n)).hexdigest() for n in archive.namelist() if ".dist-info/" not in n}
    assert found == expected


def test_the_unpacked_wheel_verifies_a_pack_without_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    pack.write(world().pack.members, tmp_path / "pack.zip")
    (tmp_path / "trust.json").write_bytes(dump(world().trust))
    code = f"""
import sys
others = [path for path in sys.path if path and path != {str(ROOT)!r} and "__editable__" not in path]
sys.path[:] = [{str(tmp_path / "site")!r}, *others]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import dossier
assert dossier.__file__.startswith({str(tmp_path)!r}), dossier.__file__
from dossier.cli import main
main()
"""
    command = [sys.executable, "-c", code, "verify", str(tmp_path / "pack.zip"), "--trust", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
