"""Instruments for evaluation awareness. Each gives its own numbers; no score sums them up."""
