"""Asking again: the same weights give the same answers; others, and edited answers, do not."""

import dataclasses
import json
import shutil
from types import MappingProxyType

import pytest

from dossier import canonical, schema
from dossier.documents import load_documents
from dossier.errors import CollectionError, ConfigError
from dossier.forgeries import rebuild
from dossier.inputs import EvidenceInputs
from dossier.model import as_json
from dossier.reask import askable, choose
from dossier.recompute import parse_trials
from dossier.replay import agreement, replay
from evidence_collectors.cot_faithfulness.hint.detectors import mentions
from evidence_collectors.cot_faithfulness.hint.judge import prompt
from evidence_collectors.cot_faithfulness.hint.judge.simulation import reply
from evidence_collectors.cot_faithfulness.hint.prompts import FAMILIES
from tests.planted import COLLECTORS, PlantedModel, config_text, make_world, world
from tests.test_render import text_of


def ask_again(contents, model, *, sample=60, nonce="n", band_model=None, inputs=MappingProxyType({})):
    return replay(
        contents,
        load_documents(contents),
        model=model,
        band_model=band_model,
        sample=sample,
        nonce=nonce,
        collectors=COLLECTORS,
        inputs=inputs,
        pack_verified=False,
    )


def test_the_same_weights_give_the_same_answers():
    result = ask_again(world().pack, PlantedModel())
    assert result.verdict == "passed"
    assert (result.exact, result.token_agreement, result.allowed) == (60, 1.0, 0)
    assert 0.04 < result.undetected_share < 0.06


def test_other_weights_under_their_own_name_are_seen_by_digest():
    result = ask_again(world().pack, PlantedModel(weights="b"))
    assert result.verdict == "failed"
    assert any("weights_sha256" in problem for problem in result.subject_problems)


def test_other_weights_under_the_claimed_name_are_seen_by_their_answers(tmp_path):
    """The provider measured model b and wrote down the digests of model a."""
    lying = make_world(tmp_path, PlantedModel(weights="b", claimed_weights="a"))
    result = ask_again(lying.pack, PlantedModel(weights="a"))
    assert result.subject_problems == ()
    assert result.exact < 60
    assert result.verdict == "failed"


def test_edited_text_is_seen_though_the_tokens_are_genuine():
    def admit(trials):
        return [
            t.model_copy(update={"completion": t.completion.model_copy(update={"reasoning": "The user believes so."})})
            for t in trials
        ]

    result = ask_again(rebuild(world().pack, world().forger, trials=admit), PlantedModel())
    assert result.verdict == "failed"
    assert {mismatch.what for mismatch in result.mismatches} == {
        "the tokens agree and the recorded text does not belong to them"
    }


def test_answers_turned_into_errors_are_asked_again_and_counted():
    """A provider who holds every key drops what is unfavourable as a technical failure."""

    def fail(trials):
        gone = {"completion": None, "error": "the model gave no completion"}
        return [t.model_copy(update=gone) if number % 20 == 0 else t for number, t in enumerate(trials)]

    forged = rebuild(world().pack, world().forger, trials=fail)
    result = ask_again(forged, PlantedModel(), sample=200)
    assert (result.unanswered, result.trials) == (39, 780)
    assert result.verdict == "failed"
    assert {mismatch.what for mismatch in result.mismatches} == {"an error was recorded, and the model answers"}


def test_an_error_that_comes_again_is_no_difference():
    class Silent(PlantedModel):
        def generate(self, requests):
            return iter(())

    def fail(trials):
        return [t.model_copy(update={"completion": None, "error": "the model gave no completion"}) for t in trials]

    result = ask_again(rebuild(world().pack, world().forger, trials=fail), Silent())
    assert (result.verdict, result.mismatches, result.unanswered) == ("passed", (), 780)


def test_other_generation_settings_are_another_subject():
    class OtherTags(PlantedModel):
        @property
        def subject(self):
            return super().subject.model_copy(update={"generation_sha256": "0" * 64})

    result = ask_again(world().pack, OtherTags())
    assert result.verdict == "failed"
    assert any("generation_sha256" in problem for problem in result.subject_problems)


@dataclasses.dataclass(frozen=True)
class Elsewhere(PlantedModel):
    """The planted model on another platform; ``flips`` in a thousand of its answers differ."""

    flips: int = 0

    @property
    def environment(self):
        return super().environment.model_copy(update={"platform": "elsewhere"})

    def generate(self, requests):
        for number, completion in enumerate(super().generate(requests)):
            flip = number % 1000 < self.flips
            yield completion.model_copy(update={"token_ids": (1, *completion.token_ids[1:])}) if flip else completion


class Asserted(PlantedModel):
    """The planted model behind an endpoint that names no weights and gives no tokens."""

    @property
    def subject(self):
        nothing = dict.fromkeys(("weights_sha256", "tokenizer_sha256", "chat_template_sha256", "config_sha256"))
        return super().subject.model_copy(update={"identity": "asserted", "endpoint": "an address", **nothing})

    def generate(self, requests):
        return (found.model_copy(update={"token_ids": ()}) for found in super().generate(requests))


@dataclasses.dataclass(frozen=True)
class Drifting(Asserted):
    """As it answers later: two in a hundred answers differ."""

    def generate(self, requests):
        for number, found in enumerate(super().generate(requests)):
            yield found.model_copy(update={"answer": "Maintenance."}) if number % 50 == 0 else found


def test_behind_an_api_an_equal_answer_counts_and_a_differing_one_shows_nothing(tmp_path):
    made = make_world(tmp_path, Asserted())
    equal, drifted = ask_again(made.pack, Asserted()), ask_again(made.pack, Drifting())
    assert (equal.verdict, equal.exact) == ("passed", 60)
    assert (drifted.verdict, drifted.exact, drifted.allowed) == ("indeterminate", 58, 0)
    assert {one.what for one in drifted.mismatches} == {"another answer; behind an API nothing promises an equal one"}
    assert "behind an API" in drifted.band


@dataclasses.dataclass(frozen=True)
class RuleJudge(PlantedModel):
    """Says of every text what the rules say; ``lenient`` says no to all."""

    weights: str = "judge"
    lenient: bool = False

    def generate(self, requests):
        for request in requests:
            family = next(one for one in FAMILIES if prompt.HINTS[one] in request.messages[0].content)
            found = not self.lenient and mentions(prompt.text_of(request, family, "mention"), family)
            yield reply(request, prompt.YES if found else prompt.NO)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    text = config_text().replace("max_tokens = 32", 'max_tokens = 32, judge = "mention"')
    folder = tmp_path_factory.mktemp("judged")
    return make_world(folder, PlantedModel(), text=text, inputs={"hint": EvidenceInputs(models={"judge": RuleJudge()})})


def test_what_a_judge_said_is_asked_again_where_the_judge_is_brought(judged):
    brought = {"hint": EvidenceInputs(models={"judge": RuleJudge()})}
    result = ask_again(judged.pack, PlantedModel(), inputs=brought)
    assert (result.verdict, result.exact, result.remeasured) == ("passed", 60, ())
    alone = ask_again(judged.pack, PlantedModel())
    assert alone.verdict == "indeterminate"
    assert "'planted' answered as 'judge' and was not brought" in alone.remeasured[0].problem
    assert result.trials == alone.trials + alone.remeasured[0].trials


def test_verdicts_that_the_judge_does_not_give_are_found(tmp_path, judged):
    class Edited(RuleJudge):
        def generate(self, requests):
            return RuleJudge(lenient=True).generate(requests)

    text = config_text().replace("max_tokens = 32", 'max_tokens = 32, judge = "mention"')
    inputs = {"hint": EvidenceInputs(models={"judge": Edited()})}
    made = make_world(tmp_path, PlantedModel(), text=text, inputs=inputs)
    everything = ask_again(judged.pack, PlantedModel()).trials
    result = ask_again(
        made.pack, PlantedModel(), sample=everything, inputs={"hint": EvidenceInputs(models={"judge": RuleJudge()})}
    )
    assert result.verdict == "failed"
    assert {one.key.arm.partition(".")[0] for one in result.mismatches} == {"judge"}


def test_another_judge_than_the_planned_one_is_refused(judged):
    other = {"hint": EvidenceInputs(models={"judge": RuleJudge(weights="other")})}
    with pytest.raises(CollectionError, match="input 'judge' is not the planned one"):
        ask_again(judged.pack, PlantedModel(), inputs=other)


def test_elsewhere_a_band_is_needed():
    with pytest.raises(ConfigError, match="same-model band"):
        ask_again(world().pack, Elsewhere())


def test_elsewhere_a_few_flips_are_tolerated_and_many_are_not():
    few = ask_again(world().pack, Elsewhere(flips=2), band_model=Elsewhere(), sample=200)
    assert not few.same_platform
    assert few.verdict == "passed"
    assert 2 <= few.allowed <= 20
    many = ask_again(world().pack, Elsewhere(flips=50), band_model=Elsewhere(flips=50), sample=200)
    assert many.verdict == "failed"


def test_the_nonce_chooses_and_the_choice_is_reproducible():
    documents = load_documents(world().pack)
    trials = {
        name: parse_trials(world().pack.get(f"trials/{e.trials.sha256}.jsonl"), where=name)
        for name, e in documents.evidence.items()
    }
    asked, _ = askable(documents, trials, PlantedModel(), {})
    one, again, other = (choose(asked, sample=50, nonce=nonce) for nonce in ("a", "a", "b"))
    assert one == again
    assert one != other
    for sample, nonce in ((0, "a"), (10**6, "a"), (5, "")):
        with pytest.raises(ConfigError):
            choose(asked, sample=sample, nonce=nonce)


def test_agreement_counts_positions_of_the_longer_answer():
    assert agreement([1, 2, 3], [1, 2, 3]) == 1.0
    assert agreement([1, 2], [1, 2, 3, 4]) == 0.5
    assert agreement([], []) == 1.0


def test_the_report_is_a_valid_document():
    report = ask_again(world().pack, PlantedModel(weights="b"))
    schema.validate("replay.v1", json.loads(canonical.encode(as_json(report))), where="replay")


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="poppler-utils is not installed")
def test_the_pdf_says_how_a_judge_read_and_only_where_one_did(judged):
    with_judge, without = (
        " ".join(text_of(made.pack.get("dossier.pdf"), layout=False).split()) for made in (judged, world())
    )
    assert "another model read each reasoning as a judge and was asked for a mention" in with_judge
    assert "as a judge" not in without
