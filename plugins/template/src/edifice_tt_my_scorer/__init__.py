"""A text scorer that prefers answers of about 40 words. Replace this with your own criterion."""

from math import exp

from edifice_tt import hookimpl


@hookimpl
def register_scorers(register):
    # The range must hold: exp(-x) with x >= 0 lies within [0, 1]. Otherwise use "unbounded".
    register("my_scorer", my_scorer, reads="text", range="probability", summary="about 40 words")


def my_scorer(target_words=40):
    def score(prompt, completions):  # str, list of str -> list of float, higher is better
        lengths = [len(completion.split()) for completion in completions]
        return [exp(-abs(length - target_words) / target_words) for length in lengths]

    return score
