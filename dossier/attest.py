"""Who says what over which bytes? Trust policies, DSSE envelopes and in-toto Statements.

Every signed thing has its own type, and whoever opens an envelope names the type it expects, so that no signature can
be taken for another (a plan for an approval, say). Keys are never taken from a pack: the verifier brings a `Trust`.

Sources: DSSE 1.0 (github.com/secure-systems-lab/dsse), in-toto Statement v1 (github.com/in-toto/attestation).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from pydantic import Field

from dossier import canonical
from dossier.errors import DossierError, SignatureError
from dossier.keys import PublicKey, SigningKey, curve_hash, keyid
from dossier.model import Digest, Document, Text, Timestamp, Value, parse

PLAN_TYPE = "application/vnd.dossier.plan.v1+json"
STATEMENT_TYPE = "application/vnd.in-toto+json"
INTOTO_STATEMENT = "https://in-toto.io/Statement/v1"
ATTESTATION = "https://schemas.dossier.invalid/attestation/v1"
APPROVAL = "https://schemas.dossier.invalid/approval/v1"
STATEMENT = "https://schemas.dossier.invalid/statement/v1"

Function = Literal["plan", "approval", "statement", "attestation", "pdf"]
Plane = Literal["INTEGRITY", "AUTHENTICITY", "TIME", "SCHEMA", "RECOMPUTATION", "FRESHNESS", "POLICY"]


class TrustedKey(Value):
    """A public key a relying party trusts, and for what."""

    keyid: Digest
    public_key_pem: Text
    name: Text
    functions: Annotated[tuple[Function, ...], Field(min_length=1)]
    demo: bool


class Trust(Value):
    """What a relying party brings to a verification; it never comes out of a pack.

    ``required_planes`` must pass for the verdict to pass; a required plane that was not checked is indeterminate.
    """

    schema_version: Literal["trust.v1"] = "trust.v1"
    keys: Annotated[tuple[TrustedKey, ...], Field(min_length=1)]
    certificate_roots_pem: tuple[Text, ...]
    required_planes: Annotated[tuple[Plane, ...], Field(min_length=1)]


class Resource(Value):
    """An in-toto ResourceDescriptor: a name and its SHA-256."""

    name: Text
    digest: Annotated[Mapping[Literal["sha256"], Digest], Field(min_length=1)]

    @staticmethod
    def of(name: str, data: bytes) -> Resource:
        """Return the descriptor of some bytes."""
        return Resource(name=name, digest={"sha256": canonical.sha256(data)})


class PdfFacts(Value):
    """The signed PDF, by digest and length."""

    sha256: Digest
    length: Annotated[int, Field(ge=1)]


class AttestationPredicate(Value):
    """What closes a pack."""

    dossier_sha256: Digest
    plan_sha256: Digest
    pdf: PdfFacts
    tool_version: Text
    closed_at: Timestamp


class ApprovalPredicate(Value):
    """A named person's decision. The gate informs it; it is not the gate's."""

    decision: Literal["approved", "rejected"]
    person: Text
    function: Text
    reason: Text
    gate_state: Literal["open", "shut"]
    at: Timestamp


class StatementPredicate(Value):
    """What a named person states about an obligation."""

    obligation: Text
    person: Text
    function: Text
    text: Text
    at: Timestamp


PREDICATES: Mapping[type[Value], str] = {
    AttestationPredicate: ATTESTATION,
    ApprovalPredicate: APPROVAL,
    StatementPredicate: STATEMENT,
}


@dataclass(frozen=True)
class Opened:
    """An envelope whose signature verified: the payload's original bytes and who signed."""

    payload: bytes
    signer: TrustedKey


def sign(payload: bytes, *, payload_type: str, key: SigningKey) -> bytes:
    """Return a DSSE envelope over ``payload`` as RFC 8785 bytes."""
    message = pae(payload_type, payload)
    private = key.private_key
    if isinstance(private, ec.EllipticCurvePrivateKey):
        signature = private.sign(message, ec.ECDSA(curve_hash(private.curve)))
    else:
        signature = private.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    return canonical.encode(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": key.keyid, "sig": base64.b64encode(signature).decode()}],
        }
    )


def open_envelope(data: bytes, *, payload_type: str, trust: Trust, function: Function, where: str) -> Opened:
    """Return the payload of a DSSE envelope signed by a key that ``trust`` allows for ``function``.

    Bytes and signature are looked at before the payload is parsed. Exactly one signature is accepted, and only the one
    encoding: RFC 8785 bytes whose base64 re-encodes to itself, otherwise a flipped padding bit would survive.

    Raises:
        SignatureError: anything else.
    """
    payload, signature, claimed = _parts(data, payload_type=payload_type, where=where)
    signer = next((key for key in trust.keys if key.keyid == claimed), None)
    if signer is None:
        raise SignatureError(
            f"{where}: signed by key {claimed[:16]}…, which the trust policy does not list.",
            hint="Get the signer's public key from the provider by another route than the pack.",
        )
    if function not in signer.functions:
        raise SignatureError(
            f"{where}: key {signer.name!r} is not trusted for {function!r}, only for {signer.functions}."
        )
    public = load_public_key(signer, where=where)
    _check(public, signature, pae(payload_type, payload), where=where)
    return Opened(payload, signer)


def payload(data: bytes, *, where: str) -> bytes:
    """Return the payload of an envelope of a Statement without looking at the signature: for one's own drafts only.

    Raises:
        SignatureError: not an envelope.
    """
    return _parts(data, payload_type=STATEMENT_TYPE, where=where)[0]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding (protocol.md, section "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def statement(predicate: Value, subject: Sequence[Resource]) -> bytes:
    """Return an in-toto Statement v1 with one of our predicates, as canonical bytes."""
    return canonical.encode(
        {
            "_type": INTOTO_STATEMENT,
            "subject": [resource.model_dump(mode="json") for resource in subject],
            "predicateType": PREDICATES[type(predicate)],
            "predicate": predicate.model_dump(mode="json"),
        }
    )


def parse_statement(predicate: type[Document], payload: bytes, *, where: str) -> tuple[Document, dict[str, str]]:
    """Return the predicate and the subjects (name to SHA-256) of a Statement of the expected predicate type.

    Raises:
        SignatureError: another type of Statement; a signature for one purpose must not serve another.
        SchemaError: not a Statement.
    """
    document = canonical.loads(payload, where=where)
    expected = PREDICATES[predicate]
    if not isinstance(document, dict) or set(document) != {"_type", "subject", "predicateType", "predicate"}:
        raise SignatureError(f"{where}: not an in-toto Statement.")
    if document["_type"] != INTOTO_STATEMENT or document["predicateType"] != expected:
        raise SignatureError(
            f"{where}: expected a Statement of type {expected}, got {document['predicateType']!r:.120}."
        )
    resources = [
        parse(Resource, canonical.encode(item), where=where) for item in _list(document["subject"], where=where)
    ]
    subjects = {resource.name: resource.digest["sha256"] for resource in resources}
    if len(subjects) != len(resources):
        raise SignatureError(f"{where}: a subject is named twice.")
    return parse(predicate, canonical.encode(document["predicate"]), where=where), subjects


def load_public_key(key: TrustedKey, *, where: str) -> PublicKey:
    """Return a trusted key's public key.

    Raises:
        SignatureError: it does not parse, is of another type, or its keyid is not the SHA-256 of the key.
    """
    try:
        public = serialization.load_pem_public_key(key.public_key_pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"{where}: trusted key {key.name!r} is not a PEM public key: {error}.") from error
    if not isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or keyid(public) != key.keyid:
        raise SignatureError(
            f"{where}: trusted key {key.name!r}: the keyid is not the SHA-256 of an EC or RSA public key."
        )
    return public


def load_roots(trust: Trust) -> tuple[x509.Certificate, ...]:
    """Return the certificate roots of a trust policy. Raises SignatureError for one that does not parse."""
    try:
        return tuple(x509.load_pem_x509_certificate(pem.encode()) for pem in trust.certificate_roots_pem)
    except ValueError as error:
        raise SignatureError(f"trust policy: a certificate root is not PEM: {error}.") from error


def trusted(key: SigningKey, *, name: str, functions: tuple[Function, ...]) -> TrustedKey:
    """Return the public half of a signing key as an entry of a trust policy."""
    pem = key.private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return TrustedKey(keyid=key.keyid, public_key_pem=pem.decode(), name=name, functions=functions, demo=key.demo)


def _parts(data: bytes, *, payload_type: str, where: str) -> tuple[bytes, bytes, str]:
    try:
        envelope = canonical.loads(data, where=where)
        if canonical.encode(envelope) != data:
            raise SignatureError(f"{where}: the envelope is not RFC 8785 JSON, so its bytes are not unique.")
        if set(envelope) != {"payload", "payloadType", "signatures"} or len(envelope["signatures"]) != 1:
            raise SignatureError(f"{where}: not a DSSE envelope with exactly one signature.")
        signature = envelope["signatures"][0]
        if set(signature) != {"keyid", "sig"} or not isinstance(signature["keyid"], str):
            raise SignatureError(f"{where}: the signature needs exactly a keyid and a sig.")
        if envelope["payloadType"] != payload_type:
            raise SignatureError(
                f"{where}: expected payload type {payload_type}, got {envelope['payloadType']!r:.120}."
            )
        return _decode(envelope["payload"], where=where), _decode(signature["sig"], where=where), signature["keyid"]
    except DossierError as error:
        raise SignatureError(str(error), hint=error.hint) from error
    except (TypeError, KeyError, AttributeError) as error:
        raise SignatureError(f"{where}: not a DSSE envelope.") from error


def _decode(text: Any, *, where: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise SignatureError(f"{where}: not base64: {error}.") from error
    if base64.b64encode(data).decode() != text:
        raise SignatureError(f"{where}: base64 that does not encode to itself again.")
    return data


def _check(public: PublicKey, signature: bytes, message: bytes, *, where: str) -> None:
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, message, ec.ECDSA(curve_hash(public.curve)))
        else:
            public.verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    except InvalidSignature as error:
        raise SignatureError(f"{where}: the signature does not match these bytes.") from error


def _list(value: Any, *, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise SignatureError(f"{where}: a Statement needs at least one subject.")
    return value
