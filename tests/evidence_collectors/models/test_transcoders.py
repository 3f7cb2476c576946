"""Transcoders are read from safetensors alone, whole, and with the activation function they were trained with."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from dossier.errors import ConfigError
from dossier.language_model import Layout
from evidence_collectors.models import transcoders
from evidence_collectors.models.transcoders import Activation, Layer, Settings

WIDTH, D_MODEL = 12, 4


def layer(seed, *, width=WIDTH, threshold=False):
    rng = np.random.Generator(np.random.PCG64(seed))
    shapes = ((width, D_MODEL), (width, D_MODEL), (width,), (D_MODEL,))
    parts = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    return Layer(*parts, np.full(width, 0.5, dtype=np.float32) if threshold else None)


def settings(**changes):
    known = {
        "activation": Activation(name="topk", k=3),
        "input_hook": "mlp.hook_in",
        "output_hook": "mlp.hook_out",
        "d_model": D_MODEL,
        "width": WIDTH,
        "sha256": (),
        "l0": (3.0, 3.0),
        "fvu": (0.1, 0.1),
        "trained_on": "a test",
        "tokens": 10,
    }
    return Settings(**{**known, **changes})


@pytest.fixture
def folder(tmp_path):
    transcoders.save(tmp_path, [layer(0), layer(1)], settings())
    return tmp_path


def rewrite(folder, **changes):
    path = folder / transcoders.SETTINGS
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_saved_is_what_is_loaded_activation_function_included(folder):
    found = transcoders.load(folder)
    assert found.settings.activation == Activation(name="topk", k=3)
    for own, expected in zip(found.layers, (layer(0), layer(1)), strict=True):
        np.testing.assert_array_equal(own.encoder, expected.encoder)
        np.testing.assert_array_equal(own.decoder_bias, expected.decoder_bias)


def test_thresholds_of_a_jumprelu_set_are_kept(tmp_path):
    transcoders.save(tmp_path, [layer(0, threshold=True)] * 2, settings(activation=Activation(name="jumprelu", k=None)))
    assert transcoders.load(tmp_path).layers[0].threshold[0] == 0.5


def test_topk_keeps_k_features_and_relu_those_above_zero():
    inputs = np.random.Generator(np.random.PCG64(3)).standard_normal((7, D_MODEL))
    one = layer(0)
    before = inputs @ one.encoder.T.astype(float) + one.encoder_bias
    top = transcoders.features(one, inputs, Activation(name="topk", k=3))
    assert ((top != 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose(np.sort(top, axis=1)[:, -1], before.max(axis=1))
    np.testing.assert_array_equal(transcoders.features(one, inputs, Activation(name="relu", k=None)), before.clip(0))
    jump = transcoders.features(layer(0, threshold=True), inputs, Activation(name="jumprelu", k=None))
    np.testing.assert_array_equal(jump > 0, before > 0.5)


def test_a_topk_set_that_came_back_as_relu_is_noticed_by_its_features_per_token(folder):
    found = transcoders.load(folder).settings
    assert transcoders.lost_activation(found, (3.0, 2.9)) is None
    assert "TopK allows 3" in transcoders.lost_activation(found, (3.0, 6.1))
    relu = found.model_copy(update={"activation": Activation(name="relu", k=None)})
    assert "when the set was made" in transcoders.lost_activation(relu, (3.0, 6.1))
    assert "when the set was made" in transcoders.lost_activation(relu, (1.4, 3.0))


def test_circuit_tracers_own_files_lose_topk_which_is_why_the_settings_are_ours(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("circuit_tracer")
    from circuit_tracer.transcoder.activation_functions import TopK
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, load_relu_transcoder

    one = SingleLayerTranscoder(D_MODEL, WIDTH, TopK(3), 0, device=torch.device("cpu"), dtype=torch.float32)
    one.to_safetensors(str(tmp_path / "layer_0.safetensors"))
    again = load_relu_transcoder(
        str(tmp_path / "layer_0.safetensors"), 0, torch.device("cpu"), torch.float32, False, False
    )
    assert again.activation_function is torch.nn.functional.relu
    with pytest.raises(ConfigError, match="none is assumed"):
        transcoders.load(tmp_path)


@pytest.mark.parametrize("name", ["layer_0.pt", "weights.bin", "params.npz", "x.PKL"])
def test_a_folder_with_a_pickled_file_is_refused_and_the_file_not_opened(folder, name):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was opened",))

    (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ConfigError, match="only safetensors"):
        transcoders.load(folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"activation": {"name": "topk", "k": None}}, "k belongs"),
        ({"activation": {"name": "relu", "k": 3}}, "k belongs"),
        ({"activation": {"name": "gelu", "k": None}}, "activation"),
        ({"activation": {"name": "topk", "k": 13}}, "more than the width"),
        ({"width": 16}, "expected tensors"),
        ({"d_model": 8}, "expected tensors"),
        ({"l0": [3]}, "one value for every layer"),
        ({"sha256": ["0" * 64, "1" * 64]}, "digest"),
        ({"input_hook": "ln2.hook_normalized"}, "input_hook"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_settings_that_do_not_fit_the_files_are_refused_by_name(folder, changes, named):
    rewrite(folder, **changes)
    with pytest.raises(ConfigError, match=named):
        transcoders.load(folder)


@pytest.mark.parametrize("change", ["gap", "extra", "no settings", "not json"])
def test_a_gap_in_the_layers_an_extra_file_and_missing_settings_are_refused(folder, change):
    if change == "gap":
        (folder / "layer_0.safetensors").unlink()
    elif change == "extra":
        (folder / "layer_7.safetensors").write_bytes(b"x")
    elif change == "no settings":
        (folder / transcoders.SETTINGS).unlink()
    else:
        (folder / transcoders.SETTINGS).write_text("{")
    with pytest.raises(ConfigError):
        transcoders.load(folder)
    with pytest.raises(ConfigError, match="no such folder"):
        transcoders.load(folder / "nowhere")


def test_changed_bytes_a_file_that_is_no_safetensors_and_values_that_are_not_finite_are_refused(folder, tmp_path):
    path = folder / "layer_1.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ConfigError, match="digest"):
        transcoders.load(folder)
    for broken in (b"", b"\xff" * 40, data[:20]):
        path.write_bytes(broken)
        digests = json.loads((folder / transcoders.SETTINGS).read_text())["sha256"]
        import hashlib

        rewrite(folder, sha256=[digests[0], hashlib.sha256(broken).hexdigest()])
        with pytest.raises(ConfigError, match="no safetensors file"):
            transcoders.load(folder)
    bad = layer(0)
    bad.encoder[0, 0] = np.nan
    transcoders.save(tmp_path / "nan", [bad, layer(1)], settings())
    with pytest.raises(ConfigError, match="finite"):
        transcoders.load(tmp_path / "nan")


def test_points_are_the_mlp_or_in_gemma_the_norms_around_it():
    layout = Layout(
        embedding="model.embed_tokens",
        residual=("model.layers.0",),
        attention=("model.layers.0.self_attn",),
        mlp=("model.layers.0.mlp",),
        final_norm="model.norm",
        unembedding="lm_head",
        d_model=4,
        vocabulary=9,
    )

    def points(input_hook, output_hook):
        found = transcoders.points_of(layout, settings(input_hook=input_hook, output_hook=output_hook))
        return found.reads[0].removeprefix("model.layers.0."), found.writes[0].removeprefix("model.layers.0.")

    assert points("mlp.hook_in", "mlp.hook_out") == ("mlp:in", "mlp")
    assert points("hook_resid_mid", "mlp.hook_out") == ("post_attention_layernorm:in", "mlp")
    assert points("mlp.hook_in", "hook_mlp_out") == ("mlp:in", "post_feedforward_layernorm")
    assert points("hook_resid_mid", "hook_mlp_out") == ("pre_feedforward_layernorm:in", "post_feedforward_layernorm")
