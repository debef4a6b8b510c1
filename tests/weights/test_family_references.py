"""Tiny models of each family against transformers, which ran the same weights in float32.

`references/models` has a GGUF file of each, in the blocks that published files are made of, and two
folders. `EDIFICE_TT_MODELS` may name a folder with more of them; those are tried, too.
"""

import json
import lzma
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from processors import BFLOATS

import edifice_tt as et
from edifice_tt.engine.decoder import Decoder
from edifice_tt.machine.toolchain import list_devices
from edifice_tt.nn.cpu import team

PACKED = Path(__file__).parent.parent / "references" / "models"
LOGITS = json.loads(lzma.decompress((PACKED / "logits.json.xz").read_bytes()))
MORE = os.environ.get("EDIFICE_TT_MODELS", "")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The path of a packed model."""

    def unpack(name):
        folder = tmp_path_factory.mktemp(name)
        if name.endswith("-folder"):
            # Python has the filter from 3.11.4 on, and from 3.14 on by default.
            safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            with tarfile.open(PACKED / f"{name}.tar.xz") as archive:
                archive.extractall(folder, **safely)
            return folder / "hf"
        path = folder / f"{name}.gguf"
        path.write_bytes(lzma.decompress((PACKED / f"{name}.gguf.xz").read_bytes()))
        return path

    return unpack


@pytest.fixture(autouse=True)
def _the_smallest_product_is_shared(monkeypatch):
    monkeypatch.setattr(team, "LEAST", 1)


def check(lm, reference):
    """Logits within 1e-4 at every position, the hidden state, and the same greedy answer."""
    for one in reference:
        ids = one["token_ids"]
        text = np.array([[*ids, *one["greedy_ids"][:-1]]], np.int32)
        out = lm(text)
        logits, hidden = out.logits.numpy()[0], out.backbone.numpy()[0, len(ids) - 1]
        top = np.take_along_axis(logits[: len(ids)], np.array(one["top_ids"]), 1)
        assert top == pytest.approx(np.array(one["top_logits"]), abs=1e-4)
        exact = logits[: len(ids)].astype(np.float64)
        assert np.log(np.exp(exact).sum(1)) == pytest.approx(one["logsumexp"], abs=1e-4)
        assert hidden == pytest.approx(np.array(one["last_hidden"]), abs=1e-4)
        assert logits[len(ids) - 1 :].argmax(1).tolist() == one["greedy_ids"]


def check_decoding(lm, ids):
    """Rows behind a shared prompt, and alone, have the bits of the whole text read at once.

    So they have where three threads share the work of each step.
    """
    prompt, rows = ids[:67], np.array([ids[67:72], ids[72:77], ids[77:82]])
    whole = lm(np.array([[*prompt, *row] for row in rows], np.int32)).logits.numpy()
    decoder = Decoder(lambda: lm)
    for chosen, cores in (([0, 1, 2], 1), ([1], 1), ([0, 1, 2], 3), ([1], 3)):
        with decoder.helped(cores):
            decoder.drop_prompt()
            assert (decoder.read_prompt(prompt) == whole[0, 66]).all()
            cache = decoder.cache_for(len(chosen), 5)
            given = np.zeros((cache.batch, 1), np.int32)
            for t in range(5):
                given[: len(chosen), 0] = rows[chosen, t]
                behind = cache.holding(t, decoder.prefix)
                logits = decoder.step(given, behind, range(len(chosen)))[1]
                assert (logits[: len(chosen)] == whole[chosen, 67 + t]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGITS)
def test_a_family_computes_what_transformers_does(unpacked, name):
    check(et.load_pretrained(unpacked(name)), LOGITS[name])


@pytest.mark.slow
def test_a_family_in_blocks_computes_what_transformers_does_on_a_gpu(unpacked, monkeypatch):
    if "CL" not in list_devices():
        pytest.skip("there is no OpenCL, which stands for a GPU here")
    monkeypatch.setenv("POCL_EXTRA_BUILD_FLAGS", "-cl-opt-disable")  # compiles in half the time
    check(et.load_pretrained(unpacked("qwen2-tied"), device="CL"), LOGITS["qwen2-tied"][:1])


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGITS)
def test_a_family_decodes_what_it_reads(unpacked, name):
    check_decoding(et.load_pretrained(unpacked(name)), LOGITS[name][1]["token_ids"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in LOGITS if not n.endswith("-folder")])
@pytest.mark.parametrize("activations", ["int8", pytest.param("bfloat16", marks=BFLOATS)])
def test_rounded_activations_err_no_more_than_llama_cpp_does(unpacked, name, activations):
    lm = et.load_pretrained(unpacked(name), activations=activations)
    assert lm.activations == activations
    for one in LOGITS[name]:
        logits = lm(np.array([one["token_ids"]], np.int32)).logits.numpy()[0]
        error = np.take_along_axis(logits, np.array(one["top_ids"]), 1) - one["top_logits"]
        assert 0 < np.abs(error).max() < one["llama_cpp_max"]
    check_decoding(lm, LOGITS[name][1]["token_ids"])


@pytest.mark.slow
@pytest.mark.skipif(not MORE, reason="EDIFICE_TT_MODELS names no folder")
def test_every_other_file_computes_what_transformers_does():
    safetensors = pytest.importorskip("safetensors.numpy")
    tried = 0
    for folder in sorted(path for path in Path(MORE).iterdir() if (path / "hf").is_dir()):
        for path in [folder / "hf", *folder.glob("*.gguf")]:
            kind = "" if path.suffix == "" else f"-{path.stem.rpartition('-')[2]}"
            kind = "" if kind == "-F16" else kind
            found = safetensors.load_file(folder / f"reference{kind}.safetensors")
            names = ("token_ids", "top_ids", "top_logits", "logsumexp", "last_hidden", "greedy_ids")
            one = {name: found[f"1.{name}"].tolist() for name in names}
            one["token_ids"] = np.ravel(one["token_ids"]).tolist()
            check(et.load_pretrained(path), [one])
            tried += 1
    assert tried > 1
