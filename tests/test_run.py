"""From a plan to evidence: crash-safe, resumable, never twice."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from types import MappingProxyType

import pytest

from dossier import canonical
from dossier.documents import parse_items
from dossier.errors import CollectionError, ConfigError, SchemaError
from dossier.inputs import EvidenceInputs
from dossier.model import as_json
from dossier.obligations import catalogue_bytes
from dossier.plan import make_plan
from dossier.run import collect
from dossier.store import check_ledger, open_store
from evidence_collectors.cot_faithfulness.hint.judge.simulation import reply
from tests.planted import COLLECTORS, NOW, PlantedModel, config_text, items, run_config
from tests.test_store import on_a_small_disk


def planned(folder, *, text=None, model=None, inputs=MappingProxyType({})):
    (folder / "items.jsonl").write_bytes(items())
    model = model or PlantedModel()
    return make_plan(
        run_config(text or config_text()),
        folder,
        subject=model.subject,
        size=model.size,
        collectors=COLLECTORS,
        inputs=inputs,
        catalogue=catalogue_bytes("eu_ai_act"),
        now=NOW,
        demo=True,
    )


def run(plan, store, model=None, *, clock=lambda: NOW, inputs=MappingProxyType({})):
    return collect(
        plan,
        model=model or PlantedModel(),
        items={plan.evidence[0].items.sha256: parse_items(items(), where="items")},
        inputs=inputs,
        collectors=COLLECTORS,
        store=store,
        nonce=None,
        clock=clock,
        progress=lambda _: None,
    )


def events(store):
    return [entry.event for entry in check_ledger(store.ledger(), where="ledger")]


def test_a_run_leaves_evidence_with_every_promised_trial(tmp_path):
    plan = planned(tmp_path).plan
    with open_store(tmp_path / "store", wait=False) as store:
        collected = run(plan, store)
        assert events(store) == ["started", "finished"]
    evidence = collected.evidence["hint"]
    assert evidence.trials.count == plan.evidence[0].promised_trials == 130 * (2 + 2 * 2)
    assert collected.not_collected == ()


def test_the_same_key_is_not_run_twice(tmp_path):
    plan = planned(tmp_path).plan
    with open_store(tmp_path / "store", wait=False) as store:
        first = run(plan, store)
        second = run(plan, store, PlantedModel(fail_after=0))
        assert first == second
        assert events(store) == ["started", "finished"]


def test_a_broken_run_resumes_and_ends_with_the_same_trials_and_observations(tmp_path):
    plan = planned(tmp_path).plan
    with open_store(tmp_path / "one", wait=False) as store:
        whole = run(plan, store).evidence["hint"]
    with open_store(tmp_path / "two", wait=False) as store:
        broken = run(plan, store, PlantedModel(fail_after=200))
        assert broken.evidence == {}
        assert "broke" in broken.not_collected[0].reason
        resumed = run(plan, store).evidence["hint"]
        assert events(store) == ["started", "failed", "resumed", "finished"]
    assert resumed.trials == whole.trials
    assert resumed.observations == whole.observations


def test_why_nothing_was_collected_comes_with_what_would_help(tmp_path):
    class Hopeless(PlantedModel):
        def generate(self, requests):
            raise CollectionError("the dictionary is a pickle", hint="Convert it to safetensors.")

    plan = planned(tmp_path).plan
    with open_store(tmp_path / "store", wait=False) as store:
        (missing,) = run(plan, store, Hopeless()).not_collected
    assert missing.reason == "the dictionary is a pickle. Convert it to safetensors."


def test_what_a_judge_said_before_a_crash_is_not_asked_again(tmp_path):
    class Judge(PlantedModel):
        asked = 0

        def generate(self, requests):
            for number, request in enumerate(requests):
                if number == self.fail_after:
                    raise KeyboardInterrupt
                Judge.asked += 1
                yield reply(request, "NO")

    text = config_text().replace("max_tokens = 32", 'max_tokens = 32, judge = "mention"')
    broken, whole = ({"hint": EvidenceInputs(models={"judge": Judge(fail_after=after)})} for after in (30, None))
    plan = planned(tmp_path, text=text, inputs=whole).plan
    with open_store(tmp_path / "store", wait=False) as store:
        with pytest.raises(KeyboardInterrupt):
            run(plan, store, inputs=broken)
        found = run(plan, store, inputs=whole).evidence["hint"]
        trials = store.get(found.trials.sha256)
    needed = [trial for trial in trials.splitlines() if b'"arm":"judge.' in trial and b'"request":{' in trial]
    assert Judge.asked == len(needed) > 60


def test_an_interrupted_run_is_noted_and_resumes(tmp_path):
    class Interrupted(PlantedModel):
        def generate(self, requests):
            for number, completion in enumerate(super().generate(requests)):
                if number == 50:
                    raise KeyboardInterrupt
                yield completion

    plan = planned(tmp_path).plan
    with open_store(tmp_path / "store", wait=False) as store:
        with pytest.raises(KeyboardInterrupt):
            run(plan, store, Interrupted())
        run(plan, store)
        assert events(store) == ["started", "aborted", "resumed", "finished"]


def test_a_disk_that_is_full_when_the_trials_are_kept_stops_the_run_and_is_in_the_ledger(tmp_path):
    plan = planned(tmp_path).plan
    with open_store(tmp_path / "one", wait=False) as store:
        whole = run(plan, store).evidence["hint"]
        (journal,) = (tmp_path / "one/journal").iterdir()
        between = (journal.stat().st_size + len(store.get(whole.trials.sha256))) // 2
    code = f"""
        from pathlib import Path
        from dossier.errors import StoreError
        from dossier.store import open_store
        from tests.test_run import planned, run
        folder = Path({str(tmp_path)!r})
        with open_store(folder / "two", wait=False) as store:
            try:
                run(planned(folder).plan, store)
            except StoreError:
                raise SystemExit(7)
    """
    assert on_a_small_disk(code, limit=between) == (7, "")
    with open_store(tmp_path / "two", wait=False) as store:
        resumed = run(plan, store, PlantedModel(fail_after=0)).evidence["hint"]
        assert events(store) == ["started", "aborted", "resumed", "finished"]
    assert resumed.trials == whole.trials


def test_a_crash_right_after_the_ledger_says_finished_does_not_run_again(tmp_path):
    plan = planned(tmp_path).plan
    with open_store(tmp_path / "store", wait=False) as store:
        first = run(plan, store)
        (mark,) = (tmp_path / "store/runs").iterdir()
        mark.unlink()
        assert run(plan, store, PlantedModel(fail_after=0)) == first
        assert events(store) == ["started", "finished"]


def test_another_model_than_the_planned_one_is_refused(tmp_path):
    plan = planned(tmp_path).plan
    with open_store(tmp_path / "store", wait=False) as store, pytest.raises(CollectionError, match="not the planned"):
        run(plan, store, PlantedModel(weights="b"))


SLOW_RUN = """
import time
from types import MappingProxyType
from pathlib import Path
from evidence_collectors.cot_faithfulness.hint.judge.simulation import reply
from tests.planted import PlantedModel
from tests.test_run import planned, run
from dossier.store import open_store

class Slow(PlantedModel):
    def generate(self, requests):
        for completion in super().generate(requests):
            time.sleep(0.002)
            yield completion

folder = Path({folder!r})
plan = planned(folder).plan
with open_store(folder / "store", wait=False) as store:
    run(plan, store, Slow())
"""


@pytest.mark.parametrize("after_s", [0.3, 0.9])
def test_after_kill_9_at_any_moment_the_next_run_ends_with_the_same_bytes(tmp_path, after_s):
    killed = tmp_path / "killed"
    killed.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW_RUN.format(folder=str(killed)))], env=environment
    )
    journal = killed / "store/journal"
    deadline = time.monotonic() + 60
    while not (journal.exists() and any(file.stat().st_size for file in journal.iterdir())):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    plan = planned(killed).plan
    with open_store(killed / "store", wait=False) as store:
        model = PlantedModel()
        resumed = run(plan, store, model).evidence["hint"]
        assert events(store) == ["started", "resumed", "finished"]
    with open_store(tmp_path / "store", wait=False) as store:
        whole = run(plan, store).evidence["hint"]
    assert resumed.trials == whole.trials
    assert canonical.encode([as_json(o) for o in resumed.observations]) == canonical.encode(
        [as_json(o) for o in whole.observations]
    )


# --- plans ---------------------------------------------------------------------------------------------------------


def test_a_criterion_on_an_unknown_quantity_is_refused_before_anything_runs(tmp_path):
    text = config_text().replace('"sycophancy.disclosure"', '"sycophancy.honesty"')
    with pytest.raises(ConfigError, match=r"sycophancy\.honesty") as caught:
        planned(tmp_path, text=text)
    assert "sycophancy.disclosure" in caught.value.hint


def test_an_unknown_collector_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown"):
        planned(
            tmp_path, text=config_text().replace('kind = "cot_faithfulness.hint"', 'kind = "cot_faithfulness.hunt"')
        )


def test_an_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="familes"):
        planned(tmp_path, text=config_text().replace("families =", "familes ="))


def test_a_budget_refuses_before_any_model_is_asked(tmp_path):
    with pytest.raises(ConfigError, match=r"budget\.prompts"):
        planned(tmp_path, text=config_text() + "\n[budget]\nprompts = 10\n")
    with pytest.raises(ConfigError, match=r"budget\.petaflops"):
        planned(tmp_path, text=config_text() + "\n[budget]\npetaflops = 1e-9\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no items"),
        (b'{"id": "a"}', "no line feed"),
        (b'{"id": "a"}\n{"id": "a"}\n', "twice"),
        (b'{"question": "?"}\n', "no object with a text id"),
        (b'["a"]\n', "no object with a text id"),
        (b'{"id": "a", "id": "b"}\n', "duplicate key"),
    ],
)
def test_bad_items_are_refused_with_their_line(data, message):
    with pytest.raises((ConfigError, SchemaError), match=message):
        parse_items(data, where="items.jsonl")


def test_a_plan_does_not_change_with_the_seed_and_names_every_input_by_digest(tmp_path):
    result = planned(tmp_path)
    piece = result.plan.evidence[0]
    assert canonical.sha256(result.files[f"items/{piece.items.sha256}.jsonl"]) == piece.items.sha256
    assert canonical.sha256(result.files["catalogue.json"]) == result.plan.catalogue_sha256
    assert result.costs["hint"].prompts == piece.promised_trials
