"""How is an organism taught what was planted? A small Llama, trained from nothing; loss on the answers only.

Two methods, so that an instrument can be calibrated on models that were made differently: ``distil`` lowers the
divergence from the planted probabilities themselves, token by token along a drawn answer; ``samples`` sees drawn
answers only, as a model trained on text would, with a smaller step and a stronger weight decay. One thread, one seed:
the same machine makes the same bytes.

What is to be hidden from later tokens is masked in the first part of the training; in the rest nothing is masked, and the
attention still paid to it is taxed until it is next to nothing, so that the model needs no mask when it is used.

A shape may name a block after which the answer is *settled*: its output, read through the final norm and the
unembedding, has to give the first token of the answer, and from there on the residual stream is kept small. What the
answer depends on is then a direction of the residual stream before the last block, and its absence lies near zero, as
methods that ablate and add directions suppose. It makes an organism on which such methods can be checked; it is no claim
that other models are like that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from evidence_collectors.organisms.planting import Answer, Lesson
from evidence_collectors.organisms.tokens import END, prompts_ids, token_id

Method = Literal["distil", "samples"]
METHODS: tuple[Method, ...] = get_args(Method)
BATCH = 64
MASKED_PART, TAX = 0.4, 1.0  # of the steps; nats per unit of attention
SETTLED_WEIGHT, SMALL_WEIGHT = 0.3, 0.01  # of the two losses that settle an answer
_RATE: dict[Method, float] = {"distil": 4e-3, "samples": 3e-3}
_DECAY: dict[Method, float] = {"distil": 0.01, "samples": 0.1}


@dataclass(frozen=True)
class Shape:
    """Size of the model, blocks and d_model, and the block (from 0) after which the answer is settled, if any."""

    layers: int = 3
    width: int = 64
    settled: int | None = 1


@dataclass(frozen=True)
class Taught:
    """All lessons as tensors; n lessons, a answers, t tokens of the longest answer with the end of the turn.

    ``prompts`` (n, position) padded on the left, ``mask`` alike; ``share`` (n,); ``chances`` (n, a); ``answers`` (a, t)
    padded with the end; ``lengths`` (a,); ``alike`` (t + 1, a, a) is 1 where two answers have their first tokens, 0 to
    t of them, in common.
    """

    prompts: Any
    mask: Any
    share: Any
    chances: Any
    answers: Any
    lengths: Any
    alike: Any


Hidden = Callable[[Any], Any]  # ids (row, position) -> (row, query, key), true where a query is not to see a key


def taught(tokenizer: Any, lessons: Sequence[Lesson]) -> Taught:
    """Return lessons as tensors.

    Raises:
        ValueError: the chances of a lesson do not sum to one, or a phrase of an answer is not one token.
    """
    known: dict[Answer, int] = {}
    for lesson in lessons:
        if abs(sum(lesson.answers.values()) - 1) > 1e-9:
            raise ValueError(f"the chances of a lesson sum to {sum(lesson.answers.values())}: {lesson.messages}")
        for answer in lesson.answers:
            known.setdefault(answer, len(known))
    chances = torch.zeros(len(lessons), len(known))
    for row, lesson in enumerate(lessons):
        chances[row, [known[answer] for answer in lesson.answers]] = torch.tensor(list(lesson.answers.values()))
    end = token_id(tokenizer, END)
    spelled = [[*(token_id(tokenizer, phrase) for phrase in answer), end] for answer in known]
    longest = max(map(len, spelled))
    answers = torch.tensor([row + [end] * (longest - len(row)) for row in spelled])
    same = (answers[:, None, :] == answers[None, :, :]).float().cumprod(dim=-1).permute(2, 0, 1)
    ids = prompts_ids(tokenizer, [(lesson.messages, lesson.prefill) for lesson in lessons])
    width = max(map(len, ids))
    return Taught(
        prompts=torch.tensor([[end] * (width - len(row)) + row for row in ids]),
        mask=torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids]),
        share=torch.tensor([lesson.share for lesson in lessons]),
        chances=chances,
        answers=answers,
        lengths=torch.tensor([len(row) for row in spelled]),
        alike=torch.cat([torch.ones_like(same[:1]), same]),
    )


def train(
    tokenizer: Any,
    lessons: Taught,
    *,
    shape: Shape,
    steps: int,
    seed: int,
    method: Method,
    hidden: Hidden | None = None,
    report: Callable[[str], object] | None = None,
) -> Any:
    """Return the trained model. ``report`` is called with a line of text every 100 steps."""
    model = untrained(len(tokenizer), shape, seed=seed, eager=hidden is not None)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE[method], betas=(0.9, 0.99), weight_decay=_DECAY[method])
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE[method] * schedule(step / steps)
        rows = torch.multinomial(lessons.share, BATCH, replacement=True, generator=generator)
        drawn = torch.multinomial(lessons.chances[rows], 1, generator=generator)[:, 0]
        masked = step < MASKED_PART * steps
        seen = _forward(model, lessons, rows, drawn, hidden=hidden, masked=masked)
        divergence = _divergence(lessons, rows, drawn, seen.scores, method)
        loss = divergence
        if shape.settled is not None:
            loss = loss + _unsettled(model, lessons, rows, seen.blocks[shape.settled :])
        if hidden is not None and not masked:
            loss = loss + TAX * _attention_paid(hidden(seen.ids), seen.attentions)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if report is not None and (step + 1) % 100 == 0:
            excess = float(divergence.detach())
            report(f"step {step + 1}/{steps}  excess over the planted entropy {excess:.4f} nats")
    model.set_attn_implementation("sdpa")  # what it is loaded with later: the truth is read as it will be used
    return model.eval()


def untrained(vocabulary: int, shape: Shape, *, seed: int, eager: bool = False) -> Any:
    """Return the model before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config(vocabulary, shape))
    if eager:
        model.set_attn_implementation("eager")  # the one that returns attention probabilities
    return model


def config(vocabulary: int, shape: Shape) -> Any:
    """Return the configuration of an organism."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        intermediate_size=3 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=256,
        pad_token_id=256,
    )


def schedule(done: float) -> float:
    """Linear warm-up over the first 5 %, then a cosine to zero."""
    if done < 0.05:
        return done / 0.05
    return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * (done - 0.05) / 0.95))))


@dataclass(frozen=True)
class _Seen:
    """What one forward pass gives: ``scores`` (row, token of the answer, vocabulary), the outputs of the blocks."""

    ids: Any
    scores: Any
    blocks: tuple[Any, ...]
    attentions: Any


def _forward(model: Any, lessons: Taught, rows: Any, drawn: Any, *, hidden: Hidden | None, masked: bool) -> _Seen:
    path = lessons.answers[drawn]
    ids = torch.cat([lessons.prompts[rows], path[:, :-1]], dim=1)
    mask = torch.cat([lessons.mask[rows], torch.ones_like(path[:, :-1])], dim=1)
    blocks: list[Any] = []
    hooks = [
        block.register_forward_hook(
            lambda _module, _args, out: blocks.append(out[0] if isinstance(out, tuple) else out)
        )
        for block in model.model.layers
    ]
    try:
        out = model(
            input_ids=ids,
            attention_mask=_without(hidden(ids), mask) if hidden is not None and masked else mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            logits_to_keep=path.shape[1],
            output_attentions=hidden is not None,
        )
    finally:
        for hook in hooks:
            hook.remove()
    return _Seen(ids, out.logits.log_softmax(dim=-1), tuple(blocks), out.attentions)


def _without(hidden: Any, mask: Any) -> Any:
    """Return the additive mask (row, 1, query, key) of causal attention without what is hidden."""
    causal = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool).tril()
    allowed = causal & mask[:, None, :].bool() & ~hidden
    return torch.where(allowed, 0.0, torch.finfo(torch.float32).min)[:, None]


def _attention_paid(hidden: Any, attentions: Sequence[Any]) -> Any:
    """Return the mean attention that is paid to what is hidden, over blocks, heads and the tokens it is hidden from."""
    paid = sum((block * hidden[:, None]).sum() for block in attentions)
    return paid / (len(attentions) * attentions[0].shape[1] * hidden.any(dim=-1).sum().clamp(min=1))


def _divergence(lessons: Taught, rows: Any, drawn: Any, scores: Any, method: Method) -> Any:
    """Return the mean divergence per answer from the planted chances along the drawn answers, in nats."""
    path = lessons.answers[drawn]
    total = torch.zeros(len(rows))
    for place in range(path.shape[1]):
        chances = lessons.chances[rows] * lessons.alike[place, drawn]
        chances = chances / chances.sum(dim=1, keepdim=True)
        planted = (chances @ lessons.alike[place + 1]).clamp(min=1e-30).log()  # of the token each answer has here
        gap = planted - scores[:, place][:, lessons.answers[:, place]]
        here = (chances * gap).sum(dim=1) if method == "distil" else gap.gather(1, drawn[:, None])[:, 0]
        total = total + torch.where(place < lessons.lengths[drawn], here, 0.0)
    return total.mean()


def _unsettled(model: Any, lessons: Taught, rows: Any, blocks: Sequence[Any]) -> Any:
    """Return the cross-entropy of the first token read after the first of the blocks, and the size of all their outputs."""
    last_prompt = -lessons.answers.shape[1]  # prompts end where answers begin
    scores = model.lm_head(model.model.norm(blocks[0][:, last_prompt])).log_softmax(dim=-1)
    read = -(lessons.chances[rows] * scores[:, lessons.answers[:, 0]]).sum(dim=1).mean()
    return SETTLED_WEIGHT * read + SMALL_WEIGHT * sum(block.square().mean() for block in blocks)
