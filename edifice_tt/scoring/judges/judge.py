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
from edifice_tt.contract.shown import Shown, Table
from edifice_tt.contract.tracing import named
from edifice_tt.engine.held import common
from edifice_tt.engine.hidden import Texts, read_texts
from edifice_tt.machine.progress import Add
from edifice_tt.pools.pool import Pool
from edifice_tt.scoring.judges.describe import describe
from edifice_tt.scoring.judges.forms import Text, around, said_by, write_text
from edifice_tt.scoring.judges.layout import Answer, Layout, Messages, check_answers, check_question
from edifice_tt.scoring.steps import check_reduce, reduce_steps
from edifice_tt.weights.rewards.heads import Head
from edifice_tt.weights.rewards.kinds import Kind


@dataclass(frozen=True, eq=False, repr=False)
class Judge(Shown):
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

    def _line(self) -> str:
        return f"{self.name!r}: {self.kind.name}, {self.range} per {self.level}, by {self.lm!r}"

    def _table(self) -> Table:
        return (), self.describe().items()

    def __str__(self) -> str:
        return named("judge", self)

    def __call__(self, prompt: str, completions: Sequence[Answer]) -> list[Any]:
        """A float per completion, or a list of them for a judge of steps."""
        rows = self.rate(prompt, completions)
        return rows if self.level == "step" else [row[0] for row in rows]

    def rate(
        self, question: str | Messages, answers: Sequence[Answer], add: Add | None = None
    ) -> list[list[float]]:
        """The numbers of each answer: one, or one per step.

        `question` is a text or the messages of a chat, an answer a text or a list of its steps. The
        numbers of an answer depend on it and the question alone, to the last bit on a CPU. `add` is
        called with 1 and 0 for each answer that was rated.

        Raises `ValueError` for what is no question or no list of answers. Raises `EdificeError`
        for a text that does not fit the judge, and for a score that is not a finite number.
        """
        return self._rate(*self._texts(question, answers), add)

    def check(self, pool: Pool) -> None:
        """Raise as `score` does for a text that does not fit; reads none."""
        self._texts_of(pool)

    def score(self, pool: Pool, reduce: str | None = None, add: Add | None = None) -> Pool:
        """The pool with this judge's scores, and its steps where it has some.

        Raises `EdificeError` as `rate` does, and for a pool that lacks the messages of its chat.
        """
        check_reduce(self, reduce)
        rows = self._rate(*self._texts_of(pool), add)
        how = reduce or self.reduce
        scores = [reduce_steps(row, how) if how else row[0] for row in rows]
        steps = rows if self.level == "step" else ()
        return pool.with_scores(self.name, scores, range=self.range, steps=steps)

    def tokens_read(self, pool: Pool) -> list[int]:
        """How many tokens `score` reads for each candidate; what several share, for the first."""
        shared, texts = self._texts_of(pool)
        seen, tokens = set[int](), list[int]()
        for text in texts:
            start = min(common(shared, text.ids) or 1, text.places[0])
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
    ) -> tuple[list[int], list[Text]]:
        """What texts share with an empty answer, as ids, and the texts."""
        asked = check_question(question)
        check_answers(answers)
        texts = [self._text(i, asked, answer) for i, answer in enumerate(answers)]
        return self._empty(asked) if texts else [], texts

    def _texts_of(self, pool: Pool) -> tuple[list[int], list[Text]]:
        """The same of a pool; tokens that this model has sampled are read as they are."""
        question = question_of(pool)
        if self.layout.form != "follow_up" or not self._sampled(pool):
            return self._texts(question, [candidate.text for candidate in pool])
        _, behind = around(self.layout, check_question(question))
        before = list(self.lm.tokenizer.encode(pool.prompt))
        texts = []
        for candidate in pool:
            ids = [*before, *said_by(self.layout, candidate), *behind]
            texts.append(self._fits(candidate.index, Text(ids, [len(ids) - 1])))
        return [*before, *behind], texts

    def _sampled(self, pool: Pool) -> bool:
        """Whether a pool is of this judge's own model, which was given a chat."""
        own = pool.settings.get("fingerprint") == self.lm.fingerprint
        return own and pool.messages is not None and pool.settings.get("template") == "chat"

    def _text(self, i: int, question: Messages, answer: Answer) -> Text:
        try:
            text = write_text(self.layout, question, answer)
        except (ValueError, EdificeError) as error:
            raise EdificeError(f"{self}, candidate {i}: {error}") from error
        return self._fits(i, text)

    def _fits(self, i: int, text: Text) -> Text:
        size, room = len(text.ids), self.lm.config.context_length
        if size > room:
            raise EdificeError(
                f"{self}, candidate {i}: the text has {size} tokens, its context holds {room}; "
                "shorten the answer or take another judge"
            )
        if not text.places or text.places[0] < 1:
            raise EdificeError(f"{self}, candidate {i}: the text has no place to read a score at")
        return text

    def _rate(
        self, shared: Sequence[int], texts: Sequence[Text], add: Add | None = None
    ) -> list[list[float]]:
        """The numbers of each text. What it shares with an empty answer is read once.

        That depends on it alone.
        """
        rows: list[list[float]] = [[] for _ in texts]
        groups: dict[int, list[int]] = {}
        for i, text in enumerate(texts):
            start = min(common(shared, text.ids) or 1, text.places[0])
            groups.setdefault(start, []).append(i)
        for start, some in groups.items():
            answers = [texts[i].ids[start:] for i in some]
            places = [[place - start for place in texts[i].places] for i in some]
            job = Texts(texts[some[0]].ids[:start], answers, places)
            for i, states in zip(some, next(read_texts(self.lm, [job])), strict=True):
                rows[i] = self.head.scores(list(states))
                if not all(map(isfinite, rows[i])):
                    raise EdificeError(
                        f"{self} gave candidate {i} a score that is not a finite number"
                    )
                if add is not None:
                    add(1, 0)
        return rows

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
