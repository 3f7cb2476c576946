"""How does a dictionary come off the disk? SAELens folders through sae-lens, Gemma Scope folders by a reader of our own.

Nothing is ever unpickled: a folder that holds weights as ``.pt``, ``.pth``, ``.bin`` or ``.pkl`` only is refused, and so is an
``.npz`` with a pickled member.
"""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dossier.errors import CollectionError, ConfigError
from evidence_collectors.models.dictionaries import Architecture, Dictionary, Normalisation, Stated

PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")
READABLE = (
    "Readable are SAELens folders (cfg.json and sae_weights.safetensors) and Gemma Scope folders (params.safetensors "
)
READABLE += "or params.npz)."

_ARCHITECTURES: tuple[Architecture, ...] = ("standard", "jumprelu", "topk", "gated")
_NORMALISATIONS: tuple[Normalisation, ...] = ("none", "layer_norm", "constant_norm_rescale")


def load(path: Path) -> Dictionary:
    """Return the dictionary of a folder.

    Raises:
        CollectionError: not a layout that is known, a pickle, an architecture or normalisation that cannot be computed as it
            was trained, or tensors that do not fit each other.
    """
    if (path / "cfg.json").is_file() and (path / "sae_weights.safetensors").is_file():
        return _checked(_from_sae_lens(path))
    if (path / "params.safetensors").is_file() or (path / "params.npz").is_file():
        return _checked(_from_gemma_scope(path))
    inside = [path] if path.is_file() else sorted(path.glob("*"))
    pickled = next((one for one in inside if one.suffix.lower() in PICKLES), None)
    if pickled is not None:
        raise CollectionError(
            f"{pickled}: a pickle can run code when it is read, so it is never opened",
            hint="Convert it to a SAELens folder with safetensors, somewhere you can afford to run it.",
        )
    raise CollectionError(f"{path}: not a dictionary of a known layout", hint=READABLE)


def import_sae_lens() -> Any:
    """Return the module sae_lens, without the warnings it gives about its own imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import sae_lens
        except ImportError as error:
            raise ConfigError("sae-lens is not installed.", hint="pip install 'dossier[collect]'") from error
    return sae_lens


def _from_sae_lens(path: Path) -> Dictionary:
    sae_lens = import_sae_lens()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sae = sae_lens.SAE.load_from_disk(path, device="cpu", dtype="float32")
    except (ValueError, KeyError, TypeError, RuntimeError, AssertionError, OSError, json.JSONDecodeError) as error:
        raise CollectionError(
            f"{path}: sae-lens cannot load it: {type(error).__name__}: {error}", hint=READABLE
        ) from error
    return from_sae(sae, name=path.name)


def from_sae(sae: Any, *, name: str) -> Dictionary:
    """Return a loaded ``sae_lens.SAE`` as a dictionary.

    Raises:
        CollectionError: an architecture, normalisation or reshaping that is not computed here.
    """
    cfg = sae.cfg
    architecture = cfg.architecture()
    if architecture not in _ARCHITECTURES:
        raise CollectionError(
            f"{name}: architecture {architecture!r} is not read; known are {', '.join(_ARCHITECTURES)}",
            hint="BatchTopK and matryoshka dictionaries save as jumprelu.",
        )
    if cfg.normalize_activations not in _NORMALISATIONS:
        raise CollectionError(
            f"{name}: activations were normalised by {cfg.normalize_activations!r} in training, and the factor is not in the "
            "file: read without it, every feature would be wrong",
            hint="Fold the factor into the weights and save again (sae.fold_activation_norm_scaling_factor).",
        )
    if cfg.reshape_activations != "none":
        raise CollectionError(
            f"{name}: reads attention heads one by one ({cfg.reshape_activations}), not a point's vector"
        )
    tensors = {key: value.detach().clone() for key, value in sae.state_dict().items()}
    w_enc, w_dec, bias = tensors["W_enc"], tensors["W_dec"], tensors.get("b_enc", tensors.get("b_mag"))
    if getattr(cfg, "rescale_acts_by_decoder_norm", False):
        norms = w_dec.norm(dim=-1)
        w_enc, bias, w_dec = w_enc * norms, bias * norms, w_dec / norms[:, None]
    return Dictionary(
        name=name,
        architecture=architecture,
        w_enc=w_enc,
        b_enc=bias,
        w_dec=w_dec,
        b_dec=tensors["b_dec"],
        threshold=tensors["threshold"] if architecture == "jumprelu" else None,
        k=int(cfg.k) if architecture == "topk" else None,
        gate=(tensors["b_gate"], tensors["r_mag"]) if architecture == "gated" else None,
        bias_from_input=bool(cfg.apply_b_dec_to_input),
        normalisation=cfg.normalize_activations,
        stated=_stated(cfg.metadata.to_dict()),
    )


def _stated(metadata: Mapping[str, Any]) -> Stated:
    point = metadata.get("hf_hook_name") or metadata.get("hook_name")
    model = metadata.get("model_name")
    return Stated(
        point=None if point is None else str(point).removesuffix(".output"),
        target=metadata.get("hf_hook_name_out") or metadata.get("hook_name_out"),
        model=None if model is None else str(model),
        weights_sha256=metadata.get("subject_weights_sha256"),
        l0=metadata.get("l0"),
    )


# --- Gemma Scope ---------------------------------------------------------------------------------------------------


def _from_gemma_scope(path: Path) -> Dictionary:
    """Read ``params.safetensors`` with ``config.json`` (Gemma Scope 2) or ``params.npz`` (Gemma Scope).

    Both are jumprelu, without normalisation, and do not take the decoder's bias off the input.
    """
    config = _config(path)
    architecture = config.get("architecture", "jump_relu")
    if architecture != "jump_relu":
        raise CollectionError(f"{path}: Gemma Scope architecture {architecture!r} is not read; expected 'jump_relu'")
    params = {name.replace("W_", "w_"): value for name, value in _params(path).items()}  # Gemma Scope writes W_enc
    missing = sorted({"w_enc", "w_dec", "b_enc", "b_dec", "threshold"} - set(params))
    if missing:
        raise CollectionError(f"{path}: the parameters lack {', '.join(missing)}", hint=READABLE)
    scaling = params.get("scaling_factor")
    if scaling is not None and not torch.allclose(scaling, torch.ones_like(scaling)):
        raise CollectionError(f"{path}: has a scaling factor that is not 1, which sae-lens does not read either")
    stated_target, layer, l0 = config.get("hf_hook_point_out"), *_of_path(path, int(params["b_enc"].shape[0]))
    return Dictionary(
        name=path.name,
        architecture="jumprelu",
        w_enc=params["w_enc"],
        b_enc=params["b_enc"],
        w_dec=params["w_dec"],
        b_dec=params["b_dec"],
        threshold=params["threshold"],
        skip=params.get("affine_skip_connection"),
        stated=Stated(
            point=_gemma_point(path, config.get("hf_hook_point_in")),
            target=_gemma_point(path, stated_target),
            model=config.get("model_name"),
            weights_sha256=config.get("subject_weights_sha256"),
            l0=config.get("l0", l0),
            layer=layer,
        ),
    )


def _of_path(path: Path, features: int) -> tuple[int | None, float | None]:
    """Return the layer and the L0 that a folder says as Gemma Scope names them, None where it does not.

    ``layer_20/width_16k/average_l0_71`` (Gemma Scope), ``layer_12_width_16k_l0_small`` (Gemma Scope 2).

    Raises:
        CollectionError: it says another width than the dictionary has.
    """
    said = "/".join(path.resolve().parts[-3:])
    width = re.search(r"(?:^|[/_])width_(\d+)(k|m)(?=[/_]|$)", said)
    if width is not None:
        per = 1_000 if width[2] == "k" else 1_000_000
        if features // per != int(width[1]):  # 16k are 16384, 1m are 1048576
            raise CollectionError(
                f"{path}: its folder says width {width[1]}{width[2]}, and the parameters hold {features} features",
                hint="The files of two dictionaries may have been mixed up.",
            )
    layer = re.search(r"(?:^|[/_])layer_(\d+)(?=[/_]|$)", said)
    sparsity = re.search(r"(?:^|[/_])average_l0_(\d+)$", said)
    return None if layer is None else int(layer[1]), None if sparsity is None else float(sparsity[1])


def _config(path: Path) -> dict[str, Any]:
    if not (path / "config.json").is_file():
        return {}
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
    except ValueError as error:
        raise CollectionError(f"{path / 'config.json'}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CollectionError(f"{path / 'config.json'}: not an object")
    return config


def _gemma_point(path: Path, hook: Any) -> str | None:
    """Return a module path from ``model.layers.7.output`` (Gemma Scope 2); None where nothing is said."""
    if hook is None:
        return None
    text = str(hook)
    if text.endswith(".output"):
        return text.removesuffix(".output")
    return text.removesuffix(".input") + ":in" if text.endswith(".input") else text


def _params(path: Path) -> dict[str, Any]:
    if (path / "params.safetensors").is_file():
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return {name: value.float() for name, value in load_file(path / "params.safetensors").items()}
        except (SafetensorError, OSError) as error:
            raise CollectionError(f"{path / 'params.safetensors'}: not safetensors: {error}") from error
    file = path / "params.npz"
    try:
        with np.load(file, allow_pickle=False) as data:
            return {name: torch.from_numpy(np.asarray(data[name], dtype=np.float32)) for name in data.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CollectionError(
            f"{file}: not plain arrays: {error}",
            hint="A pickled member can run code when it is read, so it is never opened.",
        ) from error


def _checked(dictionary: Dictionary) -> Dictionary:
    """Return it if its tensors fit each other and are finite numbers."""
    d, f = dictionary.w_enc.shape if dictionary.w_enc.ndim == 2 else (0, 0)
    vectors = {"b_enc": dictionary.b_enc, "threshold": dictionary.threshold}
    wrong = [name for name, value in vectors.items() if value is not None and tuple(value.shape) != (f,)]
    if dictionary.w_dec.ndim != 2 or dictionary.w_dec.shape[0] != f:
        wrong.append("w_dec")
    elif tuple(dictionary.b_dec.shape) != (dictionary.w_dec.shape[1],):
        wrong.append("b_dec")
    if dictionary.skip is not None and tuple(dictionary.skip.shape) != (d, dictionary.w_dec.shape[-1]):
        wrong.append("affine_skip_connection")
    if wrong or not d:
        raise CollectionError(f"{dictionary.name}: shapes that do not fit w_enc: {', '.join(wrong) or 'w_enc itself'}")
    if dictionary.k is not None and not 1 <= dictionary.k <= f:
        raise CollectionError(f"{dictionary.name}: k = {dictionary.k} of {f} features")
    for name in ("w_enc", "b_enc", "w_dec", "b_dec", "threshold", "skip"):
        value = getattr(dictionary, name)
        if value is not None and not bool(torch.isfinite(value).all()):
            raise CollectionError(f"{dictionary.name}: {name} holds numbers that are not finite")
    return dictionary
