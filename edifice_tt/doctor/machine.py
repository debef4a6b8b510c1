"""Checks what is installed, the devices and the memory. Computes nothing."""

import platform
from bisect import bisect_right
from importlib.metadata import PackageNotFoundError, version

from edifice_tt.architectures.causal_lm import CausalLM, CausalLMConfig
from edifice_tt.contract.errors import EdificeError, ToolchainError, reason_of
from edifice_tt.contract.registry import load_registry
from edifice_tt.doctor.check import Check
from edifice_tt.doctor.speed import MODEL
from edifice_tt.engine.capacity import Sampling, needed_bytes
from edifice_tt.machine.memory import available_bytes, in_words
from edifice_tt.machine.toolchain import devices_beside, find_clang, how_to_get_clang, list_devices
from edifice_tt.nn.buffers import in_memory, weight_bytes
from edifice_tt.nn.cache import choose_kv_dtype
from edifice_tt.nn.cpu.instructions import in_use
from edifice_tt.nn.stored.blocks import keeps_blocks
from edifice_tt.nn.stored.halves import supported_dtypes
from edifice_tt.version import __version__
from edifice_tt.weights.gguf_header import is_gguf
from edifice_tt.weights.gguf_model import size_gguf
from edifice_tt.weights.pretrained import locate

# The sizes of the default model, so that its file is not needed.
SIZES = CausalLMConfig(
    vocab_size=49152,
    context_length=8192,
    hidden_size=576,
    num_layers=30,
    num_heads=9,
    num_kv_heads=3,
    ffn_size=1536,
)
CANDIDATES, PROMPT, TOKENS = 16, 64, 128
ANSWER, MOST = 1024, 1024  # tokens of an answer, and candidates, up to which a model is tried


def check_versions() -> list[Check]:
    """The versions of this library, Python and the dependencies."""
    return [
        Check("edifice-tt", __version__),
        Check("python", f"{platform.python_version()} on {platform.platform()}"),
        *(Check(name, _version(name)) for name in ("tinygrad", "numpy", "pluggy", "tokenizers")),
    ]


def check_compiler() -> Check:
    """The compiler of the CPU device."""
    if clang := find_clang():
        return Check("clang", clang)
    return Check("clang", "none", None, f"the CPU device needs it: {how_to_get_clang()}")


def check_processor() -> Check:
    """The instructions that the kernels of the CPU device compute with."""
    try:
        return Check("processor", ", ".join(in_use()))
    except ToolchainError:
        return Check("processor", "not known without a clang that works")


def check_devices() -> Check:
    """The devices that open, with their dtypes."""
    devices = [f"{device} ({_dtypes(device)})" for device in list_devices()]
    return Check("devices", "; ".join(devices) or "none", bool(devices))


def _dtypes(device: str) -> str:
    try:
        return ", ".join(supported_dtypes(device))
    except Exception as error:  # it opens, and its compiler does not
        return f"cannot compile: {reason_of(error)}"


def check_memory(device: str) -> Check:
    """Free memory, and the need of the default model with the default number of candidates."""
    needed, left = default_model_bytes(device), available_bytes(device)
    need = f"{MODEL.name} with {CANDIDATES} candidates of {TOKENS} tokens takes {in_words(needed)}"
    if left is None:
        return Check("memory", f"{device} does not tell what is free; {need}")
    words = f"{in_words(left)} free on {device}; {need}"
    if needed <= left:
        return Check("memory", words, True)
    advice = "end other programs, or sample with --batch-size 1 and fewer --max-tokens"
    return Check("memory", words, False, advice)


def default_model_bytes(device: str) -> int:
    """The bytes of the default model's weights and cache."""
    lm = CausalLM(SIZES)  # without values: nothing is allocated
    lm.kv_dtype = choose_kv_dtype(None, device)
    devices = tuple(devices_beside(device)[: CANDIDATES // 8])
    needed = _sampling_bytes(lm, Sampling(PROMPT, CANDIDATES, TOKENS, 32, devices))
    blocks = MODEL.size_bytes  # which stay as they are where kernels read them
    return needed + blocks + (0 if keeps_blocks(device) else weight_bytes(lm))


def check_fit(model: str, device: str, kv_dtype: str | None = None) -> Check:
    """Whether a model fits on a device, and how many of its candidates decode together."""
    try:
        path, name = locate(model)
        if not is_gguf(path):
            return Check("fit", f"{name} is no GGUF file, so its size is told when it is loaded")
        lm, weights = size_gguf(path, device)
        lm.kv_dtype = choose_kv_dtype(kv_dtype, device)
    except (EdificeError, ValueError) as error:
        return Check("fit", reason_of(error), False, "name another --model")
    tokens = min(ANSWER, lm.config.context_length - 1)

    def needed(n: int) -> int:
        return weights + _sampling_bytes(lm, Sampling(PROMPT, n, tokens, n, (device,)))

    free, words = available_bytes(device), f"{name} takes {in_words(weights)}"
    one = f"{in_words(needed(1))} with one candidate of {tokens} tokens"
    if free is None:
        return Check("fit", f"{words}, {one}; {device} does not tell what is free")
    words = f"{words} of {in_words(free)} free on {device}"
    if needed(1) > free:
        advice = "use a smaller model, blocks of fewer bits, or a device with more memory"
        return Check("fit", f"{words}, {one}: does not fit", False, advice)
    most = bisect_right(range(1, MOST + 1), free, key=needed)
    limit = f"N <= {most}" if most < MOST else f"N = {MOST} and more"
    return Check("fit", f"{words}: fits, {limit} at {tokens} tokens", True)


def _sampling_bytes(lm: CausalLM, task: Sampling) -> int:
    """The bytes beside the weights, on the first device of a task, which holds them."""
    device = task.devices[0]
    is_elsewhere = lm.device != device and not in_memory(device)  # where it was built, unfilled
    return needed_bytes(lm, task)[device] - (weight_bytes(lm) if is_elsewhere else 0)


def check_plugins() -> list[Check]:
    """One check per failed plugin, or one that says that none failed."""
    failures = load_registry().failures
    if not failures:
        return [Check("plugins", "none failed")]
    advice = "mend or uninstall it; EDIFICE_TT_PLUGINS= leaves all out"
    return [
        Check(f"plugin {f.plugin}", f"left out: {f.reason}", False, f"{f.owner}: {advice}")
        for f in failures
    ]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
