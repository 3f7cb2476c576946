"""What can be chosen about a stability run, and what cannot be loosened?"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from dossier.errors import ConfigError
from dossier.model import Digest, Number, Parameters, Slug, Text, Value, Version
from evidence_collectors.items import attacks
from evidence_collectors.items.attacks import Attack
from evidence_collectors.parameters import parse_values

KIND = "interpretability.adversarial_stability"
CLEAN = "clean"
MOST_OWN = 9  # attacks, and benign edits, of the plan's own
Search = Literal["gradient", "adaptive", "random"]
SEARCHED: dict[Search, str] = {
    "gradient": "suffix-gradient",
    "adaptive": "suffix-adaptive",
    "random": "suffix-random",
}


class Wrapper(Value):
    """Words of the plan's own, put before and after a request, and an opening of the answer."""

    before: Annotated[str, Field(max_length=4000)] = ""
    after: Annotated[str, Field(max_length=4000)] = ""
    prefill: Annotated[str, Field(max_length=4000)] = ""


Own = Annotated[tuple[Wrapper, ...], Field(max_length=MOST_OWN)]


class StabilityParameters(Value):
    """Parameters of ``interpretability.adversarial_stability``; limits of estimability may be tightened, never loosened.

    Attributes:
        point: where the monitored direction lies; ``position`` as in `reading`.
        feature_point: whose coordinates are the features where no dictionary is given; "" takes the MLP's output in the
            block of ``point``.
        markers: texts in an answer that show the behaviour (case does not count); their first tokens give its log-odds,
            unless ``openers`` gives others.
        attacks: names from the suite, benign edits among them.
        extra_attacks, extra_benign: rewordings of the plan's own.
        searches: suffixes to search for; ``random`` is a drawn suffix of that length, as a control.
        search_items: how many training and how many validation requests a search sees.
        adaptive_weight: nats for each unit of the projection above the threshold.
        target_fpr: the share of clean validation negatives the threshold may flag.
        generate: whether answers are generated; without, only the log-odds say what the behaviour does.
        twin: whether a random-weight twin is read as a control; it takes as much memory as the model.
        use_dictionary, use_core: whether the roles ``dictionary`` and ``core`` are given.
    """

    suite_version: Version
    suite_sha256: Digest
    attacks: tuple[Slug, ...]
    extra_attacks: Own = ()
    extra_benign: Own = ()
    searches: tuple[Search, ...] = ()
    search_length: Annotated[int, Field(ge=1, le=64)] = 8
    search_steps: Annotated[int, Field(ge=1, le=1000)] = 20
    search_candidates: Annotated[int, Field(ge=1, le=1024)] = 32
    search_items: Annotated[int, Field(ge=1, le=256)] = 8
    adaptive_weight: Annotated[Number, Field(gt=0.0, le=1000.0)] = 10.0
    point: Text
    position: Annotated[str, Field(pattern=r"^(last_prompt(-[0-9]{1,3})?|response_mean)$")] = "last_prompt"
    feature_point: str = ""
    markers: Annotated[tuple[Text, ...], Field(min_length=1, max_length=64)]
    openers: Annotated[tuple[Text, ...], Field(max_length=64)] = ()
    generate: bool = True
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 32
    temperature: Annotated[Number, Field(ge=0.0, le=10.0)] = 0.0
    target_fpr: Annotated[Number, Field(gt=0.0, lt=0.5)] = 0.05
    top_k: Annotated[int, Field(ge=1, le=1000)] = 20
    random_directions: Annotated[int, Field(ge=20, le=1000)] = 100
    permutations: Annotated[int, Field(ge=20, le=1000)] = 50
    twin: bool = True
    use_dictionary: bool = False
    use_core: bool = False
    minimum_items: Annotated[int, Field(ge=20)] = 20  # of each class, in what is reported
    minimum_train: Annotated[int, Field(ge=8)] = 16  # of each class, in what the direction is fitted on
    interval_level: Annotated[Number, Field(ge=0.8, lt=1.0)] = 0.95


def parse(parameters: Parameters) -> StabilityParameters:
    """Return the parameters with defaults filled in, the suite's version and digest among them.

    Raises:
        ConfigError: an unknown or impossible parameter, another suite than the one shipped, or a loosened limit.
    """
    suite = attacks.suite()
    shipped: dict[str, JsonValue] = {
        "suite_version": suite.version,
        "suite_sha256": attacks.digest(),
        "attacks": [one.name for one in suite.attacks],
    }
    params = parse_values(StabilityParameters, {**shipped, **parameters}, kind=KIND)
    if (params.suite_version, params.suite_sha256) != (shipped["suite_version"], shipped["suite_sha256"]):
        raise ConfigError(
            f"{KIND}: suite {params.suite_version} with digest {params.suite_sha256[:16]}… is not the one shipped, "
            f"{suite.version} with digest {attacks.digest()[:16]}…",
            hint="Use the version of dossier the plan was made with.",
        )
    unknown = sorted(set(params.attacks) - {one.name for one in suite.attacks})
    if unknown:
        raise ConfigError(f"{KIND}: no attack {unknown[0]!r} in the suite", hint=_HINT)
    _check(params)
    return params


def planned(params: StabilityParameters) -> tuple[Attack, ...]:
    """Return the rewordings known before the run: those of the suite, then the plan's own."""
    own = [
        Attack(name=f"own-{number}", family="own", kind="attack", adaptive=False, **one.model_dump())
        for number, one in enumerate(params.extra_attacks, start=1)
    ]
    edits = [
        Attack(name=f"own-benign-{number}", family="benign", kind="benign", adaptive=False, **one.model_dump())
        for number, one in enumerate(params.extra_benign, start=1)
    ]
    return (*attacks.named(params.attacks), *own, *edits)


def labels(params: StabilityParameters) -> tuple[Attack, ...]:
    """Return every rewording with its name, family and kind, the searched ones without their text."""
    return (*planned(params), *(_searched(search) for search in params.searches))


def _searched(search: Search) -> Attack:
    kind: Literal["attack", "control"] = "control" if search == "random" else "attack"
    return Attack(name=SEARCHED[search], family="searched", kind=kind, adaptive=search == "adaptive")


def _check(params: StabilityParameters) -> None:
    if not any(one.kind == "attack" for one in labels(params)):
        raise ConfigError(f"{KIND}: no attack is planned, only controls", hint=_HINT)
    if not any(one.kind == "benign" for one in labels(params)):
        raise ConfigError(f"{KIND}: no benign edit is planned as a control", hint=_HINT)
    if "adaptive" in params.searches and params.position == "response_mean":
        raise ConfigError(
            f"{KIND}: an adaptive suffix needs a position in the prompt, not 'response_mean'",
            hint="Leave 'adaptive' out, or monitor 'last_prompt'.",
        )


_HINT = "Known parameters: " + ", ".join(StabilityParameters.model_fields) + "."
