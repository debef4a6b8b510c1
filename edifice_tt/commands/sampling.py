"""Commands that sample: generate, best-of."""

import argparse
import sys
from typing import Any

import edifice_tt as et
from edifice_tt import terminal
from edifice_tt.commands import options
from edifice_tt.commands.options import Add
from edifice_tt.registry import load_registry


def register(add: Add) -> None:
    """Add the commands of this room."""
    generate = add("generate", _generate, "sample candidates into a pool", options.add_sampling)
    generate.add_argument(
        "-o", "--output", type=options.new_file, help="pool file (default: print it)"
    )
    best = add(
        "best-of", _best_of, "sample, score, select", options.add_sampling, options.add_selection
    )
    best.add_argument(
        "-o", "--output", type=options.new_file, help="keep the scored pool in this file"
    )


def _generate(arguments: argparse.Namespace) -> None:
    pool = _sample(arguments, *_open(arguments))
    if arguments.output:
        pool.save(arguments.output)
        terminal.say(f"{len(pool)} candidates in {arguments.output}")
    if arguments.json:
        terminal.print_json(pool.to_dict())
    elif not arguments.output:
        print(terminal.show_candidates(pool))


def _best_of(arguments: argparse.Namespace) -> None:
    from edifice_tt.inference import answers, score, select

    # What can be wrong is found before minutes of sampling.
    chosen = {} if arguments.answer is None else {"answer": arguments.answer}
    select.check_options(arguments.rule, chosen)
    if chosen:
        answers.extractor(arguments.answer)
    found = load_registry()
    record = found.find("scorer", arguments.scorer or "logprob")
    scorer = record.name
    select.check_range(found.find("selector", arguments.rule), scorer, record.range)
    prompt, lm = _open(arguments)
    score.check_scorer(lm, scorer)
    pool, choice = _sample(arguments, prompt, lm), None
    try:
        pool = et.score(lm, pool, scorer=scorer)
        choice = et.select(pool, arguments.rule, **chosen)
    finally:  # what was sampled is not lost when the scorer fails or the rule chooses nobody
        _show_best(arguments, pool, choice)
        if arguments.output:
            pool.save(arguments.output)


def _show_best(arguments: argparse.Namespace, pool: Any, choice: Any) -> None:
    if arguments.json:
        terminal.print_json({"choice": choice and choice.to_dict(), "pool": pool.to_dict()})
    else:
        print(terminal.show_choice(pool, choice))


def _open(arguments: argparse.Namespace) -> tuple[str, Any]:
    from edifice_tt.inference.generate import check_settings

    prompt = options.read_prompt(arguments)
    check_settings(**options.settings(arguments))
    terminal.say(f"loading {arguments.model}")
    return prompt, et.load_pretrained(arguments.model, device=arguments.device)


def _sample(arguments: argparse.Namespace, prompt: str, lm: Any) -> Any:
    chat = [{"role": "system", "content": arguments.system}] if arguments.system else []
    chat.append({"role": "user", "content": prompt})
    templated = lm.tokenizer.has_chat_template and not arguments.raw
    with terminal.sampling_progress(arguments.n, arguments.max_tokens) as on_token:
        pool = et.generate(
            lm,
            chat if templated else prompt,
            **options.settings(arguments),
            stop=arguments.stop,
            on_token=on_token,
        )
    if pool.settings.get("interrupted"):
        print(f"edifice-tt: interrupted; {len(pool)} candidates are finished", file=sys.stderr)
    return pool
