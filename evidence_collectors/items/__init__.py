"""Shipped questions, each file with licence and digest. None yet: the organism carries its own."""
