"""Where does one dossier lie while it is being made?

<output>/
  pack/          the members so far: plan first, then evidence, dossier, manifest, PDF, approvals, attestation
  store/         answers, ledger, evidence: kept between runs
  pack.zip       the closed pack
  dossier.pdf    the signed PDF, as in the pack
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from inspect import signature
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from dossier import closing, pack
from dossier.attest import ApprovalPredicate, StatementPredicate
from dossier.collector import Collector, lacking
from dossier.config import EvidenceConfig, RunConfig, SubjectConfig, load_config
from dossier.documents import parse_items
from dossier.errors import ConfigError
from dossier.files import write_together, write_whole
from dossier.inputs import SUBJECT, EvidenceInputs
from dossier.keys import SigningKey
from dossier.language_model import LanguageModel
from dossier.model import Dossier, Plan, parse
from dossier.obligations import catalogue_bytes
from dossier.pack import Pack, member
from dossier.plan import Planned, make_plan
from dossier.run import Progress, collect, utc_now
from dossier.store import open_store

Collectors = Mapping[str, Collector[Any]]
MODELS = "dossier.models"  # the entry-point group of adapters
SOURCES = "dossier.sources"  # of functions that find a published dictionary by name

PLANNED_FOLDERS = ("items/", "calibration/", "references/", "statements/")
PLANNED_FILES = (pack.PLAN, pack.PLAN_ENVELOPE, pack.CATALOGUE)


class Workspace:
    """A configuration and its output folder. Paths in the configuration are relative to the file."""

    def __init__(self, config_path: Path) -> None:
        self.config: RunConfig = load_config(config_path)
        self.base = config_path.parent
        self.output = self.base / self.config.output
        self.folder = self.output / "pack"

    def contents(self) -> Pack:
        """Return the members so far.

        Raises:
            ConfigError: there are none yet.
        """
        if not (self.folder / pack.PLAN).exists():
            raise ConfigError(f"{self.folder}: no plan here yet.", hint="Start with `dossier plan`.")
        return pack.read(self.folder)

    def load_model(self) -> LanguageModel:
        """Load the subject through its adapter."""
        return load_model(self.config.subject, self.base)

    def load_inputs(self) -> dict[str, EvidenceInputs]:
        """Find and load the further inputs of each piece of evidence."""
        return {piece.id: self._inputs(piece) for piece in self.config.evidence if piece.inputs}

    def _inputs(self, piece: EvidenceConfig) -> EvidenceInputs:
        files = {role: find_file(given, self.base) for role, given in piece.inputs.items() if isinstance(given, str)}
        models = {
            role: load_model(given, self.base)
            for role, given in piece.inputs.items()
            if isinstance(given, SubjectConfig)
        }
        return EvidenceInputs(files, models)

    def plan(self, model: LanguageModel, *, key: SigningKey, collectors: Collectors) -> Planned:
        """Make and sign the plan.

        Raises:
            ConfigError: there is a signed plan already: a plan is not changed but superseded; or the model's adapter cannot do
                what an instrument needs.
        """
        if (self.folder / pack.PLAN).exists():
            raise ConfigError(
                f"{self.folder}: a signed plan lies here already.",
                hint="Choose another output folder and name the old plan's digest under `supersedes`.",
            )
        for piece in self.config.evidence:
            collector = collectors.get(piece.kind)
            if collector and (problem := lacking(collector, model, collector.parse(piece.parameters))):
                raise ConfigError(
                    f"evidence {piece.id!r}: {problem}",
                    hint="Load the weights through the adapter 'hf', or take this instrument out of the plan.",
                )
        planned = make_plan(
            self.config,
            self.base,
            subject=model.subject,
            size=model.size,
            collectors=collectors,
            inputs=self.load_inputs(),
            catalogue=catalogue_bytes(self.config.regime),
            now=utc_now(),
            demo=key.demo,
        )
        self._write(closing.plan_members(planned.plan, planned.files, key=key))
        return planned

    def run(
        self,
        model: LanguageModel,
        *,
        collectors: Collectors,
        nonce: str | None,
        wait: bool,
        progress: Callable[[Progress], None],
    ) -> Dossier:
        """Collect what the plan promises and draft the dossier; resume where an earlier run stopped.

        Raises:
            ConfigError: somebody has decided on the present draft already.
        """
        contents = self.contents()
        decided = contents.under(pack.APPROVALS)
        if decided or pack.ATTESTATION in contents.members:
            raise ConfigError(
                f"{self.folder}: a person has decided on this dossier, or it is closed; it is not drafted again.",
                hint="Choose another output folder for a new dossier.",
            )
        planned = Pack({name: data for name, data in contents.members.items() if _is_planned(name)})
        plan = parse(Plan, planned.get(pack.PLAN), where=pack.PLAN)
        items = {p.items.sha256: parse_items(planned.get(member("items", p.items)), where=p.id) for p in plan.evidence}
        with open_store(self.output / "store", wait=wait) as store:
            collected = collect(
                plan,
                model=model,
                items=items,
                inputs=self.load_inputs(),
                collectors=collectors,
                store=store,
                nonce=nonce,
                clock=utc_now,
                progress=progress,
            )
            drafted = closing.draft(
                planned,
                collected=collected,
                collectors=collectors,
                ledger=store.ledger(),
                nonce=nonce,
                as_of=utc_now(),
            )
            self._write(drafted.members, instead=True)
        return parse(Dossier, drafted.get(pack.DOSSIER), where=pack.DOSSIER)

    def state(self, predicate: StatementPredicate, *, key: SigningKey) -> None:
        """Add a named person's statement; the dossier must then be drafted again."""
        contents = self.contents()
        if contents.under(pack.APPROVALS) or pack.ATTESTATION in contents.members:
            raise ConfigError(
                f"{self.folder}: a person has decided on this dossier already; a statement comes too late."
            )
        self._write(closing.stated(contents.get(pack.PLAN), predicate, key=key))

    def approve(self, predicate: ApprovalPredicate, *, key: SigningKey) -> None:
        """Add a named person's decision over the drafted dossier."""
        self._write(closing.approval(self.contents(), predicate, key=key))

    def close(self, *, key: SigningKey) -> Path:
        """Sign and close the pack; return the path of the zip."""
        closed = closing.close(self.contents(), key=key, now=utc_now())
        pack.write(closed.members, self.output / "pack.zip")
        write_whole(self.output / "dossier.pdf", closed.get(pack.PDF))
        self._write(closed.members)  # last: once the attestation lies there, nothing is signed again
        return self.output / "pack.zip"

    def _write(self, members: Mapping[str, bytes], *, instead: bool = False) -> None:
        """Write members, all or none of them; with ``instead``, remove the others, which an older draft left."""
        write_together(self.folder, members, scratch=self.output)
        if instead:
            for name in pack.read(self.folder).members.keys() - members.keys():
                (self.folder / name).unlink()


def load_model(subject: SubjectConfig, base: Path) -> LanguageModel:
    """Load a model through the adapter of its name. A ``path`` that exists beside ``base`` is a folder, else a hub id.

    Raises:
        ConfigError: no such adapter, or an option it does not have.
    """
    adapters = {entry.name: entry for entry in metadata.entry_points(group=MODELS)}
    if subject.adapter not in adapters:
        raise ConfigError(f"subject.adapter: {subject.adapter!r} is unknown; installed: {sorted(adapters)}.")
    try:
        load = adapters[subject.adapter].load()
    except ImportError as error:
        raise ConfigError(
            f"adapter {subject.adapter!r} cannot be imported: {error}.",
            hint="Install the extra: pip install dossier[collect].",
        ) from error
    known = [name for name in signature(load).parameters if name != "path_or_id"]
    for name in subject.options:
        if name not in known:
            raise ConfigError(
                f"subject.options.{name}: adapter {subject.adapter!r} has no such option; it has {known}."
            )
    local = base / subject.path
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in subject.options.items()}
    model: LanguageModel = load(str(local if local.exists() else subject.path), **options)
    return model


def given_inputs(plan: Plan, given: Sequence[str]) -> dict[str, EvidenceInputs]:
    """Return further inputs that were given as ``EVIDENCE.ROLE=PATH``; what the plan calls a model is loaded as one.

    Raises:
        ConfigError: no such evidence or role, or no such file.
    """
    planned = {f"{slot.id}.{role}": reference for slot in plan.evidence for role, reference in slot.inputs.items()}
    files: dict[str, dict[str, Path]] = {}
    models: dict[str, dict[str, LanguageModel]] = {}
    for text in given:
        name, _, path = text.partition("=")
        if name not in planned or not path:
            raise ConfigError(
                f"--input {text}: expected EVIDENCE.ROLE=PATH.", hint=f"The plan's: {', '.join(planned) or 'none'}."
            )
        evidence, _, role = name.rpartition(".")
        if planned[name].media_type == SUBJECT:
            models.setdefault(evidence, {})[role] = load_model(SubjectConfig(path=path), Path())
        else:
            files.setdefault(evidence, {})[role] = find_file(path, Path())
    return {name: EvidenceInputs(files.get(name, {}), models.get(name, {})) for name in {*files, *models}}


def given_options(given: Sequence[str]) -> dict[str, JsonValue]:
    """Return an adapter's options that were given as ``NAME=VALUE``, each as a line of TOML would say it.

    Raises:
        ConfigError: not such a line.
    """
    options: dict[str, JsonValue] = {}
    for text in given:
        try:
            options |= tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"--option {text}: expected NAME=VALUE as in TOML: {error}.") from error
    return options


def find_file(text: str, base: Path) -> Path:
    """Return a file or folder: one beside ``base``, or what a plug-in under ``dossier.sources`` finds by that name.

    Raises:
        ConfigError: nobody finds it.
    """
    if (base / text).exists():
        return base / text
    for entry in metadata.entry_points(group=SOURCES):
        found: Path | None = entry.load()(text)
        if found is not None:
            return found
    raise ConfigError(f"{base / text}: no such file or folder, and no installed plug-in knows {text!r}.")


def _is_planned(name: str) -> bool:
    return name in PLANNED_FILES or name.startswith(PLANNED_FOLDERS)
