"""A graph is of the very prompt that was asked and of the very model, and adds up to its logits."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

from dossier.errors import CollectionError
from dossier.language_model import Continuation
from dossier.model import Message, Request
from evidence_collectors.interpretability.circuit_trace import engine as engine
from evidence_collectors.interpretability.circuit_trace import graph as graphs
from evidence_collectors.interpretability.circuit_trace import patching as patching
from evidence_collectors.interpretability.circuit_trace.engine import Limits
from evidence_collectors.interpretability.circuit_trace.patching import Kept, Patcher
from evidence_collectors.models import transcoders
from evidence_collectors.models.hf import load
from evidence_collectors.models.transcoders import Activation, Layer, Settings
from tests.evidence_collectors.models.folders import save, tokenizer

pytest.importorskip("circuit_tracer")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nnsight, at collection

WIDTH, FEATURES, LAYERS = 32, 48, 2
HOOKS = {
    "llama": ("mlp.hook_in", "mlp.hook_out"),
    "gemma2": ("hook_resid_mid", "hook_mlp_out"),
    "gemma3": ("mlp.hook_in", "hook_mlp_out"),
}
LIMITS = Limits(logits=4, probability=0.95, features=200)


def asked(text="alpha beta"):
    return Continuation(
        Request(messages=(Message(role="user", content=text),), max_tokens=1, temperature=0.0, seed="0" * 16), ""
    )


def save_gemma3(folder):
    config = Gemma3TextConfig(
        vocab_size=260,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        sliding_window=16,
        eos_token_id=256,
        bos_token_id=None,
        pad_token_id=None,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def drawn(family, *, k=8):
    rng = np.random.Generator(np.random.PCG64(1))

    def normal(*shape):
        return (rng.standard_normal(shape) / 5).astype(np.float32)

    layers = tuple(
        Layer(normal(FEATURES, WIDTH), normal(FEATURES, WIDTH), normal(FEATURES), normal(WIDTH), None)
        for _ in range(LAYERS)
    )
    reads, writes = HOOKS[family]
    settings = Settings(
        activation=Activation(name="topk", k=k),
        input_hook=reads,
        output_hook=writes,
        d_model=WIDTH,
        width=FEATURES,
        sha256=("0" * 64,) * LAYERS,
        l0=(float(k),) * LAYERS,
        fvu=(1.0,) * LAYERS,
        trained_on="nothing",
        tokens=0,
    )
    return transcoders.Transcoders(settings, layers)


class Bench:
    """A tiny random model with drawn transcoders, and one prompt read."""

    def __init__(self, family, folder):
        self.folder = save_gemma3(folder) if family == "gemma3" else save(folder, family, layers=LAYERS)
        self.model, self.held = load(str(self.folder)), drawn(family)
        (read,) = self.model.capture([asked()], [self.model.layout.embedding], logits=True)
        self.ids, self.embedded, self.logits = (
            read.token_ids[0],
            read.at[self.model.layout.embedding][0],
            read.logits[0],
        )
        self.engine = engine.open_engine(
            self.model.source, self.held, left_out=1, device=torch.device("cpu"), dtype=torch.float32
        )


@pytest.fixture(scope="module", params=list(HOOKS))
def bench(request, tmp_path_factory):
    return Bench(request.param, tmp_path_factory.mktemp(request.param) / "m")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return Bench("llama", tmp_path_factory.mktemp("llama") / "m")


def test_the_rows_of_the_logits_add_up_to_the_logits(bench):
    assert bench.engine.unexplained(bench.ids, bench.embedded, LIMITS) < 1e-5
    assert float((bench.engine.logits(bench.ids) - bench.logits).abs().max()) < 1e-3


def test_raw_embedding_rows_would_be_wrong_where_the_embedding_module_scales_them(bench):
    """circuit-tracer 0.5.0 takes raw rows: for Gemma 3 they are too small by sqrt(d), and nothing adds up."""
    raw = bench.model.parameter(f"{bench.model.layout.embedding}.weight")[bench.ids]
    scale = float(bench.embedded.norm() / raw.norm())
    found = bench.engine.unexplained(bench.ids, raw, LIMITS)
    if "gemma3" in str(bench.folder):
        assert scale == pytest.approx(WIDTH**0.5, rel=1e-3)
        assert found > 0.05
        right, wrong = (
            graphs.scores(bench.engine.trace(bench.ids, one, LIMITS).graph) for one in (bench.embedded, raw)
        )
        assert right.replacement > wrong.replacement + 0.02
    else:
        assert scale == pytest.approx(1.0)
        assert found < 1e-5


def test_our_scores_are_the_librarys_own(bench):
    traced = bench.engine.trace(bench.ids, bench.embedded, LIMITS)
    found = graphs.scores(traced.graph)
    assert found.replacement == pytest.approx(traced.replacement, abs=1e-5)
    assert found.completeness == pytest.approx(traced.completeness, abs=1e-5)


def test_keeping_every_node_is_the_model_itself_and_ablating_all_is_not(bench):
    patcher = Patcher.of(bench.model, bench.held, left_out=1)
    first, second = patching.sums(bench.model, bench.held, [asked("gamma"), asked("delta end.")], left_out=1, aligned=3)
    means = first.plus(second).means()
    shape = (LAYERS, len(bench.ids), FEATURES)
    everything = Kept(np.ones(shape, dtype=bool), np.ones(shape[:2], dtype=bool))
    targets, weights = (5, 9), np.array([0.5, 0.5])
    plain = patcher.metric(asked(), targets, weights)
    assert patcher.metric(asked(), targets, weights, patcher.keep(everything, means)) == pytest.approx(plain, abs=1e-6)
    nothing = patcher.metric(asked(), targets, weights, patcher.keep(everything.inverted(), means))
    assert abs(nothing - plain) > 1e-3


def test_the_prompt_that_is_traced_is_the_one_that_was_asked(llama):
    """The library would put its own special token in front of ids that do not start with one."""
    assert len(llama.engine.model.ensure_tokenized(llama.ids)) == len(llama.ids) + 1
    assert llama.engine.trace(llama.ids, llama.embedded, LIMITS).graph.positions == len(llama.ids)


def test_a_bos_of_id_0_is_falsy_to_the_library_and_not_to_us(llama):
    """With a BOS of id 0 the library skips it and prepends the padding token instead."""
    own = PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer, bos_token="!", pad_token="<think>")
    assert own.bos_token_id == 0
    from circuit_tracer.replacement_model.common import ensure_tokenized

    ids = torch.tensor([5, 6, 7])
    assert int(ensure_tokenized(ids, own, "cpu", "llama")[0]) == own.pad_token_id
    rows = llama.model.parameter("model.embed_tokens.weight")
    zero = torch.cat([torch.tensor([0]), ids])
    assert llama.engine.trace(zero, rows[zero], LIMITS).graph.positions == 4


def test_what_is_left_out_hangs_on_a_parameter_and_not_on_the_name_of_the_folder(tmp_path):
    """The library leaves out four positions and asserts a prefix where the path says gemma-3 and ends in -it."""
    bench = Bench("gemma3", tmp_path / "gemma-3-tiny-it")
    assert bench.engine.model.zero_positions == slice(0, 4)
    with pytest.raises(AssertionError, match="should start with"):
        bench.engine.model.ensure_tokenized(bench.ids)
    graph = bench.engine.trace(bench.ids, bench.embedded, Limits(4, 0.95, 10_000)).graph
    assert set(graph.features[:, 1]) >= {1, 2, 3}
    assert 0 not in graph.features[:, 1]


def test_shuffled_decoders_are_put_back_and_change_the_graph_meanwhile(llama):
    before = llama.engine.trace(llama.ids, llama.embedded, LIMITS)
    orders = [np.arange(FEATURES)[::-1].copy()] * LAYERS
    with llama.engine.shuffled(orders):
        during = llama.engine.trace(llama.ids, llama.embedded, LIMITS)
    after = llama.engine.trace(llama.ids, llama.embedded, LIMITS)
    assert during.replacement != pytest.approx(before.replacement, abs=1e-3)
    assert after.replacement == before.replacement


def test_a_predicted_fall_is_what_a_small_step_in_a_feature_does(llama):
    """At the last block nothing lies between a feature and the final norm, so a small step is nearly linear."""
    graph = llama.engine.trace(llama.ids, llama.embedded, LIMITS).graph
    weights = graph.probabilities / graph.probabilities.sum()
    effects = graphs.total_effects(graph, weights)
    last = np.flatnonzero((graph.features[:, 0] == LAYERS - 1) & (graph.features[:, 1] == graph.positions - 1))
    strongest = last[np.argmax(np.abs(effects[last]))]
    patcher = Patcher.of(llama.model, llama.held, left_out=1)
    plain = patcher.metric(asked(), graph.targets, weights)
    share = 0.01
    step = patcher.remove(graph.features[strongest], share * graph.activations[strongest])
    fall = plain - patcher.metric(asked(), graph.targets, weights, step)
    assert fall == pytest.approx(share * effects[strongest], rel=0.35)  # the final norm's scale moves, too


def test_an_architecture_the_library_does_not_know_is_refused_in_words(tmp_path):
    folder = save(tmp_path / "m", "gpt_neox", layers=LAYERS)
    with pytest.raises(CollectionError, match="cannot open") as caught:
        engine.open_engine(str(folder), drawn("llama"), left_out=1, device=torch.device("cpu"), dtype=torch.float32)
    assert "Llama" in caught.value.hint


def test_transcoders_for_another_depth_are_refused(tmp_path):
    folder = save(tmp_path / "m", "llama", layers=LAYERS + 1)
    with pytest.raises(CollectionError, match="2 layers"):
        engine.open_engine(str(folder), drawn("llama"), left_out=1, device=torch.device("cpu"), dtype=torch.float32)


def test_without_circuit_tracer_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "circuit_tracer.replacement_model.replacement_model_nnsight", None)
    with pytest.raises(CollectionError, match="cannot be imported") as caught:
        engine.check_installed()
    assert "dossier[circuits]" in caught.value.hint


def test_nothing_is_pickled_or_unpickled_while_a_graph_is_made(llama, monkeypatch):
    from circuit_tracer.graph import Graph

    for owner, name in ((torch, "load"), (torch, "save"), (Graph, "from_pt"), (Graph, "to_pt")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("a pickle was touched"))
    assert llama.engine.trace(llama.ids, llama.embedded, LIMITS).graph.size > 0
    engine.open_engine(llama.model.source, llama.held, left_out=1, device=torch.device("cpu"), dtype=torch.float32)
