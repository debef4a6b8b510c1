"""RewardBench's own pipeline on transformers: texts are padded in batches, on the CPU."""

import time
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers

_BATCH = 8


def _pipeline() -> ModuleType:
    """The one module that scores; importing its package needs all that its other parts do."""
    if (package := find_spec("rewardbench")) is None or package.origin is None:
        raise ModuleNotFoundError("rewardbench", name="rewardbench")
    path = Path(package.origin).parent / "models" / "pipeline.py"
    spec = spec_from_file_location("rewardbench_pipeline", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERSIONS = {name: version(name) for name in ("rewardbench", "transformers", "torch")}
_open: dict[str, Any] = {}


def load(folder: str, threads: int) -> None:
    """A sequence classifier in float32, prepared as RewardBench's command does."""
    torch.set_num_threads(threads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.truncation_side = "left"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    )
    pipe = _pipeline().RewardBenchPipeline("text-classification", model, tokenizer)
    if tokenizer.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id = tokenizer.eos_token_id
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    _open["pipe"] = pipe


def rate(chats: list[list[dict[str, str]]]) -> dict[str, Any]:
    """The score of each conversation, and the seconds that all took."""
    # The pipeline moves its inputs to a GPU by name.
    transformers.BatchEncoding.to = lambda self, *_, **__: self
    pipe = _open["pipe"]
    start = time.perf_counter()
    texts = [pipe.tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    scores: list[float] = []
    for at in range(0, len(texts), _BATCH):
        logits = pipe(texts[at : at + _BATCH], padding=True, truncation=True, max_length=2048)
        scores += logits[:, 0].tolist()
    return {"scores": scores, "seconds": time.perf_counter() - start}
