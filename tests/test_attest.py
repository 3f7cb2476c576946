"""Envelopes, Statements and keys."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from dossier import attest, canonical
from dossier.attest import ApprovalPredicate, Resource, StatementPredicate, Trust, trusted
from dossier.errors import SignatureError, SigningError
from dossier.keys import SigningKey, keyid, load_key, make_demo_keys, save_key

KEYS = make_demo_keys()
TYPE = "application/vnd.test+json"


def trust_of(key=KEYS.provider, functions=("plan",)):
    return Trust(
        keys=(trusted(key, name="provider", functions=functions),),
        certificate_roots_pem=(),
        required_planes=("INTEGRITY",),
    )


def opened(data, *, payload_type=TYPE, trust=None, function="plan"):
    return attest.open_envelope(
        data, payload_type=payload_type, trust=trust or trust_of(), function=function, where="x.dsse.json"
    )


@given(st.binary(max_size=300))
def test_an_envelope_gives_back_the_bytes_that_were_signed(payload):
    assert opened(attest.sign(payload, payload_type=TYPE, key=KEYS.provider)).payload == payload


def test_the_pre_authentication_encoding_is_that_of_the_specification():
    assert attest.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_second_implementation_accepts_our_envelope():
    data = attest.sign(b'{"a":1}', payload_type=TYPE, key=KEYS.provider)
    public = KEYS.provider.private_key.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    key = SSlibKey(KEYS.provider.keyid, "ecdsa", "ecdsa-sha2-nistp256", {"public": pem})
    envelope = Envelope.from_dict({**json.loads(data), "signatures": json.loads(data)["signatures"]})
    assert KEYS.provider.keyid in envelope.verify([key], 1)


def test_every_flipped_bit_of_an_envelope_is_refused():
    data = attest.sign(b'{"a":1}', payload_type=TYPE, key=KEYS.provider)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(SignatureError):
            opened(bytes(changed))


def test_base64_with_other_padding_bits_is_refused():
    data = json.loads(attest.sign(b"ab", payload_type=TYPE, key=KEYS.provider))
    assert data["payload"] == "YWI="
    data["payload"] = "YWJ="  # decodes to the same two bytes
    assert base64.b64decode("YWJ=") == b"ab"
    with pytest.raises(SignatureError, match="encode to itself"):
        opened(canonical.encode(data))


def test_a_signature_for_one_type_does_not_serve_another():
    data = attest.sign(b"{}", payload_type=TYPE, key=KEYS.provider)
    with pytest.raises(SignatureError, match="payload type"):
        opened(data, payload_type=attest.PLAN_TYPE)


def test_a_key_serves_only_the_functions_the_policy_gives_it():
    data = attest.sign(b"{}", payload_type=TYPE, key=KEYS.provider)
    with pytest.raises(SignatureError, match="not trusted for 'approval'"):
        opened(data, function="approval")


def test_an_unlisted_key_is_refused():
    data = attest.sign(b"{}", payload_type=TYPE, key=KEYS.approver)
    with pytest.raises(SignatureError, match="does not list"):
        opened(data)


def test_a_keyid_that_names_another_key_is_refused():
    listed = trusted(KEYS.provider, name="p", functions=("plan",)).model_copy(update={"keyid": KEYS.approver.keyid})
    trust = Trust(keys=(listed,), certificate_roots_pem=(), required_planes=("INTEGRITY",))
    with pytest.raises(SignatureError, match="keyid"):
        opened(attest.sign(b"{}", payload_type=TYPE, key=KEYS.approver), trust=trust)


def test_two_signatures_or_none_are_refused():
    data = json.loads(attest.sign(b"{}", payload_type=TYPE, key=KEYS.provider))
    for signatures in ([], data["signatures"] * 2):
        with pytest.raises(SignatureError, match="exactly one"):
            opened(canonical.encode({**data, "signatures": signatures}))


def test_an_approval_is_not_taken_for_a_statement():
    predicate = ApprovalPredicate(
        decision="approved", person="p", function="f", reason="r", gate_state="open", at="2026-11-23T00:00:00Z"
    )
    payload = attest.statement(predicate, [Resource.of("dossier.json", b"{}")])
    assert attest.parse_statement(ApprovalPredicate, payload, where="x")[0] == predicate
    with pytest.raises(SignatureError, match="expected a Statement of type"):
        attest.parse_statement(StatementPredicate, payload, where="x")


@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_pem_keys_are_read_back_encrypted_or_not(tmp_path, passphrase):
    save_key(KEYS.provider, tmp_path / "key.pem", passphrase=passphrase)
    again = load_key(tmp_path / "key.pem", passphrase)
    assert again.keyid == KEYS.provider.keyid
    assert again.certificate == KEYS.provider.certificate
    assert again.chain == KEYS.provider.chain
    assert again.demo
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0


def test_pkcs12_keys_are_read(tmp_path):
    key = KEYS.provider
    data = pkcs12.serialize_key_and_certificates(
        b"demo", key.private_key, key.certificate, list(key.chain), serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "key.p12").write_bytes(data)
    assert load_key(tmp_path / "key.p12", b"secret").keyid == key.keyid
    with pytest.raises(SigningError, match="no signing key could be read"):
        load_key(tmp_path / "key.p12", b"wrong")


@pytest.mark.parametrize("kind", ["pem", "pkcs12"])
def test_a_passphrase_for_an_unencrypted_key_is_not_needed_and_no_error(tmp_path, kind):
    key = KEYS.provider
    if kind == "pem":
        save_key(key, tmp_path / "key", passphrase=None)
    else:
        data = pkcs12.serialize_key_and_certificates(
            b"demo", key.private_key, key.certificate, None, serialization.NoEncryption()
        )
        (tmp_path / "key").write_bytes(data)
    assert load_key(tmp_path / "key", b"left in the environment").keyid == key.keyid


def test_pkcs12_is_known_by_its_content_whatever_its_name(tmp_path):
    key = KEYS.provider
    data = pkcs12.serialize_key_and_certificates(
        b"demo", key.private_key, key.certificate, None, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "key.pem").write_bytes(data)
    assert load_key(tmp_path / "key.pem", b"secret").keyid == key.keyid
    save_key(key, tmp_path / "key.p12", passphrase=b"secret")
    assert load_key(tmp_path / "key.p12", b"secret").keyid == key.keyid
    with pytest.raises(SigningError, match="no signing key could be read"):
        load_key(tmp_path / "key.p12", b"wrong")


def pem_of(private):
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_an_rsa_key_signs_too(tmp_path):
    (tmp_path / "key.pem").write_bytes(pem_of(rsa.generate_private_key(65537, 3072)))
    key = load_key(tmp_path / "key.pem", None)
    assert not key.demo
    assert opened(attest.sign(b"{}", payload_type=TYPE, key=key), trust=trust_of(key)).payload == b"{}"


def test_p384_signs_with_sha384():
    key = SigningKey(ec.generate_private_key(ec.SECP384R1()), None, ())
    assert opened(attest.sign(b"{}", payload_type=TYPE, key=key), trust=trust_of(key)).payload == b"{}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not a key", "no signing key could be read"),
        (pem_of(ed25519.Ed25519PrivateKey.generate()), "not a key we sign with"),
        (pem_of(ec.generate_private_key(ec.SECP256K1())), "not a key we sign with"),
    ],
    ids=["garbage", "ed25519", "secp256k1"],
)
def test_unusable_keys_are_refused_with_a_reason(tmp_path, data, message):
    (tmp_path / "key.pem").write_bytes(data)
    with pytest.raises(SigningError, match=message):
        load_key(tmp_path / "key.pem", None)


def test_a_missing_key_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SigningError, match=r"nothing\.pem"):
        load_key(tmp_path / "nothing.pem", None)


def test_a_certificate_of_another_key_is_refused(tmp_path):
    certificate = KEYS.approver.certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "key.pem").write_bytes(pem_of(KEYS.provider.private_key) + certificate)
    with pytest.raises(SigningError, match="does not belong"):
        load_key(tmp_path / "key.pem", None)


def test_the_keyid_is_the_digest_of_the_public_key():
    der = KEYS.provider.private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert keyid(KEYS.provider.private_key.public_key()) == canonical.sha256(der)
