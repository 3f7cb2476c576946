"""An edition leaves members out by class; what is left is checked as in the whole pack, and nothing else may be missing."""

import tempfile
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dossier import attest, canonical, closing, editions, pack
from dossier.attest import ApprovalPredicate, StatementPredicate
from dossier.cli import app
from dossier.collector import Artifact
from dossier.errors import ConfigError, IntegrityError
from dossier.forgeries import flipped_byte
from dossier.model import Manifest, ManifestEntry, dump, parse
from dossier.pack import Pack
from dossier.verify import verify
from tests.planted import COLLECTORS, KIND, NOW, PlantedModel, make_world

SECRET = b'{"direction":[0.25,-0.5]}'


class Leaving:
    """An instrument that also leaves a confidential file, as those that look inside do."""

    def __getattr__(self, name):
        return getattr(COLLECTORS[KIND], name)

    def collect(self, inputs, params, seed):
        yield Artifact(name="direction.json", media_type="application/json", data=SECRET)
        yield from COLLECTORS[KIND].collect(inputs, params, seed)


INSTRUMENTS = {KIND: Leaving()}


@cache
def world():
    said = StatementPredicate(
        obligation="AIA-9-6", person="A. Demo", function="Head of AI safety", text="It is kept.", at=NOW
    )
    with tempfile.TemporaryDirectory() as folder:
        return make_world(Path(folder), PlantedModel(), collectors=INSTRUMENTS, statements=[said])


def check(contents, **options):
    return verify(contents, trust=world().trust, collectors=INSTRUMENTS, now=NOW, **options)


def failures(verdict):
    return [f"{one.where}: {one.what}" for one in verdict.findings if one.outcome == "failed"]


def without(contents, name):
    return Pack({other: data for other, data in contents.members.items() if other != name})


def test_the_edition_for_authorities_holds_no_confidential_byte_and_every_number_is_recomputed():
    edition = editions.redact(world().pack, "authority")
    verdict = check(edition)
    assert failures(verdict) == []
    assert verdict.verdict == "passed"
    assert verdict.edition == "authority"
    assert verdict.withheld == (f"artifacts/{canonical.sha256(SECRET)}.json", pack.SALTS)
    assert {one.depth for one in verdict.numbers} == {"recomputed"}
    assert not any(SECRET in data for data in edition.members.values())
    assert (check(world().pack).edition, check(world().pack).withheld) == (None, ())


def test_the_public_edition_holds_no_answer_and_says_that_its_numbers_are_stated():
    edition = editions.redact(world().pack, "public")
    verdict = check(edition)
    assert failures(verdict) == []
    assert verdict.verdict == "indeterminate"
    assert edition.under("trials/") + edition.under("statements/") == ()
    assert (verdict.planes["INTEGRITY"], verdict.planes["RECOMPUTATION"]) == ("passed", "not_checked")
    assert verdict.planes["AUTHENTICITY"] == "not_checked", "nobody can see who made the statement"
    assert {one.depth for one in verdict.numbers} == {"stated"}


@pytest.mark.parametrize("readers", ["authority", "public"])
def test_a_member_that_an_edition_may_not_withhold_was_removed(readers):
    edition = editions.redact(world().pack, readers)
    for name in edition.members:
        verdict = check(without(edition, name))
        assert verdict.verdict == "failed", name
        assert any(name in failure for failure in failures(verdict)) or name == pack.EDITION


@pytest.mark.parametrize("readers", ["authority", "public"])
def test_a_flipped_bit_in_an_edition_is_refused(readers):
    edition = editions.redact(world().pack, readers)
    for name, data in edition.members.items():
        for position in sorted({0, len(data) // 2, len(data) - 1}):
            assert check(flipped_byte(edition, name, position=position)).verdict == "failed", (name, position)


def test_what_is_above_the_class_of_an_edition_must_not_be_there():
    whole, edition = world().pack, editions.redact(world().pack, "public")
    for name in check(edition).withheld:
        verdict = check(Pack({**edition.members, name: whole.get(name)}))
        assert verdict.verdict == "failed", name
    more = Pack({**whole.members, pack.EDITION: edition.get(pack.EDITION)})
    assert check(more).verdict == "failed", "a whole pack is no edition"


def test_an_edition_whose_class_was_lowered_does_not_hide_answers():
    """Whoever withholds answers and calls it an edition for authorities is found out: their class lies in the manifest."""
    public, authority = (editions.redact(world().pack, readers) for readers in ("public", "authority"))
    trials = next(iter(authority.under("trials/")))
    verdict = check(Pack({**public.members, pack.EDITION: authority.get(pack.EDITION)}))
    assert verdict.verdict == "failed"
    assert f"{trials}: listed in the manifest and not there: it was removed" in failures(verdict)


def closed_again(change, *, classes=closing.CONFIDENTIALITY):
    """The pack with another manifest, closed with the provider's own keys."""
    whole, forger = world().pack, world().forger
    covered = {name: data for name, data in whole.members.items() if pack.covered(name) and name != pack.SALTS}
    members = pack.build_manifest(covered, confidentiality=classes)
    files = parse(Manifest, members[pack.MANIFEST], where="manifest").files
    members[pack.MANIFEST] = dump(Manifest(files=tuple(sorted(change(files), key=lambda entry: entry.path))))
    members[pack.PDF] = closing.rerender(Pack(members))
    for name in whole.under(pack.APPROVALS):
        decided, _ = attest.parse_statement(ApprovalPredicate, attest.payload(whole.get(name), where=name), where=name)
        members |= closing.approval(Pack(members), decided, key=forger.approver)
    return closing.close(Pack(members), key=forger.provider, now=NOW)


NOWHERE = ManifestEntry(
    path=f"artifacts/{'a' * 64}.json",
    sha256="a" * 64,
    size=10**9,
    media_type="application/json",
    confidentiality="confidential",
    leaf="c" * 64,
    merkle_root=None,
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: (*files, NOWHERE), "nothing that a document cites"),
        (
            lambda files: (*files, NOWHERE.model_copy(update={"path": f"evidence/{KIND}/{'a' * 64}.json"})),
            "nothing that a document cites",
        ),
        (
            lambda files: [
                one.model_copy(update={"sha256": "d" * 64}) if one.path.startswith("artifacts/") else one
                for one in files
            ],
            "another digest or size than is cited",
        ),
        (
            lambda files: [
                one.model_copy(update={"size": 1}) if one.path.startswith("artifacts/") else one for one in files
            ],
            "another digest or size than is cited",
        ),
    ],
    ids=["an artifact nobody cites", "evidence nobody cites", "another digest", "another size"],
)
def test_the_provider_withholds_nothing_but_what_the_documents_cite(change, said):
    verdict = check(editions.redact(closed_again(change), "authority"))
    assert verdict.verdict == "failed"
    assert any(said in failure for failure in failures(verdict)), failures(verdict)


def test_trials_of_a_higher_class_leave_an_edition_for_authorities_with_stated_numbers():
    classes = {**closing.CONFIDENTIALITY, "trials": "confidential"}
    verdict = check(editions.redact(closed_again(list, classes=classes), "authority"))
    assert (verdict.verdict, {one.depth for one in verdict.numbers}) == ("indeterminate", {"stated"})


@pytest.mark.parametrize("folder", ["items", "evidence", "plan.json"])
def test_what_no_edition_may_withhold_is_missed(folder):
    classes = {**closing.CONFIDENTIALITY, folder: "confidential"}
    assert check(editions.redact(closed_again(list, classes=classes), "authority")).verdict == "failed"


def test_a_member_that_the_manifest_lists_twice_is_refused():
    twice = closed_again(lambda files: (*files, files[0].model_copy(update={"confidentiality": "confidential"})))
    assert any("lists a member twice" in failure for failure in failures(check(twice)))


def test_an_edition_says_nothing_but_its_readers_and_salts():
    edition = editions.redact(world().pack, "authority")
    held = canonical.loads(edition.get(pack.EDITION), where="edition")
    more = canonical.encode({**held, "salts": {**held["salts"], "approved by an authority": "0" * 64}})
    for data in (more, edition.get(pack.EDITION) + b"\n"):
        assert check(Pack({**edition.members, pack.EDITION: data})).verdict == "failed"


def test_numbers_that_a_plug_in_computes_from_a_withheld_artifact_are_stated():
    class Using(Leaving):
        def summarise(self, trials, artifacts, params, seed):
            assert artifacts["direction.json"] == SECRET
            return COLLECTORS[KIND].summarise(trials, artifacts, params, seed)

    def found(contents):
        return verify(contents, trust=world().trust, collectors={KIND: Using()}, now=NOW)

    assert found(world().pack).verdict == "passed"
    verdict = found(editions.redact(world().pack, "authority"))
    assert (verdict.verdict, {one.depth for one in verdict.numbers}) == ("indeterminate", {"stated"})


def test_the_pdf_of_an_edition_is_not_rendered_again():
    called = []
    verdict = check(editions.redact(world().pack, "authority"), rerender=called.append)
    assert called == []
    assert verdict.planes["RECOMPUTATION"] == "not_checked"


def test_only_a_whole_closed_pack_is_redacted():
    edition = editions.redact(world().pack, "public")
    with pytest.raises(ConfigError, match="an edition already"):
        editions.redact(edition, "public")
    with pytest.raises(ConfigError, match="not closed yet"):
        editions.redact(without(world().pack, pack.ATTESTATION), "public")
    with pytest.raises(IntegrityError, match="ask for the whole pack"):
        edition.get("trials/x.jsonl")


def test_the_command_writes_an_edition_and_overwrites_nothing(tmp_path):
    whole, out = tmp_path / "pack.zip", tmp_path / "authority.zip"
    pack.write(world().pack.members, whole)
    command = ["redact", str(whole), "--for", "authority", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.stderr.splitlines()[0].rpartition(": ")[2]) == (0, "2 of 15 members withheld")
    assert check(pack.read(out)).verdict == "passed"
    before = out.read_bytes()
    assert "there is something already" in str(CliRunner().invoke(app, command).exception)
    assert out.read_bytes() == before
