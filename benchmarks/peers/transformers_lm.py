"""transformers: a prompt once, its keys and values given to N rows, then steps.

Steps read fixed tokens and nothing is sampled, which is generous to it.
"""

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers

# The last two read GGUF files; a missing one is said at once, by name.
VERSIONS = {name: version(name) for name in ("transformers", "torch", "gguf", "accelerate")}
_open: dict[str, Any] = {}


def convert(source: str, target: str, kind: str) -> None:
    """Write the folder `target`, as Hugging Face has them: weights de-quantised, in float32."""
    folder, name = Path(source).parent, Path(source).name
    read = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype="float32"
    )
    # What was read of a GGUF file is not written, so it is put into a model that was not.
    config = type(read.config).from_dict(
        {k: v for k, v in read.config.to_dict().items() if k != "quantization_config"}
    )
    config.rope_theta = config.rope_parameters["rope_theta"]  # for readers before transformers 5
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(target)
    transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)


def load(
    file: str,
    threads: int,
    rows: int,
    prompt: int,
    new: int,
    device: str = "cpu",
    dtype: str = "float32",
    sizes: dict[str, int] | None = None,
) -> dict[str, str]:
    """The model of a folder, or of a GGUF file; with `sizes` a Llama of random weights.

    Returns its precisions.
    """
    torch.set_num_threads(threads)
    precision = dict.fromkeys(("weights", "activations", "keys and values"), dtype)
    if "model" in _open:
        return precision
    kind = getattr(torch, dtype)
    if sizes:
        config = transformers.LlamaConfig(**sizes, dtype=kind, tie_word_embeddings=True)
        with torch.device(device):
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=kind)
    elif Path(file).is_dir():
        model = transformers.AutoModelForCausalLM.from_pretrained(file, dtype=kind)
    else:
        folder, name = Path(file).parent, Path(file).name
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, dtype=kind
        )
    _open["model"] = model.to(device).eval()
    return precision


def prefill(ids: list[int]) -> dict[str, Any]:
    """Seconds to read a prompt, and the most likely token after it."""
    start = time.perf_counter()
    token = int(_read(ids, transformers.DynamicCache(config=_open["model"].config)))
    return {"seconds": time.perf_counter() - start, "token": token}


@torch.inference_mode()
def decode(ids: list[int], rows: int, steps: int) -> float:
    """Seconds for `steps` steps of `rows` rows behind one prompt."""
    cache = transformers.DynamicCache(config=_open["model"].config)
    _read(ids, cache)
    cache.batch_repeat_interleave(rows)
    _wait()
    start = time.perf_counter()
    for step in range(steps):
        tokens = torch.full((rows, 1), ids[step % len(ids)], device=_open["model"].device)
        _open["model"](tokens, past_key_values=cache, use_cache=True)
    _wait()
    return time.perf_counter() - start


@torch.inference_mode()
def _read(ids: list[int], cache: Any) -> torch.Tensor:
    given = torch.tensor([ids], device=_open["model"].device)
    out = _open["model"](given, past_key_values=cache, logits_to_keep=1)
    return out.logits[0, -1].argmax()


def _wait() -> None:
    if _open["model"].device.type == "cuda":
        torch.cuda.synchronize()
