"""Organisms: small models trained so that the truth about them is known, and the code that reads that truth off."""
