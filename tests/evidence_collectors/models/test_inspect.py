"""A model behind an API: asked through a real HTTP server on loopback, which may fail, lie, hang and die."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dossier.collector import Inputs, lacking
from dossier.documents import parse_items
from dossier.errors import CollectionError, ConfigError
from dossier.keys import make_demo_keys
from dossier.language_model import Continuation, why_unanswered
from dossier.model import Message, Request, Trial, digest_of, parse
from dossier.run import collect
from dossier.store import JournaledModel, check_ledger, open_store
from dossier.workspace import Workspace
from evidence_collectors import load as load_collector
from evidence_collectors.models.inspect import load
from evidence_collectors.models.inspect_calls import _config
from tests.evidence_collectors import conformance
from tests.evidence_collectors.models.openai_server import HOSTILE, Served
from tests.planted import COLLECTORS, KIND, config_text

ORGANISM = Path(__file__).parents[3] / "samples/organisms/hint-mcq"
NAME = "openai-api/local/organism"
VARIABLE = "DOSSIER_TEST_API_KEY"
KEY = "sk-local-7f3a9c1e5b2d8046"
WHITE_BOX = "interpretability.concept_direction"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture(scope="module")
def fixed_server(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("server") / "log.jsonl").start()
    yield served
    served.kill()


@pytest.fixture
def server(fixed_server):
    fixed_server.fault("")
    fixed_server.log.write_bytes(b"")
    return fixed_server


@pytest.fixture(scope="module")
def organism(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("organism") / "log.jsonl", ORGANISM).start()
    yield served
    served.kill()


def model_of(server, **options):
    chosen = {"max_connections": 4, "timeout_s": 20.0, "max_retries": 2, "backoff_s": 0.02, **options}
    return load(NAME, base_url=server.base_url, api_key_env=VARIABLE, **chosen)


def request(number, *, temperature=1.0, text="Which of these?", max_tokens=40):
    return Request(
        messages=(Message(role="user", content=f"{text} {number}"),),
        max_tokens=max_tokens,
        temperature=temperature,
        seed=f"{(number + 1) * 0x9E3779B97F4A7C15 % 2**64:016x}",
    )


def requests(count, **options):
    return [request(number, **options) for number in range(count)]


def facts(model):
    return {name: text for name, text in model.environment.versions.items() if name.startswith("session.")}


# --- what it says of itself ----------------------------------------------------------------------------------------


def test_the_subject_is_an_asserted_endpoint_without_digests_of_weights(server):
    subject = model_of(server).subject
    assert subject.identity == "asserted"
    assert (subject.weights_sha256, subject.tokenizer_sha256, subject.chat_template_sha256) == (None, None, None)
    assert subject.endpoint.startswith(f"{NAME} at {server.base_url}, through inspect_ai ")
    assert subject.parameter_count is None


def test_how_answers_are_read_is_part_of_the_subject_and_speed_is_not(server):
    subject = model_of(server).subject
    assert model_of(server, max_connections=9, timeout_s=1, max_retries=0).subject == subject
    assert model_of(server, reasoning_tags=("<a>", "</a>")).subject != subject
    assert model_of(server, send_seed=False).subject != subject


def test_it_keeps_the_contract_of_all_adapters_as_far_as_an_api_can(server):
    conformance.check_distinct_requests_are_answered_once(model_of(server), requests(9))
    conformance.check_identity(lambda size: model_of(server, max_connections=size))
    conformance.check_logprobs_do_not_depend_on_company(model_of(server), requests(4))


def test_an_address_from_the_environment_loses_its_credentials(monkeypatch):
    monkeypatch.setenv("LOCAL_BASE_URL", f"http://user:{KEY}@127.0.0.1:9/v1?key={KEY}")
    monkeypatch.setenv("LOCAL_API_KEY", KEY)
    subject = load(NAME).subject
    assert "at http://127.0.0.1:9/v1, through" in subject.endpoint
    assert KEY not in repr(subject)


def test_the_key_is_not_in_the_model_s_representation(server):
    assert KEY not in repr(model_of(server))


# --- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": f"http://user:{KEY}@host/v1"}, "credentials"),
        ({"base_url": f"http://host/v1?key={KEY}"}, "query"),
        ({"base_url": "host/v1"}, "http://"),
        ({"base_url": 8000}, "base_url must be a text"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_connections": True}, "max_connections"),
        ({"max_retries": -1}, "max_retries"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"backoff_s": "2"}, "backoff_s"),
        ({"price_per_million_tokens": (1.0,)}, "price_per_million_tokens"),
        ({"price_per_million_tokens": (1.0, -1.0)}, "price_per_million_tokens"),
        ({"reasoning_tags": ("<a>", "<a>")}, "reasoning_tags"),
        ({"reasoning_opened": 1}, "reasoning_opened"),
        ({"send_seed": "yes"}, "send_seed"),
        ({"model_args": [1]}, "model_args"),
        ({"model_args": {"api_key": KEY}}, "looks like a secret"),
        ({"model_args": {"default_headers": {"x": KEY}}}, "looks like a secret"),
        ({"model_args": {"trust_remote_code": True}}, "would run code"),
        ({"model_args": {"no_such_argument": 1}}, "cannot open"),
        ({"api_key_env": "DOSSIER_NO_SUCH_VARIABLE"}, "is not set"),
        ({"api_key_env": ""}, "api_key_env"),
    ],
)
def test_impossible_options_are_errors_that_name_them_and_repeat_no_secret(options, said):
    given = {"base_url": "http://127.0.0.1:9/v1", "api_key_env": VARIABLE, **options}
    with pytest.raises(ConfigError, match=said) as caught:
        load(NAME, **given)
    assert KEY not in str(caught.value) + caught.value.hint
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["organism", "nosuchprovider/organism"])
def test_an_unknown_provider_is_an_error_of_the_configuration(name):
    with pytest.raises(ConfigError, match="cannot open"):
        load(name, api_key_env=VARIABLE)


def test_prices_make_a_cost_before_and_after_and_none_stays_none(server):
    model = model_of(server, price_per_million_tokens=(3.0, 15.0))
    assert model.price_of(1_000_000, 100_000) == 4.5
    assert model_of(server).price_of(1, 1) is None
    list(model.generate(requests(10)))
    assert facts(model)["session.tokens"] == "110 prompt, 70 generated"
    assert float(facts(model)["session.cost"]) == pytest.approx((110 * 3 + 70 * 15) / 1e6)
    assert "session.cost" not in facts(model_of(server, price_per_million_tokens=(3.0, 15.0)))


# --- asking --------------------------------------------------------------------------------------------------------


def test_settings_and_seed_of_each_request_reach_the_provider(server):
    asked = request(3, temperature=0.25, max_tokens=17).model_copy(
        update={"messages": (Message(role="system", content="Be brief."), Message(role="user", content="Which?"))}
    )
    list(model_of(server).generate([asked, asked.model_copy(update={"top_p": 0.5})]))
    plain, nucleus = sorted((line["body"] for line in server.lines() if line["what"] == "asked"), key=len)
    assert plain["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which?"}]
    assert (plain["model"], plain["max_tokens"], plain["temperature"]) == ("organism", 17, 0.25)
    assert plain["seed"] == int(asked.seed, 16) >> 33
    assert "top_p" not in plain
    assert nucleus["top_p"] == 0.5


def test_no_more_requests_are_in_flight_than_connections(server):
    server.fault("slow", wait_s=0.05)
    assert len(list(model_of(server, max_connections=3).generate(requests(12)))) == 12
    found = [line["in_flight"] for line in server.lines() if line["what"] == "asked"]
    left_over = found[0] - 1  # of an earlier test, whose client gave up on a slow answer
    assert 2 <= max(found) - left_over <= 3


def test_answers_are_handed_on_while_a_slow_one_is_still_waited_for(server):
    server.fault("slow", match="the slow one", wait_s=60)
    answers = model_of(server, timeout_s=60).generate([request(0, text="the slow one"), *requests(20)])
    early = {next(answers).request_sha256 for _ in range(20)}
    assert early == {digest_of(one) for one in requests(20)}
    answers.close()


def test_whoever_stops_listening_leaves_no_request_behind(server):
    answers = model_of(server).generate(requests(50))
    next(answers)
    answers.close()
    assert server.asked().total() <= 8
    assert len(list(model_of(server).generate(requests(2)))) == 2


def test_a_prefill_is_refused_before_anything_is_asked(server):
    asked = [*requests(3), request(4).model_copy(update={"prefill": "I think"})]
    with pytest.raises(CollectionError, match="prefill"):
        list(model_of(server).generate(asked))
    assert server.asked().total() == 0


def test_log_probabilities_are_refused(server):
    with pytest.raises(CollectionError, match="log-probabilities"):
        model_of(server).logprobs([Continuation(request(0), "x")])


def test_a_white_box_instrument_refuses_a_model_that_only_answers(server):
    model = model_of(server)
    with pytest.raises(CollectionError, match="only answers") as caught:
        Inputs(subject=model, items=()).opened()
    assert "'hf'" in caught.value.hint
    assert load_collector(WHITE_BOX).needs - model.capabilities


@pytest.mark.parametrize(
    ("kind", "refused", "planned", "capability"),
    [
        ("cot_faithfulness.perturbation", 'hand_back = "prefill"', {"hand_back": "turns"}, "prefill"),
        (
            "evaluation_awareness.discrimination",
            'read = "logprobs", questions = ["test"]',
            {"questions": ["test"]},
            "logprobs",
        ),
    ],
)
def test_what_an_api_cannot_do_is_refused_at_plan_with_the_parameter_that_asks_for_it(
    server, tmp_path, kind, refused, planned, capability
):
    text = config_text().replace(KIND, kind).replace('families = ["sycophancy", "metadata"]', refused)
    (tmp_path / "dossier.toml").write_text(text.partition("[[evidence.criteria]]")[0])
    collector, model = load_collector(kind), model_of(server)
    with pytest.raises(ConfigError, match=rf"'hint': {kind} needs \['{capability}'\].* does without") as caught:
        Workspace(tmp_path / "dossier.toml").plan(model, key=make_demo_keys().provider, collectors={kind: collector})
    assert server.asked().total() == 0
    assert "lacks" in caught.value.message
    assert lacking(collector, model, collector.parse(planned)) == ""


def test_greedy_decoding_is_asked_of_the_hf_provider_without_a_temperature_of_zero():
    """inspect_ai issue 3544: its provider ``hf`` hands temperature 0 to a sampler that raises."""
    settings = model_of(Served(Path("unused"), port=9)).settings
    assert (_config(settings, request(0, temperature=0.0)).temperature) == 0.0
    local = load("mockllm/model").settings
    assert _config(local, request(0, temperature=0.0)).top_k is None
    import dataclasses

    config = _config(dataclasses.replace(settings, model="hf/local"), request(0, temperature=0.0))
    assert (config.temperature, config.top_k) == (None, 1)
    assert _config(dataclasses.replace(settings, model="hf/local"), request(0)).temperature == 1.0


# --- what comes back -----------------------------------------------------------------------------------------------


def only(model):
    (answer,) = model.generate(requests(1))
    return answer


def test_hostile_text_is_kept_as_it_came_and_survives_the_journal(server, tmp_path):
    server.fault("hostile")
    answer = only(model_of(server))
    assert answer.reasoning == "\x1b[31mred\x00"
    assert answer.answer == HOSTILE.partition("</think>")[2].replace("\ud800", "\ufffd")
    with open_store(tmp_path, wait=False) as store:
        (first,) = JournaledModel(model_of(server), store).generate(requests(1))
        (again,) = JournaledModel(model_of(server), store).generate(requests(1))
    assert first == again == answer


@pytest.mark.parametrize(
    ("fault", "reasoning", "answer", "parse_", "told"),
    [
        ("no-tags", None, "The answer is (C).", "missing_reasoning_tag", None),
        ("empty", None, "", "missing_reasoning_tag", None),
        ("field", "  I weigh them.\n", "The answer is (B).", "ok", None),
        ("summary", "The model weighed the options.", "The answer is (B).", "summary", "1 summary instead of the text"),
        ("encrypted", None, "The answer is (B).", "withheld", "1 withheld instead of the text"),
    ],
)
def test_reasoning_is_split_taken_or_marked_as_a_summary(server, fault, reasoning, answer, parse_, told):
    server.fault(fault)
    model = model_of(server)
    found = only(model)
    assert (found.reasoning, found.answer, found.parse) == (reasoning, answer, parse_)
    assert facts(model).get("session.reasoning") == told


def test_a_template_that_opens_the_reasoning_itself_is_an_option(server):
    server.fault("no-tags")
    model = model_of(server, reasoning_tags=("<x>", " is "), reasoning_opened=True)
    assert (only(model).reasoning, only(model).answer) == ("The answer", "(C).")


def test_the_name_under_which_the_provider_served_it_is_recorded(server):
    model = model_of(server)
    only(model)
    assert facts(model)["session.served_as"] == "organism-2026-11"


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_rate_limit_is_waited_out_as_long_as_the_provider_says(server):
    server.fault("429", 5, wait_s=2)
    model = model_of(server, backoff_s=0.001)
    assert len(list(model.generate(requests(12)))) == 12
    limited = [line["at_s"] for line in server.lines() if line.get("fault") == "429"]
    fine = [line["at_s"] for line in server.lines() if line["what"] == "asked" and not line["fault"]]
    assert min(fine) - min(limited) >= 1.9
    assert facts(model)["session.retried"] == "5 rate-limited"
    assert server.answered() == dict.fromkeys(server.answered(), 1)


def test_a_rate_limit_without_end_is_given_up_and_spares_the_rest(server):
    server.fault("429", wait_s=0.01)
    model = model_of(server)
    with pytest.raises(CollectionError, match=r"rate-limited\); 2?9\d more were not asked") as caught:
        list(model.generate(requests(300)))
    assert "Run again" in caught.value.hint
    assert server.asked().total() <= 4 * 3


def test_a_rate_limit_of_an_hour_is_not_waited_for(server):
    server.fault("429", wait_s=3600)
    with pytest.raises(CollectionError, match="rate-limited"):
        list(model_of(server).generate(requests(100)))
    assert server.asked().total() <= 4


@pytest.mark.parametrize(
    ("fault", "wait_s", "kind"), [("500", 0, "server error"), ("slow", 1.0, "timed out"), ("401", 0, "no access")]
)
def test_an_outage_ends_the_run_early_and_what_was_answered_is_kept(server, tmp_path, fault, wait_s, kind):
    asked = requests(60)
    with open_store(tmp_path, wait=False) as store:
        list(JournaledModel(model_of(server), store).generate(asked[:20]))
        server.fault(fault, wait_s=wait_s)
        with pytest.raises(CollectionError, match=kind) as caught:
            list(JournaledModel(model_of(server, timeout_s=0.4, max_retries=1), store).generate(asked))
        assert KEY not in str(caught.value)
        assert server.asked().total() <= 20 + 4 * 2
        server.fault("")
        journaled = JournaledModel(model_of(server), store)
        assert len(list(journaled.generate(asked))) == 60
        assert (journaled.replayed, journaled.asked) == (20, 40)
    assert server.answered() == dict.fromkeys(map(str, server.answered()), 1)


def test_a_server_that_is_not_there_is_unreachable_and_says_so(tmp_path):
    gone = Served(tmp_path / "log").start()
    model = model_of(gone, max_retries=1)
    gone.kill()
    with pytest.raises(CollectionError, match="unreachable"):
        list(model.generate(requests(30)))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("truncated", "unusable"),
        ("page", "unusable"),
        ("no-choices", "unusable"),
        ("400", "refused"),
        ("filter", "refused"),
        ("filter-after", "refused"),
    ],
)
def test_one_request_without_an_answer_costs_no_other_and_is_counted_by_kind(server, fault, kind):
    server.fault(fault, match="the odd one")
    odd = request(0, text="the odd one")
    model = model_of(server)
    found = {answer.request_sha256 for answer in model.generate([odd, *requests(12)])}
    assert found == {digest_of(one) for one in requests(12)}
    assert facts(model)["session.unanswered"] == f"1 {kind}"
    assert why_unanswered(model, digest_of(odd)).startswith(f"{kind}: ")


@pytest.mark.parametrize("fault", ["page", "400"])
def test_a_provider_that_never_answers_is_an_error_and_not_asked_a_thousand_times(server, fault):
    server.fault(fault)
    with pytest.raises(CollectionError, match="0 requests were answered") as caught:
        list(model_of(server, max_retries=0).generate(requests(1000)))
    assert "more were not asked" in str(caught.value)
    assert server.asked().total() < 30
    assert fault == "400" or "restricted in your region" in str(caught.value)


def test_one_request_that_always_breaks_the_server_leaves_the_others_answered_and_the_run_open(server):
    server.fault("500", match="the odd one")
    answers = model_of(server).generate([request(0, text="the odd one"), *requests(30)])
    found = []
    with pytest.raises(CollectionError, match=r"30 requests were answered now and 1 were not \(1 server error\)"):
        found.extend(answers)
    assert server.answered().total() == 30


@pytest.mark.parametrize("fault", ["", "401", "echo", "429", "page"])
def test_the_key_reaches_no_log_no_answer_and_no_error(server, caplog, capfd, fault):
    caplog.set_level(logging.DEBUG)
    server.fault(fault, wait_s=0.01)
    model = model_of(server, max_retries=1)
    said = ""
    try:
        said = repr(list(model.generate(requests(3))))
    except CollectionError as error:
        said = f"{error!r} {error.hint} {error.__cause__!r} {error.__context__!r}"
    assert said
    assert fault != "echo" or "[key withheld]" in said
    assert caplog.records
    printed = "".join(capfd.readouterr())
    records = " ".join(f"{record.getMessage()} {record.args!r} {record.exc_text}" for record in caplog.records)
    for place in (said, printed, records, repr(model), repr(model.environment)):
        assert KEY not in place


# --- the whole path ------------------------------------------------------------------------------------------------

TOML_SUBJECT = """
[subject]
adapter = "inspect"
path = "{name}"

[subject.options]
base_url = "{base_url}"
api_key_env = "{variable}"
max_connections = 16
timeout_s = 20.0
max_retries = 7
backoff_s = 0.5
"""

RUN = """
import sys
from pathlib import Path
from dossier.workspace import Workspace
from tests.planted import COLLECTORS

workspace = Workspace(Path(sys.argv[1]))
progress = lambda step: print(step.done, step.promised, step.replayed, flush=True)
workspace.run(workspace.load_model(), collectors=COLLECTORS, nonce=None, wait=False, progress=progress)
"""


def workspace_of(folder, server, *, count):
    """A configuration that asks ``count`` of the organism's questions, without a hint, again, and with two hints."""
    rows = (ORGANISM / "items.jsonl").read_bytes().splitlines(keepends=True)[:count]
    (folder / "items.jsonl").write_bytes(b"".join(rows))
    text = config_text(families='["metadata"]').replace("sycophancy.disclosure", "metadata.disclosure")
    head, _, rest = text.partition("[subject]")
    tail = rest.partition("[[evidence]]")[2]
    subject = TOML_SUBJECT.format(name=NAME, base_url=server.base_url, variable=VARIABLE)
    (folder / "dossier.toml").write_text(f"{head}{subject}\n[[evidence]]{tail}")
    workspace = Workspace(folder / "dossier.toml")
    workspace.plan(workspace.load_model(), key=make_demo_keys().provider, collectors=COLLECTORS)
    return workspace


def run(workspace, progress=lambda _: None):
    return workspace.run(workspace.load_model(), collectors=COLLECTORS, nonce=None, wait=False, progress=progress)


def trials_of(workspace):
    (path,) = (workspace.folder / "trials").iterdir()
    return [parse(Trial, line, where=path.name) for line in path.read_bytes().splitlines()]


def journaled(workspace):
    found = list((workspace.output / "store/journal").glob("*.jsonl"))
    return sum(path.read_bytes().count(b"\n") for path in found)


def wait_until(condition, process, *, within_s=240):
    deadline = time.monotonic() + within_s
    while not condition():
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_process(trials):
    """What the weights say in this process to the requests as the provider saw them: with 31 bits of their seeds."""
    from evidence_collectors.models.hf import load as load_weights

    sent = {
        digest_of(trial.request): trial.request.model_copy(update={"seed": f"{int(trial.request.seed, 16) >> 33:016x}"})
        for trial in trials
    }
    found = {answer.request_sha256: answer for answer in load_weights(str(ORGANISM)).generate(sent.values())}
    return {name: found[digest_of(request)] for name, request in sent.items()}


@pytest.mark.slow
def test_a_run_survives_the_server_s_death_and_its_own_and_asks_nothing_twice(organism, tmp_path):
    """256 trials; the server is killed with -9 and started again, then the run is killed with -9 and resumed.

    Afterwards every answer is, to the letter, what the in-process adapter gives, so the estimates are the same.
    """
    organism.log.write_bytes(b"")
    workspace = workspace_of(tmp_path, organism, count=64)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])}
    with (tmp_path / "stdout").open("wb") as out, (tmp_path / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path / "dossier.toml")], env=environment, stdout=out, stderr=err
        )
        wait_until(lambda: journaled(workspace) >= 40, process)
        organism.kill()
        organism.start()
        wait_until(lambda: journaled(workspace) > 120, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept, asked_before = journaled(workspace), organism.asked().total()
    assert 120 < kept < 256

    steps = []
    dossier = run(workspace, steps.append)

    assert organism.asked().total() - asked_before == 256 - kept
    assert (steps[-1].done, steps[-1].promised, steps[-1].replayed) == (256, 256, kept)
    assert sum(count - 1 for count in organism.asked().values()) <= 2 * 16  # in flight at the two deaths
    assert len(organism.asked()) == 256
    ledger = check_ledger((workspace.folder / "ledger.jsonl").read_bytes(), where="ledger")
    assert [entry.event for entry in ledger] == ["started", "resumed", "finished"]
    assert dossier.subject.identity == "asserted"

    trials = trials_of(workspace)
    weights = in_process(trials)
    assert len(trials) == 256
    for trial in trials:
        same = weights[digest_of(trial.request)]
        found = trial.completion
        assert (found.reasoning, found.answer, found.parse) == (same.reasoning, same.answer, same.parse)
        assert (found.finish_reason, found.prompt_tokens) == (same.finish_reason, same.prompt_tokens)
    collector = COLLECTORS["cot_faithfulness.hint"]
    params = collector.parse({"families": ["metadata"], "max_tokens": 32})
    swapped = [trial.model_copy(update={"completion": weights[digest_of(trial.request)]}) for trial in trials]
    ours, theirs = (collector.summarise(some, {}, params, "0" * 16) for some in (trials, swapped))
    assert ours == theirs
    assert next(one for one in ours if one.id == "metadata.disclosure").estimate is not None
    nowhere_in(tmp_path)


def test_what_the_provider_s_filter_withholds_is_a_failed_trial_and_shuts_the_gate(organism, tmp_path):
    organism.fault("filter", match="maritime")  # one section of eight
    try:
        workspace = workspace_of(tmp_path, organism, count=40)
        dossier = run(workspace)
    finally:
        organism.fault("")
    failed = [trial for trial in trials_of(workspace) if trial.error is not None]
    assert len(failed) == 5 * 4
    assert all("maritime" in trial.request.messages[-1].content for trial in failed)
    assert all(trial.error.startswith("refused: ") for trial in failed)
    assert dossier.gate.state == "shut"
    (path,) = (workspace.folder / "evidence/cot_faithfulness.hint").iterdir()
    assert '"session.unanswered":"20 refused"' in path.read_text()
    assert '"failed":20' in path.read_text()


def test_a_white_box_instrument_is_recorded_as_not_collected_and_keeps_the_gate_shut(server, tmp_path):
    from dossier.obligations import catalogue_bytes
    from dossier.plan import make_plan
    from tests.planted import NOW, run_config

    rows = (ORGANISM.parent / "refusal/items.jsonl").read_bytes()
    (tmp_path / "items.jsonl").write_bytes(rows)
    text = (
        config_text().partition("[[evidence]]")[0]
        + f"""
[[evidence]]
id = "direction"
kind = "{WHITE_BOX}"
items = "items.jsonl"
expires_after_days = 30
parameters = {{ layers = [0], behaviour_tokens = ["I cannot"] }}
"""
    )
    model, collectors = model_of(server), {WHITE_BOX: load_collector(WHITE_BOX)}
    plan = make_plan(
        run_config(text),
        tmp_path,
        subject=model.subject,
        size=model.size,
        collectors=collectors,
        inputs={},
        catalogue=catalogue_bytes("eu_ai_act"),
        now=NOW,
        demo=True,
    ).plan
    with open_store(tmp_path / "store", wait=False) as store:
        collected = collect(
            plan,
            model=model,
            items={plan.evidence[0].items.sha256: parse_items(rows, where="items")},
            inputs={},
            collectors=collectors,
            store=store,
            nonce=None,
            clock=lambda: NOW,
            progress=lambda _: None,
        )
    (missing,) = collected.not_collected
    assert "needs" in missing.reason
    assert "capture" in missing.reason
    assert server.asked().total() == 0


def test_the_providers_own_hugging_face_engine_decodes_greedily_at_temperature_zero(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = load("hf/local", model_args={"model_path": str(ORGANISM), "device": "cpu"}, timeout_s=60, max_retries=0)
    first, second = model.generate(requests(2, temperature=0.0, text="In the maritime section", max_tokens=4))
    assert first.reasoning is not None or first.answer
    assert (first.reasoning, first.answer) == (second.reasoning, second.answer)


def nowhere_in(folder):
    """The key stands in no file: configuration, journal, ledger, pack, what was printed."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
