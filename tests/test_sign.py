"""What a signed PDF must refuse, and that a second implementation agrees it is signed."""

from __future__ import annotations

import io
import random
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pikepdf
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator.context import ValidationContext

from dossier import canonical, pdf_revisions, sign
from dossier.errors import SigningError
from dossier.keys import DemoKeys, SigningKey, make_demo_keys
from dossier.typeset import EmbeddedFile, typeset

AT = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
HTML = """<html lang=en><head><title>Dossier</title>
<style>@font-face{font-family:S;src:url(font:SourceSerifPro-Regular.ttf)}body{font-family:S}</style></head>
<body><h1>Dossier</h1><p>See <a href="#b">below</a>.</p><h2 id=b>Below</h2><p>Text.</p></body></html>"""


def unsigned_pdf(*, demo: bool = True) -> bytes:
    files = (
        EmbeddedFile("dossier.json", canonical.encode({"demo": demo}), "The dossier", "Data"),
        EmbeddedFile("manifest.json", b"{}", "The manifest", "Supplement"),
    )
    return typeset(HTML, files=files, at=AT)


@pytest.fixture(scope="module")
def keys() -> DemoKeys:
    return make_demo_keys()


@pytest.fixture(scope="module")
def unsigned() -> bytes:
    return unsigned_pdf()


@pytest.fixture(scope="module")
def signed(unsigned, keys) -> bytes:
    return sign.sign_pdf(unsigned, keys.provider, reason="Prepared", at=AT)


def naive_verdict(pdf: bytes, keys: DemoKeys) -> bool:
    """What pyHanko's bottom line says alone."""
    reader = PdfFileReader(io.BytesIO(pdf))
    context = ValidationContext(
        trust_roots=[sign._asn1(keys.root)], allow_fetching=False, revocation_mode="soft-fail", moment=AT
    )
    return validate_pdf_signature(reader.embedded_signatures[0], signer_validation_context=context).bottom_line


def test_a_signed_file_names_its_signer_covers_itself_and_begins_with_the_unsigned_bytes(signed, unsigned, keys):
    check = sign.check_pdf(signed, [keys.root])
    assert check.problems == ()
    assert (check.keyid, check.certificate) == (keys.provider.keyid, keys.provider.certificate)
    assert (check.signed_at, check.revisions, check.covers_file) == (AT, 2, True)
    assert signed[: check.unsigned_bytes] == unsigned
    assert check.attachments == {"dossier.json": b'{"demo":true}', "manifest.json": b"{}"}
    assert check.sha256 == canonical.sha256(signed)


def test_a_pinned_signer_certificate_is_a_root_too(signed, keys):
    assert sign.check_pdf(signed, [keys.provider.certificate]).problems == ()


def test_signing_leaves_title_and_metadata_of_the_renderer_alone(signed, unsigned):
    with pikepdf.open(io.BytesIO(unsigned)) as before, pikepdf.open(io.BytesIO(signed)) as after:
        assert before.Root.Metadata.read_bytes() == after.Root.Metadata.read_bytes()
        assert dict(before.docinfo) == dict(after.docinfo)


def test_signing_leaves_the_file_pdf_1_7_as_pdf_a_3_asks(signed):
    with pikepdf.open(io.BytesIO(signed)) as opened:
        assert "/Version" not in opened.Root
        assert "/Extensions" not in opened.Root
        assert opened.pdf_version == "1.7"


def test_an_unsigned_file_is_refused(unsigned, keys):
    assert sign.check_pdf(unsigned, [keys.root]).problems == ("the file has no signature; expected exactly one",)


def test_a_signer_nobody_trusts_is_refused_but_named(signed, keys):
    for roots in ([], [make_demo_keys().root], [keys.approver.certificate]):
        check = sign.check_pdf(signed, roots)
        assert any("not trusted" in problem for problem in check.problems)
        assert check.keyid == keys.provider.keyid


def test_appended_bytes_are_refused_where_pyhankos_bottom_line_accepts_them(signed, keys):
    forged = signed + b"\n% appended"
    assert naive_verdict(forged, keys)
    check = sign.check_pdf(forged, [keys.root])
    assert not check.covers_file
    assert any("not covered" in problem for problem in check.problems)


def test_a_forged_title_is_refused_where_pyhankos_bottom_line_accepts_it(unsigned, keys):
    approval = _approval_signature(unsigned, keys)  # pyHanko's verdict differs only without our certifying signature
    writer = IncrementalPdfFileWriter(io.BytesIO(approval))
    writer.set_info(generic.DictionaryObject({generic.NameObject("/Title"): generic.pdf_string("All is well")}))
    forged = _written(writer)
    assert naive_verdict(forged, keys)
    assert any("not covered" in problem for problem in sign.check_pdf(forged, [keys.root]).problems)


@pytest.mark.parametrize("name", ["attachment", "page"])
def test_an_incremental_update_is_refused(signed, keys, name):
    writer = IncrementalPdfFileWriter(io.BytesIO(signed))
    if name == "attachment":
        names = writer.root["/Names"]["/EmbeddedFiles"]["/Names"]
        stream = names[1]["/EF"].raw_get("/F").get_object()
    else:
        stream = writer.root["/Pages"]["/Kids"][0]["/Contents"]
    stream._data, stream._encoded_data = b"{}" if name == "attachment" else b"", None
    writer.update_container(stream)
    check = sign.check_pdf(_written(writer), [keys.root])
    assert any("not covered" in problem for problem in check.problems)


def test_a_change_inside_the_signing_revision_is_refused_though_the_key_is_good(unsigned, keys, monkeypatch):
    """A holder of the key can sign anything; the rendered revision in front must still be what is shown."""
    original = IncrementalPdfFileWriter.__init__

    def blank_the_page(self, *args, **kwargs):
        original(self, *args, **kwargs)
        stream = self.root["/Pages"]["/Kids"][0]["/Contents"]
        stream._data, stream._encoded_data = b"", None
        self.update_container(stream)

    monkeypatch.setattr(IncrementalPdfFileWriter, "__init__", blank_the_page)
    forged = sign.sign_pdf(unsigned, keys.provider, reason="Prepared", at=AT)
    monkeypatch.undo()
    assert naive_verdict(forged, keys)
    check = sign.check_pdf(forged, [keys.root])
    assert check.covers_file
    assert any("changes object" in problem for problem in check.problems)


def test_a_second_whole_file_behind_the_rendered_one_is_refused_though_the_key_is_good(unsigned, keys):
    """The first revision is the genuine rendering, what readers show is the second file: a picture with two faces."""
    with pikepdf.open(io.BytesIO(unsigned)) as other:
        other.pages[0].Contents = other.make_stream(b"")
        output = io.BytesIO()
        other.save(output, object_stream_mode=pikepdf.ObjectStreamMode.disable, static_id=True)
    body, at = output.getvalue(), len(unsigned)
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF", body)[1])
    table = re.sub(rb"(\d{10}) (\d{5}) n", lambda m: b"%010d %s n" % (int(m[1]) + at, m[2]), body[start:])
    table = re.sub(rb"startxref\n\d+", b"startxref\n%d" % (start + at), table)
    for end in (
        table,
        table.replace(b"startxref\n", b"startxref \n"),
    ):  # an end we see, and one only a lenient reader sees
        forged = sign.sign_pdf(unsigned + body[:start] + end, keys.provider, reason="Prepared", at=AT)
        check = sign.check_pdf(forged, [keys.root])
        assert any("between its revisions" in problem for problem in check.problems), check.problems


def test_a_second_signature_is_refused(unsigned, keys):
    first = _approval_signature(unsigned, keys)
    second = _approval_signature(first, keys, field="Second")
    assert "the file has 2 signatures; expected exactly one" in sign.check_pdf(second, [keys.root]).problems


def test_no_flipped_bit_survives(signed, keys):
    """Every byte of the signature's own, unsigned space, and a sample of the rest."""
    gap = re.search(rb"/Contents <([0-9A-F]+)>", signed)
    der_end = gap.start(1) + 2 * len(_cms(signed))
    sample = random.Random(1).sample(range(len(signed)), 150)
    inside = random.Random(2).sample(range(gap.start(1), der_end), 250)
    for position in (*sample, *inside, gap.start(1) - 1, der_end, gap.end(1) - 1, gap.end(1)):
        forged = bytearray(signed)
        forged[position] ^= 1
        assert sign.check_pdf(bytes(forged), [keys.root]).problems, f"byte {position} was flipped unnoticed"


def test_lower_case_hexadecimal_in_the_signature_is_refused(signed, keys):
    forged = re.sub(rb"/Contents <[0-9A-F]+>", lambda found: found[0].replace(b"A", b"a"), signed)
    assert sign.check_pdf(forged, [keys.root]).problems


def test_a_file_saved_again_is_refused(signed, keys):
    saved = io.BytesIO()
    with pikepdf.open(io.BytesIO(signed)) as pdf:
        pdf.save(saved)
    assert sign.check_pdf(saved.getvalue(), [keys.root]).problems


def test_a_page_tree_that_runs_in_a_circle_is_a_finding(unsigned, keys):
    looped = io.BytesIO()
    with pikepdf.open(io.BytesIO(unsigned)) as pdf:
        pdf.Root.Pages.Kids = pikepdf.Array([pdf.Root.Pages])
        pdf.save(looped)
    assert sign.check_pdf(looped.getvalue(), [keys.root]).problems
    with pytest.raises(ValueError, match="page tree"):
        pdf_revisions._first_page(PdfFileReader(looped))


@pytest.mark.parametrize("cut", [0, 4, 9, 100, 1000, 5000])
def test_garbage_is_a_finding_and_no_crash(signed, keys, cut):
    for data in (signed[:cut], b"%PDF-1.7\n" + bytes(range(256)) * cut, signed[:cut] + b"\xff" * 50 + signed[cut:]):
        assert sign.check_pdf(data, [keys.root]).problems


def test_a_file_beyond_the_limit_is_not_parsed(signed, keys, monkeypatch):
    monkeypatch.setattr(sign, "MAX_PDF_BYTES", 100)
    (problem,) = sign.check_pdf(signed, [keys.root]).problems
    assert "at most 100" in problem


def test_the_demo_key_signs_demo_dossiers_only(keys):
    with pytest.raises(SigningError, match="demo"):
        sign.sign_pdf(unsigned_pdf(demo=False), keys.provider, reason="Prepared")


def test_a_key_without_certificate_cannot_sign(unsigned, keys):
    bare = SigningKey(keys.provider.private_key, None, ())
    with pytest.raises(SigningError, match="no certificate"):
        sign.sign_pdf(unsigned, bare, reason="Prepared")


@pytest.mark.parametrize("data", [b"", b"no pdf", b"%PDF-1.7\n%%EOF"])
def test_only_a_dossier_pdf_is_signed(keys, data):
    with pytest.raises(SigningError, match="not a dossier PDF"):
        sign.sign_pdf(data, keys.provider, reason="Prepared")


def test_a_signed_file_is_not_signed_again(signed, keys):
    with pytest.raises(SigningError, match="signed already"):
        sign.sign_pdf(signed, keys.provider, reason="Prepared")


def test_a_time_without_zone_is_a_programmers_mistake(unsigned, keys):
    with pytest.raises(ValueError, match="time zone"):
        sign.sign_pdf(unsigned, keys.provider, reason="Prepared", at=AT.replace(tzinfo=None))


def test_an_rsa_key_signs_too(unsigned):
    key = _rsa_key()
    pdf = sign.sign_pdf(unsigned, key, reason="Prepared", at=AT)
    assert sign.check_pdf(pdf, [key.certificate]).problems == ()


def test_checking_imports_nothing_of_the_renderer():
    code = (
        "import sys; from dossier import sign; sign.check_pdf(b'%PDF-1.7', []);"
        "assert not {'weasyprint', 'jinja2', 'pikepdf', 'torch', 'requests'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(shutil.which("pdfsig") is None, reason="poppler-utils is not installed")
def test_poppler_agrees_that_the_whole_file_is_signed(signed, tmp_path):
    path = tmp_path / "signed.pdf"
    path.write_bytes(signed)
    said = subprocess.run(["pdfsig", path], check=True, capture_output=True, text=True).stdout
    assert "Signature is Valid" in said
    assert "Total document signed" in said
    assert "ETSI.CAdES.detached" in said
    path.write_bytes(signed.replace(b"%PDF-1.7", b"%PDF-1.6"))
    assert "Signature is Valid" not in subprocess.run(["pdfsig", path], capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_agrees_with_the_signature_over_the_byte_range(signed, keys, tmp_path):
    gap = re.search(rb"<[0-9A-F]+>", signed[signed.index(b"/Contents <") :])
    start = signed.index(b"/Contents <") + gap.start()
    content = signed[:start] + signed[start + len(gap[0]) :]
    for name, data in (("root.pem", keys.root.public_bytes(Encoding.PEM)), ("sig.p7s", _cms(signed))):
        (tmp_path / name).write_bytes(data)
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "sig.p7s", "-content", "content",
               "-CAfile", "root.pem", "-purpose", "any", "-out", "out"]  # fmt: skip
    for data, verdict in ((content, 0), (content[:-1] + b"x", 4)):
        (tmp_path / "content").write_bytes(data)
        assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == verdict


def _approval_signature(pdf: bytes, keys: DemoKeys, *, field: str = "First") -> bytes:
    from pyhanko.sign import signers

    meta = signers.PdfSignatureMetadata(field_name=field, md_algorithm="sha256")
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    return signers.sign_pdf(writer, meta, signer=sign._signer(keys.provider)).getvalue()


def _written(writer: IncrementalPdfFileWriter) -> bytes:
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


def _cms(pdf: bytes) -> bytes:
    from asn1crypto import cms

    return cms.ContentInfo.load(PdfFileReader(io.BytesIO(pdf)).embedded_signatures[0].pkcs7_content).dump()


def _rsa_key() -> SigningKey:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    private = rsa.generate_private_key(65537, 3072)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Example Provider")])
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2030, 1, 1, tzinfo=UTC)
    )
    return SigningKey(private, builder.sign(private, hashes.SHA256()), ())
