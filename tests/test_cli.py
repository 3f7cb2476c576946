"""The command line: exit codes, streams, and errors a user can act on."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
from typer.testing import CliRunner

from dossier import cli, pack, schema
from dossier.errors import DossierError
from dossier.forgeries import flipped_byte
from dossier.keys import save_key
from dossier.model import dump
from tests.planted import config_text, world


@pytest.fixture
def written(tmp_path):
    pack.write(world().pack.members, tmp_path / "pack.zip")
    (tmp_path / "trust.json").write_bytes(dump(world().trust))
    return tmp_path


def call(*arguments):
    """Run the command in a process of its own: exit code, stdout, stderr."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    command = [sys.executable, "-c", "from dossier.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def invoke(*arguments):
    """Run the command in this process; a DossierError comes back as `main` would report it."""
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    if isinstance(result.exception, DossierError):
        return cli.Exit.USAGE, result.exception.message
    return result.exit_code, result.output


def test_verify_exits_0_and_prints_a_valid_verdict_on_stdout(written):
    result = call("verify", written / "pack.zip", "--trust", written, "--json")
    assert result.returncode == 0, result.stderr
    verdict = json.loads(result.stdout)
    schema.validate("verdict.v1", verdict, where="stdout")
    assert verdict["verdict"] == "passed"
    assert result.stderr.startswith("Passing does not show that the model gave these answers")
    assert "DEMO" in result.stderr


def test_a_shut_gate_fails_only_where_an_open_one_is_required(written):
    assert invoke("verify", written / "pack.zip", "--trust", written)[0] == 0
    assert invoke("verify", written / "pack.zip", "--trust", written, "--require-open")[0] == 1


def test_a_forged_pack_exits_1_and_names_the_member(written):
    forged = flipped_byte(world().pack, pack.DOSSIER, position=20)
    pack.write(forged.members, written / "forged.zip")
    code, output = invoke("verify", written / "forged.zip", "--trust", written)
    assert code == 1
    assert "dossier.json" in output


def test_a_hostile_container_exits_1(written):
    with zipfile.ZipFile(written / "evil.zip", "w") as archive:
        archive.writestr("../evil", b"x")
    code, output = invoke("verify", written / "evil.zip", "--trust", written)
    assert code == 1
    assert "not a member name" in output


def test_an_indeterminate_verdict_exits_3(written):
    trust = world().trust.model_copy(update={"required_planes": ("TIME",)})
    (written / "trust.json").write_bytes(dump(trust))
    assert invoke("verify", written / "pack.zip", "--trust", written)[0] == 3


@pytest.mark.parametrize("content", [b"no zip at all", b""])
def test_what_is_no_pack_exits_2(written, content):
    (written / "file").write_bytes(content)
    code, output = invoke("verify", written / "file", "--trust", written)
    assert code == 2
    assert "expected a pack" in output


@pytest.mark.parametrize("content", ["{}", "not json", '{"schema_version": "trust.v1", "keys": []}'])
def test_what_is_no_trust_policy_exits_2(written, content):
    (written / "trust.json").write_text(content)
    assert invoke("verify", written / "pack.zip", "--trust", written)[0] == 2


def test_errors_leave_main_as_exit_code_2_on_stderr(tmp_path):
    result = call("plan", tmp_path / "dossier.toml", "--key", tmp_path / "key.pem")
    assert result.returncode == 2
    assert "error " in result.stderr
    assert "next " in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_unknown_key_in_the_configuration_exits_2(tmp_path):
    (tmp_path / "dossier.toml").write_text(config_text().replace("title", "titel", 1))
    code, output = invoke("plan", tmp_path / "dossier.toml", "--key", tmp_path / "key.pem")
    assert code == 2
    assert "did you mean 'title'" in output


def test_an_unreadable_key_exits_2(tmp_path):
    save_key(world().keys.provider, tmp_path / "key.pem", passphrase=b"secret")
    (tmp_path / "dossier.toml").write_text(config_text())
    (tmp_path / "wrong").write_text("not the passphrase\n")
    (tmp_path / "out/pack").mkdir(parents=True)
    for name, data in world().pack.members.items():
        (tmp_path / "out/pack" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out/pack" / name).write_bytes(data)
    code, output = invoke(
        "sign", tmp_path / "dossier.toml", "--key", tmp_path / "key.pem", "--passphrase-file", tmp_path / "wrong"
    )
    assert code == 2
    assert "no signing key could be read" in output


def test_validate_is_schemas_only(tmp_path):
    (tmp_path / "plan.json").write_bytes(world().pack.get(pack.PLAN))
    assert invoke("validate", "plan.v1", tmp_path / "plan.json")[0] == 0
    (tmp_path / "plan.json").write_bytes(world().pack.get(pack.PLAN).replace(b'"title"', b'"titel"'))
    code, output = invoke("validate", "plan.v1", tmp_path / "plan.json")
    assert code == 2
    assert "titel" in output
    trials = next(data for name, data in world().pack.members.items() if name.startswith("trials/"))
    (tmp_path / "trials.jsonl").write_bytes(trials)
    assert invoke("validate", "trial.v1", tmp_path / "trials.jsonl")[0] == 0


def test_init_writes_a_start_and_overwrites_nothing(tmp_path):
    assert invoke("init", tmp_path / "work")[0] == 0
    assert (tmp_path / "work/keys/demo-provider.pem").stat().st_mode & 0o077 == 0
    code, output = invoke("init", tmp_path / "work")
    assert code == 2
    assert "nothing was overwritten" in output


def test_doctor_and_lists_work(tmp_path):
    assert invoke("doctor")[0] == 0
    assert invoke("obligations")[0] == 0
    assert invoke("--version")[1].startswith("dossier ")
    listed = call("obligations", "--json")
    schema.validate("catalogue.v1", json.loads(listed.stdout), where="stdout")


def test_a_demo_never_clears_a_folder_it_did_not_make(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    (tmp_path / "model").mkdir()
    code, output = invoke("demo", "--output", tmp_path / "mine", "--model", tmp_path / "model")
    assert code == 2
    assert "no demo wrote" in output
    assert (tmp_path / "mine/thesis.txt").exists()
