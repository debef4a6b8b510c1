"""Commands on pool files: score, select."""

import argparse
from pathlib import Path

import edifice_tt as et
from edifice_tt import terminal
from edifice_tt.commands import options
from edifice_tt.commands.options import Add


def register(add: Add) -> None:
    """Add the commands of this room."""
    score = add("score", _score, "add a scorer's scores to a pool file", options.add_device)
    score.add_argument("pool", type=Path, help="pool file; the scores are appended")
    score.add_argument("--scorer", default="logprob", help="registered scorer (default: logprob)")
    score.add_argument("--model", help="model, for a scorer that reads hidden states")
    select = add("select", _select, "choose a candidate from a pool file", options.add_selection)
    select.add_argument("pool", type=Path, help="pool file")


def _score(arguments: argparse.Namespace) -> None:
    pool = et.Pool.load(arguments.pool)
    lm = et.load_pretrained(arguments.model, device=arguments.device) if arguments.model else None
    pool = et.score(lm, pool, scorer=arguments.scorer)
    pool.append_scores(arguments.pool, arguments.scorer)
    if arguments.json:
        terminal.print_json(pool.to_dict())
    else:
        print(terminal.show_candidates(pool))


def _select(arguments: argparse.Namespace) -> None:
    pool = et.Pool.load(arguments.pool)
    choice = et.select(pool, arguments.rule, **options.selection_options(arguments))
    if arguments.json:
        terminal.print_json({"choice": choice.to_dict()})
    else:
        print(choice.text)
