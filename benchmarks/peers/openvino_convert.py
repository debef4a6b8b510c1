"""Folders of Hugging Face as OpenVINO has them, weights in whole numbers, by optimum-intel."""

from importlib.metadata import version
from pathlib import Path

import openvino
from openvino_tokenizers import convert_tokenizer
from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
from transformers import AutoTokenizer

VERSIONS = {"optimum-intel": version("optimum-intel"), "nncf": version("nncf")}
_WEIGHTS = {
    "openvino-int4": {"bits": 4, "sym": True, "group_size": 32, "ratio": 1.0},
    "openvino-int8": {"bits": 8, "sym": True},  # a scale for each row: more it does not know
}


def convert(source: str, target: str, kind: str) -> None:
    """Write the folder `target`."""
    rounding = OVWeightQuantizationConfig(**_WEIGHTS[kind])
    model = OVModelForCausalLM.from_pretrained(
        source, export=True, compile=False, quantization_config=rounding
    )
    model.save_pretrained(target)
    made = convert_tokenizer(AutoTokenizer.from_pretrained(source), with_detokenizer=True)
    for part, name in zip(made, ("tokenizer", "detokenizer"), strict=True):
        openvino.save_model(part, Path(target, f"openvino_{name}.xml"))
