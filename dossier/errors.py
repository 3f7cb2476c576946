"""What can go wrong, and whose turn it is.

    DossierError
    ├── ConfigError       the operator edits a file or an argument
    ├── CollectionError   the model could not be measured: recorded as not collected, and the run goes on
    ├── StoreError        what was measured could not be kept (a full disk): the run stops, and resumes later
    ├── SchemaError       a document has the wrong shape (carries the JSON pointer)
    ├── IntegrityError    bytes differ from what was promised
    ├── SignatureError    a signature does not verify, or a key is unknown
    ├── SigningError      a key could not be used
    └── RenderError       the PDF could not be made

Every message says what, where, expected and got; ``hint`` says what to do next.
A programmer's mistake stays `TypeError` or `ValueError`. Only ``dossier.cli`` catches `DossierError`.
"""

from __future__ import annotations


class DossierError(Exception):
    """Base of every error a user can meet. ``hint`` is the next step, in one sentence."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(DossierError):
    """A configuration, argument or input file is wrong."""


class CollectionError(DossierError):
    """A collector could not measure."""


class StoreError(DossierError):
    """A file could not be written: a matter of the machine, never a finding about the model."""


class SchemaError(DossierError):
    """A document has the wrong shape. ``pointer`` is an RFC 6901 JSON pointer into it."""

    def __init__(self, message: str, *, pointer: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pointer = pointer


class IntegrityError(DossierError):
    """Bytes are not the bytes that were promised."""


class SignatureError(DossierError):
    """A signature does not verify, or nothing trusted signed."""


class SigningError(DossierError):
    """A key could not be read or used."""


class RenderError(DossierError):
    """The PDF could not be made."""
