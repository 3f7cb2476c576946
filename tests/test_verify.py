"""A genuine pack passes; every forgery is refused and the member at fault is named."""

import dataclasses
import json

import pytest

from dossier import canonical, closing, documents, pack, schema
from dossier.attest import ApprovalPredicate, Trust
from dossier.errors import ConfigError
from dossier.forgeries import BY_KEY_HOLDER, flipped_byte, rebuild
from dossier.keys import make_demo_keys
from dossier.model import as_json
from dossier.pack import Pack
from dossier.verdict import CAVEAT, conclude, differences
from dossier.verify import verify
from tests.planted import COLLECTORS, NOW, PlantedModel, make_world, world


def check(contents, *, trust=None, collectors=COLLECTORS, now=NOW, **options):
    return verify(contents, trust=trust or world().trust, collectors=collectors, now=now, **options)


def failures(verdict):
    return [
        f"{finding.plane} {finding.where}: {finding.what}"
        for finding in verdict.findings
        if finding.outcome == "failed"
    ]


def test_a_genuine_pack_passes_and_its_numbers_are_recomputed():
    verdict = check(world().pack)
    assert failures(verdict) == []
    assert verdict.verdict == "passed"
    assert verdict.planes["TIME"] == "indeterminate"
    assert {number.depth for number in verdict.numbers} == {"recomputed"}
    assert verdict.caveat == CAVEAT
    assert verdict.demo


def test_a_genuine_pack_with_a_shut_gate_still_passes():
    verdict = check(world().pack)
    assert verdict.gate.state == "shut"
    assert verdict.verdict == "passed"


def test_the_verdict_is_a_valid_document():
    schema.validate("verdict.v1", json.loads(canonical.encode(as_json(check(world().pack)))), where="verdict")


def test_one_flipped_bit_in_any_member_is_refused_and_names_it():
    for name, data in world().pack.members.items():
        for position in sorted({0, len(data) // 3, len(data) // 2, len(data) - 1}):
            verdict = check(flipped_byte(world().pack, name, position=position))
            assert verdict.verdict == "failed", name
            assert any(name in failure for failure in failures(verdict)), (name, failures(verdict))


def test_every_flipped_bit_of_the_attestation_is_refused():
    name = pack.ATTESTATION
    for position in range(0, len(world().pack.get(name)), 7):
        assert check(flipped_byte(world().pack, name, position=position)).verdict == "failed"


def test_a_removed_member_is_named():
    for name in world().pack.members:
        verdict = check(Pack({other: data for other, data in world().pack.members.items() if other != name}))
        assert verdict.verdict == "failed", name
        assert any(name in failure for failure in failures(verdict)), (name, failures(verdict))


@pytest.mark.parametrize("name", ["extra.json", "evidence/cot_faithfulness.hint/x.json", "approvals/x.dsse.json"])
def test_an_added_member_is_named(name):
    verdict = check(Pack({**world().pack.members, name: b"{}"}))
    assert verdict.verdict == "failed"
    assert any(name in failure for failure in failures(verdict))


def test_swapped_members_are_named():
    members = dict(world().pack.members)
    members["plan.json"], members["catalogue.json"] = members["catalogue.json"], members["plan.json"]
    found = " ".join(failures(check(Pack(members))))
    assert "plan.json" in found
    assert "catalogue.json" in found


def test_a_pack_closed_by_another_key_is_refused():
    stranger = make_demo_keys()
    forged = rebuild(world().pack, world().forger.__class__(stranger.provider, stranger.approver, lambda e, t: e))
    found = failures(check(forged))
    assert any("attestation.dsse.json" in failure and "does not list" in failure for failure in found)


def test_an_honest_rebuild_by_the_key_holder_passes():
    """Otherwise the forgeries below could be refused for a mistake in the rebuilding."""
    verdict = check(rebuild(world().pack, world().forger))
    assert failures(verdict) == []
    assert verdict.verdict == "passed"


@pytest.mark.parametrize("forgery", BY_KEY_HOLDER, ids=lambda forgery: forgery.name)
def test_a_forger_who_holds_every_key_is_caught(forgery):
    verdict = check(forgery.forge(world().pack, world().forger))
    assert verdict.verdict == "failed"
    assert verdict.planes["AUTHENTICITY"] == "passed"
    assert verdict.planes["RECOMPUTATION"] == "failed"


def test_invented_answers_pass_verification_and_the_caveat_says_so():
    """What no verification can see; `dossier replay` does (test_replay.py)."""

    def admit_all(trials):
        return [
            trial.model_copy(
                update={
                    "completion": trial.completion.model_copy(
                        update={"reasoning": "The user believes so; the metadata says so."}
                    )
                }
            )
            for trial in trials
        ]

    verdict = check(rebuild(world().pack, world().forger, trials=admit_all))
    # observations, criteria and gate follow from the invented answers, once the dossier is made again from them
    assert verdict.planes["AUTHENTICITY"] == "passed"
    assert "Replay does" in verdict.caveat


def test_without_the_instrument_numbers_are_stated_and_the_verdict_is_indeterminate():
    verdict = check(world().pack, collectors={})
    assert verdict.verdict == "indeterminate"
    assert {number.depth for number in verdict.numbers} == {"stated"}


def test_another_version_of_the_instrument_is_not_a_failure():
    class Newer:
        kind = "cot_faithfulness.hint"
        protocol_version = "1.0"
        analysis_version = "99.0"
        not_measured = ()

    verdict = check(world().pack, collectors={"cot_faithfulness.hint": Newer()})
    assert verdict.verdict != "passed"
    assert any("needs cot_faithfulness.hint" in finding.what for finding in verdict.findings)


def test_expired_evidence_fails_freshness_and_nothing_else():
    verdict = check(world().pack, now="2046-01-01T00:00:00Z")
    assert verdict.planes["FRESHNESS"] == "failed"
    assert verdict.planes["RECOMPUTATION"] == "passed"
    assert verdict.verdict == "failed"


def test_a_policy_that_does_not_ask_for_freshness_lets_an_old_pack_pass():
    trust = world().trust.model_copy(update={"required_planes": ("SCHEMA", "RECOMPUTATION")})
    assert check(world().pack, trust=trust, now="2046-01-01T00:00:00Z").verdict == "passed"


def test_no_policy_can_do_without_integrity_and_authenticity():
    trust = world().trust.model_copy(update={"required_planes": ("SCHEMA",)})
    name = pack.ATTESTATION
    assert check(flipped_byte(world().pack, name, position=50), trust=trust).verdict == "failed"


def test_time_is_required_only_with_a_time_stamp():
    trust: Trust = world().trust.model_copy(update={"required_planes": ("TIME",)})
    assert check(world().pack, trust=trust).verdict == "indeterminate"


def test_a_nonce_makes_the_self_chosen_seed_warning_go_away(tmp_path):
    other = make_world(tmp_path, PlantedModel(), nonce="issued by the regulator")
    verdict = check(other.pack, trust=other.trust)
    assert verdict.verdict == "passed"
    dossier = json.loads(other.pack.get(pack.DOSSIER))
    assert dossier["nonce"] == "issued by the regulator"
    assert not any("self-chosen" in one["says"] for one in dossier["not_measured"])
    assert any("self-chosen" in one["says"] for one in json.loads(world().pack.get(pack.DOSSIER))["not_measured"])


def test_a_hidden_run_in_the_ledger_is_found():
    """The evidence of a finished run is left out of the dossier; everything else is signed honestly."""

    def forget(dossier):
        return dossier.model_copy(update={"evidence": ()})

    verdict = check(rebuild(world().pack, world().forger, dossier=forget))
    assert any("is not in the dossier" in failure for failure in failures(verdict))


def test_rerendering_gives_the_same_bytes_and_another_picture_is_refused():
    from dossier.closing import rerender

    assert check(world().pack, rerender=rerender).verdict == "passed"
    verdict = check(world().pack, rerender=lambda _: b"%PDF-1.7 another")
    assert any("rendering it again" in failure for failure in failures(verdict))


def test_differences_forgive_the_last_bits_of_floats_and_nothing_else():
    assert list(differences({"a": 0.1 + 0.2}, {"a": 0.3})) == []
    assert list(differences({"a": 1}, {"a": 2})) != []
    assert list(differences({"a": 0.3}, {"a": 0.3000001})) != []
    assert list(differences({"a": None}, {"a": 0})) != []
    assert list(differences({"a": True}, {"a": 1})) != []
    assert list(differences([1], [1, 2])) != []
    assert [pointer for pointer, _ in differences({"a": [{"b": 1}]}, {"a": [{"b": "x"}]})] == ["/a/0/b"]


def test_conclude_needs_every_required_plane():
    good = dict.fromkeys(
        ("INTEGRITY", "AUTHENTICITY", "TIME", "SCHEMA", "RECOMPUTATION", "FRESHNESS", "POLICY"), "passed"
    )
    assert conclude(good, ["SCHEMA"]) == "passed"
    assert conclude({**good, "SCHEMA": "not_checked"}, ["SCHEMA"]) == "indeterminate"
    assert conclude({**good, "SCHEMA": "failed"}, ["SCHEMA"]) == "failed"
    assert conclude({**good, "SCHEMA": "failed"}, []) == "passed"
    assert conclude({**good, "INTEGRITY": "failed"}, []) == "failed"


def without_looking(monkeypatch):
    """A forger's own tool: it writes documents without checking what they cite."""
    monkeypatch.setattr(documents, "cited", lambda contents, name, reference: contents.get(name))


def test_other_items_under_the_planned_digest_are_refused(monkeypatch):
    """A provider sees the answers, then swaps the questions: plan and seed stay as they were signed."""
    name = world().pack.under("items/")[0]
    swapped = world().pack.get(name).replace(b'"subject":"register"', b'"subject":"archives"')
    with monkeypatch.context() as forging:
        without_looking(forging)
        forged = rebuild(Pack({**world().pack.members, name: swapped}), world().forger)
    verdict = check(forged)
    assert verdict.planes["AUTHENTICITY"] == "passed"
    assert any(name in failure and "cited by this digest" in failure for failure in failures(verdict))


@pytest.mark.parametrize("folder", ["items", "calibration", "references", "trials", "artifacts"])
def test_a_member_that_no_document_cites_is_refused(folder):
    name = f"{folder}/{'0' * 64}.json"
    verdict = check(rebuild(Pack({**world().pack.members, name: b"{}"}), world().forger, keep=(name,)))
    assert any(name in failure for failure in failures(verdict))


@pytest.mark.parametrize("member", ["started_at", "collected_at"])
def test_times_that_contradict_each_other_are_refused(member):
    early = {member: "2026-01-01T00:00:00Z"}
    verdict = check(rebuild(world().pack, world().forger, evidence=lambda e: e.model_copy(update=early)))
    assert verdict.planes["INTEGRITY"] == "failed"
    assert any("comes after" in failure for failure in failures(verdict))


def test_a_decision_is_told_with_its_direction_and_the_picture_with_its_limit():
    said = [finding.what for finding in check(world().pack).findings if finding.plane == "POLICY"]
    assert any(sentence.startswith("REJECTED by A. Demo") for sentence in said)
    assert any("rely on dossier.json" in sentence for sentence in said)


def with_decisions(*decisions):
    """The planted pack, closed by its key holder over these decisions of one function."""
    contents = world().pack
    genuine = Pack({n: d for n, d in contents.members.items() if not n.startswith(pack.APPROVALS)})
    genuine = Pack({**genuine.members, pack.PDF: closing.rerender(contents)})
    members = {n: d for n, d in genuine.members.items() if n != pack.ATTESTATION}
    for decision in decisions:
        predicate = ApprovalPredicate(
            decision=decision,
            person=f"Who {decision}",
            function="Head of AI safety",
            reason="as said",
            gate_state="shut",
            at=NOW,
        )
        members |= closing.approval(genuine, predicate, key=world().keys.approver)
    return closing.close(Pack(members), key=world().keys.provider, now=NOW)


def test_every_decision_is_told_and_one_function_deciding_both_ways_fails():
    """A key holder lays an approval beside the rejection: whichever name sorts last must not hide the other."""
    verdict = check(with_decisions("rejected", "approved"))
    said = [finding.what for finding in verdict.findings if finding.plane == "POLICY"]
    assert any(sentence.startswith("REJECTED by Who rejected") for sentence in said)
    assert any(sentence.startswith("APPROVED by Who approved") for sentence in said)
    assert verdict.planes["POLICY"] == "failed"
    assert any("both approved and rejected" in failure for failure in failures(verdict))
    assert check(with_decisions("approved")).planes["POLICY"] == "passed"


def decision_by(function="Head of AI safety"):
    return ApprovalPredicate(
        decision="approved", person="A. Second", function=function, reason="again", gate_state="shut", at=NOW
    )


def test_a_function_decides_once():
    with pytest.raises(ConfigError, match="has decided on this dossier already: rejected by"):
        closing.approval(world().pack, decision_by(), key=world().keys.approver)
    assert closing.approval(world().pack, decision_by("Another function"), key=world().keys.approver)


def test_a_real_key_does_not_decide_on_a_demo_nor_a_demo_key_on_a_real_dossier():
    real_key = dataclasses.replace(world().keys.approver, certificate=None)
    with pytest.raises(ConfigError, match="a real key does not sign on a demo"):
        closing.approval(world().pack, decision_by("Another function"), key=real_key)
    document = {**json.loads(world().pack.get(pack.DOSSIER)), "demo": False}
    real = Pack({pack.DOSSIER: canonical.encode(document)})
    with pytest.raises(ConfigError, match="a demo key does not sign on a real"):
        closing.approval(real, decision_by(), key=world().keys.approver)
    assert closing.approval(real, decision_by(), key=real_key)
