"""A script of a user, who checks it with `mypy --strict`: every public name, and its types.

It is checked and never run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

import numpy as np
from tinygrad.tensor import Tensor

import edifice_tt as et

HERE = Path("here")


def models() -> et.CausalLM:
    lm = et.load_pretrained("smollm2-135m", device="CPU", dtype="float16", scorer="mlp")
    assert_type(lm, et.CausalLM)
    print(lm.name, lm.device, lm.fingerprint, lm.config.hidden_size, lm.tokenizer.encode("a"))
    out = lm([[1, 2, 3]])
    assert_type(out.logits, Tensor)
    print(out.backbone.shape, out.scores)
    assert_type(et.build("causal_lm", vocab_size=7), et.CausalLM)
    model = et.build("test_time_compute", embed_dim=4)
    assert_type(model, et.TestTimeCompute)
    assert_type(et.jit(model)(np.ones((1, 2, 4))).scores, Tensor)
    assert_type(et.load_edifice(HERE / "theirs.safetensors", embed_dim=4), et.TestTimeCompute)
    et.save_edifice(model, HERE / "ours.safetensors")
    et.save(model, "model.safetensors")
    again = et.load("model.safetensors")
    assert_type(again, et.Model)
    print(again.architecture, again.config, again.device, again(np.ones((1, 2, 4))).backbone)
    if isinstance(again, et.CausalLM):
        assert_type(again, et.CausalLM)
    name: str = input()
    assert_type(et.build(name), et.Model)
    scores: Sequence[Sequence[float]] = [[0.25, 0.5], [1.0, 0.0]]
    for given in (scores, np.asarray(scores), Tensor([0.5, 1.0])):
        assert_type(et.select_best_of_n(given), Tensor)
    print(et.output_size("causal_lm", hidden_size=8), et.recommended_defaults("causal_lm"))
    print(et.architecture("causal_lm").summary, et.list_architectures())
    for one in et.local_models():
        assert_type(one, et.LocalModel)
        print(one.name, one.fits)
    tokenizer = et.Tokenizer.from_folder(HERE)
    print(tokenizer.encode("a"), tokenizer.vocab_size)
    return lm


def shown(progress: et.Progress) -> None:
    print(progress.what, progress.done, progress.total, progress.tokens)


def sampling(lm: et.CausalLM) -> list[et.Pool]:
    question = [{"role": "user", "content": "What is 2 + 2?"}]
    pool = et.generate(lm, question, n=4, seed=0, progress=True)
    assert_type(pool, et.Pool)
    assert_type(pool[0], et.Candidate)
    assert_type(pool[:2], et.Pool)
    print(len(pool), [candidate.text for candidate in pool], pool.num_missing)
    for message in pool.messages or ():
        assert_type(message, et.Message)
    problems = [*et.read_problems("problems.jsonl"), *et.make_problems("largest", 3)]
    problems.append(et.Problem(question, "p1", "4"))
    assert_type(et.generate_pools(lm, problems, "pool.jsonl", n=4, progress=shown), int)
    et.write_pools("other.jsonl", [pool])
    et.write_atomically("note.txt", lambda file: file.write(b"done"))
    et.merge_pools(["pool.jsonl", "other.jsonl"], "all.jsonl")
    et.split_pools("all.jsonl", "train.jsonl", "test.jsonl", train=0.75)
    et.export_pools("all.jsonl", "all.csv")
    print(list(et.import_pools("theirs.jsonl")), et.list_tasks())
    return list(et.read_pools("all.jsonl"))


def scoring(lm: et.CausalLM, pools: list[et.Pool]) -> list[et.Pool]:
    fit = et.fit_scorer(lm, pools, "mlp", epochs=3, progress=shown)
    assert_type(fit, et.Fit)
    assert_type(fit.verifier, et.Verifier)
    print(fit.quality.auroc_within, fit.best_epoch)
    fit.verifier.save("verifier.safetensors")
    verifier = et.load_verifier("verifier.safetensors", device="CPU")
    judge = et.load_reward("judge.gguf", device="CPU")
    assert_type(judge, et.Judge)
    pools = [et.score(lm, et.score(None, pool, judge, "min"), verifier) for pool in pools]
    pools = list(et.score_pools(None, pools, "logprob", progress=True, executor="ray"))
    pools = [et.score(None, pool, brevity, range="probability") for pool in pools]
    pools = et.combine_scores(et.calibrate_scores(pools, "logprob"), ["logprob", "verifier"])
    for layer in et.compare_layers(lm, pools, [1, 2], epochs=3):
        print(layer.layer, layer.auroc_within, layer.fit)
    print(et.scorer("mlp").reads, et.list_scorers(), et.list_verifiers())
    assert_type(et.reduce_steps([0.5, 1.0], "mean"), float)
    return pools


def brevity(prompt: str, completions: list[str]) -> list[float]:
    return [1 / (1 + len(text)) for text in completions]


def choosing(pools: list[et.Pool]) -> None:
    pool = et.grade(pools[0], "number")
    choice = et.select(pool, "majority", answer="number")
    assert_type(choice, et.Choice)
    print(choice.index, choice.text, dict(choice.tally), choice.abstained)
    assert_type(et.select(list(pool), first).candidate, et.Candidate)
    print(et.extractor("number")("It is 4."), et.without_thinking("<think>a</think>b"))
    print(et.group_by_answer(pool.candidates, "number"), et.selector("majority").summary)
    print(et.list_selectors(), et.list_extractors())
    curve = et.scaling_curve(pools, ["majority", "oracle"], [1, 2, 4])
    assert_type(curve, et.Curve)
    print([(rule.label, rule.accuracy) for rule in curve.rules], curve.to_dict())
    for agreement in et.compare_scorers(pools):
        assert_type(agreement, et.Agreement)
    replay = et.replay(pools, "adaptive", bootstrap=100)
    assert_type(replay, et.Replay)
    print(replay.spent.samples, et.pass_at_k(4, 2, 2), et.majority_at_k("aab", [1, 1, 0], 2))
    print(et.best_of_k([0.5, 0.25], [1, 0], 2))


def first(candidates: Sequence[et.Candidate]) -> et.Choice:
    return et.Choice(candidates[0], "first", {})


def searching() -> None:
    def advance(ask: et.Ask) -> list[et.Row]:
        return [et.Row(row, "7", 3, ended=True, answer="7") for row in ask.rows]

    found = et.run_search(et.make_search("adaptive", n=5), advance)
    assert_type(found, et.Found)
    outcome, books = found.outcome, found.books
    assert_type(outcome, et.Outcome)
    assert_type(books, et.Books)
    print(et.Until(tokens=3), found.chosen, et.list_searches(), et.list_executors())


def live() -> None:
    lm = et.load_pretrained("smollm2-135m")
    problems = [et.Problem("What is 12 + 30?", "p1", "42")]
    assert_type(et.search_pools(lm, problems, "pool.jsonl", answer="number", workers=2), int)
    assert_type(et.search(lm, "What is 12 + 30?", "adaptive", answer="number"), et.Pool)
    empty = et.Pool("What is 12 + 30?", ())
    with et.fill_pool("pool.jsonl", [empty], {"n": 2}) as filling:
        assert_type(filling, et.Filling)
        print(et.read_choices({"choices": [{"text": "42"}]}))


def errors() -> None:
    try:
        models()
    except (et.CheckpointError, et.NameTakenError, et.PluginError, et.ToolchainError) as error:
        print(error)
    except et.UnknownNameError:
        raise et.unknown_name("colour", "gren", ["green"]) from None
    except et.EdificeError:
        print(et.PluginWarning, et.PoolWarning, et.PrecisionWarning, et.TrainedOnWarning)


class Config:
    """Options of a plugin's model."""


def plugin() -> None:
    print(et.hookimpl, et.make_config(Config, "mine", {}), et.__version__)
