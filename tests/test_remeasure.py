"""Further inputs are bound by digest, and what was read inside a model is read again from it, not believed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from dossier import canonical, closing
from dossier.collector import Cost, Inputs
from dossier.documents import load_documents, parse_items
from dossier.errors import CollectionError, ConfigError
from dossier.inputs import EvidenceInputs, reference_of
from dossier.keys import make_demo_keys
from dossier.model import Interval, Observation, PromisedTrial, Trial, TrialKey
from dossier.obligations import catalogue_bytes
from dossier.pack import Pack
from dossier.plan import make_plan
from dossier.recompute import EvidenceFiles, check_evidence
from dossier.replay import replay
from dossier.run import collect
from dossier.statistics import trial_seed
from dossier.store import open_store
from dossier.workspace import given_inputs
from tests.planted import NOW, PlantedModel, config_text, items, run_config, uniform

GAUGE = "interpretability.gauge"


@dataclasses.dataclass(frozen=True)
class Inside(PlantedModel):
    """A planted model with one number inside for each item."""

    noise: float = 0.0

    @property
    def capabilities(self):
        return frozenset({"generate", "capture"})

    def level(self, item: str) -> float:
        return uniform(self.weights, item) + self.noise


@dataclasses.dataclass(frozen=True)
class Gauge:
    """Reads the number inside, scaled by the dictionary."""

    kind = GAUGE
    protocol_version = "1.0"
    analysis_version = "1.0"
    needs = frozenset({"capture"})
    not_measured = ()
    roles = {"dictionary": "file", "baseline?": "model"}  # noqa: RUF012 a test's own

    def parse(self, parameters):
        return dict(parameters)

    def dump(self, params):
        return params

    def quantities(self, params):
        return ("mean.level",)

    def cost(self, params, items, size):
        return Cost.of(prompts=len(items), prompt_tokens=0, generated_tokens=0, size=size)

    def expected(self, params, items, seed) -> Iterator[PromisedTrial]:
        for item in items:
            key = TrialKey(item=item["id"], arm="level", repeat=0)
            yield PromisedTrial(key=key, seed=trial_seed(seed, GAUGE, key), request_sha256=None)

    def collect(self, inputs, params, seed):
        scale = float(inputs.files["dictionary"].read_text())
        for promised in self.expected(params, inputs.items, seed):
            level = scale * inputs.opened().level(promised.key.item)
            yield Trial(
                key=promised.key, seed=promised.seed, request=None, completion=None, measurements={"level": level}
            )

    def summarise(self, trials, artifacts, params, seed):
        levels = sorted(float(trial.measurements["level"]) for trial in trials)
        mean = sum(levels) / len(levels)
        return (
            Observation(
                id="mean.level", estimand="Mean level.", unit="ratio", estimate=mean,
                interval=Interval(low=levels[0], high=levels[-1], level=0.95, method="range"),
                n=len(levels), n_counts="items", method="mean",
            ),
        )  # fmt: skip


COLLECTORS = {GAUGE: Gauge()}


def config(extra: str = "") -> str:
    head = config_text().split("[[evidence]]")[0]
    return (
        f'{head}[[evidence]]\nid = "gauge"\nkind = "{GAUGE}"\nitems = "items.jsonl"\nexpires_after_days = 30\n{extra}'
    )


def planned(folder, given, *, text="", model=None):
    (folder / "items.jsonl").write_bytes(items(40))
    model = model or Inside()
    return make_plan(
        run_config(text or config()),
        folder,
        subject=model.subject,
        size=model.size,
        collectors=COLLECTORS,
        inputs={"gauge": given},
        catalogue=catalogue_bytes("eu_ai_act"),
        now=NOW,
        demo=True,
    )


def dictionary(folder, scale: str = "2.0"):
    path = folder / "dictionary.txt"
    path.write_text(scale)
    return EvidenceInputs(files={"dictionary": path})


def packed(folder, model=None):
    """Return the drafted pack of a run, and its inputs."""
    model, given = model or Inside(), dictionary(folder)
    plan = planned(folder, given, model=model)
    keys = make_demo_keys()
    contents = Pack(closing.plan_members(plan.plan, plan.files, key=keys.provider))
    with open_store(folder / "store", wait=False) as store:
        collected = collect(
            plan.plan,
            model=model,
            items={plan.plan.evidence[0].items.sha256: parse_items(items(40), where="items")},
            inputs={"gauge": given},
            collectors=COLLECTORS,
            store=store,
            nonce=None,
            clock=lambda: NOW,
            progress=lambda _: None,
        )
        drafted = closing.draft(
            contents, collected=collected, collectors=COLLECTORS, ledger=store.ledger(), nonce=None, as_of=NOW
        )
    return drafted, given


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("honest"))


def again(pack, model, given):
    documents = load_documents(pack)
    inputs = {"gauge": given} if given else {}
    return replay(
        pack, documents, model=model, band_model=None, sample=0, nonce="n", collectors=COLLECTORS, inputs=inputs,
        pack_verified=False,
    )  # fmt: skip


def test_measurements_are_made_again_and_agree_on_the_same_weights(honest):
    pack, given = honest
    result = again(pack, Inside(), given)
    assert result.verdict == "passed"
    assert "behind an API" not in result.band
    (found,) = result.remeasured
    assert (found.trials, found.agreeing, found.largest_difference, found.problem) == (40, 40, 0.0, None)


def test_rounding_is_tolerated_and_other_numbers_are_not(honest):
    pack, given = honest
    assert again(pack, Inside(noise=1e-6), given).verdict == "passed"
    assert again(pack, Inside(noise=1e-2), given).verdict == "failed"


def test_the_measurements_of_another_model_under_this_ones_name_are_caught(tmp_path):
    pack, given = packed(tmp_path, Inside(weights="b", claimed_weights="a"))
    result = again(pack, Inside(), given)
    assert result.subject_problems == ()
    assert result.verdict == "failed"
    assert result.remeasured[0].agreeing < 5


def test_without_the_dictionary_nothing_is_claimed(honest):
    pack, _ = honest
    result = again(pack, Inside(), None)
    assert result.verdict == "indeterminate"
    assert "dictionary" in (result.remeasured[0].problem or "")


def test_another_dictionary_than_the_planned_one_is_refused(honest, tmp_path):
    pack, _ = honest
    other = dictionary(tmp_path, "3.0")
    assert "not the planned one" in (again(pack, Inside(), other).remeasured[0].problem or "")
    plan = load_documents(pack).plan
    with open_store(tmp_path / "second", wait=False) as store:
        collected = collect(
            plan,
            model=Inside(),
            items={plan.evidence[0].items.sha256: parse_items(items(40), where="items")},
            inputs={"gauge": other},
            collectors=COLLECTORS,
            store=store,
            nonce=None,
            clock=lambda: NOW,
            progress=lambda _: None,
        )
    assert collected.evidence == {}
    assert "not the planned one" in collected.not_collected[0].reason


def test_an_instrument_that_looks_inside_refuses_a_model_that_only_answers(tmp_path):
    plan = planned(tmp_path, dictionary(tmp_path), model=PlantedModel()).plan
    with open_store(tmp_path / "store", wait=False) as store:
        collected = collect(
            plan,
            model=PlantedModel(),
            items={plan.evidence[0].items.sha256: parse_items(items(40), where="items")},
            inputs={"gauge": dictionary(tmp_path)},
            collectors=COLLECTORS,
            store=store,
            nonce=None,
            clock=lambda: NOW,
            progress=lambda _: None,
        )
    assert "capture" in collected.not_collected[0].reason


def test_the_plan_names_inputs_by_digest_and_refuses_wrong_roles(tmp_path):
    given = dictionary(tmp_path)
    plan = planned(tmp_path, EvidenceInputs(given.files, {"baseline": Inside(weights="b")})).plan
    inputs = plan.evidence[0].inputs
    assert inputs["dictionary"].sha256 == canonical.sha256(b"2.0")
    assert inputs["baseline"].media_type == "application/vnd.dossier.subject+json"
    with pytest.raises(ConfigError, match="needs the input 'dictionary'"):
        planned(tmp_path, EvidenceInputs())
    with pytest.raises(ConfigError, match="takes no file as 'twin'"):
        planned(tmp_path, EvidenceInputs({**given.files, "twin": tmp_path / "dictionary.txt"}))
    with pytest.raises(ConfigError, match="takes no file as 'baseline'"):
        planned(tmp_path, EvidenceInputs({**given.files, "baseline": tmp_path / "dictionary.txt"}))


def test_a_folder_is_named_by_the_digests_of_its_files(tmp_path):
    folder = tmp_path / "sae"
    (folder / "sub").mkdir(parents=True)
    (folder / "cfg.json").write_text("{}")
    (folder / "sub" / "w.safetensors").write_bytes(b"1")
    one = reference_of(folder)
    (folder / ".hidden").write_text("x")
    assert reference_of(folder) == one
    (folder / "sub" / "w.safetensors").write_bytes(b"2")
    assert reference_of(folder).sha256 != one.sha256
    with pytest.raises(ConfigError, match="no such file"):
        reference_of(tmp_path / "nothing")


def test_inputs_given_on_the_command_line_fit_the_plan(tmp_path):
    plan = planned(tmp_path, dictionary(tmp_path)).plan
    path = tmp_path / "dictionary.txt"
    assert given_inputs(plan, [f"gauge.dictionary={path}"])["gauge"].files == {"dictionary": path}
    for wrong in ("gauge.dictionary", "gauge.other=x", "nothing=x"):
        with pytest.raises(ConfigError, match="expected EVIDENCE"):
            given_inputs(plan, [wrong])
    with pytest.raises(ConfigError, match="no such file"):
        given_inputs(plan, [f"gauge.dictionary={tmp_path / 'gone'}"])


def test_recorded_measurements_are_recomputed_without_the_model(honest):
    pack, _ = honest
    documents = load_documents(pack)
    (piece,) = documents.evidence.values()
    files = EvidenceFiles(
        where="evidence",
        evidence=piece,
        planned=documents.plan.evidence[0],
        items=next(iter(documents.items.values())),
        trials=pack.get(f"trials/{piece.trials.sha256}.jsonl"),
        artifacts={},
    )
    findings, numbers = check_evidence(files, documents.plan, nonce=None, collector=COLLECTORS[GAUGE])
    assert {finding.outcome for finding in findings} == {"passed"}
    assert {number.depth for number in numbers} == {"recomputed"}
    edited = dataclasses.replace(files, trials=files.trials.replace(b'"level":', b'"level":1', 1))
    findings, _ = check_evidence(edited, documents.plan, nonce=None, collector=COLLECTORS[GAUGE])
    assert any(finding.outcome == "failed" for finding in findings)


def test_a_collector_that_is_not_there_leaves_it_indeterminate(honest):
    pack, given = honest
    result = replay(
        pack, load_documents(pack), model=Inside(), band_model=None, sample=0, nonce="n", collectors={},
        inputs={"gauge": given}, pack_verified=False,
    )  # fmt: skip
    assert result.verdict == "indeterminate"
    with pytest.raises(CollectionError, match="only answers"):
        Inputs(subject=PlantedModel(), items=()).opened()
