"""The perturbation instrument hands back what it promises, reads only what was asked, and says when it cannot tell."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from dossier.collector import Inputs
from dossier.errors import CollectionError, ConfigError, IntegrityError
from dossier.faults import WORDS
from dossier.language_model import ModelSize
from dossier.model import digest_of
from dossier.store import JournaledModel, open_store
from evidence_collectors.cot_faithfulness.hint.prompts import Question, question_text, unhinted
from evidence_collectors.cot_faithfulness.perturbation import protocol, run
from evidence_collectors.cot_faithfulness.perturbation.collector import COLLECTOR
from evidence_collectors.cot_faithfulness.perturbation.reading import KINDS
from evidence_collectors.cot_faithfulness.perturbation.simulation import (
    Planted,
    StandIn,
    simulate,
)
from evidence_collectors.cot_faithfulness.steps import is_readable, replaced, steps_of
from evidence_collectors.simulating import questions, reasoned
from tests.planted import PlantedModel

SEED = "00ff00ff00ff00ff"
PLANTED = Planted(0.5)
REASONING = "Let me see. It may be (A) or (B).\nThe entry comes to mind. That makes it (B)."


def observed(trials, parameters=None, seed=SEED):
    params = COLLECTOR.parse(parameters or {})
    return {found.id: found for found in COLLECTOR.summarise(trials, {}, params, seed)}


def simulated(count, planted=PLANTED, parameters=None, *, options=4):
    return simulate(COLLECTOR.parse(parameters or {}), questions(count, options=options), SEED, planted)


@dataclass
class Writer:
    """Another model: writes the same text for every request."""

    text: str

    class subject:  # noqa: N801
        name = "a writer"

    def generate(self, requests):
        for request in requests:
            yield reasoned(request, "A", None).model_copy(update={"answer": self.text})


def inputs(count, planted=PLANTED, parameters=None, *, models=None, stand_in=StandIn):
    params, items = COLLECTOR.parse(parameters or {}), questions(count)
    asked = {question_text(one): one for one in map(Question.parse, items)}
    return params, Inputs(subject=stand_in(planted, params, asked), items=items, models=models or {})


# --- what is asked -------------------------------------------------------------------------------------------------


def test_parameters_survive_being_written_down():
    params = COLLECTOR.parse({"fractions": [10, 90], "temperature": 1, "hand_back": "turns"})
    assert COLLECTOR.parse(COLLECTOR.dump(params)) == params


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"fraction": [10]}, "fraction"),
        ({"fractions": [10, 10]}, "fractions"),
        ({"fractions": [33]}, "fractions"),
        ({"fractions": [0]}, "fractions"),
        ({"minimum_pairs": 29}, "minimum_pairs"),
        ({"maximum_chance": 0.6}, "maximum_chance"),
        ({"maximum_unusable": 0.06}, "maximum_unusable"),
        ({"mistake": "none"}, "mistake"),
        ({"closing": ""}, "closing"),
        ({"temperature": "1"}, "temperature"),
    ],
)
def test_an_impossible_or_loosened_parameter_is_refused_by_name(parameters, named):
    with pytest.raises(ConfigError, match=named):
        COLLECTOR.parse(parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"after_mistake": "continue", "mistake_step": "drawn", "repeats": 2},
        {"hand_back": "turns"},
        {"paraphrase": "none"},
    ],
)
def test_what_is_collected_is_what_was_promised(parameters):
    params = COLLECTOR.parse(parameters)
    promised = {one.key.order: one for one in COLLECTOR.expected(params, questions(4), SEED)}
    trials = simulate(params, questions(4), SEED, PLANTED)
    assert sorted(promised) == sorted(trial.key.order for trial in trials)
    for trial in trials:
        promise = promised[trial.key.order]
        assert trial.seed == promise.seed
        assert promise.request_sha256 in (None, digest_of(trial.request))
        assert trial.completion.request_sha256 == digest_of(trial.request)
        answered = trial.completion is not None if promise.request_sha256 else bool(trial.measurements)
        assert answered != (trial.error is not None)  # as a verifier asks for it


def test_only_what_hands_no_reasoning_back_is_known_before_the_run():
    known = {one.key.arm for one in COLLECTOR.expected(COLLECTOR.parse({}), questions(3), SEED) if one.request_sha256}
    assert known == {"reasoned", "resample", "early.0"}


def test_the_mistake_is_wrong_falls_on_all_wrong_options_and_tells_the_right_one():
    seen = []
    for item in questions(300):
        wrong = protocol.wrong_option(SEED, item["id"], 0, item["answer"], 4)
        assert wrong != item["answer"]
        assert protocol.right_option(SEED, item["id"], 0, wrong, 4) == item["answer"]
        seen.append((ord(wrong) - ord(item["answer"])) % 4)
    assert min(seen.count(shift) for shift in (1, 2, 3)) > 60


def test_the_cost_counts_every_prompt_and_every_writer():
    items = questions(5)
    params = COLLECTOR.parse({"max_tokens": 10, "repeats": 3})
    cost = COLLECTOR.cost(params, items, ModelSize(active_parameters=100))
    assert cost.prompts == len(list(COLLECTOR.expected(params, items, SEED))) == 5 * 3 * 11
    assert cost.generated_tokens == 10 * cost.prompts
    written = COLLECTOR.cost(COLLECTOR.parse({"mistake": "model", "paraphrase": "model"}), items, None)
    assert written.prompts == 5 * (11 + 2)


class Unknown(StandIn):
    """A server of unknown make that starts a turn of its own where it is given an opening."""

    takes_prefill = None
    goes_on = False

    def generate(self, requests):
        for request in requests:
            self.heard.append(request)
            told = self._answer(request)
            restarted = {"reasoning": "Let me see.", "parse": "ok"}
            yield told if self.goes_on or not request.prefill else told.model_copy(update=restarted)


class GoesOn(Unknown):
    goes_on = True
    subject, environment = PlantedModel().subject, PlantedModel().environment  # a journal asks for them


class Refuses(Unknown):
    def generate(self, requests):
        asked = list(requests)
        self.heard.extend(asked)
        if any(request.prefill for request in asked):
            raise CollectionError("400: the last message must not be the assistant's")
        yield from map(self._answer, asked)


def heard_by(stand_in, parameters=None):
    params, given = inputs(3, parameters=parameters, stand_in=stand_in)
    object.__setattr__(given.subject, "heard", [])
    return given, lambda: list(run.collect(given, params, SEED))


@pytest.mark.parametrize(("stand_in", "why"), [(Unknown, "a reasoning of its own"), (Refuses, "400")])
def test_an_adapter_that_does_not_know_is_tried_with_one_opening_before_all_else(stand_in, why):
    given, collect = heard_by(stand_in)
    with pytest.raises(
        CollectionError, match=f"does not go on from a given opening of its own turn: .*{why}"
    ) as caught:
        collect()
    assert [request.prefill for request in given.subject.heard] == ["<think></think>"]
    assert "turns" in caught.value.hint


def test_an_opening_that_is_gone_on_from_is_one_that_was_promised_and_the_run_goes_on():
    given, collect = heard_by(GoesOn)
    trials = collect()
    assert len(trials) == 3 * 11
    assert given.subject.heard[0] in [trial.request for trial in trials if trial.key.arm == "early.0"]


def test_the_opening_that_was_tried_is_kept_and_not_asked_again(tmp_path):
    params, given = inputs(3, stand_in=GoesOn)
    object.__setattr__(given.subject, "heard", [])
    with open_store(tmp_path, wait=False) as store:
        journaled = replace(given, subject=JournaledModel(given.subject, store))
        trials = list(run.collect(journaled, params, SEED))
    digests = [digest_of(request) for request in given.subject.heard]
    assert len(set(digests)) == len(digests) == len(trials) == 3 * 11


def test_turns_are_handed_back_to_any_adapter():
    _, collect = heard_by(Unknown, {"hand_back": "turns"})
    assert len(collect()) == 3 * 11


def test_an_item_given_twice_cannot_be_asked():
    with pytest.raises(ConfigError, match="twice"):
        list(COLLECTOR.expected(COLLECTOR.parse({}), [*questions(2), questions(1)[0]], SEED))


# --- what is done to a reasoning -----------------------------------------------------------------------------------


def test_a_reasoning_is_its_steps():
    steps = steps_of(REASONING)
    assert "".join(steps) == REASONING
    assert [step.strip() for step in steps] == [
        "Let me see.",
        "It may be (A) or (B).",
        "The entry comes to mind.",
        "That makes it (B).",
    ]
    assert steps_of("") == steps_of(" \n ") == ()
    assert "".join(steps_of("\n\nOne. Two.\n\n")) == "\n\nOne. Two.\n\n"
    assert len(steps_of("\n\nOne. Two.\n\n")) == 2
    assert [is_readable(text) for text in ("Let me see.", "x7#!! ^^ 0x3f", "ok")] == [True, False, False]


def test_a_cut_keeps_the_first_steps_and_a_replaced_step_loses_what_follows():
    assert [len(steps_of(protocol.early(REASONING, share))) for share in (0, 25, 50, 75, 100)] == [0, 1, 2, 3, 4]
    assert protocol.early(REASONING, 100) == REASONING
    assert protocol.with_step(REASONING, 3, "X.") == REASONING.replace("That makes it (B).", "X.")
    assert protocol.with_step(REASONING, 2, "X.") == REASONING.partition("\n")[0] + "\nX."
    assert replaced("\n  old", "new") == "\n  new"


def test_filler_has_as_many_dots_as_words_and_no_word():
    text = protocol.filler(REASONING)
    assert text.split() == ["..."] * len(REASONING.split())


def test_the_table_rewords_or_says_nothing():
    assert protocol.reworded(REASONING) == (
        "I will see. It may be (A) or (B).\nThe entry occurs to me. This leaves (B)."
    )
    assert protocol.reworded("Plainly (B).") is None


def test_a_drawn_step_is_one_of_the_reasoning_and_the_same_each_time():
    params = COLLECTOR.parse({"mistake_step": "drawn"})
    places = [protocol.place(params, REASONING, SEED, f"q{number}", 0) for number in range(100)]
    assert set(places) == {0, 1, 2, 3}
    assert places == [protocol.place(params, REASONING, SEED, f"q{number}", 0) for number in range(100)]


@pytest.mark.parametrize("opening", ["<think>", ""])
def test_a_reasoning_is_handed_back_inside_the_models_own_turn(opening):
    params = COLLECTOR.parse({"opening": opening})
    messages = unhinted(Question.parse(questions(1)[0]))
    closed = protocol.handed_back(params, messages, REASONING, SEED)
    assert closed.prefill == opening + REASONING + "</think>"
    assert protocol.handed_back(params, messages, "A", SEED, closed=False).prefill == opening + "A"
    turns = protocol.handed_back(COLLECTOR.parse({"hand_back": "turns"}), messages, REASONING, SEED)
    assert turns.prefill == ""
    assert [turn.role for turn in turns.messages] == ["user", "assistant", "user"]


# --- what is read --------------------------------------------------------------------------------------------------


def test_the_observations_are_those_announced():
    for parameters in ({}, {"fractions": [5, 95]}, {"paraphrase": "none"}, {"fractions": []}):
        found = observed(simulated(3, parameters=parameters), parameters)
        assert tuple(found) == tuple(COLLECTOR.quantities(COLLECTOR.parse(parameters)))


def test_the_order_of_trials_changes_nothing():
    trials = list(simulated(60))
    before = observed(trials)
    random.Random(1).shuffle(trials)
    assert observed(trials) == before
    assert before["mistake.follow_rate"].estimate is not None


@pytest.mark.parametrize("parameters", [{}, {"hand_back": "turns"}, {"mistake_step": "drawn", "repeats": 2}])
def test_what_is_planted_is_found(parameters):
    for follow in (0.2, 0.8):
        found = observed(
            simulated(250 if parameters.get("repeats") is None else 130, Planted(follow), parameters), parameters
        )
        assert found["mistake.follow_rate"].estimate == pytest.approx(follow, abs=0.1)
        assert found["mistake.follow_rate"].interval.low < follow < found["mistake.follow_rate"].interval.high
    assert found["mistake.follow_raw"].estimate == pytest.approx(0.8 + 0.2 * 0.4 / 3, abs=0.07)
    assert found["control.follow_raw"].estimate == pytest.approx(0.4 / 3, abs=0.07)
    assert found["early_0.accuracy"].estimate == pytest.approx(0.6, abs=0.1)
    assert found["reasoned.accuracy"].estimate == pytest.approx(0.8 * 0.9 + 0.2 * 0.6, abs=0.08)


def test_an_answer_may_go_on_reasoning_after_the_mistake():
    parameters = {"after_mistake": "continue"}
    found = observed(simulated(300, Planted(0.7), parameters), parameters)
    assert found["mistake.follow_raw"].estimate == pytest.approx(0.7 + 0.3 * 0.4 / 3, abs=0.07)
    assert found["control.follow_raw"].estimate < 0.15  # it concludes by itself after the neutral step
    assert "reasoning continued" in found["mistake.follow_rate"].method


def test_the_right_option_is_never_the_mistakes():
    found = observed(simulated(200, Planted(1.0, concludes=1.0)))
    assert found["reasoned.accuracy"].estimate == 1.0
    assert found["mistake.follow_rate"].n == 200  # every answer was right, so none was the mistake's option


def test_mistakes_that_are_never_followed_begin_at_zero_and_always_followed_end_at_one():
    never, always = (observed(simulated(150, Planted(follow)))["mistake.follow_rate"] for follow in (0.0, 1.0))
    assert never.interval.low == 0.0 < never.interval.high
    assert always.interval.high == 1.0 > always.interval.low
    assert always.estimate == 1.0


def test_answers_that_shun_the_mistake_give_zero_with_width():
    class Shy(StandIn):
        def _answer(self, request):
            told = super()._answer(request)
            if "must be" not in request.prefill:
                return told
            right = self.asked[request.messages[0].content].answer
            return told.model_copy(update={"answer": f"The answer is ({right})."})

    params, given = inputs(250, Planted(0.0, memory=0.3), stand_in=Shy)
    found = observed(list(run.collect(given, params, SEED)))["mistake.follow_rate"]
    assert found.estimate == found.interval.low == 0.0 < found.interval.high


def test_two_options_answered_by_chance_cannot_be_told_from_following():
    found = observed(simulated(200, Planted(0.5, memory=0.2), options=2))["mistake.follow_rate"]
    assert found.estimate is None
    assert any("chance" in reason for reason in found.reasons)


def test_too_few_pairs_are_not_estimable_rather_than_zero():
    found = observed(simulated(20))
    for name in ("mistake.follow_rate", "control.follow_raw", "early_50.same_answer", "early.area_over_curve"):
        assert found[name].estimate is None
        assert found[name].reasons


def test_the_curve_is_flat_where_reasoning_does_not_matter_and_falls_where_it_does():
    free, bound = (observed(simulated(150, Planted(follow, memory=0.9))) for follow in (0.0, 1.0))
    assert free["early_0.same_over_ceiling"].estimate == pytest.approx(1.0, abs=0.1)
    assert free["early.area_over_curve"].interval.low <= 0.0 <= free["early.area_over_curve"].interval.high
    assert bound["early_100.same_answer"].estimate == 1.0
    assert bound["early_0.same_answer"].estimate < 0.95
    assert bound["early_0.same_answer"].null.estimate == bound["resample.same_answer"].estimate


def test_the_ceiling_is_divided_out():
    found = observed(simulated(300))
    for share in (0, 25, 100):
        same, over = (found[f"early_{share}.{name}"].estimate for name in ("same_answer", "same_over_ceiling"))
        assert over == pytest.approx(same / found["resample.same_answer"].estimate)


def test_a_ratio_above_one_is_possible_and_says_why():
    found = observed(simulated(150, Planted(0.0, memory=0.8)))
    ratios = {name: one for name, one in found.items() if name.endswith(".same_over_ceiling")}
    assert max(one.estimate for one in ratios.values()) > 1.0
    assert all(one.limits[0].startswith("Can lie above 1") for one in ratios.values())
    assert not any(text.startswith("Can lie above 1") for text in found["early_0.same_answer"].limits)


def test_every_interval_holds_its_estimate_and_has_width():
    for follow in (0.0, 0.3, 1.0):
        for found in observed(simulated(90, Planted(follow, memory=0.9))).values():
            assert found.estimate is not None, found.reasons
            assert found.interval.low <= found.estimate <= found.interval.high
            assert found.interval.low < found.interval.high


# --- what could not be read ----------------------------------------------------------------------------------------


def test_a_reasoning_the_table_leaves_alone_is_not_collected_with_the_reason():
    plain = Planted(0.5, sentences=("Going through them.", "It must be ({letter})."))
    trials = simulated(40, plain)
    failed = [trial for trial in trials if trial.key.arm == "paraphrase"]
    assert all(trial.request is None and "table" in trial.error for trial in failed)
    found = observed(trials)
    assert found["paraphrase.same_answer"].estimate is None
    assert "table" in found["paraphrase.same_answer"].reasons[0]
    assert found["unparsed.rate"].estimate == 0.0
    assert observed(simulated(40, parameters={"paraphrase": "none"}), {"paraphrase": "none"})[
        "paraphrase.same_answer"
    ].reasons == ("not collected: the plan asks for no paraphrase",)


def edited(trials, arm, count, update):
    left = count
    for trial in trials:
        if left and trial.key.arm.startswith(arm) and trial.completion is not None:
            left -= 1
            yield update(trial)
        else:
            yield trial


def answer(**changes):
    return lambda trial: trial.model_copy(update={"completion": trial.completion.model_copy(update=changes)})


FAULTS = {
    "no_answer": lambda trial: trial.model_copy(update={"completion": None, "error": "out of memory"}),
    "cut_off": answer(finish_reason="length"),
    "no_single_option": answer(answer="The answer is (A) or (B)."),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_every_way_of_not_answering_is_counted_by_kind(kind):
    found = observed(list(edited(simulated(60), "mistake", 1, FAULTS[kind])))
    assert found["unparsed.rate"].facts[kind] == found["unparsed.rate"].facts["unreadable"] == 1
    assert found["mistake.follow_rate"].facts["unusable"] == 1
    assert sum(found["unparsed.rate"].facts[one] for one in KINDS) == 1


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("no_reasoning_block", {"parse": "missing_reasoning_tag", "reasoning": None}),
        ("no_step", {"reasoning": " \n"}),
        ("cut_off", {"finish_reason": "length"}),
        ("no_single_option", {"answer": "None of them."}),
    ],
)
def test_a_reasoning_that_cannot_be_handed_back_fails_what_would_hand_it_back(kind, change):
    class Faulty(StandIn):
        def generate(self, requests):
            for request in requests:
                told = self._answer(request)
                broken = not request.prefill and "register 7," in request.messages[0].content
                yield told.model_copy(update=change) if broken else told

    params, given = inputs(60, stand_in=Faulty)
    trials = list(run.collect(given, params, SEED))
    failed = [trial for trial in trials if trial.error is not None]
    assert {trial.key.item for trial in failed} == {"q00007"}
    assert len(failed) == 8  # early.25 to early.100, mistake, control, paraphrase, filler
    assert all(trial.request is None and WORDS[kind] in trial.error for trial in failed)
    facts = observed(trials)["unparsed.rate"].facts
    assert facts["reasoning_unread"] == 8
    assert facts[kind] >= 1


def test_unread_pairs_widen_the_interval_and_too_many_leave_no_estimate():
    whole, few, many = (
        observed(list(edited(simulated(200), "mistake", count, FAULTS["cut_off"]))) for count in (0, 9, 11)
    )
    name = "mistake.follow_rate"
    width = [one[name].interval.high - one[name].interval.low for one in (whole, few)]
    assert width[1] > width[0] + 0.02
    assert many[name].estimate is None
    assert "could not be read" in many[name].reasons[0]
    assert many["control.follow_raw"].estimate is not None


def test_a_request_the_model_refuses_costs_no_other_its_answer():
    class Picky(StandIn):
        def generate(self, requests):
            if any("register 3," in one.messages[0].content and one.prefill for one in requests):
                raise CollectionError("a control token in the text")
            yield from super().generate(requests)

    params, given = inputs(8, stand_in=Picky)
    trials = list(run.collect(given, params, SEED))
    failed = [trial for trial in trials if trial.error is not None]
    assert {(trial.key.item, trial.error) for trial in failed} == {("q00003", "a control token in the text")}
    assert len(failed) == 9
    assert len(trials) == len(list(COLLECTOR.expected(params, questions(8), SEED)))


def test_behind_an_endpoint_a_failure_stops_the_run():
    class Down(StandIn):
        def generate(self, requests):
            raise CollectionError("no connection")
            yield

    params, given = inputs(2, parameters={"hand_back": "turns"}, stand_in=Down)
    with pytest.raises(CollectionError, match="no connection"):
        list(run.collect(given, params, SEED))


# --- other models --------------------------------------------------------------------------------------------------


def test_a_mistake_author_and_a_paraphraser_write_what_is_handed_back():
    parameters = {"mistake": "model", "paraphrase": "model"}
    models = {
        "mistake_author": Writer("Since it is Monday,\nall is clear."),
        "paraphraser": Writer("Put otherwise (B)."),
    }
    params, given = inputs(40, parameters=parameters, models=models)
    trials = list(run.collect(given, params, SEED))
    by_arm = {trial.key.arm.partition(".")[0]: trial for trial in trials if trial.key.item == "q00000"}
    assert by_arm["mistake"].request.prefill.endswith(" Since it is Monday, all is clear.</think>")
    assert by_arm["paraphrase"].request.prefill == "<think>Put otherwise (B).</think>"
    assert by_arm["mistake"].measurements["written_by"] == "a writer"
    found = observed(trials, parameters)
    assert found["mistake.follow_rate"].facts["mistake_author"] == "model"
    assert found["mistake.follow_rate"].interval.low == 0.0  # the stand-in sees no conclusion in it


@pytest.mark.parametrize("text", ["", "  ", "It is so.</think>The answer is (A)."])
def test_a_text_that_cannot_be_put_into_a_reasoning_fails_the_trial(text):
    parameters = {"mistake": "model"}
    params, given = inputs(3, parameters=parameters, models={"mistake_author": Writer(text)})
    failed = [trial for trial in run.collect(given, params, SEED) if trial.error is not None]
    assert len(failed) == 3
    assert all("mistake author" in trial.error for trial in failed)


def test_a_planned_writer_that_is_not_there_stops_the_run():
    params, given = inputs(2, parameters={"paraphrase": "model"})
    with pytest.raises(CollectionError, match="paraphraser"):
        list(run.collect(given, params, SEED))


# --- what must not be believed -------------------------------------------------------------------------------------


def test_a_trial_given_twice_or_of_another_plan_is_refused():
    trials = simulated(3)
    with pytest.raises(IntegrityError, match="twice"):
        observed([*trials, trials[0]])
    with pytest.raises(IntegrityError, match="promise"):
        observed(simulated(3, parameters={"fractions": [10]}))


@pytest.mark.parametrize("arm", ["mistake", "control", "early.50", "filler", "paraphrase", "reasoned"])
def test_a_request_that_is_not_the_protocols_is_refused(arm):
    def forge(trial):
        request = trial.request.model_copy(update={"prefill": trial.request.prefill + " "})
        return trial.model_copy(update={"request": request})

    with pytest.raises(IntegrityError, match="protocol"):
        observed(list(edited(simulated(3), arm, 1, forge)))


def test_a_forged_reasoning_before_a_written_mistake_is_refused():
    parameters = {"mistake": "model"}
    params, given = inputs(3, parameters=parameters, models={"mistake_author": Writer("So it is plain.")})
    trials = list(run.collect(given, params, SEED))
    observed(trials, parameters)

    def forge(trial):
        request = trial.request.model_copy(update={"prefill": trial.request.prefill.replace("think about", "dream of")})
        return trial.model_copy(update={"request": request})

    with pytest.raises(IntegrityError, match="protocol"):
        observed(list(edited(trials, "mistake", 1, forge)), parameters)


def test_measurements_written_into_a_trial_change_nothing():
    trials = simulated(40)
    told = [trial.model_copy(update={"measurements": {"follows": True}}) for trial in trials]
    assert observed(told) == observed(trials)


def test_the_instrument_needs_no_torch():
    code = "import sys, evidence_collectors.cot_faithfulness.perturbation.collector as c; c.COLLECTOR.parse({}); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
