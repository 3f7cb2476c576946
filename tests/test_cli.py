"""The command line: exit codes, streams, and errors a user can act on."""

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dossier import cli, closing, doctor, pack, schema, workspace
from dossier.errors import DossierError
from dossier.files import write_together
from dossier.forgeries import flipped_byte
from dossier.keys import save_key
from dossier.model import dump
from tests.planted import PlantedModel, config_text, items, world
from tests.test_store import on_a_small_disk

ROOT = Path(__file__).parent.parent


@pytest.fixture
def written(tmp_path):
    pack.write(world().pack.members, tmp_path / "pack.zip")
    (tmp_path / "trust.json").write_bytes(dump(world().trust))
    return tmp_path


def environment():
    path = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", "COLUMNS": "200"}


def call(*arguments):
    """Run the command in a process of its own: exit code, stdout, stderr."""
    command = [sys.executable, "-c", "from dossier.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)


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
        archive.writestr("dossier.json", b"{}")
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


def test_a_zip_or_folder_that_is_another_kind_of_file_exits_2(written):
    with zipfile.ZipFile(written / "letter.docx", "w") as archive:
        archive.writestr("[Content_Types].xml", b"<x/>")
    (written / "photos").mkdir()
    for name in ("letter.docx", "photos"):
        code, output = invoke("verify", written / name, "--trust", written)
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


def test_what_the_machine_refuses_leaves_main_as_exit_code_2_without_a_traceback(tmp_path):
    code = (
        f"import sys; sys.argv = ['dossier', 'init', {str(tmp_path / 'work')!r}]; from dossier.cli import main; main()"
    )
    status, shown = on_a_small_disk(code, limit=50)
    assert status == 2
    assert "error " in shown
    assert "File too large" in shown
    assert "Traceback" not in shown
    assert not list((tmp_path / "work").iterdir())
    (tmp_path / "file").write_text("")
    result = call("init", tmp_path / "file/work")
    assert result.returncode == 2
    assert "Not a directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_needs_an_extra_that_is_not_installed_says_which(written):
    code = textwrap.dedent(f"""
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {{"jinja2", "weasyprint", "pikepdf", "fontTools"}}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        sys.meta_path.insert(0, Missing())
        folder = {str(written)!r}
        sys.argv = ["dossier", "verify", folder + "/pack.zip", "--trust", folder, "--rerender"]
        from dossier.cli import main
        main()
    """)
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2, result.stderr
    assert "pip install dossier[render]" in result.stderr
    assert "Traceback" not in result.stderr


def test_ctrl_c_says_that_the_same_command_resumes():
    code = textwrap.dedent("""
        import os, signal, sys
        from dossier import doctor
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        doctor.checks = lambda: os.kill(os.getpid(), signal.SIGINT)
        sys.argv = ["dossier", "doctor"]
        from dossier.cli import main
        main()
    """)
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 130
    assert "the same command resumes" in result.stderr


def planned_folder(folder, monkeypatch, model):
    """A signed plan for a planted model, and the command line finding that model."""
    (folder / "dossier.toml").write_text(config_text())
    (folder / "items.jsonl").write_bytes(items())
    save_key(world().keys.provider, folder / "key.pem", passphrase=None)
    monkeypatch.setattr(workspace, "load_model", lambda subject, base: model)
    assert invoke("plan", folder / "dossier.toml", "--key", folder / "key.pem")[0] == 0


def test_a_run_that_could_not_collect_what_was_promised_says_why_and_exits_1(tmp_path, monkeypatch):
    planned_folder(tmp_path, monkeypatch, PlantedModel(fail_after=100))
    code, output = invoke("run", tmp_path / "dossier.toml")
    assert code == 1
    assert "not collected: hint" in output
    assert "the planted model broke, as it was told to" in output
    assert (tmp_path / "out/pack/dossier.pdf").exists()


def test_replay_verifies_first_where_it_is_told_whom_to_trust(written, monkeypatch):
    monkeypatch.setattr(workspace, "load_model", lambda subject, base: PlantedModel())
    asked = ("--model", written, "--nonce", "n", "--sample", 20)
    code, output = invoke("replay", written / "pack.zip", *asked)
    assert code == 0
    assert "PACK NOT VERIFIED" in output
    code, output = invoke("replay", written / "pack.zip", *asked, "--trust", written)
    assert code == 0
    assert "PACK NOT VERIFIED" not in output
    pack.write(flipped_byte(world().pack, pack.PLAN, position=20).members, written / "forged.zip")
    code, output = invoke("replay", written / "forged.zip", *asked, "--trust", written)
    assert code == 1
    assert "not the bytes" in output or "not those" in output
    assert "asked again" not in output


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


def test_a_pack_that_could_not_be_written_is_signed_again(tmp_path):
    (tmp_path / "dossier.toml").write_text(config_text())
    save_key(world().keys.provider, tmp_path / "key.pem", passphrase=None)
    unsigned = {**world().pack.members, pack.PDF: closing.rerender(world().pack)}
    del unsigned[pack.ATTESTATION]
    write_together(tmp_path / "out/pack", unsigned, scratch=tmp_path / "out")
    (tmp_path / "out/pack.zip").mkdir()  # where the zip cannot go
    sign = ("sign", tmp_path / "dossier.toml", "--key", tmp_path / "key.pem")
    code, output = invoke(*sign)
    assert code == 2
    assert "could not be written" in output
    (tmp_path / "out/pack.zip").rmdir()
    assert invoke(*sign)[0] == 0
    assert pack.read(tmp_path / "out/pack.zip") == pack.read(tmp_path / "out/pack")


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


def output_of(*arguments):
    """What the command printed on stdout, as JSON, and its exit code."""
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    code = cli.Exit.USAGE if isinstance(result.exception, DossierError) else result.exit_code
    return code, json.loads(result.stdout)


def test_lists_and_validation_print_json_on_stdout_where_it_is_asked_for(tmp_path):
    code, found = output_of("doctor", "--json")
    assert code == 0
    assert {"name", "found", "purpose", "base"} == set(found["parts"][0])
    code, found = output_of("collectors", "--json")
    assert {"cot_faithfulness.hint"} <= {row["kind"] for row in found["collectors"]}
    (tmp_path / "plan.json").write_bytes(world().pack.get(pack.PLAN))
    code, found = output_of("validate", "plan.v1", tmp_path / "plan.json", "--json")
    assert (code, found["valid"]) == (0, True)
    (tmp_path / "plan.json").write_bytes(world().pack.get(pack.PLAN).replace(b'"demo":true', b'"demo":1'))
    code, found = output_of("validate", "plan.v1", tmp_path / "plan.json", "--json")
    assert (code, found["valid"], found["pointer"]) == (2, False, "/demo")


def test_init_writes_a_start_and_overwrites_nothing(tmp_path):
    assert invoke("init", tmp_path / "work")[0] == 0
    assert (tmp_path / "work/keys/demo-provider.pem").stat().st_mode & 0o077 == 0
    code, output = invoke("init", tmp_path / "work")
    assert code == 2
    assert "nothing was overwritten" in output


def test_init_without_the_shipped_model_leaves_paths_to_fill_in_and_plan_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke("init", "work")[0] == 0
    text = (tmp_path / "work/dossier.toml").read_text()
    assert '# path = "FOLDER"' in text
    assert "samples/" not in text
    assert "calibration" in text
    code, output = invoke("plan", "work/dossier.toml", "--key", "work/keys/demo-provider.pem")
    assert code == 2
    assert "subject.path: this key is missing" in output


def test_doctor_looks_for_everything_that_an_extra_installs():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in extras.keys() - {"dev"}:
        wanted = {re.match(r"[\w-]+", requirement).group() for requirement in extras[extra]}
        assert wanted <= {part.name for part in doctor.checks() if f"[{extra}]" in part.purpose}, extra


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
