"""The adapters: how a model is asked."""
