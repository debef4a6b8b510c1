"""What a judge is, in words, from its record and its texts. Knows no weight."""

from collections.abc import Sequence
from typing import Any

from edifice_tt.scoring.judges.layout import Layout
from edifice_tt.weights.rewards.heads import range_of

_PLACES = {"last": "the last token", "unpadded": "the last token that is not padding"}
_STEPS = {
    "marked_chat": "the marker {!r} behind each step",
    "lines": "the line feed behind each line",
    "separated": "the separator {!r} behind each step",
    "turns": "the token before each assistant's +",
    "tags": "the tag {!r} behind each step",
}


def describe(name: str, layout: Layout, sizes: Sequence[int], score: str) -> dict[str, Any]:
    """A judge's kind, head, place, range, level, reduction, and the form of its texts."""
    kind = layout.kind
    return {
        "name": name,
        "kind": kind.name,
        "summary": kind.summary,
        "head": " -> ".join(map(str, sizes)),
        "score": score,
        "read_at": _PLACES.get(kind.place) or _STEPS[layout.form].format(layout.marker),
        "range": range_of(score),
        "level": kind.level,
        "reduce": kind.reduce or None,
        "form": layout.form,
        "template": layout.prompt or (layout.tokenizer.chat_template if layout.chats else None),
        "pad_token_id": layout.pad_id,
    }
