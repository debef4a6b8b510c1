"""A candidate while it is sampled: its tokens, and the text that they make. Knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from edifice_tt.pools.candidates import Candidate
from edifice_tt.sampling.stops import Stops
from edifice_tt.weights.tokenizer import TextStream


@dataclass
class Sampled:
    """A candidate while it is sampled."""

    index: int
    stream: TextStream
    measures: Sequence[str] = ()
    text: str = ""  # until it is finished, with the signs of stops
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    sure: list[tuple[float, ...]] = field(default_factory=list)  # a number per measure
    finish_reason: str | None = None
    shown: int = 0  # characters that have been handed out for streaming

    def add(self, token: int, logprob: float, stops: Stops, last: bool) -> str:
        """Add a token; returns the text that is now final."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        if token in stops.eos_ids or token in stops.extra_ids:
            self.finish_reason = "eos" if token in stops.eos_ids else "stop"
        else:
            self.text += self.stream.add(token)
        if self.finish_reason or last:
            self.text += self.stream.finish()
        self.text += stops.signs.get(token, "")
        if (end := stops.find(self.text)) >= 0:
            self.text = self.text[:end]
            self.finish_reason = "stop"
        elif last and not self.finish_reason:
            self.finish_reason = "length"
        sure = len(self.text) - (0 if self.finish_reason else stops.possible_start(self.text))
        text, self.shown = self.text[self.shown : sure], sure
        if self.finish_reason:
            self.text = stops.printed(self.text)
        return stops.printed(text)

    def candidate(self, unfinished: str = "unknown") -> Candidate:
        """The record of it as far as it has come; `unfinished` is why it has come no further."""
        return Candidate(
            *(self.index, self.text, tuple(self.ids), tuple(self.logprobs)),
            self.finish_reason or unfinished,
            token_confidences=dict(zip(self.measures, zip(*self.sure, strict=True), strict=True)),
        )
