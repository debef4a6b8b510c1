"""Plays a tiny model of each family on a device; writes a line of JSON for each: its logits."""

import json
import lzma
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from played_device import NAMES, play
from tinygrad import Device

import edifice_tt as et
from edifice_tt.architectures.causal_lm import CausalLM
from edifice_tt.engine import decoder
from edifice_tt.machine.toolchain import open_device

PACKED = Path(__file__).parent.parent / "references" / "models"
LOGITS = json.loads(lzma.decompress((PACKED / "logits.json.xz").read_bytes()))
PROMPT = 8  # tokens


def decoded(lm: CausalLM, ids: list[int]) -> NDArray[np.float32]:
    """The logits after a prompt that is read token by token, and after a row behind it."""
    of = decoder.Decoder(lambda: lm)
    after_prompt = of.read_prompt(ids[: PROMPT - 1])
    behind = of.cache_for(1, 1).holding(0, of.prefix)
    _, after_row = of.step(np.array([[ids[PROMPT - 1]]], np.int32), behind, [0])
    return np.stack([after_prompt, after_row[0]])


def main() -> None:
    decoder.CHUNK, decoder.ROOM = 1, 16  # what few kernels play
    play(Device.DEFAULT)
    open_device()
    for packed in sorted(PACKED.glob("*.gguf.xz")):
        name = packed.name.removesuffix(".gguf.xz")
        with TemporaryDirectory() as folder:
            path = Path(folder, f"{name}.gguf")
            path.write_bytes(lzma.decompress(packed.read_bytes()))
            lm = et.load_pretrained(path, kv_dtype="float32")
            one = LOGITS[name][0]
            logits = lm(np.array([one["token_ids"]], np.int32)).logits.numpy()[0]
            steps = decoded(lm, one["token_ids"])
        top = np.array(one["top_ids"])
        found, steps = (
            np.take_along_axis(logits, top, 1),
            np.take_along_axis(steps, top[PROMPT - 2 : PROMPT], 1),
        )
        line = {"family": name, "found": found.tolist(), "expected": one["top_logits"]}
        line |= {"decoded": steps.tolist(), "kernels": sorted(NAMES)}
        NAMES.clear()
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
