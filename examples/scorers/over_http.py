"""A judge behind an address: whatever serves chat completions rates each answer from 0 to 10.

edifice-tt score pool.jsonl --scorer over_http --scorer-option url=http://127.0.0.1:8080/v1
"""

import json
import os
import re
from urllib.request import Request, urlopen

from edifice_tt import hookimpl

ASK = "Rate the answer from 0 to 10. Reply with the number alone.\n\nQuestion: {}\n\nAnswer: {}"


def over_http(url="http://127.0.0.1:8080/v1", model="default", seconds=60):
    def rate(question, answer):
        asked = [{"role": "user", "content": ASK.format(question, answer)}]
        body = {"model": model, "messages": asked, "temperature": 0, "max_tokens": 8}
        key = os.environ.get("JUDGE_KEY", "")  # a secret is no option: options stand in the pool
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        request = Request(f"{url}/chat/completions", json.dumps(body).encode(), headers)
        with urlopen(request, timeout=seconds) as reply:
            said = json.load(reply)["choices"][0]["message"]["content"]
        rating = re.fullmatch(r"\s*(10|\d(?:\.\d+)?)(?:\s*/\s*10)?\.?\s*", said)
        if rating is None:  # an error, not a score that nobody gave
            raise ValueError(f"the judge said {said!r:.60}, expected a number from 0 to 10")
        return float(rating[1]) / 10

    return lambda prompt, completions, messages: [
        rate(messages[-1]["content"], text) for text in completions
    ]


@hookimpl
def register_scorers(register):
    about = "a judge behind an address, asked for a number"
    waits = {"concurrency": 8, "per": "answer"}  # eight answers at once, each kept when it is there
    register("over_http", over_http, "text", range="probability", summary=about, **waits)
