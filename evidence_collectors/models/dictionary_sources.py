"""Where is a published dictionary on this machine? The plug-in ``sae_lens`` of the entry-point group ``dossier.sources``.

A text ``release/sae_id`` that sae-lens' registry knows is downloaded by sae-lens, written out once as a SAELens folder with
safetensors, and named by its path from then on. Releases whose files are pickles are refused before anything is fetched.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from dossier.errors import ConfigError

SAFE = {  # conversion functions of sae-lens' registry that read safetensors or plain arrays only
    "sae_lens",
    "gemma_2",
    "gemma_3",
    "llama_scope",
    "llama_scope_r1_distill",
    "sparsify",
}


def locate(text: str) -> Path | None:
    """Return the folder of a published dictionary ``release/sae_id``, None if no release has that name.

    Raises:
        ConfigError: the release is known and has no such dictionary, is kept as pickles, or cannot be downloaded.
    """
    release, slash, sae_id = text.partition("/")
    if not slash or not sae_id or release.startswith((".", "~")) or not release or any(map(str.isspace, text)):
        return None  # a path, or words; sae-lens takes seconds to import
    try:
        from evidence_collectors.models.dictionary_files import import_sae_lens

        import_sae_lens()
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    except (ImportError, ConfigError):
        return None  # without sae-lens nobody knows its releases
    entry = get_pretrained_saes_directory().get(release)
    if entry is None:
        return None
    if sae_id not in entry.saes_map:
        some = ", ".join(list(entry.saes_map)[:3])
        raise ConfigError(f"{text}: release {release!r} has no dictionary {sae_id!r}.", hint=f"It has {some}, ...")
    conversion = entry.conversion_func or "sae_lens"
    if conversion not in SAFE:
        raise ConfigError(
            f"{text}: this release is kept as pickles or as transcoders ({conversion}), which are not read.",
            hint="A pickle can run code when it is opened. Convert it elsewhere to a SAELens folder with safetensors.",
        )
    folder = _cache() / f"{release}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not (folder / "cfg.json").is_file():
        _write(_download(release, sae_id, text), folder)
    return folder


def _download(release: str, sae_id: str, text: str) -> Any:
    from sae_lens import SAE

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return SAE.from_pretrained(release, sae_id, device="cpu")
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{text}: known to sae-lens, but cannot be downloaded: {type(error).__name__}: {error}",
            hint="Offline, give the path of a folder that holds it; online, unset HF_HUB_OFFLINE and try again.",
        ) from error


def _write(sae: Any, folder: Path) -> None:
    """Write under another name and rename, so that a broken download is never taken for a dictionary."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        made = Path(place) / "dictionary"
        sae.save_model(made)
        made.replace(folder)


def _cache() -> Path:
    """Return the folder of the Hugging Face cache that holds dictionaries."""
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    return Path(home) / "dossier-dictionaries"
