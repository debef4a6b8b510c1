"""The model `edifice_tt` of lm-eval: N candidates per request, of which a rule chooses one.

Knows lm-eval's requests; sampling, scores, rules and pool files are edifice_tt's.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from tqdm import tqdm

import edifice_tt as et

_log = logging.getLogger(__name__)
TEMPERATURE = 0.8
_LENGTH = ("max_gen_toks", "max_tokens", "max_new_tokens")
_KNOWN = ("until", "do_sample", "temperature", "top_k", "top_p", *_LENGTH)


@register_model("edifice_tt")
class EdificeLM(LM):  # type: ignore[misc]
    """A language model of edifice_tt that answers with the best of N candidates.

    `pretrained` is a file, folder or name that `edifice_tt.load_pretrained` takes. What is None is
    left to the task, else to edifice_tt. `pool` keeps all candidates in that file; one that is
    there is completed. lm-eval's `device` is one of torch's, and its batch sizes count prompts;
    they change nothing here.
    """

    def __init__(
        self,
        pretrained: str = "smollm2-135m",
        n: int = 16,
        rule: str = "best_of_n",
        scorer: str = "logprob",
        answer: str | None = None,
        cut_off: str | None = None,
        seed: int = 0,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        max_tokens: int = 256,
        pool: str | None = None,
        tinygrad_device: str | None = None,
        device: Any = None,
        batch_size: Any = None,
        max_batch_size: Any = None,
    ) -> None:
        super().__init__()
        rule_record = et.selector(rule)
        given = {"answer": answer, "cut_off": cut_off}
        self._of_rule = {name: value for name, value in given.items() if value is not None}
        for name in self._of_rule:
            if not rule_record.takes(name):
                raise ValueError(f"rule {rule} takes no option {name}; leave it out")
        if answer is not None:
            et.extractor(answer)
        if rule_record.takes("scorer"):
            self._of_rule["scorer"] = scorer
        et.scorer(scorer)
        self.lm = et.load_pretrained(pretrained, device=tinygrad_device)
        self.rule, self.scorer, self.max_tokens, self.pool = rule, scorer, max_tokens, pool
        self._sampling = {"n": n, "seed": seed, "top_k": top_k, "top_p": top_p}
        self._temperature = temperature
        self._in_chat = False
        self._made = 0

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The chosen text for each request; empty where every candidate abstains."""
        problems, groups = _problems(requests), dict[str, list[int]]()
        for place, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items(), key=str)), []).append(place)
        if self.pool and (len(groups) > 1 or self._made):
            raise ValueError(
                "pool= is for requests of one kind, and these tasks ask in several ways; run each "
                "by itself, or leave pool out"
            )
        self._made += 1
        texts = [""] * len(requests)
        with tempfile.TemporaryDirectory() as folder:
            for number, places in enumerate(groups.values()):
                path = Path(self.pool or Path(folder, f"{number}.jsonl"))
                options = self._options(requests[places[0]].args[1])
                chosen = self._answer([problems[i] for i in places], path, options, disable_tqdm)
                for place in places:
                    texts[place] = chosen[problems[place].problem]
        return texts

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """There is nothing to choose: raises `NotImplementedError`."""
        raise NotImplementedError(
            "the model edifice_tt chooses among generated answers; take a task that generates text"
        )

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """As `loglikelihood`."""
        raise NotImplementedError(
            "the model edifice_tt chooses among generated answers; take a task that generates text"
        )

    @property
    def tokenizer_name(self) -> str:
        """The name of the model, which names lm-eval's cache of chats."""
        return str(self.lm.name)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The model's template, for the record."""
        if isinstance(chat_template, str):
            raise ValueError(f"chat template {chat_template!r}: the model has one, without a name")
        return self.lm.tokenizer.chat_template if chat_template else None

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The chat as the model's own template renders it."""
        self._in_chat = True
        return str(self.lm.tokenizer.chat(chat_history, add_generation_prompt))

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval keeps with its results."""
        about = {"model": self.lm.name, "fingerprint": self.lm.fingerprint}
        return {"edifice_tt": {**about, "n": self._sampling["n"], "rule": self.rule}}

    def _options(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The options of sampling: those of `--model_args`, else the task's."""
        if strange := [name for name in asked if name not in _KNOWN and asked[name] is not None]:
            raise ValueError(
                f"the task asks for {strange[0]}={asked[strange[0]]!r}, not known here"
            )
        until = asked.get("until") or []
        stop: list[Any] = [until] if isinstance(until, str) else [*until]
        if self._in_chat:
            stop += sorted(self.lm.tokenizer.turn_ends())
        lengths = [asked[name] for name in _LENGTH if asked.get(name) is not None]
        options = {"stop": stop, "max_tokens": int(lengths[0]) if lengths else self.max_tokens}
        options["temperature"] = self._tempered(asked)
        for name in ("n", "seed", "top_k", "top_p"):
            mine = self._sampling[name]
            options[name] = asked.get(name) if mine is None else mine
        return {name: value for name, value in options.items() if value is not None}

    def _tempered(self, asked: dict[str, Any]) -> float:
        if self._temperature is not None:
            return float(self._temperature)
        wished = float(asked.get("temperature") or 0)
        if asked.get("do_sample") is False:
            wished = 0.0
        if wished == 0 and self._sampling["n"] > 1:
            told = "the task wants no sampling, but equal candidates are no choice; temperature=%s"
            _log.warning(told, TEMPERATURE)
            return TEMPERATURE
        return wished

    def _answer(
        self, problems: list[et.Problem], path: Path, options: dict[str, Any], quiet: bool
    ) -> dict[str, str]:
        total = options["n"] * len(problems)
        with tqdm(total=total, disable=quiet, desc="candidates") as bar:

            def count(event: Any) -> None:
                bar.update(event.finish_reason is not None)

            et.generate_pools(self.lm, problems, path, resume=True, on_token=count, **options)
        chosen, nobody = {}, 0
        for pool in et.score_pools(self.lm, et.read_pools(path), self.scorer):
            try:
                chosen[pool.problem] = et.select(pool, self.rule, **self._of_rule).text
            except ValueError as error:
                if not nobody:
                    _log.warning("problem %s: %s", pool.problem, error)
                nobody += 1
                chosen[pool.problem] = ""
        if nobody:
            _log.warning("%s of %s problems got an empty answer for that", nobody, len(problems))
        return chosen


def _problems(requests: Sequence[Instance]) -> list[et.Problem]:
    """Each request as a problem; the same one again has draws of its own."""
    seen: Counter[str] = Counter()
    problems = []
    for place, request in enumerate(requests):
        task = request.task_name or "task"
        name = f"{task}/{place if request.doc_id is None else request.doc_id}"
        again = seen[name]
        seen[name] += 1
        if not str(request.args[0]).strip():
            raise ValueError(f"{name}: the prompt is empty")
        problems.append(et.Problem(request.args[0], f"{name}/{again}" if again else name))
    return problems
