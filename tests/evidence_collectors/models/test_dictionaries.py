"""A dictionary computes what sae-lens computes, and what cannot be read safely or belongs elsewhere is refused."""

from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dossier.errors import CollectionError, ConfigError
from dossier.language_model import Layout
from dossier.model import Subject
from evidence_collectors.models import dictionary_files, dictionary_sources
from evidence_collectors.models.dictionaries import Stated, check_fits, point_of

D, F, K = 12, 40, 5
LAYOUT = Layout(
    embedding="model.embed_tokens",
    residual=("model.layers.0", "model.layers.1"),
    attention=(),
    mlp=(),
    final_norm="model.norm",
    unembedding="lm_head",
    d_model=D,
    vocabulary=7,
)
SUBJECT = Subject(
    name="tiny",
    identity="digests",
    weights_sha256="a" * 64,
    tokenizer_sha256=None,
    chat_template_sha256=None,
    config_sha256=None,
    generation_sha256=None,
)


def quiet(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **options)


@pytest.fixture(scope="module")
def lens():
    dictionary_files.import_sae_lens()
    import sae_lens.saes as saes

    return saes


def filled(sae, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in sae.parameters():
        parameter.data = 0.6 * torch.randn(parameter.shape, generator=generator)
    if hasattr(sae, "threshold"):
        sae.threshold.data = sae.threshold.data.abs()
    return sae


def made(lens, architecture, **options):
    classes = {
        "standard": (lens.StandardSAE, lens.StandardSAEConfig),
        "jumprelu": (lens.JumpReLUSAE, lens.JumpReLUSAEConfig),
        "topk": (lens.TopKSAE, lens.TopKSAEConfig),
        "gated": (lens.GatedSAE, lens.GatedSAEConfig),
    }
    sae, config = classes[architecture]
    return filled(quiet(sae, config(d_in=D, d_sae=F, **options)))


def saved(sae, folder):
    sae.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    quiet(sae.save_model, folder)
    return folder


def activations(seed=1, *shape):
    return 2.0 * torch.randn(*(shape or (3, 7)), D, generator=torch.Generator().manual_seed(seed))


CASES = [
    ("standard", {}),
    ("standard", {"apply_b_dec_to_input": False}),
    ("jumprelu", {"apply_b_dec_to_input": False}),
    ("jumprelu", {"normalize_activations": "layer_norm"}),
    ("topk", {"k": K}),
    ("topk", {"k": K, "rescale_acts_by_decoder_norm": True}),
    ("gated", {"normalize_activations": "constant_norm_rescale"}),
    ("gated", {}),
]


@pytest.mark.parametrize(("architecture", "options"), CASES)
def test_features_and_reconstruction_are_those_of_sae_lens(lens, tmp_path, architecture, options):
    sae = made(lens, architecture, **options)
    dictionary = dictionary_files.load(saved(sae, tmp_path / "sae"))
    x = activations()
    with torch.no_grad():
        expected = sae.encode(x)
        rebuilt = sae.decode(expected)
    found = dictionary.encode(x)
    assert 0 < int((found > 0).sum()) < found.numel()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dictionary.decode(found, x), rebuilt, rtol=1e-4, atol=1e-4)
    assert dictionary.architecture == architecture
    assert (dictionary.width, dictionary.d_in) == (F, D)


def test_a_trained_batchtopk_dictionary_is_read_as_the_jumprelu_it_is_saved_as(lens, tmp_path):
    config = lens.BatchTopKTrainingSAEConfig(d_in=D, d_sae=F, k=4)
    sae = filled(quiet(lens.BatchTopKTrainingSAE, config))
    sae.topk_threshold = torch.tensor(0.75, dtype=torch.double)
    quiet(sae.save_inference_model, tmp_path)
    dictionary = dictionary_files.load(tmp_path)
    with torch.no_grad():
        expected = quiet(lens.SAE.load_from_disk, tmp_path).encode(activations())
    assert dictionary.architecture == "jumprelu"
    assert set(dictionary.threshold.tolist()) == {0.75}
    torch.testing.assert_close(dictionary.encode(activations()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("architecture", "options"), CASES)
def test_watched_features_are_the_same_alone_and_among_all(lens, tmp_path, architecture, options):
    dictionary = dictionary_files.load(saved(made(lens, architecture, **options), tmp_path / "sae"))
    x, watch = activations(), [3, 17, 4]
    torch.testing.assert_close(
        dictionary.encode_watched(x, watch), dictionary.encode(x)[..., watch], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("architecture", "options"), CASES)
@pytest.mark.parametrize("shift", [0.0, -1.5], ids=["", "thresholds of either sign"])
def test_active_entries_are_those_of_the_dense_features_bit_for_bit(lens, tmp_path, architecture, options, shift):
    dictionary = dictionary_files.load(saved(made(lens, architecture, **options), tmp_path / "sae"))
    if dictionary.threshold is not None:
        dictionary = replace(dictionary, threshold=dictionary.threshold + shift)
    x = activations(1, 50)
    features = dictionary.encode(x)
    token, feature, value = dictionary.active(x)
    assert torch.equal(torch.stack([token, feature], dim=1), features.nonzero())
    assert torch.equal(value, features[features != 0])


@pytest.mark.parametrize(("architecture", "options"), [("jumprelu", {}), ("gated", {})])
def test_a_dictionary_is_moved_to_another_device_once_and_whole(lens, tmp_path, architecture, options):
    dictionary = dictionary_files.load(saved(made(lens, architecture, **options), tmp_path / "sae"))
    there = torch.empty(1, device="meta")
    moved = dictionary.like(there)
    assert dictionary.like(there) is moved
    assert moved.encode(torch.empty(2, D, device="meta")).device == there.device
    assert dictionary.like(activations()) is dictionary
    assert moved.stated == dictionary.stated
    assert dictionary.watching([1, 2]).like(there).width == 2  # a part has copies of its own


@pytest.mark.parametrize(("architecture", "options"), CASES)
def test_taking_the_contribution_away_is_decoding_with_the_features_at_zero(lens, tmp_path, architecture, options):
    dictionary = dictionary_files.load(saved(made(lens, architecture, **options), tmp_path / "sae"))
    x, chosen = activations(), [0, 5, 9]
    features = dictionary.encode(x)
    without = features.clone()
    without[..., chosen] = 0.0
    expected = dictionary.decode(features, x) - dictionary.decode(without, x)
    torch.testing.assert_close(dictionary.contribution(x, chosen), expected, rtol=1e-4, atol=1e-4)


def test_the_features_of_a_topk_dictionary_cannot_be_taken_apart(lens, tmp_path):
    dictionary = dictionary_files.load(saved(made(lens, "topk", k=K), tmp_path))
    with pytest.raises(ValueError, match="topk"):
        dictionary.watching([1, 2])


# --- Gemma Scope ---------------------------------------------------------------------------------------------------

HAND = {  # two inputs, three features, worked by hand below
    "w_enc": torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]),
    "b_enc": torch.tensor([0.5, -1.0, 0.0]),
    "w_dec": torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
    "b_dec": torch.tensor([0.25, -0.25]),
    "threshold": torch.tensor([1.0, 2.0, 0.5]),
}


def gemma_scope(folder, *, npz=False, params=HAND, **config):
    folder.mkdir(exist_ok=True)
    if npz:
        # Gemma Scope writes W_enc and W_dec, Gemma Scope 2 w_enc and w_dec
        np.savez(folder / "params.npz", **{name.replace("w_", "W_"): value.numpy() for name, value in params.items()})
        return folder
    save_file(dict(params), folder / "params.safetensors")
    config = {"architecture": "jump_relu", "hf_hook_point_in": "model.layers.1.output", **config}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("npz", [False, True])
def test_gemma_scope_is_the_jumprelu_worked_by_hand(tmp_path, npz):
    dictionary = dictionary_files.load(gemma_scope(tmp_path, npz=npz))
    x = torch.tensor([[2.0, 4.0], [0.5, 3.0]])
    # z = [2.5, 3, 0] and [1, 2, -2]; a threshold must be exceeded, so of the second row nothing is left
    assert dictionary.encode(x).tolist() == [[2.5, 3.0, 0.0], [0.0, 0.0, 0.0]]
    assert dictionary.decode(dictionary.encode(x), x).tolist() == [[2.75, 5.75], [0.25, -0.25]]
    assert dictionary.stated.point == (None if npz else "model.layers.1")


def test_the_bypass_of_a_gemma_scope_dictionary_is_added(tmp_path):
    params = {**HAND, "affine_skip_connection": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    dictionary = dictionary_files.load(gemma_scope(tmp_path, params=params))
    x = torch.tensor([[0.5, 3.0]])
    assert dictionary.decode(dictionary.encode(x), x).tolist() == [[0.25 + 0.5 + 9.0, -0.25 + 1.0 + 12.0]]


def test_a_transcoder_is_refused_as_one(tmp_path):
    folder = gemma_scope(
        tmp_path, hf_hook_point_in="model.layers.1.mlp.input", hf_hook_point_out="model.layers.1.mlp.output"
    )
    dictionary = dictionary_files.load(folder)
    with pytest.raises(CollectionError, match="transcoder"):
        point_of(dictionary, LAYOUT)


# --- refusals ------------------------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_pickles_are_never_opened(tmp_path):
    (tmp_path / "ae.pt").write_bytes(pickle.dumps(Bomb()))
    for path in (tmp_path, tmp_path / "ae.pt"):
        with pytest.raises(CollectionError, match="pickle"):
            dictionary_files.load(path)


def test_a_pickled_member_of_an_npz_is_never_opened(tmp_path):
    np.savez(tmp_path / "params.npz", w_enc=np.array([Bomb()], dtype=object))
    with pytest.raises(CollectionError, match="not plain arrays"):
        dictionary_files.load(tmp_path)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "params.npz").write_bytes(b"no zip")
    with pytest.raises(CollectionError, match=r"params\.npz"):
        dictionary_files.load(tmp_path)
    (tmp_path / "params.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CollectionError, match=r"params\.safetensors"):
        dictionary_files.load(tmp_path)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({name: value for name, value in HAND.items() if name != "threshold"}, "threshold"),
        ({**HAND, "b_enc": torch.zeros(2)}, "b_enc"),
        ({**HAND, "w_dec": torch.zeros(2, 2)}, "w_dec"),
        ({**HAND, "b_dec": torch.tensor([float("nan"), 0.0])}, "b_dec"),
        ({**HAND, "scaling_factor": torch.tensor([2.0])}, "scaling factor"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(tmp_path, params, named):
    with pytest.raises(CollectionError, match=named):
        dictionary_files.load(gemma_scope(tmp_path, params=params))


def test_an_unknown_folder_is_refused(tmp_path):
    with pytest.raises(CollectionError, match="known layout"):
        dictionary_files.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"architecture": "temporal"}, "cannot load|temporal"),
        ({"normalize_activations": "expected_average_only_in"}, "normalised"),
        ({"reshape_activations": "hook_z"}, "heads|cannot load"),
        ({"d_sae": F + 1}, "cannot load"),
    ],
)
def test_a_sae_lens_folder_that_would_be_read_wrongly_is_refused(lens, tmp_path, change, named):
    folder = saved(made(lens, "jumprelu"), tmp_path)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CollectionError, match=named):
        dictionary_files.load(folder)


def stating(tmp_path, **stated):
    from dataclasses import replace

    dictionary = dictionary_files.load(gemma_scope(tmp_path))
    return replace(dictionary, stated=Stated(**stated))


@pytest.mark.parametrize(
    ("stated", "point", "expected"),
    [
        ("blocks.1.hook_resid_post", "", "model.layers.1"),
        ("blocks.0.hook_resid_pre", "", "model.layers.0:in"),
        ("model.layers.0", "model.layers.0", "model.layers.0"),
        (None, "model.layers.1", "model.layers.1"),
    ],
)
def test_the_point_is_the_one_the_files_say_or_else_the_parameter(tmp_path, stated, point, expected):
    assert point_of(stating(tmp_path, point=stated), LAYOUT, point=point) == expected


@pytest.mark.parametrize(
    ("stated", "point", "named"),
    [
        (None, "", "do not say"),
        ("model.layers.0", "model.layers.1", "says"),
        ("blocks.2.hook_resid_post", "", "2 layers"),
        ("blocks.0.attn.hook_z", "", "hook_z"),
    ],
)
def test_a_point_nobody_knows_is_refused(tmp_path, stated, point, named):
    with pytest.raises(CollectionError, match=named):
        point_of(stating(tmp_path, point=stated), LAYOUT, point=point)


@pytest.mark.parametrize(
    ("stated", "width", "named"),
    [
        ({}, 3, "width"),
        ({"weights_sha256": "b" * 64}, 2, "weights"),
        ({"model": "google/gemma-2-2b"}, 2, "gemma-2-2b"),
    ],
)
def test_a_dictionary_of_another_model_is_refused(tmp_path, stated, width, named):
    with pytest.raises(CollectionError, match=named):
        check_fits(stating(tmp_path, **stated), SUBJECT, width=width, point="model.layers.1")


WIDE = {  # 2,048 features
    "w_enc": torch.ones(2, 2048),
    "b_enc": torch.zeros(2048),
    "w_dec": torch.ones(2048, 2),
    "b_dec": torch.zeros(2),
    "threshold": torch.ones(2048),
}


@pytest.mark.parametrize("npz", [False, True])
@pytest.mark.parametrize("place", ["layer_1/width_2k/average_l0_71", "layer_1_width_2k_l0_small"])
def test_a_gemma_scope_folder_says_its_layer_and_the_plan_may_not_say_another(tmp_path, place, npz):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    found = dictionary_files.load(gemma_scope(tmp_path / place, npz=npz, params=WIDE))
    assert found.stated.layer == 1
    assert found.stated.l0 == (71.0 if place.endswith("71") else None)
    for point in ("model.layers.1", "model.layers.1:in", "model.layers.1.mlp"):
        if npz:
            assert point_of(found, LAYOUT, point=point) == point
    with pytest.raises(CollectionError, match=r"layer 1|trained on 'model\.layers\.1'"):
        point_of(found, LAYOUT, point="model.layers.0")
    with pytest.raises(CollectionError, match=r"layer 1|trained on 'model\.layers\.1'"):
        point_of(found, LAYOUT, point="model.layers.10")


def test_a_folder_named_after_another_layer_than_its_files_or_than_any_is_refused(tmp_path):
    two = dictionary_files.load(gemma_scope(tmp_path / "layer_0_width_2k", params=WIDE))
    with pytest.raises(CollectionError, match="its folder says layer 0"):
        point_of(two, LAYOUT)
    none = dictionary_files.load(gemma_scope(tmp_path / "layer_9_width_2k", npz=True, params=WIDE))
    with pytest.raises(CollectionError, match="2 layers"):
        point_of(none, LAYOUT, point="model.layers.1")


def test_a_folder_of_another_width_than_its_parameters_is_refused(tmp_path):
    folder = tmp_path / "layer_1" / "width_16k" / "average_l0_71"
    folder.parent.mkdir(parents=True)
    with pytest.raises(CollectionError, match="width 16k, and the parameters hold 2048"):
        dictionary_files.load(gemma_scope(folder, npz=True, params=WIDE))


@pytest.mark.parametrize("loader", ["release or SAELens folder", "Gemma Scope 2", "Gemma Scope"])
def test_every_loader_holds_the_plan_to_the_layer_that_the_files_or_the_folder_name(lens, tmp_path, loader):
    """A release is written out as a SAELens folder, and read from there."""
    folder = tmp_path / "layer_1_width_2k"
    if loader.startswith("release"):
        saved(made(lens, "standard"), folder)
    else:
        gemma_scope(folder, npz=loader == "Gemma Scope", params=WIDE)
    found = dictionary_files.load(folder)
    assert point_of(found, LAYOUT, point="model.layers.1") == "model.layers.1"
    with pytest.raises(CollectionError, match=r"layers\.1"):
        point_of(found, LAYOUT, point="model.layers.0")


@pytest.mark.parametrize("stated", [{}, {"weights_sha256": "a" * 64, "model": "other"}, {"model": "lab/TINY"}])
def test_a_dictionary_of_this_model_is_taken(tmp_path, stated):
    check_fits(stating(tmp_path, **stated), SUBJECT, width=2, point="model.layers.1")


# --- published ones ------------------------------------------------------------------------------------------------

KNOWN = "gemma-scope-2b-pt-res-canonical/layer_12/width_16k/canonical"


def test_a_text_that_is_no_release_is_nobody_s():
    assert dictionary_sources.locate("no-such-release/layer_1") is None
    assert dictionary_sources.locate("plain") is None
    assert dictionary_sources.locate("some words/and more") is None


def test_a_published_dictionary_is_written_once_and_found_again(lens, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr(lens.SAE, "from_pretrained", lambda *args, **_: asked.append(args) or made(lens, "jumprelu"))
    folder = quiet(dictionary_sources.locate, KNOWN)
    assert quiet(dictionary_sources.locate, KNOWN) == folder
    assert len(asked) == 1
    assert dictionary_files.load(folder).width == F


def test_a_missing_dictionary_and_pickled_releases_are_errors_that_say_so(lens):
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    with pytest.raises(ConfigError, match="has no dictionary"):
        dictionary_sources.locate("gemma-scope-2b-pt-res-canonical/layer_99")
    pickled = next(
        one for one in get_pretrained_saes_directory().values() if one.conversion_func == "dictionary_learning_1"
    )
    with pytest.raises(ConfigError, match="pickles"):
        dictionary_sources.locate(f"{pickled.release}/{next(iter(pickled.saes_map))}")


def test_offline_a_known_release_is_a_clear_error(lens, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="cannot be downloaded"):
        quiet(dictionary_sources.locate, KNOWN)
    assert not list(tmp_path.glob("dossier-dictionaries/*"))
