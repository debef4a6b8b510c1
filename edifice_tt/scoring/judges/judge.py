"""A judge: a language model with a head, or asked by a prompt, that rates answers.

Scores at the price of a prefill: the answers to a question share its keys and values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import isfinite
from typing import Any

from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.contract.errors import EdificeError
from edifice_tt.engine.hidden import Texts, read_texts
from edifice_tt.pools.pool import Pool
from edifice_tt.scoring.judges.describe import describe
from edifice_tt.scoring.judges.forms import Text, write_text
from edifice_tt.scoring.judges.layout import Answer, Layout, Messages, check_answers, check_question
from edifice_tt.scoring.steps import check_reduce, reduce_steps
from edifice_tt.weights.rewards.heads import Head
from edifice_tt.weights.rewards.kinds import Kind

AT_ONCE = 32  # answers whose states are in memory together


@dataclass(frozen=True, eq=False)
class Judge:
    """A pretrained judge, made by `edifice_tt.load_reward`.

    `kind` says where its numbers are read and what they are; `lm` is its language model. It is
    called as a scorer of text is: with a question and answers.
    """

    name: str
    kind: Kind
    lm: CausalLM
    head: Head
    layout: Layout
    labels: tuple[str, ...] = ()
    owner: str = ""

    @property
    def range(self) -> str:
        """What its scores are: `probability`, or `unbounded` for a logit without a fixed zero."""
        return self.head.range

    @property
    def level(self) -> str:
        """`answer`, or `step` for a score per step."""
        return self.kind.level

    @property
    def reduce(self) -> str | None:
        """What makes one score of its steps unless told otherwise; None if there are none."""
        return self.kind.reduce or None

    @cached_property
    def fingerprint(self) -> str:
        """A hash that identifies its weights and how it reads."""
        layout, head = self.layout, self.head
        parts = [self.lm.fingerprint, self.kind.name, head.score, head.label, layout.pad_id]
        parts += [layout.form, layout.prompt, layout.marker, layout.tokenizer.chat_template]
        hashed = sha256("\0".join(map(str, parts)).encode())
        for layer in self.head.layers:
            hashed.update(layer.weight.tobytes())
            hashed.update(b"" if layer.bias is None else layer.bias.tobytes())
        return hashed.hexdigest()[:16]

    def __str__(self) -> str:
        return f"judge {self.name!r}" + (f" of {self.owner}" if self.owner else "")

    def __call__(self, prompt: str, completions: Sequence[Answer]) -> list[Any]:
        """A float per completion, or a list of them for a judge of steps."""
        rows = self.rate(prompt, completions)
        return rows if self.level == "step" else [row[0] for row in rows]

    def rate(self, question: str | Messages, answers: Sequence[Answer]) -> list[list[float]]:
        """The numbers of each answer: one, or one per step.

        `question` is a text or the messages of a chat, an answer a text or a list of its steps. The
        numbers of an answer depend on it and the question alone, to the last bit on a CPU.

        Raises `ValueError` for what is no question or no list of answers. Raises `EdificeError`
        for a text that does not fit the judge, and for a score that is not a finite number.
        """
        asked, texts = self._texts(question, answers)
        rows: list[list[float]] = [[] for _ in texts]
        for states, wanted, i in self._states(asked, texts):
            rows[i] = self.head.scores([states[place] for place in wanted])
            if not all(map(isfinite, rows[i])):
                raise EdificeError(f"{self} gave candidate {i} a score that is not a finite number")
        return rows

    def check(self, pool: Pool) -> None:
        """Raise as `score` does for a text that does not fit; reads none."""
        self._texts(question_of(pool), [candidate.text for candidate in pool])

    def score(self, pool: Pool, reduce: str | None = None) -> Pool:
        """The pool with this judge's scores, and its steps where it has some.

        Raises `EdificeError` as `rate` does, and for a pool that lacks the messages of its chat.
        """
        check_reduce(self, reduce)
        rows = self.rate(question_of(pool), [candidate.text for candidate in pool])
        how = reduce or self.reduce
        scores = [reduce_steps(row, how) if how else row[0] for row in rows]
        steps = rows if self.level == "step" else ()
        return pool.with_scores(self.name, scores, range=self.range, steps=steps)

    def tokens_read(self, pool: Pool) -> list[int]:
        """How many tokens `score` reads for each candidate; what several share, for the first."""
        asked, texts = self._texts(question_of(pool), [candidate.text for candidate in pool])
        shared, seen, tokens = self._empty(asked), set[int](), []
        for text in texts:
            start = min(_common(shared, text.ids) or 1, text.places[0])
            tokens.append(text.places[-1] + 1 - (start if start in seen else 0))
            seen.add(start)
        return tokens

    def describe(self) -> dict[str, Any]:
        """What it is, in words: kind, place, range, level, reduction, and the form of its texts."""
        about = describe(self.name, self.layout, self.head.sizes, self.head.score)
        label = {"labels": list(self.labels), "label": self.head.label}
        context = {"context_length": self.lm.config.context_length}
        return {**about, **label, **context, "fingerprint": self.fingerprint}

    def _texts(
        self, question: str | Messages, answers: Sequence[Answer]
    ) -> tuple[Messages, list[Text]]:
        asked = check_question(question)
        check_answers(answers)
        return asked, [self._text(i, asked, answer) for i, answer in enumerate(answers)]

    def _text(self, i: int, question: Messages, answer: Answer) -> Text:
        try:
            text = write_text(self.layout, question, answer)
        except (ValueError, EdificeError) as error:
            raise EdificeError(f"{self}, candidate {i}: {error}") from error
        size, room = len(text.ids), self.lm.config.context_length
        if size > room:
            raise EdificeError(
                f"{self}, candidate {i}: the text has {size} tokens, its context holds {room}; "
                "shorten the answer or take another judge"
            )
        if not text.places or text.places[0] < 1:
            raise EdificeError(f"{self}, candidate {i}: the text has no place to read a score at")
        return text

    def _states(self, question: Messages, texts: Sequence[Text]) -> Any:
        """The states of each text that are read, its places among them, and its number.

        What a text shares with an empty answer is read once. That depends on it alone.
        """
        shared = self._empty(question) if texts else []
        groups: dict[int, list[int]] = {}
        for i, text in enumerate(texts):
            start = min(_common(shared, text.ids) or 1, text.places[0])
            groups.setdefault(start, []).append(i)
        for start, rows in groups.items():
            rows.sort(key=lambda i: texts[i].places[-1])  # so that a batch has texts of one length
            for first in range(0, len(rows), AT_ONCE):
                some = rows[first : first + AT_ONCE]
                answers = [texts[i].ids[start : texts[i].places[-1] + 1] for i in some]
                job = Texts(texts[some[0]].ids[:start], answers)
                for i, states in zip(some, next(read_texts(self.lm, [job])), strict=True):
                    yield states, [place - start for place in texts[i].places], i

    def _empty(self, question: Messages) -> list[int]:
        try:
            return write_text(self.layout, question, "").ids
        except (ValueError, EdificeError):  # a template may refuse an empty answer
            return []


def question_of(pool: Pool) -> str | Messages:
    """What a pool's candidates answer; raises `EdificeError` where that is not known."""
    if pool.messages is not None:
        return pool.messages
    if pool.settings.get("template") == "chat":
        raise EdificeError(
            f"problem {pool.problem!r} holds the text of a chat in its model's template, and not "
            "the messages that a judge with its own template needs; sample the pool again"
        )
    return str(pool.prompt)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two texts have in common at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
