"""Is what was read the model's reasoning, or a provider's summary of it? One may be faithful where the other is not."""

from __future__ import annotations

from collections.abc import Sequence

from dossier.model import Observation, Trial


def warned(observations: Sequence[Observation], trials: Sequence[Trial]) -> tuple[Observation, ...]:
    """Return the observations, each with a limit that says how many reasonings were a summary, where any were."""
    read = [
        trial.completion for trial in trials if trial.completion and trial.completion.readable_reasoning is not None
    ]
    summaries = sum(one.parse == "summary" for one in read)
    if not summaries:
        return tuple(observations)
    limit = (
        f"{summaries} of {len(read)} reasonings are a provider's summary of what the model wrote: read there is the summary, "
        "which may say more or less than the reasoning did."
    )
    return tuple(one.model_copy(update={"limits": (*one.limits, limit)}) for one in observations)
