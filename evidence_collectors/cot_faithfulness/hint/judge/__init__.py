"""A second detector: another model reads the reasoning and says whether it mentions, or rests on, the hint."""
