"""Dossier: measure a language model, and hand the measurements over so that they can be checked."""

__version__ = "0.1.0"
