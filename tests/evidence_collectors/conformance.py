"""What must hold for every adapter behind `dossier.language_model.LanguageModel`? Checks that any adapter's tests can call.

Each check takes a function that loads the same model at a batch size, and raises AssertionError with what differed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dossier.language_model import Continuation, LanguageModel
from dossier.model import Completion, Message, Request, digest_of

Load = Callable[[int], LanguageModel]  # batch size -> the model


def requests(count: int, *, words: Sequence[str], temperature: float = 1.0, max_tokens: int = 8) -> list[Request]:
    """Return distinct requests of many lengths; some cut the nucleus, some are greedy."""
    made = []
    for index in range(count):
        text = " ".join(words[(index * 7 + step * 3) % len(words)] for step in range(1 + index * 5 % 17))
        made.append(
            Request(
                messages=(Message(role="user", content=text),),
                max_tokens=1 + index % max_tokens,
                temperature=0.0 if index % 5 == 4 else temperature,
                top_p=0.9 if index % 3 == 2 else 1.0,
                seed=f"{index * 0x9E3779B97F4A7C15 % 2**64:016x}",
            )
        )
    return made


def check_all(load: Load, asked: Sequence[Request], *, decode: Callable[[Sequence[int]], str] | None = None) -> None:
    """Run every check. ``decode`` turns token ids into text, where the adapter's tokenizer is at hand."""
    check_batch_size_and_order_change_nothing(load, asked)
    check_distinct_requests_are_answered_once(load(8), asked)
    check_length_is_respected(load(8), asked)
    check_greedy_ignores_the_seed(load(8), asked[0])
    check_identity(load)
    check_logprobs_do_not_depend_on_company(load(8), asked)
    if decode is not None:
        check_tokens_spell_the_text(load(8), asked, decode)


def answers(model: LanguageModel, asked: Sequence[Request]) -> dict[str, Completion]:
    """Return completions by request digest."""
    return {completion.request_sha256: completion for completion in model.generate(asked)}


def check_batch_size_and_order_change_nothing(load: Load, asked: Sequence[Request]) -> None:
    """The same request gives the same completion at batch 1, 16 and 64, forwards, backwards and in halves."""
    alone = answers(load(1), asked)
    assert set(alone) == {digest_of(request) for request in asked}
    for size in (16, 64):
        model = load(size)
        assert answers(model, asked) == alone, f"batch size {size} changed a completion"
        assert answers(model, asked[::-1]) == alone, f"order changed a completion at batch size {size}"
        halves = {**answers(model, asked[::2]), **answers(model, asked[1::2])}
        assert halves == alone, f"other company changed a completion at batch size {size}"


def check_distinct_requests_are_answered_once(model: LanguageModel, asked: Sequence[Request]) -> None:
    """A request given twice is answered once; nothing asked gives nothing."""
    seen = [completion.request_sha256 for completion in model.generate([*asked, *asked])]
    assert sorted(seen) == sorted({digest_of(request) for request in asked})
    assert list(model.generate([])) == []


def check_length_is_respected(model: LanguageModel, asked: Sequence[Request]) -> None:
    """No completion is longer than max_tokens; one that says "length" has exactly that many tokens."""
    found = answers(model, asked)
    for request in asked:
        completion = found[digest_of(request)]
        assert 1 <= len(completion.token_ids) <= request.max_tokens
        assert completion.finish_reason == "stop" or len(completion.token_ids) == request.max_tokens
        assert completion.prompt_tokens > 0


def check_greedy_ignores_the_seed(model: LanguageModel, request: Request) -> None:
    """At temperature 0 two seeds give the same tokens, as two requests."""
    greedy = [request.model_copy(update={"temperature": 0.0, "seed": seed}) for seed in ("0" * 16, "f" * 16)]
    first, second = (answers(model, [one])[digest_of(one)] for one in greedy)
    assert first.token_ids == second.token_ids
    assert first.request_sha256 != second.request_sha256


def check_identity(load: Load) -> None:
    """Two loads name the same subject, whatever the batch size; capabilities and claims are there."""
    one, other = load(1), load(16)
    assert one.subject == other.subject
    assert "generate" in one.capabilities
    assert one.environment.batch_size == 1
    assert other.environment.batch_size == 16
    assert one.environment.same_completion
    if one.subject.identity == "digests":
        assert one.subject.weights_sha256 is not None
        assert one.size is not None
        assert one.size.active_parameters > 0


def check_logprobs_do_not_depend_on_company(model: LanguageModel, asked: Sequence[Request]) -> None:
    """Log-probabilities are the same alone and together, negative, and one a token; absent only if not claimed."""
    if "logprobs" not in model.capabilities:
        return
    wanted = [Continuation(request, text) for request, text in zip(asked[:4], ("a", "of b", "", "x"), strict=False)]
    together = list(model.logprobs(wanted))
    assert together == [next(iter(model.logprobs([one]))) for one in wanted]
    assert together[2] == ()
    assert all(value <= 0.0 for values in together for value in values)


def check_tokens_spell_the_text(
    model: LanguageModel, asked: Sequence[Request], decode: Callable[[Sequence[int]], str]
) -> None:
    """The text is what the token ids decode to, less the token that stopped it; a split loses only the tags."""
    for completion in model.generate(asked):
        ids = completion.token_ids[:-1] if completion.finish_reason == "stop" else completion.token_ids
        text = decode(ids)
        if completion.parse == "missing_reasoning_tag":
            assert completion.reasoning is None
            assert completion.answer == text
        else:
            assert completion.reasoning is not None
            assert completion.reasoning in text
            assert text.endswith(completion.answer)
