"""Which few tokens after a request move the model away from a behaviour, found with the model's own gradients?

Greedy coordinate gradient (Zou et al. 2023, arXiv:2307.15043, algorithm 1), universal over a few requests: the gradient of
the mean log-odds of the behaviour's first tokens at the embedding, times the embedding matrix, ranks replacements of each
suffix token; some of the best are drawn and evaluated as text, and the best of these is kept if it is better. The target
differs: no answer is written out that the model should give, the behaviour's own log-odds (Arditi et al. 2024) are lowered.
The adaptive variant also lowers what a monitor sees: max(0, projection - threshold), weighted.

A candidate is text: it counts only if its tokens survive decoding and encoding, if the chat template takes it, and as the
model reads it then. The search sees training and validation requests only: it keeps what is better on training, and returns
of what it kept the best on validation. Every draw comes from raw PCG64 words of the seed: the same search gives the same
suffix on the same platform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dossier.errors import CollectionError
from dossier.language_model import Array, Edit, WhiteBoxModel
from evidence_collectors.interpretability.reading import Vector, log_odds, residuals
from evidence_collectors.items.attacks import Attack, continuation
from evidence_collectors.items.contrast import Contrast

Method = Literal["gradient", "random", "none"]
TOP = 32  # replacements per place that candidates are drawn from
_TRIES = 200  # draws for one usable token before giving up


@dataclass(frozen=True)
class Monitor:
    """What an adaptive attack evades: (x . direction - origin) above ``threshold``, at a point and position.

    ``weight`` is in nats for each unit of the projection above the threshold.
    """

    point: str
    position: str
    direction: Vector
    origin: float
    threshold: float
    weight: float


@dataclass(frozen=True)
class Budget:
    """How long is searched: ``steps`` times ``candidates`` suffixes of ``length`` tokens are evaluated, at most."""

    length: int
    steps: int
    candidates: int


@dataclass(frozen=True)
class Found:
    """A suffix, with the objective (mean over requests, nats) at the start and at the end, on training and validation.

    ``trace`` is the training objective after each step; ``evaluated`` how many candidates were read.
    """

    text: str
    token_ids: tuple[int, ...]
    start: float
    train: float
    validation_start: float
    validation: float
    evaluated: int
    trace: tuple[float, ...]

    def attack(self, name: str, *, adaptive: bool, control: bool = False) -> Attack:
        """Return the suffix as an attack."""
        kind: Literal["attack", "control"] = "control" if control else "attack"
        return Attack(name=name, family="searched", kind=kind, adaptive=adaptive, after=self.text)


@dataclass(frozen=True)
class Task:
    """What is searched for: requests to choose on, requests to decide on, the behaviour's first tokens, the monitor."""

    train: Sequence[Contrast]
    validation: Sequence[Contrast]
    token_ids: tuple[int, ...]
    monitor: Monitor | None = None


def search(model: WhiteBoxModel, task: Task, budget: Budget, *, seed: str, method: Method) -> Found:
    """Return the best suffix found. ``random`` replaces tokens without the gradient; ``none`` draws a suffix and stops.

    Raises:
        CollectionError: no request, no usable token, or activations that are not finite.
    """
    if not (task.train and task.validation and task.token_ids):
        raise CollectionError(
            "a suffix search needs training and validation requests and a first token of the behaviour"
        )
    run = _Run(model, task, np.random.PCG64(int(seed, 16)))
    current = run.start(budget.length)
    value = start = run.objective([current], task.train)[0]
    kept = [(run.objective([current], task.validation)[0], value, current)]
    trace, evaluated = [], 0
    for _ in range(budget.steps if method != "none" else 0):
        candidates = list(dict.fromkeys(run.candidates(current, budget.candidates, method)))
        evaluated += len(candidates)
        values = run.objective(candidates, task.train) if candidates else []
        best = min(range(len(values)), key=values.__getitem__, default=None)
        if best is not None and values[best] < value:
            current, value = candidates[best], values[best]
            kept.append((run.objective([current], task.validation)[0], value, current))
        trace.append(value)
    decided = min(kept, key=lambda one: one[0])
    return Found(
        text=model.token_text(decided[2]),
        token_ids=decided[2],
        start=start,
        train=decided[1],
        validation_start=kept[0][0],
        validation=decided[0],
        evaluated=evaluated,
        trace=tuple(trace),
    )


@dataclass
class _Run:
    """One search. ``usable`` remembers which tokens may stand in a suffix."""

    model: WhiteBoxModel
    task: Task
    words: np.random.PCG64
    usable: dict[int, bool] = field(default_factory=dict)

    def start(self, length: int) -> tuple[int, ...]:
        """Return a suffix of drawn tokens that survives encoding."""
        for _ in range(_TRIES):
            drawn = tuple(self.token() for _ in range(length))
            if self.survives(drawn):
                return drawn
        raise CollectionError(f"no suffix of {length} tokens survives decoding and encoding by this tokenizer")

    def candidates(self, current: tuple[int, ...], count: int, method: Method) -> Iterator[tuple[int, ...]]:
        """Yield suffixes that differ from the current one in one place."""
        ranked = self.ranked(current) if method == "gradient" else None
        for _ in range(count):
            place = self.below(len(current))
            if ranked is None:
                token = self.token()
            elif ranked[place]:
                token = ranked[place][self.below(len(ranked[place]))]
            else:
                continue
            changed = (*current[:place], token, *current[place + 1 :])
            if changed != current and self.survives(changed):
                yield changed

    def ranked(self, current: tuple[int, ...]) -> list[list[int]]:
        """Return, for each place, the usable tokens whose replacement lowers the objective most, to first order."""
        scores = _replacement_scores(self.model, self.task, current)
        found = []
        for place in range(len(current)):
            order = (int(token) for token in np.argsort(scores[place], kind="stable"))
            best: list[int] = []
            for token in order:
                if len(best) == TOP or scores[place][token] >= scores[place][current[place]]:
                    break
                if self.allowed(token):
                    best.append(token)
            found.append(best)
        return found

    def objective(self, suffixes: Sequence[tuple[int, ...]], requests: Sequence[Contrast]) -> list[float]:
        """Return the mean over requests of what is minimised, for each suffix, read as text."""
        attacks = [_suffix(self.model.token_text(one)) for one in suffixes]
        texts = [continuation(attack.apply(one), response=False) for attack in attacks for one in requests]
        values = log_odds(self.model, texts, self.task.token_ids)
        monitor = self.task.monitor
        if monitor is not None:
            at = residuals(self.model, texts, [monitor.point], position=monitor.position)[monitor.point]
            values = values + monitor.weight * np.maximum(
                at @ monitor.direction - monitor.origin - monitor.threshold, 0.0
            )
        return [float(row.mean()) for row in values.reshape(len(suffixes), len(requests))]

    def token(self) -> int:
        """Return a usable token, all alike likely."""
        for _ in range(_TRIES):
            token = self.below(self.model.layout.vocabulary)
            if self.allowed(token):
                return token
        raise CollectionError(f"of {_TRIES} tokens drawn none can stand in a suffix")

    def allowed(self, token: int) -> bool:
        """Whether a token is plain text: it survives encoding and the chat template takes it (no control token)."""
        if token not in self.usable:
            self.usable[token] = self.survives((token,)) and self._accepted(token)
        return self.usable[token]

    def survives(self, token_ids: tuple[int, ...]) -> bool:
        """Whether the tokens are those of their own text, and the text can be printed."""
        text = self.model.token_text(token_ids)
        return text.isprintable() and self.model.token_ids(text) == token_ids

    def below(self, limit: int) -> int:
        """Return a draw from 0 to limit - 1."""
        return (int(self.words.random_raw()) >> 32) * limit >> 32

    def _accepted(self, token: int) -> bool:
        text = continuation(_suffix(self.model.token_text((token,))).apply(self.task.train[0]), response=False)
        try:
            for _ in self.model.capture([text], [self.model.layout.embedding]):
                pass
        except CollectionError:  # the adapter refuses control tokens in messages
            return False
        return True


def _replacement_scores(model: WhiteBoxModel, task: Task, current: tuple[int, ...]) -> np.ndarray:
    """Return (place, v): the slope of the objective towards each token, the mean over the training requests.

    Request by request, so that the last position of a row is the last of its tensor.
    """
    embedding = model.layout.embedding
    matrix = model.parameter(f"{embedding}.weight")
    attack, total, used = _suffix(model.token_text(current)), None, 0
    for one in task.train:
        text = continuation(attack.apply(one), response=False)
        objective, edits = _objective(task)
        for batch in model.capture([text], [embedding], edits=edits, objective=objective):
            start = _last_place(batch.token_ids[0].tolist(), current)
            if start is None:  # the tokenizer joins the suffix with what stands before it
                continue
            slope = batch.gradients[embedding][0, start : start + len(current)]
            total = slope if total is None else total + slope
            used += 1
    if total is None:
        return np.zeros((len(current), model.layout.vocabulary))
    scores = (total.to(matrix.device, matrix.dtype) @ matrix.T / used).float().cpu().numpy()
    return np.asarray(scores, dtype=np.float64)


def _objective(task: Task) -> tuple[Callable[[Array], Array], list[Edit]]:
    """Return what is minimised for one request, and the look at the monitored point it needs."""
    inside, seen = list(task.token_ids), []
    monitor = task.monitor

    def look(value: Array) -> Array:
        seen.append(value)
        return value

    def objective(logits: Array) -> Array:
        import torch

        rest = logits.float().clone()
        rest[:, inside] = -torch.inf
        value = logits.float()[:, inside].logsumexp(dim=-1) - rest.logsumexp(dim=-1)
        if monitor is None:
            return value
        at = seen[-1][:, -1 - int(monitor.position.partition("-")[2] or 0)].float()
        direction = torch.as_tensor(monitor.direction, dtype=at.dtype, device=at.device)
        above = at @ direction - monitor.origin - monitor.threshold
        return value + monitor.weight * above.clamp(min=0.0).to(value.device)

    return objective, [] if monitor is None else [Edit(monitor.point, look)]


def _last_place(row: Sequence[int], wanted: tuple[int, ...]) -> int | None:
    places = (
        start for start in range(len(row) - len(wanted), -1, -1) if tuple(row[start : start + len(wanted)]) == wanted
    )
    return next(places, None)


def _suffix(text: str) -> Attack:
    return Attack(name="candidate", family="searched", kind="attack", adaptive=False, after=text)
