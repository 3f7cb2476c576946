"""Which tokens does the model see? A request through the model's own chat template, opened for its answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dossier.errors import CollectionError, ConfigError
from dossier.model import Message, Request, digest_of
from evidence_collectors.models.reasoning import opens_reasoning

_ANY_SEED = "0" * 16
_REMEMBERED = 4096  # prompts; white-box passes read the same texts again and again


@dataclass(frozen=True)
class Prompt:
    """A request, ready for the model. ``already_open``: the prompt itself opens the reasoning block."""

    request: Request
    request_sha256: str
    token_ids: tuple[int, ...]
    already_open: bool


@dataclass(frozen=True)
class Renderer:
    """What turns requests into prompts. ``control``: tokens no message may hold; ``context``: tokens the model can see."""

    tokenizer: Any
    template: str
    tags: tuple[str, str]
    control: frozenset[str]
    context: int | None

    @staticmethod
    def of(tokenizer: Any, template: str, tags: tuple[str, str], context: int | None) -> Renderer:
        """Return the renderer of a tokenizer."""
        added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        control = frozenset(token for token in (*added, *tokenizer.all_special_tokens) if token)
        return Renderer(tokenizer, template, tags, control, context)


def render(renderer: Renderer, request: Request) -> Prompt:
    """Return the prompt of a request.

    Control tokens inside a message would end the turn early or forge another one, so they are refused; the reasoning
    tags are allowed in assistant turns and in the prefill, where they are meant.

    Raises:
        CollectionError: the template fails, a message holds a control token, or the request exceeds the context.
    """
    name = digest_of(request)
    token_ids, already_open = _opened(renderer, request.model_copy(update={"seed": _ANY_SEED}))
    if not token_ids:
        raise CollectionError(f"request {name[:12]}: the chat template gave an empty prompt")
    if renderer.context is not None and len(token_ids) + request.max_tokens > renderer.context:
        raise CollectionError(
            f"request {name[:12]}: {len(token_ids)} prompt tokens and max_tokens {request.max_tokens} exceed "
            f"the model's context of {renderer.context}",
            hint="Lower max_tokens or shorten the item.",
        )
    return Prompt(request, name, token_ids, already_open)


@lru_cache(maxsize=_REMEMBERED)
def _opened(renderer: Renderer, request: Request) -> tuple[tuple[int, ...], bool]:
    """Return a prompt's tokens and whether it opens the reasoning: the same for every seed, so templates run once a text."""
    name = digest_of(request)
    _refuse_control_tokens(renderer, request, name)
    closed = _apply(renderer, request, name, generation_prompt=False)
    opened = _apply(renderer, request, name, generation_prompt=True)
    opening = _opening(opened, closed, request) + request.prefill
    token_ids = tuple(renderer.tokenizer.encode(opened + request.prefill, add_special_tokens=False))
    return token_ids, opens_reasoning(opening, renderer.tags)


def _opening(opened: str, closed: str, request: Request) -> str:
    """Return what the template writes to open the assistant's turn: all that comes after the last message."""
    if opened.startswith(closed):
        return opened.removeprefix(closed)
    return opened.rpartition(request.messages[-1].content.strip())[2]


def _apply(renderer: Renderer, request: Request, name: str, *, generation_prompt: bool) -> str:
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    try:
        text = renderer.tokenizer.apply_chat_template(
            messages, chat_template=renderer.template, tokenize=False, add_generation_prompt=generation_prompt
        )
    except Exception as error:  # a template is a program: jinja2's errors, and whatever its expressions raise
        roles = ", ".join(message.role for message in request.messages)
        raise CollectionError(
            f"request {name[:12]}: the chat template fails on turns ({roles}): "
            f"{type(error).__name__}: {str(error)[:300]}",
            hint="The template may not know a role, or want turns to alternate; change template or protocol.",
        ) from error
    return str(text)


def _refuse_control_tokens(renderer: Renderer, request: Request, name: str) -> None:
    places = [(message.content, message.role) for message in request.messages] + [(request.prefill, "assistant")]
    for text, role in places:
        allowed = set(renderer.tags) if role == "assistant" else set()
        found = sorted(token for token in renderer.control - allowed if token in text)
        if found:
            raise CollectionError(
                f"request {name[:12]}: the {role} text holds the control token {found[0]!r}, which the tokenizer would "
                "read as the end of a turn or the start of another",
                hint="Remove or rewrite it in the item.",
            )


def check_plain_turn(renderer: Renderer, path_or_id: str) -> None:
    """Put one plain user turn through the chat template: every protocol has one, so what fails on it serves nobody."""
    turn = Message(role="user", content="Which of these is a prime number: four or five?")
    try:
        render(renderer, Request(messages=(turn,), max_tokens=1, temperature=0.0, seed=_ANY_SEED))
    except CollectionError as error:
        raise ConfigError(f"{path_or_id}: a single user turn cannot be put to it: {error}", hint=error.hint) from error
