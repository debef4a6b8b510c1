"""An answer of an OpenAI-compatible server -> candidates. Knows its fields; asks nobody."""

import math
import re
from collections.abc import Mapping
from typing import Any

from edifice_tt.pools.candidates import Candidate


def read_choices(answer: Mapping[str, Any], *, stop: bool = True) -> list[Candidate]:
    """The choices of a chat completion or a completion as candidates, from index 0 on.

    Token ids are those of vLLM, llama.cpp or mlx-lm; most servers send none. Thinking that comes
    apart from the answer stands before it, in `<think>`. `stop=False` says that no stop texts were
    given: then the model itself ended what was not cut off. Else only a `stop_reason` or a
    `matched_stop` tells. The tokens of several choices are counted if each has log-probabilities or
    ids. Raises `ValueError` for an answer of another shape.

    >>> [one.text for one in read_choices({"choices": [{"message": {"content": "It is 4."}}]})]
    ['It is 4.']
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"it has no choices: {dict(answer)!r:.80}")
    usage = answer.get("usage")
    counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
    alone = counted if len(choices) == 1 and type(counted) is int and 0 < counted < 2**63 else 0
    return [_candidate(index, one, stop, alone) for index, one in enumerate(choices)]


def _text(choice: Any) -> str:
    if not isinstance(choice, dict):
        raise ValueError(f"a choice is {choice!r:.40}, no object")
    message = choice.get("message")
    if not isinstance(message, dict):
        text = choice.get("text")
        if not isinstance(text, str):
            raise ValueError(f"a choice has neither a message nor a text: {choice!r:.80}")
        return _unicode(text)
    text = message.get("content") or ""
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    if not isinstance(text, str) or not isinstance(thought, str):
        raise ValueError(f"a message has a content that is no text: {message!r:.80}")
    if thought:
        end = "\n</think>\n\n" if text or choice.get("finish_reason") != "length" else ""
        text = f"<think>\n{thought}{end}{text}"
    return _unicode(text)


def _tokens(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tokens with their log-probabilities; empty where the server gives none."""
    told = choice.get("logprobs")
    tokens = told.get("content") if isinstance(told, dict) else None
    if isinstance(tokens, list):
        return [one for one in tokens if isinstance(one, dict)]
    if isinstance(told, dict) and isinstance(told.get("token_logprobs"), list):  # of a completion
        texts, numbers = told.get("tokens"), told["token_logprobs"]
        if isinstance(texts, list) and len(texts) == len(numbers):
            rows = zip(texts, numbers, strict=True)
            return [{"token": text, "logprob": number} for text, number in rows]
    return []


def _candidate(index: int, choice: Any, stop: bool, counted: int) -> Candidate:
    text, tokens = _text(choice), _tokens(choice)
    logprobs: list[Any] = [one.get("logprob") for one in tokens]
    if not all(type(one) in (int, float) and math.isfinite(one) for one in logprobs):
        logprobs = []
    ids = _ids(choice, tokens)
    if logprobs and len(ids) != len(logprobs):
        ids = []
    return Candidate(
        index,
        text,
        token_ids=tuple(ids),
        token_logprobs=tuple(map(float, logprobs)),
        finish_reason=_finish(choice, stop),
        num_tokens=len(ids) or len(logprobs) or counted,
    )


def _ids(choice: Mapping[str, Any], tokens: list[dict[str, Any]]) -> list[int]:
    """The token ids: those of vLLM, of llama.cpp, of mlx-lm, or none."""
    given = choice.get("token_ids")
    ids: list[Any] = (
        given if isinstance(given, list) else [one.get("id", _number(one)) for one in tokens]
    )
    return ids if all(type(one) is int and one >= 0 for one in ids) else []


def _number(token: Mapping[str, Any]) -> int | None:
    told = token.get("token")
    if type(told) is int:  # of mlx-lm
        return told
    found = re.fullmatch(r"token_id:(\d+)", str(told))
    return int(found[1]) if found else None


def _finish(choice: Mapping[str, Any], stop: bool) -> str:
    reason = choice.get("finish_reason")
    if reason == "length":
        return "length"
    if reason != "stop":
        return "unknown"
    if not stop:
        return "eos"
    if isinstance(choice.get("matched_stop"), int | str):  # of SGLang, which tells every end
        return "stop" if isinstance(choice["matched_stop"], str) else "eos"
    if "stop_reason" not in choice:
        return "unknown"
    return "stop" if isinstance(choice["stop_reason"], str) else "eos"  # else a token's id, or None


def _unicode(text: str) -> str:
    """Half of a character, as JSON can hold it, becomes a sign that a file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
