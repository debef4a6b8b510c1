"""The kit checks a file format: sound ones pass, and each broken promise is named."""

import numpy as np
import pytest

from edifice_tt.contract.errors import CheckpointError
from edifice_tt.testing import BrokenPromise, check_format, tiny_model

HEAD = b"TINY"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "small.tiny").write_bytes(HEAD + np.ones(3, np.float32).tobytes())
    return tmp_path / "small.tiny"


def load(path):
    """A model with one weight of the file, of a format with a mark and twelve bytes."""
    if not path.is_file() or (content := path.read_bytes())[:4] != HEAD:
        return None
    if len(content) != 16:
        raise CheckpointError(f"{path}: {len(content)} bytes, expected 16")
    lm = tiny_model(scorer=None)
    lm.factor = np.frombuffer(content[4:], np.float32)
    return lm


@pytest.mark.slow
def test_a_sound_format_passes(path):
    check_format(path, load)


def test_a_folder_is_a_format_too(path):
    check_format(path.parent, lambda folder: load(folder / "small.tiny"))


def changes(path):
    lm = load(path)
    if lm is not None:
        path.write_bytes(path.read_bytes()[:4] + np.zeros(3, np.float32).tobytes())
    return lm


def other_weights(path, calls=iter(range(1000))):  # noqa: B008, the breach: each call has others
    lm = load(path)
    if lm is not None:
        weight = lm.token_embedding.weight
        weight.replace((weight + next(calls)).contiguous().realize())
    return lm


def with_tokenizer(tokenizer):
    def give(path):
        if (lm := load(path)) is not None:
            lm.tokenizer = tokenizer
        return lm

    return give


def nan(path):
    if (lm := load(path)) is not None:
        lm.backbone.final_norm.weight.replace(lm.backbone.final_norm.weight * float("nan"))
    return lm


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda path: None, "no plugin reads it; expected a model, given None"),
        (lambda path: 1 / 0, "raises when the file is loaded: ZeroDivisionError"),
        (lambda path: "model", "gives 'model', expected a causal_lm; make it by"),
        (with_tokenizer("words"), "the tokenizer 'words', expected an edifice_tt.Tokenizer"),
        (nan, "a model whose logits are not all finite numbers"),
        (lambda path, one=[]: one[0] if one else one.append(load(path)) or one[0], "same model tw"),
        (other_weights, "gives other weights when it is loaded again: the fingerprints are"),
        (changes, "changes its file .*small.tiny; only read it"),
        (lambda path: tiny_model(), r"for a file of another format \(empty\), expected None"),
        (
            lambda path: tiny_model() if path.read_bytes()[3] else None,
            r"raises IndexError: .* for a file of another format \(empty\), expected None or a Che",
        ),
        (
            lambda path: load(path) if len(path.read_bytes()) in (0, 12, 16, 4096) else {}["x"],
            "raises KeyError: 'x' for a file of which 1/8 are left, expected None or a CheckpointE",
        ),
    ],
)
@pytest.mark.first(3)
def test_a_format_that_breaks_a_promise_is_told_which(path, broken, message):
    with pytest.raises(BrokenPromise, match=message):
        check_format(path, broken)
