from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from dossier.errors import CollectionError
from dossier.language_model import Continuation, Edit
from dossier.model import Message, Request, digest_of
from evidence_collectors.models import activations
from evidence_collectors.models.activations import Batching, Pass, TokenRow
from evidence_collectors.models.hf import load
from tests.evidence_collectors.models.folders import save

FAMILIES = ("llama", "qwen2", "gemma2", "gpt_neox")


def asked(text: str, *, response: str = "", max_tokens: int = 4, seed: str = "0" * 16) -> Continuation:
    request = Request(messages=(Message(role="user", content=text),), max_tokens=max_tokens, temperature=1.0, seed=seed)
    return Continuation(request, response)


TEXTS = [asked("alpha beta", response=" gamma"), asked("delta"), asked("numbers 1 2 3, a longer phrase", response="x")]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    return load(str(save(tmp_path_factory.mktemp(request.param), request.param, layers=3)), batch_size=8)


def only(found):
    (batch,) = found
    return batch


def test_what_is_captured_is_what_the_engine_itself_reports(model):
    assert model.parity() < 1e-5


def test_every_continuation_comes_once_and_padding_changes_nothing(model):
    points = model.layout.residual
    alone = [only(model.capture([one], points)) for one in TEXTS]
    together = {}
    for batch in model.capture(TEXTS, points):
        for row, index in enumerate(batch.index):
            together[index] = {point: value[row][batch.mask[row]] for point, value in batch.at.items()}
    assert sorted(together) == [0, 1, 2]
    for index, own in enumerate(alone):
        for point in points:
            torch.testing.assert_close(together[index][point], own.at[point][0], rtol=1e-4, atol=1e-4)


def test_response_tokens_are_those_of_the_text(model):
    batch = only(model.capture([asked("alpha", response="xyz")], model.layout.residual[:1]))
    ids = batch.token_ids[0][batch.response[0]].tolist()
    assert model.token_text(ids) == "xyz"


def test_the_pass_stops_after_the_last_point_it_needs(model):
    ran = []
    blocks = [model.loaded.model.get_submodule(name) for name in model.layout.residual]
    handles = [block.register_forward_pre_hook(lambda *_, n=n: ran.append(n)) for n, block in enumerate(blocks)]
    try:
        list(model.capture(TEXTS[:1], [model.layout.residual[0]]))
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [0]


def test_an_ablated_direction_is_gone_at_the_point_and_the_answer_changes(model):
    point = model.layout.residual[1]
    direction = torch.zeros(model.layout.d_model)
    direction[3] = 1.0
    edit = Edit(point, lambda x: x - (x @ direction)[..., None] * direction)
    plain, cut = (only(model.capture(TEXTS[:1], [point], edits=edits, logits=True)) for edits in ((), (edit,)))
    assert float((plain.at[point] @ direction).abs().max()) > 1e-3
    assert float((cut.at[point] @ direction).abs().max()) < 1e-6
    assert float((plain.logits - cut.logits).abs().max()) > 1e-3


def test_an_edit_at_the_last_prompt_token_leaves_the_tokens_before_it_alone(model):
    point = model.layout.residual[0]
    edit = Edit(point, lambda x: x + 1.0, where="last_prompt")
    plain, moved = (
        only(model.capture([asked("alpha", response="xy")], [point], edits=edits)) for edits in ((), (edit,))
    )
    difference = (moved.at[point] - plain.at[point]).abs().amax(dim=-1)[0]
    last = int((~plain.response[0]).nonzero().max())
    assert float(difference[last]) == pytest.approx(1.0, abs=1e-5)
    assert float(difference[:last].max()) == 0.0
    with pytest.raises(ValueError, match="where the prompts end"):
        list(model.generate_edited([TEXTS[0].request], [edit]))


def test_log_probabilities_of_tokens_agree_with_those_asked_alone(model):
    batch = only(model.capture([asked("alpha", response="xyz")], [], token_logprobs=True))
    (expected,) = model.logprobs([asked("alpha", response="xyz")])
    assert batch.token_logprobs[0][batch.response[0]].tolist() == pytest.approx(expected, abs=1e-5)


def test_last_logits_are_those_after_the_last_token_of_each_row(model):
    for batch in model.capture(TEXTS, [], logits=True):
        for row, index in enumerate(batch.index):
            alone = only(model.capture([TEXTS[index]], [], logits=True))
            torch.testing.assert_close(batch.logits[row], alone.logits[0], rtol=1e-4, atol=1e-4)


def test_gradients_are_the_slope_of_the_objective(model):
    """A step along a direction at one point moves the objective by the gradient's share of it."""
    point, token = model.layout.residual[0], 5
    batch = only(model.capture(TEXTS[:1], [point], logits=True, objective=lambda logits: logits[:, token]))
    gradient = batch.gradients[point][0, -1]
    step = gradient / gradient.norm() * 1e-2
    moved = only(
        model.capture(
            TEXTS[:1], [], logits=True, edits=[Edit(point, lambda x: torch.cat([x[:, :-1], x[:, -1:] + step], dim=1))]
        )
    )
    rise = float(moved.logits[0, token] - batch.logits[0, token])
    assert rise == pytest.approx(float(gradient.norm()) * 1e-2, rel=0.1)


def test_generation_without_edits_is_plain_generation_and_with_one_it_is_not(model):
    requests = [asked(f"alpha {index}", seed=f"{index:016x}", max_tokens=6).request for index in range(6)]
    plain = {one.request_sha256: one for one in model.generate(requests)}
    same = {one.request_sha256: one for one in model.generate_edited(requests, [])}
    assert same == plain
    torch.manual_seed(0)
    push = 20 * torch.randn(model.layout.d_model)
    pushed = {
        one.request_sha256: one
        for one in model.generate_edited(requests, [Edit(model.layout.residual[-1], lambda x: x + push)])
    }
    assert pushed.keys() == plain.keys()
    assert pushed != plain
    assert {one.request_sha256: one for one in model.generate(requests)} == plain, "the edit outlived its call"
    assert digest_of(requests[0]) in plain


def test_unknown_points_and_parameters_are_refused_by_name(model):
    with pytest.raises(CollectionError, match="no module"):
        list(model.capture(TEXTS[:1], ["model.layer.0"]))
    with pytest.raises(CollectionError, match="no module"):
        list(model.generate_edited([TEXTS[0].request], [Edit("nowhere", lambda x: x)]))
    with pytest.raises(CollectionError, match="no parameter"):
        model.parameter("nothing.weight")
    assert model.parameter(f"{model.layout.unembedding}.weight").shape == (
        model.layout.vocabulary,
        model.layout.d_model,
    )


def test_inputs_of_modules_are_points_too(model):
    before, after = model.layout.residual[0], f"{model.layout.residual[1]}:in"
    batch = only(model.capture(TEXTS[:1], [before, after]))
    torch.testing.assert_close(batch.at[before], batch.at[after])


def test_a_random_twin_has_other_weights_and_the_same_shape(model):
    twin, again = (model.random_twin(seed) for seed in ("00000000000000aa", "00000000000000aa"))
    assert twin.subject == again.subject
    assert twin.subject.weights_sha256 != model.subject.weights_sha256
    assert twin.layout == model.layout
    assert twin.parity() < 1e-5


def test_values_that_are_not_finite_are_refused_with_the_point(model):
    point = model.layout.residual[0]
    with pytest.raises(CollectionError, match="not finite"):
        list(model.capture(TEXTS[:1], [point], edits=[Edit(point, lambda x: x * torch.inf)]))


def test_finite_values_whose_sum_is_not_are_read(model):
    point = model.layout.residual[0]
    batch = only(model.capture(TEXTS[:1], [point], edits=[Edit(point, lambda x: torch.full_like(x, 3e38))]))
    assert bool((batch.at[point] == 3e38).all())
    for value in (torch.nan, torch.inf):
        with pytest.raises(CollectionError, match="not finite"):
            list(model.capture(TEXTS[:1], [point], edits=[Edit(point, _with(value))]))


def _with(value):
    def change(x):
        new = x.clone()
        new[0, -1, -1] = value
        return new

    return change


def test_when_memory_runs_out_the_batch_is_halved_and_goes_on(model, monkeypatch):
    sizes = []
    real = activations._one

    def short(inner, rows, wanted):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("no more")
        return real(inner, rows, wanted)

    monkeypatch.setattr(activations, "_one", short)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    batching = Batching(8)
    rows = [TokenRow(index, (1, 2, 3), 3) for index in range(5)]
    found = list(activations.passes(model.loaded.model, rows, Pass((model.layout.residual[0],)), batching))
    assert sizes == [5, 4, 2, 2, 1]
    assert sorted(index for batch in found for index in batch.index) == [0, 1, 2, 3, 4]
    assert batching.rows == 2
    monkeypatch.setattr(activations, "_one", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no more")))
    with pytest.raises(CollectionError, match="single row"):
        list(activations.passes(model.loaded.model, rows, Pass((model.layout.residual[0],)), Batching(1)))


def test_a_model_sharded_over_devices_reads_the_same(tmp_path):
    folder = save(tmp_path, "llama", layers=3)
    whole, sharded = load(str(folder)), load(str(folder), device="auto")
    point = whole.layout.residual[1]
    one, other = (only(model.capture(TEXTS[:1], [point])) for model in (whole, sharded))
    torch.testing.assert_close(one.at[point], other.at[point])
    assert sharded.subject == whole.subject


def test_a_sharded_model_is_handed_no_index_that_fits_one_device_only(tmp_path, monkeypatch):
    """An index that lies on a GPU fits no tensor on another one; a list and an index on the CPU fit everywhere."""
    model = load(str(save(tmp_path, "llama")), batch_size=8)
    kept, picked, whole = [], [], type(model.loaded.model).forward

    def forward(self, *arguments, logits_to_keep=0, **options):
        kept.append(logits_to_keep)
        return whole(self, *arguments, logits_to_keep=logits_to_keep, **options)

    monkeypatch.setattr(type(model.loaded.model), "forward", forward)
    select = DynamicCache.batch_select_indices
    monkeypatch.setattr(
        DynamicCache,
        "batch_select_indices",
        lambda self, index: (picked.append(index.device.type), select(self, index))[1],
    )
    list(model.capture(TEXTS, [], logits=True))
    list(model.generate([asked(str(count), max_tokens=count).request for count in (2, 3)]))
    assert len(kept) > 1
    assert not any(isinstance(one, torch.Tensor) for one in kept)
    assert picked
    assert set(picked) == {"cpu"}
