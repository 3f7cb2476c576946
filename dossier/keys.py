"""Which key signs, and may it? Reading private keys, and making the labelled demo keys.

P-256 is the default: PDF readers and eIDAS toolchains take it; Ed25519 they do not (measured with poppler and mupdf).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from dossier import canonical
from dossier.errors import SigningError

DEMO_MARK = "DEMO KEY"  # in the common name of every certificate `dossier init` makes
MIN_RSA_BITS = 3072  # ETSI TS 119 312 and NIST SP 800-57 ask for 3072 beyond 2030
DEMO_NOT_BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
DEMO_NOT_AFTER = datetime(2056, 1, 1, tzinfo=UTC)  # long, so that shipped sample packs verify for ever

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True)
class SigningKey:
    """A private key with its certificate, if it has one; a key without one cannot sign the PDF."""

    private_key: PrivateKey
    certificate: x509.Certificate | None
    chain: tuple[x509.Certificate, ...]

    @property
    def keyid(self) -> str:
        """The SHA-256 of the public key."""
        return keyid(self.private_key.public_key())

    @property
    def demo(self) -> bool:
        """Whether this is a labelled demo key: nothing it signs is evidence."""
        return self.certificate is not None and is_demo(self.certificate)


@dataclass(frozen=True)
class DemoKeys:
    """The labelled demo keys: two signers under one root. Nothing they sign is evidence."""

    root: x509.Certificate
    provider: SigningKey
    approver: SigningKey


def load_key(path: Path, passphrase: bytes | None) -> SigningKey:
    """Read a signing key: PKCS#12 or PEM (key, then certificate, then chain), told apart by content, encrypted or not.

    A passphrase that an unencrypted file does not need is not an error: it may come from the environment.

    Raises:
        SigningError: unreadable, wrong passphrase, no key in it, or a key type we do not sign with.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path}: the signing key cannot be read: {error.strerror}.") from error
    try:
        private, certificates = _parsed(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(
            f"{path}: no signing key could be read: {error}.",
            hint="Expected PKCS#12 (.p12) or PEM; the passphrase comes from --passphrase-file or DOSSIER_PASSPHRASE.",
        ) from error
    return _checked_key(private, certificates, path=path)


def _parsed(data: bytes, passphrase: bytes | None) -> tuple[Any, tuple[x509.Certificate, ...]]:
    read = _parsed_pem if b"-----BEGIN" in data else _parsed_pkcs12
    try:
        return read(data, passphrase)
    except (ValueError, TypeError) as error:
        if passphrase is None:
            raise
        try:
            return read(data, None)
        except (ValueError, TypeError):
            raise error from None  # it is encrypted: the first attempt says what is wrong


def _parsed_pem(data: bytes, passphrase: bytes | None) -> tuple[Any, tuple[x509.Certificate, ...]]:
    private = serialization.load_pem_private_key(data, passphrase)
    return private, tuple(x509.load_pem_x509_certificates(data)) if b"BEGIN CERTIFICATE" in data else ()


def _parsed_pkcs12(data: bytes, passphrase: bytes | None) -> tuple[Any, tuple[x509.Certificate, ...]]:
    private, certificate, chain = pkcs12.load_key_and_certificates(data, passphrase)
    return private, tuple(one for one in (certificate, *chain) if one is not None)


def save_key(key: SigningKey, path: Path, *, passphrase: bytes | None) -> None:
    """Write a key with its certificates as PEM, readable by its owner only; encrypted where a passphrase is given."""
    encryption: Any = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    certificates = (*((key.certificate,) if key.certificate else ()), *key.chain)
    pem = key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    ) + b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(pem)


def make_demo_keys() -> DemoKeys:
    """Return fresh P-256 demo keys; every certificate carries ``DEMO KEY`` in its name."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = _certificate(f"{DEMO_MARK} - NOT EVIDENCE - root", root_key, issuer=None, issuer_key=root_key)

    def leaf(name: str) -> SigningKey:
        private = ec.generate_private_key(ec.SECP256R1())
        subject = f"{DEMO_MARK} - NOT EVIDENCE - {name}"
        return SigningKey(private, _certificate(subject, private, issuer=root, issuer_key=root_key), (root,))

    return DemoKeys(root=root, provider=leaf("provider"), approver=leaf("approver"))


def keyid(public: PublicKey) -> str:
    """Return the SHA-256 of a public key (DER, SubjectPublicKeyInfo)."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return canonical.sha256(der)


def is_demo(certificate: x509.Certificate) -> bool:
    """Return whether a certificate is labelled as a demo."""
    return any(DEMO_MARK in str(attribute.value) for attribute in certificate.subject)


def _checked_key(private: Any, certificates: tuple[x509.Certificate, ...], *, path: Path) -> SigningKey:
    strong = (isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in {"secp256r1", "secp384r1"}) or (
        isinstance(private, rsa.RSAPrivateKey) and private.key_size >= MIN_RSA_BITS
    )
    if not strong:
        raise SigningError(
            f"{path}: {type(private).__name__} is not a key we sign with; "
            f"expected ECDSA P-256 or P-384, or RSA from {MIN_RSA_BITS} bits.",
            hint="Ed25519 would be refused by common PDF readers.",
        )
    if certificates and certificates[0].public_key() != private.public_key():
        raise SigningError(f"{path}: the first certificate does not belong to the private key.")
    return SigningKey(private, certificates[0] if certificates else None, certificates[1:])


def curve_hash(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    """Return the hash ECDSA is used with on a curve: SHA-384 beyond 256 bits, else SHA-256."""
    return hashes.SHA384() if curve.key_size > 256 else hashes.SHA256()


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    is_root = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(DEMO_NOT_BEFORE)
        .not_valid_after(DEMO_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True)
        .add_extension(_usage(is_root=is_root), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_root:
        # RFC 9336: the purpose "document signing"
        usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*, is_root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_root,
        content_commitment=not is_root,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_root,
        crl_sign=is_root,
        encipher_only=False,
        decipher_only=False,
    )
