"""Models of edifice_tt for `llm`: N answers are sampled and scored, and the best is printed.

Knows llm; edifice_tt does the work, and is imported when a model is asked.
"""

from collections.abc import Callable, Iterator
from typing import Any

import llm
from pydantic import Field

NAMES = ("smollm2-135m",)  # more are found by `-o model`
SAMPLING = ("n", "seed", "temperature", "top_k", "top_p", "max_tokens")


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(Edifice("edifice", None))
    for name in NAMES:
        register(Edifice(f"edifice/{name}", name))


class Edifice(llm.Model):  # type: ignore[misc]
    """A model by its name for edifice_tt, or by the option `model`; loaded once."""

    can_stream = False

    class Options(llm.Options):  # type: ignore[misc]
        """What is sampled, and how one answer is chosen."""

        model: str | None = Field(None, description="File, folder or name, for `-m edifice`")
        device: str | None = Field(None, description="tinygrad device: METAL, CUDA, CPU")
        n: int | None = Field(None, description="How many answers to sample (16)", ge=1)
        rule: str = Field("best_of_n", description="Selection rule: majority, best_of_n, ...")
        scorer: str = Field("logprob", description="What scores the answers")
        answer: str | None = Field(
            None, description="What counts as one answer: text, number, boxed, regex:PATTERN"
        )
        cut_off: str | None = Field(
            None, description="What answers do in a vote that were cut off: abstain or vote"
        )
        seed: int | None = Field(None, description="Seed of the draws (0)")
        temperature: float | None = Field(None, description="Temperature (0.8)", ge=0)
        top_k: int | None = Field(None, description="0: all tokens", ge=0)
        top_p: float | None = Field(None, description="1: all tokens")
        max_tokens: int | None = Field(None, description="Tokens of an answer (128)", ge=1)
        pool: str | None = Field(None, description="Keep all answers in this new pool file")

    def __init__(self, model_id: str, name: str | None) -> None:
        self.model_id = model_id
        self.name = name
        self._loaded: tuple[tuple[str, str | None], Any] | None = None

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None,
    ) -> Iterator[str]:
        """Sample, score, select; the log gets the choice and all candidates."""
        import edifice_tt as et

        options = prompt.options
        _check(options)
        lm = self._load(options)
        sampling = {name: value for name in SAMPLING if (value := vars(options)[name]) is not None}
        asked = [_message(message) for message in prompt.messages]
        if not lm.tokenizer.has_chat_template:
            if len(asked) != 1:
                raise llm.ModelError("this model knows no chats; give one prompt and no system")
            asked = asked[0]["content"]
        pool = et.generate(lm, asked, **sampling)
        choice = None
        try:
            pool = et.score(lm, pool, scorer=options.scorer)
            choice = et.select(pool, options.rule, **_of_rule(options, et.selector(options.rule)))
        finally:  # what was sampled is not lost when nobody is chosen
            if options.pool:
                et.write_pools(options.pool, [pool], overwrite=False)
        candidates = [candidate.to_dict() for candidate in pool]
        response.response_json = {"choice": choice.to_dict(), "candidates": candidates}
        response.set_usage(output=sum(candidate.num_tokens for candidate in pool))
        yield choice.text

    def _load(self, options: Any) -> Any:
        import edifice_tt as et

        if (self.name is None) == (options.model is None):
            given = "-m edifice -o model NAME" if self.name is None else f"-m {self.model_id}"
            raise llm.ModelError(f"name one model: {given}, and no other")
        which = (self.name or options.model, options.device)
        if self._loaded is None or self._loaded[0] != which:
            self._loaded = which, et.load_pretrained(which[0], device=which[1])
        return self._loaded[1]


def _check(options: Any) -> None:
    """Find what is wrong before minutes of sampling."""
    from pathlib import Path

    import edifice_tt as et

    et.scorer(options.scorer)
    if options.answer is not None:
        et.extractor(options.answer)
    _of_rule(options, et.selector(options.rule))
    if options.pool and Path(options.pool).exists():
        raise llm.ModelError(f"pool {options.pool} exists; give another name")


def _of_rule(options: Any, rule: Any) -> dict[str, Any]:
    """The options for the rule; what the user has asked for is not dropped in silence."""
    given = {"scorer": options.scorer} if rule.takes("scorer") else {}
    for name in ("answer", "cut_off"):
        if (value := vars(options)[name]) is None:
            continue
        if not rule.takes(name):
            raise llm.ModelError(f"rule {rule.name} takes no option {name}; leave it out")
        given[name] = value
    return given


def _message(message: Any) -> dict[str, str]:
    texts = [getattr(part, "text", None) for part in message.parts]
    if not all(isinstance(text, str) for text in texts):
        raise llm.ModelError(f"a message of {message.role} holds more than text")
    return {"role": message.role, "content": "\n".join(texts)}
