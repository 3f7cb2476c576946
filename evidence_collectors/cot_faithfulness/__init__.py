"""Does the visible reasoning say what moved the answer? Instruments on chains of thought."""
