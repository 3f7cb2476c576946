"""Does the instrument find what was planted into this very subject? The sensitivity record of one planned evidence.

Copies of the subject come from `on_subject`. The instrument runs on each as it is planned, with the marker as the behaviour;
a rule fixed here, not in the plan, says whether it found something. The same rule on shams gives false alarms.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dossier.collector import Collector, Inputs
from dossier.errors import CollectionError, ConfigError
from dossier.model import Item, Observation, Parameters, Plant, Sensitivity, Trial, digest_of
from evidence_collectors.items import contrast
from evidence_collectors.models.hf import HuggingFaceModel, load
from evidence_collectors.organisms.on_subject import Training, count_marker, train_copy

Observations = Mapping[str, Observation]
Verdict = tuple[bool | None, str]  # found something, and what that rests on


@dataclass(frozen=True)
class Rule:
    """How a kind is pointed at a marker, and when it counts as having found it."""

    says: str
    parameters: Callable[[str], Parameters]
    judge: Callable[[Observations], Verdict]


def _direction(found: Observations) -> Verdict:
    drop = found["test.bypass_drop"]
    if drop.estimate is None or drop.interval is None:
        return None, "; ".join(drop.reasons)
    largest = float(drop.facts["null_largest"] or 0.0)
    return drop.interval.low > largest, (
        f"bypass drop {drop.estimate:.2f} [{drop.interval.low:.2f}, {drop.interval.high:.2f}] nats, "
        f"largest of random directions {largest:.2f}"
    )


def _intervention(found: Observations) -> Verdict:
    change, ratio = found["ablate.change_positive"], found["ablate.ratio_positive"]
    if change.estimate is None or change.interval is None:
        return None, "; ".join(change.reasons)
    outside = ratio.estimate is None or ratio.estimate > 1.0
    return change.interval.high < 0.0 and outside, (
        f"change of the marker's rate under ablation {change.estimate:.2f} "
        f"[{change.interval.low:.2f}, {change.interval.high:.2f}]"
    )


RULES: Mapping[str, Rule] = {
    "interpretability.concept_direction": Rule(
        "ablating the direction lowers the marker's log-odds by more than any random direction does, at the low end of "
        "the interval",
        lambda marker: {"behaviour_tokens": [marker]},
        _direction,
    ),
    "interpretability.causal_intervention": Rule(
        "ablating the direction lowers the marker's rate, at the high end of the interval, and by more than the 95th "
        "percentile of random directions",
        lambda marker: {
            "behaviour_tokens": [marker],
            "markers": [marker],
            "match": "anywhere",
            "operations": ["ablate", "add"],
        },
        _intervention,
    ),
}


def sensitivity(
    subject: HuggingFaceModel,
    collector: Collector[Any],
    *,
    parameters: Parameters,
    items: Sequence[Item],
    training: Training,
    plants: int,
    report: Callable[[str], None],
) -> Sensitivity:
    """Return what the instrument found in ``plants`` positive copies and as many shams.

    Raises:
        ConfigError: no rule for this kind, or texts that nothing can be planted with.
    """
    rule = RULES.get(collector.kind)
    if rule is None:
        raise ConfigError(
            f"{collector.kind}: nothing is planted for this kind yet.", hint=f"Offered for: {', '.join(RULES)}."
        )
    pointed = {**parameters, **rule.parameters(training.marker)}
    params = collector.parse(pointed)
    return Sensitivity(
        kind=collector.kind,
        protocol_version=collector.protocol_version,
        analysis_version=collector.analysis_version,
        subject_sha256=digest_of(subject.subject),
        parameters=collector.dump(params),
        rule=rule.says,
        plants=tuple(_plants(subject, collector, params, items, training, plants, rule, report)),
        limits=(
            f"Planted was the answer {training.marker!r} to texts with the concept, by LoRA of rank {training.rank} in "
            f"{training.steps} steps: behaviour that training spreads otherwise may be harder to find.",
            "A sham was trained as long on the subject's own answers.",
        ),
    )


def _plants(
    subject: HuggingFaceModel,
    collector: Collector[Any],
    params: Any,
    items: Sequence[Item],
    training: Training,
    plants: int,
    rule: Rule,
    report: Callable[[str], None],
) -> Iterator[Plant]:
    texts = contrast.parse(items)
    for number in range(plants):
        for positive in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "copy"
                train_copy(subject, texts, training, positive=positive, seed=number, out=path)
                model = load(str(path), dtype=subject.environment.dtype, batch_size=subject.environment.batch_size)
                shown, asked = count_marker(model, texts, training)
                flagged, reason = _judge(model, collector, params, items, rule, seed=f"{number:016x}")
            what = f"{'behaviour' if positive else 'sham'}, training seed {number}"
            report(f"{what}: marker in {shown} of {asked} answers; {reason}")
            yield Plant(
                what=what,
                positive=positive,
                weights_sha256=model.subject.weights_sha256 or "",
                rate=shown / asked,
                flagged=flagged,
                reason=reason,
            )


def _judge(
    model: HuggingFaceModel, collector: Collector[Any], params: Any, items: Sequence[Item], rule: Rule, *, seed: str
) -> Verdict:
    inputs = Inputs(subject=model, items=items, white_box=model)
    try:
        trials = [one for one in collector.collect(inputs, params, seed) if isinstance(one, Trial)]
        found = collector.summarise(trials, {}, params, seed)
    except CollectionError as error:
        return None, error.message
    return rule.judge({one.id: one for one in found})
