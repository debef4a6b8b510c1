"""A GGUF file stays mapped: a change of it is noticed, and a pickled model does not need it."""

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from types import SimpleNamespace

import pytest
from test_loading_memory import IQ3_S, Q4_K, Q6_K, Q8_0, write_model
from tinygrad import Tensor

import edifice_tt as et
from edifice_tt.architectures import fingerprint
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.engine.hidden import read_hidden
from edifice_tt.nn.mapped import check_unchanged
from edifice_tt.testing import byte_tokenizer
from edifice_tt.weights.gguf_header import GGUFHeader

IDS = [[5, 7, 11]]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("file") / "m.gguf", 259, 256, (Q8_0, Q8_0))


@pytest.fixture
def path(original, tmp_path):
    return shutil.copyfile(original, tmp_path / "m.gguf")


@pytest.fixture
def lm(path):
    lm = et.load_pretrained(path, device="CPU")
    lm.tokenizer = byte_tokenizer()
    return lm


def cut(path):
    os.truncate(path, 4096)


def overwrite(path):
    """As many bytes, one of them another."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as file:
        file.write(content)


def append(path):
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.slow
@pytest.mark.parametrize("change", [cut, overwrite, append])
def test_a_mapped_file_that_changes_is_one_error_at_the_next_call(path, lm, change):
    lm(IDS)
    pool = et.generate(lm, "a", n=2, max_tokens=2)
    fast, ids = et.jit(lm), Tensor(IDS, device="CPU")
    fast(ids)
    before = path.stat().st_size
    change(path)
    said = (
        rf"m.gguf: changed since it was loaded \(size {before}, now {path.stat().st_size}\); load"
    )
    for call in (
        lambda: lm(IDS),
        lambda: fast(ids),
        lambda: et.generate(lm, "a", n=2, max_tokens=2),
        lambda: read_hidden(lm, pool),
        lambda: copy(lm)(IDS),
    ):
        with pytest.raises(CheckpointError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)


def replace(path):
    other = path.with_name("other")
    other.write_bytes(b"another model")
    other.replace(path)


@pytest.mark.slow
@pytest.mark.parametrize("change", [replace, os.remove, os.utime], ids=lambda f: f.__name__)
def test_a_name_that_comes_to_mean_another_file_changes_nothing(path, lm, change):
    """Nor does a deleted one; that a file is only touched cannot be told from a change."""
    expected = lm(IDS).logits.numpy()
    change(path)
    if change is os.utime:
        with pytest.raises(CheckpointError, match="changed since it was loaded"):
            lm(IDS)
    else:
        assert (lm(IDS).logits.numpy() == expected).all()
        assert len(lm.fingerprint) == 32


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"activations": "int8"}], ids=str)
def test_a_model_that_is_not_mapped_needs_its_file_no_more(path, options):
    lm = et.load_pretrained(path, device="CPU", **options)
    known, expected = lm.fingerprint, lm(IDS).logits.numpy()
    cut(path)
    assert (lm(IDS).logits.numpy() == expected).all()
    assert lm.fingerprint == known


def test_a_fingerprint_is_not_taken_of_a_file_that_changed(path, monkeypatch):
    late = []

    def begin_late(target, daemon):
        return SimpleNamespace(start=lambda: late.append(target))

    monkeypatch.setattr(fingerprint, "Thread", begin_late)
    lm = et.load_pretrained(path, device="CPU", dtype="float32")
    overwrite(path)
    for work in late:
        work()
    with pytest.raises(CheckpointError, match="changed since it was loaded"):
        _ = lm.fingerprint


def test_threads_read_a_file_at_the_same_time(path):
    """A model is hashed while it is loaded."""
    header = GGUFHeader(path)
    spans = [(start, start + 331) for start in range(0, len(header.data) - 331, 331)] * 3

    def differ(spans):
        return [span for span in spans if (header.read(*span) != header.mapped(*span)).any()]

    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(differ, (spans, spans[::-1], spans[1::2]))] == [[]] * 3


def pickled(lm):
    return pickle.loads(pickle.dumps(lm))


@pytest.mark.slow
@pytest.mark.parametrize("copied", [copy, deepcopy, pickled], ids=lambda f: f.__name__)
@pytest.mark.parametrize("kinds", [(Q8_0, Q8_0), (IQ3_S, IQ3_S)], ids=str)
@pytest.mark.parametrize("asked", [True, False], ids=["asked before", "not asked"])
def test_a_copy_is_the_same_model_until_a_weight_is_replaced(tmp_path, copied, kinds, asked):
    path = write_model(tmp_path / "m.gguf", 259, 256, kinds)
    lm = et.load_pretrained(path, device="CPU")
    expected = lm(IDS).logits.numpy()
    known = lm.fingerprint if asked else None
    other = copied(copied(lm))
    assert (other(IDS).logits.numpy() == expected).all()
    assert other.fingerprint == lm.fingerprint == (known or lm.fingerprint)
    weight = other.backbone.final_norm.weight
    kept = weight.uop
    weight.replace((weight + 1).contiguous().realize())
    assert other.fingerprint != (known or et.load_pretrained(path, device="CPU").fingerprint)
    weight.uop = kept  # and is again what it was
    assert other.fingerprint == lm.fingerprint


def test_a_pickle_needs_the_file_no_more(path, lm):
    expected = lm(IDS).logits.numpy()
    shared, other = deepcopy(lm), pickled(lm)
    cut(path)
    with pytest.raises(CheckpointError, match="changed since it was loaded"):
        check_unchanged(shared)
    check_unchanged(other)
    assert (other(IDS).logits.numpy() == expected).all()


def test_loading_notices_a_file_that_changes_meanwhile(path, monkeypatch):
    from edifice_tt.weights import llama

    def check(*args, **options):
        overwrite(path)

    monkeypatch.setattr(llama, "check_weights", check)
    with pytest.raises(CheckpointError, match="changed since it was loaded"):
        et.load_pretrained(path, device="CPU")


@pytest.mark.parametrize("activations", ["float32", "int8"])
@pytest.mark.parametrize(("kind", "at"), [(Q4_K, 144 - 2), (Q6_K, 2)], ids=str)
def test_a_scale_that_is_no_number_is_told_when_a_file_is_loaded(tmp_path, kind, at, activations):
    """In the last block: the minima of Q4_K, behind which 140 bytes follow, and the end of Q6_K."""
    path = write_model(tmp_path / "m.gguf", 259, 256, (kind, kind))
    et.load_pretrained(path, device="CPU", activations=activations)
    header = GGUFHeader(path)
    end = header.entries["blk.1.ffn_down.weight"].stop
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - len(header.data) + end - at)
        file.write(b"\xff\x7f")
    with pytest.raises(CheckpointError, match=r"'blk\.1\.ffn_down\.weight' holds NaN or inf"):
        et.load_pretrained(path, device="CPU", activations=activations)
