"""A problem -> the text and the tokens that the model reads, made once."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.engine.prompt import encode_prompt
from edifice_tt.pools.messages import Message, keep
from edifice_tt.pools.pool import Pool, Problem
from edifice_tt.sampling.request import Request


@dataclass(frozen=True)
class TokenizedProblem:
    """A problem as the model reads it: the text of its prompt, and the text's token ids.

    `messages` is the chat that the text was made of, None if a text was given. `tells_date` says
    whether the chat template wrote the day into the text.
    """

    problem: str
    gold: str | None
    text: str
    ids: Sequence[int]
    tells_date: bool
    messages: tuple[Message, ...] | None = None

    def empty_pool(self) -> Pool:
        """Its pool, as long as it has no candidates."""
        return Pool(self.text, (), problem=self.problem, gold=self.gold, messages=self.messages)


def tokenize(lm: CausalLM, problem: Problem, request: Request) -> TokenizedProblem:
    """Render a problem's prompt and tokenize it.

    Raises `ValueError` for an empty prompt, one that leaves no room for an answer, and one that the
    model's template cannot take.
    """
    if lm.tokenizer is None:
        raise ValueError("the model has no tokenizer; load one with edifice_tt.load_pretrained")
    text: Any = problem.prompt
    options, tells_date = request.template_options, False
    messages = None
    if isinstance(text, Mapping) or not isinstance(text, Sequence):
        raise ValueError(
            f"prompt={text!r:.60} must be a text or a list of messages; give a list, such as "
            "[{'role': 'user', 'content': 'What is 2 + 2?'}]"
        )
    if not isinstance(text, str):
        rendered = lm.tokenizer.render(text, options, day=request.date)
        messages, (text, tells_date) = keep(text), rendered
    elif options:
        raise ValueError(
            f"template_options={options!r:.60} are for a chat; give the prompt as messages"
        )
    if not text.strip():
        raise ValueError("the prompt is empty; give some text")
    # A run holds those of all its problems, for which lists of Python's ints would be large.
    ids = array("i", encode_prompt(lm, text))
    return TokenizedProblem(problem.problem, problem.gold, text, ids, tells_date, messages)
