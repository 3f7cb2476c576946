"""Who signed this PDF, and is it still the file that was signed?

Signing is PAdES B-B (ETSI EN 319 142-1) through pyHanko: one invisible signature, a certifying one that permits no later
change. Checking is stricter than pyHanko's own verdict, which accepts appended bytes and a forged /Title, because we know
how our files are made: one revision from the renderer, one from `sign_pdf`, nothing else. So the signature must cover the
whole file, and its revision may add the signature and change nothing that a reader sees.

A valid signature says who vouches for the file. It does not show that a model gave the answers printed in it.

Base install only; pyHanko is imported when first used, because it takes half a second.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from dossier import canonical, pdf_revisions
from dossier.errors import SigningError
from dossier.keys import SigningKey

MAX_PDF_BYTES = 256 * 1024 * 1024  # a 2000-page dossier is 24 MB
logging.getLogger("pyhanko").addHandler(logging.NullHandler())  # what it finds is in our report, not on stderr
logging.getLogger("pyhanko_certvalidator").addHandler(logging.NullHandler())
FIELD_NAME = "Dossier"
_DIGESTS = frozenset({"sha256", "sha384", "sha512"})


@dataclass(frozen=True)
class PdfCheck:
    """What was found in a PDF. It is genuine only if ``problems`` is empty.

    ``certificate`` and ``keyid`` (SHA-256 of the public key, 64 hexadecimal digits) name who signed, also where they are
    not trusted. ``signed_at`` is the signer's own clock, never proof of time; certificate validity is judged at it.
    ``revisions`` counts the renderer's and every one after it. ``unsigned_bytes`` is the length of the first revision: the
    file as rendered. ``attachments`` maps names to bytes and is only as good as ``problems`` is empty.
    """

    problems: tuple[str, ...]
    sha256: str
    certificate: x509.Certificate | None = None
    keyid: str | None = None
    signed_at: datetime | None = None
    revisions: int = 0
    unsigned_bytes: int = 0
    covers_file: bool = False
    attachments: Mapping[str, bytes] = field(default_factory=dict)


def sign_pdf(pdf: bytes, key: SigningKey, *, reason: str, at: datetime | None = None) -> bytes:
    """Return ``pdf`` with one invisible PAdES B-B signature appended; ``at`` (aware) is the claimed time, default now.

    The bytes of ``pdf`` stay as they are, in front. ECDSA draws a random number, so two calls give two files.

    Raises:
        SigningError: the key has no certificate, the file is no unsigned dossier PDF, or a demo key meets a dossier that
            does not say on every page that it is a demo.
    """
    _refuse_unsuitable(pdf, key)
    if at is not None and at.tzinfo is None:
        raise ValueError("at: expected a time zone")
    try:
        return asyncio.run(_sign(pdf, key, reason=reason, at=(at or datetime.now(UTC)).replace(microsecond=0)))
    except Exception as error:
        raise SigningError(
            f"the PDF could not be signed: {error}", hint="`dossier doctor` tests the key on a small file."
        ) from error


def check_pdf(pdf: bytes, roots: Sequence[x509.Certificate]) -> PdfCheck:
    """Return what is wrong with a signed dossier PDF, who signed it and what is attached. Offline; never raises for input.

    ``roots`` are the certificates trusted as issuers (or as signers, if they are self-signed); none means nobody is.
    Revocation is not checked: PAdES B-B carries no revocation data, and nothing is fetched.
    """
    digest = canonical.sha256(pdf)
    if len(pdf) > MAX_PDF_BYTES:
        return PdfCheck((f"the file has {len(pdf)} bytes; at most {MAX_PDF_BYTES} are read",), digest)
    if not pdf.startswith(b"%PDF-"):
        return PdfCheck(("the file is not a PDF: it does not begin with %PDF-",), digest)
    try:
        return _check(pdf, roots, digest)
    except Exception as error:  # a hostile file may break the parser anywhere; that is a finding, not a crash
        return PdfCheck((f"the file cannot be read as a signed PDF: {type(error).__name__}: {error}"[:500],), digest)


# --- signing -------------------------------------------------------------------------------------------------------


def _refuse_unsuitable(pdf: bytes, key: SigningKey) -> None:
    if key.certificate is None:
        raise SigningError(
            f"key {key.keyid[:16]} has no certificate; a PDF signature needs one.",
            hint="Use a PKCS#12 file, or a PEM file that holds the key and its certificate.",
        )
    try:
        document = pdf_revisions.attachments(pdf).get("dossier.json")
        demo = None if document is None else canonical.loads(document, where="dossier.json").get("demo")
    except Exception as error:
        raise SigningError(f"the file to sign is not a dossier PDF: {error}") from error
    if demo is None:
        raise SigningError("the file to sign is not a dossier PDF: it carries no dossier.json.")
    if key.demo and demo is not True:
        raise SigningError(
            "the demo key signs demo dossiers only, and this dossier does not say on its pages that it is one.",
            hint="Sign with a key of your own; a dossier is a demo if its plan was signed with a demo key (`dossier plan`).",
        )
    if b"/ByteRange" in pdf:
        raise SigningError("the PDF is signed already; sign the rendered file once.")


async def _sign(pdf: bytes, key: SigningKey, *, reason: str, at: datetime) -> bytes:
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import fields, signers
    from pyhanko.sign.signers.pdf_cms import PdfCMSSignedAttributes

    meta = signers.PdfSignatureMetadata(
        field_name=FIELD_NAME,
        md_algorithm="sha256",
        subfilter=fields.SigSeedSubFilter.PADES,
        reason=reason,
        certify=True,
        docmdp_permissions=fields.MDPPerm.NO_CHANGES,
    )
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    # pyHanko rewrites /Info and XMP in each revision; signing must not touch what the renderer said about the file.
    writer._update_meta = lambda: None
    # For ECDSA it would also declare PDF 2.0 and ISO 32002, which a PDF/A-3 file (ISO 19005-3: PDF 1.7) must not be; readers
    # find the algorithm in the signature itself.
    writer.ensure_output_version = lambda version: None
    writer.register_extension = lambda extension: None
    session = signers.PdfSigner(meta, signer=_signer(key)).init_signing_session(writer)
    session.system_time = at
    reserved = await session.estimate_signature_container_size(None)
    to_sign = session.prepare_tbs_document(validation_info=None, bytes_reserved=reserved)
    digest, output = to_sign.digest_tbs_document()
    done = await to_sign.perform_signature(
        document_digest=digest.document_digest,
        pdf_cms_signed_attrs=PdfCMSSignedAttributes(signing_time=at),
    )
    await done.post_signature_processing(output)
    return bytes(output.getvalue())


def _signer(key: SigningKey) -> Any:
    from asn1crypto import keys
    from pyhanko.sign.signers import SimpleSigner
    from pyhanko_certvalidator.registry import SimpleCertificateStore

    assert key.certificate is not None
    private = key.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return SimpleSigner(
        signing_cert=_asn1(key.certificate),
        signing_key=keys.PrivateKeyInfo.load(private),
        cert_registry=SimpleCertificateStore.from_certs([_asn1(certificate) for certificate in key.chain]),
        embed_roots=False,  # a root in the file would tempt a reader to trust it
    )


def _asn1(certificate: x509.Certificate) -> Any:
    from asn1crypto import x509 as asn1_x509

    return asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))


# --- checking ------------------------------------------------------------------------------------------------------


def _check(pdf: bytes, roots: Sequence[x509.Certificate], digest: str) -> PdfCheck:
    from pyhanko.pdf_utils.reader import PdfFileReader

    reader = PdfFileReader(io.BytesIO(pdf))
    revisions = reader.xrefs.total_revisions
    embedded = pdf_revisions.embedded_files(reader)
    if reader.encrypted:
        return PdfCheck(("the file is encrypted",), digest, revisions=revisions)
    signatures = tuple(reader.embedded_signatures)
    if len(signatures) != 1:
        found = "no signature" if not signatures else f"{len(signatures)} signatures"
        return PdfCheck((f"the file has {found}; expected exactly one",), digest, None, revisions=revisions,
                        attachments=embedded)  # fmt: skip
    (signature,) = signatures
    coverage = pdf_revisions.coverage_problems(pdf, signature)
    problems = [
        *coverage,
        *pdf_revisions.revision_problems(pdf, reader, signature),
        *_signature_problems(signature, roots),
    ]
    certificate = x509.load_der_x509_certificate(signature.signer_cert.dump())
    return PdfCheck(
        problems=tuple(problems),
        sha256=digest,
        certificate=certificate,
        keyid=_keyid(certificate),
        signed_at=signature.self_reported_timestamp,
        revisions=revisions,
        unsigned_bytes=pdf_revisions.end_of_first_revision(pdf),
        covers_file=not coverage,
        attachments=embedded,
    )


def _signature_problems(signature: Any, roots: Sequence[x509.Certificate]) -> list[str]:
    """Say what is wrong with the cryptography and with who signed."""
    from pyhanko.sign.fields import SigSeedSubFilter
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko.sign.validation.settings import KeyUsageConstraints

    problems = []
    if pdf_revisions.at(signature.sig_object, "/SubFilter") != SigSeedSubFilter.PADES.value:
        problems.append("the signature is not PAdES (subfilter ETSI.CAdES.detached)")
    if signature.md_algorithm not in _DIGESTS:
        problems.append(f"the signature uses {signature.md_algorithm}; expected SHA-256, SHA-384 or SHA-512")
    if not _is_normal_form(signature):
        problems.append("the signature's unsigned parts are not as PAdES B-B writes them")
    status = validate_pdf_signature(
        signature,
        signer_validation_context=_validation_context(signature, roots),
        key_usage_settings=KeyUsageConstraints(key_usage={"non_repudiation", "digital_signature"}),
    )
    if not status.intact:
        problems.append("the file was changed after it was signed: its digest differs from the signed one")
    elif not status.valid:
        problems.append("the signature value does not verify with the signer's key")
    if not status.trusted:
        problems.append(f"the signer is not trusted: {_why(status)}")
    elif not status.bottom_line and not problems:
        problems.append(f"the signature does not validate: {status.summary()}")
    if status.trusted:
        problems += _stray_certificates(signature, status.validation_path)
    return problems


def _is_normal_form(signature: Any) -> bool:
    """Whether the parts of the CMS container that no signature covers say what they must, byte for byte."""
    from asn1crypto import algos, cms

    signer, data = signature.signer_info, signature.signed_data
    digest = algos.DigestAlgorithm({"algorithm": signature.md_algorithm})
    return bool(
        data["version"].dump() == cms.CMSVersion("v1").dump() == signer["version"].dump()
        and data["digest_algorithms"].dump() == cms.DigestAlgorithms([digest]).dump()
        and signer["digest_algorithm"].dump() == digest.dump()
        and not signer["unsigned_attrs"]
        and not data["crls"]
    )


def _validation_context(signature: Any, roots: Sequence[x509.Certificate]) -> Any:
    from pyhanko_certvalidator.context import ValidationContext

    return ValidationContext(
        trust_roots=[_asn1(root) for root in roots],
        other_certs=signature.other_embedded_certs,
        moment=signature.self_reported_timestamp,
        allow_fetching=False,
        revocation_mode="soft-fail",
    )


def _why(status: Any) -> str:
    if status.trust_problem_indic is not None:
        return f"{status.trust_problem_indic}, no path to a trusted certificate holds"
    return "no path to a trusted certificate"


def _stray_certificates(signature: Any, path: Any) -> list[str]:
    """Embedded certificates are not signed: each must be one that the path to the root uses, byte for byte."""
    used = {certificate.dump() for certificate in path.iter_certs(include_root=True)}
    strays = [certificate for certificate in signature.other_embedded_certs if certificate.dump() not in used]
    return [f"{len(strays)} embedded certificates are no part of the signer's path"] if strays else []


def _keyid(certificate: x509.Certificate) -> str:
    """The same as `dossier.keys.keyid`, for keys of any kind: a stranger's certificate may hold one we do not sign with."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return canonical.sha256(spki)
