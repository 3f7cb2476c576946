"""Can this folder be loaded, and without running anybody's code? Checks first, then transformers, then checks again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from dossier.errors import ConfigError

DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,  # no model is served at it; it is the second precision of a replay's same-model band
}
INDEX = "model.safetensors.index.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w.-]+)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class Loaded:
    """A causal language model in memory, with its tokenizer, and where it came from."""

    name: str
    folder: Path
    model: Any
    tokenizer: Any
    chat_template: str


def load_folder(path_or_id: str, *, dtype: str, device: str) -> Loaded:
    """Return the model of a folder or hub id (``owner/name`` or ``owner/name@revision``).

    Raises:
        ConfigError: not found, not a causal language model, pickled or incomplete weights, remote code, no tokenizer or
            no chat template, an unknown dtype or device.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"{path_or_id}: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    name, folder = _locate(path_or_id)
    check_folder(folder)
    tokenizer = _load_tokenizer(folder)
    template = _template_of(tokenizer, folder)
    return Loaded(name, folder, _load_model(folder, dtype=dtype, device=device), tokenizer, template)


def check_folder(folder: Path) -> None:
    """Refuse what must not be loaded, by reading JSON and file names only.

    Raises:
        ConfigError: no ``config.json``, remote code, an adapter or pre-quantised weights, no safetensors, missing
        shards.
    """
    config = _read(folder / "config.json", "every Hugging Face model folder has one")
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in _read(folder / name, ""):
            raise ConfigError(
                f"{folder / name}: 'auto_map' asks to run code from the folder; this adapter never runs remote code",
                hint="Use an architecture transformers knows, or register your own adapter under 'dossier.models'.",
            )
    if "quantization_config" in config:
        raise ConfigError(
            f"{folder / 'config.json'}: pre-quantised weights are not supported (quantization_config)",
            hint="Save the weights dequantised, or register an adapter that runs them as deployed.",
        )
    if (folder / "adapter_config.json").exists():
        raise ConfigError(
            f"{folder}: a PEFT adapter, not a whole model", hint="Merge the adapter into its base model and save that."
        )
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    if (folder / "model.safetensors").is_file():
        return
    if not (folder / INDEX).is_file():
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        found = f"only pickled weights ({', '.join(pickles)}), which run code when read" if pickles else "no weights"
        raise ConfigError(
            f"{folder}: expected model.safetensors or {INDEX}, got {found}",
            hint="Save the model again with save_pretrained(..., safe_serialization=True).",
        )
    weight_map = _read(folder / INDEX, "").get("weight_map")
    shards = sorted({str(shard) for shard in weight_map.values()}) if isinstance(weight_map, dict) else []
    strays = [shard for shard in shards if Path(shard).name != shard or not shard.endswith(".safetensors")]
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if not shards or strays or missing:
        what = f"names {strays[0]!r}" if strays else f"misses {missing[0]!r}" if missing else "names no shard"
        raise ConfigError(
            f"{folder / INDEX}: every shard must be a safetensors file beside it; the index {what}",
            hint="Download the folder again.",
        )


def _locate(path_or_id: str) -> tuple[str, Path]:
    folder = Path(path_or_id)
    if folder.is_dir():
        return folder.resolve().name, folder
    if folder.exists() or not _HUB_ID.fullmatch(path_or_id):
        raise ConfigError(
            f"{path_or_id}: no such model folder", hint="Give the folder that holds config.json and model.safetensors."
        )
    from huggingface_hub import snapshot_download  # only here: everything else works offline

    owner_name, _, revision = path_or_id.partition("@")
    try:
        snapshot = Path(snapshot_download(owner_name, revision=revision or None, allow_patterns=_HUB_FILES))
    except Exception as error:  # the hub client's errors share no base
        raise ConfigError(
            f"{path_or_id}: neither a folder nor a model the hub gives out: {_first_line(error)}",
            hint="Check the name and the network, or download the folder and give its path.",
        ) from error
    return f"{owner_name}@{snapshot.name}", snapshot


def _load_tokenizer(folder: Path) -> Any:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # a broken tokenizer raises whatever its parser raises
        raise ConfigError(
            f"{folder}: no usable tokenizer: {_first_line(error)}", hint="The folder needs tokenizer.json."
        ) from error
    if len(tokenizer) == 0:
        raise ConfigError(f"{folder}: the tokenizer is empty", hint="The folder needs tokenizer.json.")
    return tokenizer


def _template_of(tokenizer: Any, folder: Path) -> str:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str) or not template:
        raise ConfigError(
            f"{folder}: the tokenizer has no chat template",
            hint="Put the one the model was trained with into chat_template.jinja; a guess measures another model.",
        )
    return template


def _load_model(folder: Path, *, dtype: str, device: str) -> Any:
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **_attention(folder),
            device_map="auto" if device == "auto" else {"": device},
        )
    except Exception as error:  # unknown architecture, damaged safetensors, no such device: all mean "cannot load"
        raise ConfigError(
            f"{folder}: transformers {transformers.__version__} cannot load it on {device!r}: {_first_line(error)}",
            hint="It must be a causal language model of an architecture this version knows.",
        ) from error
    missing = sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"])))
    if missing:
        raise ConfigError(
            f"{folder}: {len(missing)} weights are missing or of another shape, first {missing[0]}; random values "
            "would be measured in their place",
            hint="Save or download the folder again.",
        )
    return model.eval().requires_grad_(False)


def _attention(folder: Path) -> dict[str, str]:
    """Return the attention that computes what the config says: only the eager one caps attention scores (Gemma 2)."""
    config = _read(folder / "config.json", "")
    text = config.get("text_config") or config
    return {"attn_implementation": "eager"} if text.get("attn_logit_softcapping") else {}


def _read(path: Path, why: str) -> dict[str, Any]:
    try:
        value = json.loads(
            path.read_bytes()
        )  # not the strict loader: these files are other people's, with 1e+30 in them
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}){': ' + why if why else ''}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {_first_line(error)}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def check_options(
    path_or_id: str, *, dtype: object, device: object, batch_size: object, reasoning_tags: object
) -> None:
    """Refuse impossible values of any type: they come from a configuration file."""
    for name, value in (("dtype", dtype), ("device", device)):
        if not isinstance(value, str):
            raise ConfigError(f"{path_or_id}: {name} must be a text, got {value!r}")
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ConfigError(f"{path_or_id}: batch_size must be a whole number, 1 or more, got {batch_size!r}")
    tags = reasoning_tags if isinstance(reasoning_tags, tuple) else ()
    if len(tags) != 2 or not all(isinstance(tag, str) and tag for tag in tags) or tags[0] == tags[1]:
        raise ConfigError(f"{path_or_id}: reasoning_tags must be two different texts, got {reasoning_tags!r}")
