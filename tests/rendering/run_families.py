"""Plays a tiny model of each family on a device; writes a line of JSON for each: its logits."""

import json
import lzma
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from played_device import play
from tinygrad import Device

import edifice_tt as et
from edifice_tt.machine.toolchain import open_device

PACKED = Path(__file__).parent.parent / "references" / "models"
LOGITS = json.loads(lzma.decompress((PACKED / "logits.json.xz").read_bytes()))


def main() -> None:
    play(Device.DEFAULT)
    open_device()
    for packed in sorted(PACKED.glob("*.gguf.xz")):
        name = packed.name.removesuffix(".gguf.xz")
        with TemporaryDirectory() as folder:
            path = Path(folder, f"{name}.gguf")
            path.write_bytes(lzma.decompress(packed.read_bytes()))
            lm = et.load_pretrained(path)
            one = LOGITS[name][0]
            logits = lm(np.array([one["token_ids"]], np.int32)).logits.numpy()[0]
        found = np.take_along_axis(logits, np.array(one["top_ids"]), 1)
        line = {"family": name, "found": found.tolist(), "expected": one["top_logits"]}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
