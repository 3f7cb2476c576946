"""What is read of the texts of one arm, and how does it become trials?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dossier.collector import Inputs
from dossier.errors import CollectionError
from dossier.language_model import Continuation, WhiteBoxModel
from dossier.model import Trial, TrialKey
from evidence_collectors.interpretability.adversarial_stability.activations import Frame, Read, measured_trial
from evidence_collectors.interpretability.adversarial_stability.parameters import (
    CLEAN,
    SEARCHED,
    StabilityParameters,
)
from evidence_collectors.interpretability.adversarial_stability.roles import Roles
from evidence_collectors.interpretability.adversarial_stability.trials import SEARCH, SHIFT, TWIN, Texts
from evidence_collectors.interpretability.directions import number
from evidence_collectors.interpretability.reading import Matrix, Vector, log_odds, residuals
from evidence_collectors.items.attacks import Attack, continuation


@dataclass(frozen=True, eq=False)
class Run:
    """One run: what every phase needs."""

    frame: Frame
    inputs: Inputs
    model: WhiteBoxModel
    roles: Roles
    openers: tuple[int, ...]

    @property
    def params(self) -> StabilityParameters:
        """The parameters."""
        return self.frame.params

    @property
    def texts(self) -> Texts:
        """The texts."""
        return self.frame.texts

    @property
    def seed(self) -> str:
        """The root seed."""
        return self.frame.seed


def read_texts(run: Run, arm: str, attack: Attack | None) -> Read:
    """Return what is read of the texts of an arm.

    Raises:
        CollectionError: an unknown point, a text the model cannot take, or activations that are not finite.
    """
    texts = run.texts.read_under(arm)
    changed = texts if attack is None else tuple(attack.apply(text) for text in texts)
    asked = [continuation(text) for text in changed]
    point, roles = run.params.point, run.roles
    if not texts:
        raise CollectionError("no text is positive or negative")
    if any(text.response for text in changed):  # the behaviour is asked after the prompt alone
        at = residuals(run.model, asked, roles.points(point), position=run.params.position)
        odds = log_odds(run.model, [continuation(text, response=False) for text in changed], run.openers)
    else:
        at, odds = _together(run, asked, roles.points(point))
    if not np.isfinite(odds).all():
        raise CollectionError("the log-odds of the behaviour's tokens are not finite")
    core = [node.activations(at[node.point]) for node in roles.core]
    return Read(
        texts=texts,
        values=at[point],
        features=roles.features(at),
        core=np.stack(core, axis=1) if core else np.empty((len(texts), 0)),
        log_odds=odds,
        unexplained=_unexplained(run, asked) if arm == CLEAN else None,
    )


def _unexplained(run: Run, asked: Sequence[Continuation]) -> float | None:
    """Return the share of the variance over all tokens that the dictionary leaves unexplained; None without one."""
    if run.roles.dictionary is None:
        return None
    from evidence_collectors.interpretability.sparse_statistics import Reading, stream

    one = Reading(run.roles.dictionary, run.roles.feature_point, run.params.position, whole=True)
    found = stream(run.model, asked, {"it": one})["it"]
    return number(float(found.text_error.sum()) / max(float(found.text_spread.sum()), 1e-30))


def _together(run: Run, asked: Sequence[Continuation], points: Sequence[str]) -> tuple[dict[str, Matrix], Vector]:
    """Return what `residuals` and `log_odds` do, in one pass: of prompts without a response."""
    if not run.params.position.startswith("last_prompt"):
        raise CollectionError(f"position {run.params.position!r} needs a response in every item")
    back, inside = int(run.params.position.partition("-")[2] or 0), list(run.openers)
    rows: dict[int, tuple[float, dict[str, Vector]]] = {}
    for batch in run.model.capture(asked, points, logits=True):
        logits = batch.logits.double()
        rest = logits.clone()
        rest[:, inside] = -float("inf")
        odds = (logits[:, inside].logsumexp(dim=-1) - rest.logsumexp(dim=-1)).cpu().numpy()
        ends = batch.mask.sum(dim=1) - 1 - back
        if bool((ends < 0).any()):
            raise CollectionError(f"a prompt is too short for position {run.params.position!r}")
        for row, (index, end) in enumerate(zip(batch.index, ends.tolist(), strict=True)):
            at = {point: batch.at[point][row, end].double().cpu().numpy() for point in points}
            rows[index] = (float(odds[row]), at)
    order = [rows[index] for index in range(len(asked))]
    return {point: np.stack([at[point] for _, at in order]) for point in points}, np.array([odds for odds, _ in order])


def unread(run: Run, names: Sequence[str], error: CollectionError) -> Iterator[Trial]:
    """Yield the promised reading trials of arms that could not be read; with `clean` also what hangs on it."""
    if CLEAN in names:
        keys = [TrialKey(item=SEARCH, arm=SEARCHED[one], repeat=0) for one in run.params.searches]
        yield from (
            measured_trial(run.frame, key, {}, error=error.message)
            for key in (*keys, *([TWIN] if run.params.twin else []))
        )
    for arm in names:
        yield measured_trial(run.frame, TrialKey(item=SHIFT, arm=arm, repeat=0), {}, error=error.message)
        for text in run.texts.read_under(arm):
            yield measured_trial(run.frame, TrialKey(item=text.id, arm=arm, repeat=0), {}, error=error.message)
