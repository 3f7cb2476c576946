"""Does this model still give these measurements? For trials that hold numbers read inside the model, not answers.

Such a trial cannot be asked alone: a direction is fitted on other texts first. So the instrument is run again, from the
recorded seed, and every recorded number is compared with the new one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import Field, JsonValue

from dossier.collector import Collector, Inputs
from dossier.documents import Documents
from dossier.errors import CollectionError
from dossier.inputs import EvidenceInputs, check_inputs
from dossier.language_model import LanguageModel, WhiteBoxModel
from dossier.model import Count, Evidence, Number, Slug, Text, Trial, Value

SAME_PLATFORM = 1e-4  # of max(1, |x|): float32 sums in another order at another batch size
ELSEWHERE = 5e-2  # other kernels, or bfloat16
ELSEWHERE_SHARE = 0.95  # of the trials must agree there: a count taken from a generated text may tip over


class Remeasured(Value):
    """One piece of evidence, measured again. ``problem`` says why that was not possible; then nothing was compared."""

    evidence: Slug
    trials: Count
    agreeing: Count
    largest_difference: Annotated[Number, Field(ge=0.0)] | None
    tolerance: Annotated[Number, Field(gt=0.0)]
    problem: Text | None


def is_measured(trials: Sequence[Trial]) -> bool:
    """Return whether a piece of evidence rests on measurements that no recorded answer shows."""
    return any(trial.completion is None and trial.measurements for trial in trials)


def remeasure(
    evidence: Evidence,
    trials: Sequence[Trial],
    documents: Documents,
    *,
    model: LanguageModel,
    collector: Collector[Any] | None,
    given: EvidenceInputs,
    same_platform: bool,
) -> Remeasured:
    """Run the instrument again and compare.

    A trial agrees if every number is within the tolerance of the recorded one, relative to max(1, |x|), and everything
    else is equal.
    """
    tolerance = SAME_PLATFORM if same_platform else ELSEWHERE
    try:
        again = _collect(evidence, documents, model=model, collector=collector, given=given)
    except CollectionError as error:
        return Remeasured(
            evidence=evidence.id,
            trials=len(trials),
            agreeing=0,
            largest_difference=None,
            tolerance=tolerance,
            problem=error.message,
        )
    differences = [_difference(trial, again.get(trial.key.order)) for trial in trials]
    finite = [one for one in differences if math.isfinite(one)]
    return Remeasured(
        evidence=evidence.id,
        trials=len(trials),
        agreeing=sum(one <= tolerance for one in differences),
        largest_difference=max(finite, default=None),
        tolerance=tolerance,
        problem=None,
    )


def agrees(found: Remeasured, *, same_platform: bool) -> bool:
    """Return whether so many trials agree as the platform lets one expect."""
    return found.agreeing >= found.trials * (1.0 if same_platform else ELSEWHERE_SHARE)


def _collect(
    evidence: Evidence,
    documents: Documents,
    *,
    model: LanguageModel,
    collector: Collector[Any] | None,
    given: EvidenceInputs,
) -> Mapping[tuple[str, str, int], Trial]:
    if collector is None:
        raise CollectionError(f"no instrument {evidence.kind} is installed here")
    have = (collector.protocol_version, collector.analysis_version)
    if have[0] != evidence.protocol_version:
        raise CollectionError(f"needs {evidence.kind} protocol {evidence.protocol_version}; here is {have[0]}")
    planned = next(slot for slot in documents.plan.evidence if slot.id == evidence.id)
    check_inputs(planned, given)
    inside = cast("WhiteBoxModel", model) if "capture" in model.capabilities else None
    inputs = Inputs(
        subject=model,
        items=documents.items[planned.items.sha256],
        white_box=inside,
        models=given.models,
        files=given.files,
    )
    products = collector.collect(inputs, collector.parse(planned.parameters), evidence.root_seed)
    return {product.key.order: product for product in products if isinstance(product, Trial)}


def _difference(recorded: Trial, again: Trial | None) -> float:
    """Return the largest relative difference of two trials' measurements; infinite where anything else differs."""
    if again is None or (recorded.error is None) != (again.error is None):
        return math.inf
    pairs = list(_leaves(dict(recorded.measurements), dict(again.measurements)))
    return max((_apart(left, right) for left, right in pairs), default=0.0)


def _leaves(left: JsonValue, right: JsonValue) -> Iterator[tuple[JsonValue, JsonValue]]:
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        for name in left:
            if not name.endswith("_sha256"):  # of a vector of floats: another batch size rounds it otherwise
                yield from _leaves(left[name], right[name])
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for one, other in zip(left, right, strict=True):
            yield from _leaves(one, other)
    else:
        yield left, right


def _apart(left: JsonValue, right: JsonValue) -> float:
    numbers = [value for value in (left, right) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) == 2:
        return abs(numbers[0] - numbers[1]) / max(1.0, abs(numbers[0]))
    return 0.0 if left == right and type(left) is type(right) else math.inf
