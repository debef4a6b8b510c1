"""Lines that other programs write: answers of servers, samples of lm-eval. Reads no file."""

from dataclasses import dataclass
from typing import Any

from edifice_tt.pools.choices import read_choices
from edifice_tt.pools.messages import keep
from edifice_tt.pools.pool import Pool
from edifice_tt.pools.rows import Record, plain, take, take_id, take_text


def answer_of(record: Record) -> dict[str, Any] | None:
    """The answer of a server that a line is, or holds as a batch does; None if it is neither."""
    if "choices" in record:
        return record
    response = record.get("response")
    if "custom_id" not in record or type(response) is not dict:
        return None
    body = response.get("body")
    if type(body) is not dict or "choices" not in body:
        code = response.get("status_code")
        raise ValueError(
            f"the request {record['custom_id']!s:.40} has no answer (status {code}); leave its "
            "line out, or ask again"
        )
    return body


def pool_of(record: Record, answer: dict[str, Any], place: int) -> Pool:
    """The pool of a server's answer, with what stands beside it of its problem."""
    name = "custom_id" if "custom_id" in record else "problem"
    messages = take(record, "messages", list, "a list of messages", None)
    return Pool(
        take(record, "prompt", str, "text", ""),
        tuple(read_choices(plain(answer))),
        problem=take_id(record, place, name),
        gold=take_text(record, "gold"),
        messages=None if messages is None else keep(plain(messages)),
    )


@dataclass
class Samples:
    """Samples that `lm_eval --log_samples` wrote: one line per problem and filter.

    The answers before any filter count, so the lines of one filter are enough.
    """

    filter: str | None = None

    def take(self, record: Record) -> bool:
        """Make a sample a line of our own shape; False if its problem was there before."""
        filter = str(record.get("filter"))
        self.filter = self.filter or filter
        if filter != self.filter:
            return False
        texts, prompts = record.get("resps"), _prompts(record.get("arguments"))
        if type(texts) is list and len(texts) == 1 and type(texts[0]) is list:
            texts = texts[0]
        if type(texts) is not list or not all(type(one) is str for one in texts) or not texts:
            raise ValueError(
                f"resps={texts!r:.40} must be the answers to one prompt; only tasks that generate "
                "text have them"
            )
        target = record.get("target")
        own = {"problem": record.get("doc_id"), "completions": texts}
        own |= {"prompt": prompts[0]} if prompts else {}
        own |= {"gold": target} if isinstance(target, str) else {}
        record.clear()
        record.update(own)
        return True


def _prompts(arguments: Any) -> list[str]:
    """The prompts of a sample's requests, in either way in which they are logged."""
    requests = arguments.values() if type(arguments) is dict else arguments or ()
    firsts = (
        one.get("arg_0") if type(one) is dict else one[0] if type(one) is list and one else None
        for one in requests
    )
    return [first for first in firsts if type(first) is str]
