"""Former names of modules, for one release: importing one gives the module that it is now.

Only what was public by name is promised (`edifice_tt.NAME`). This spares scripts and plugins that
reached further inside a change on the day of an update.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_ROOT = "edifice_tt."
_PACKAGES = ("inference", "commands", "report")
_NOW = {
    "contract": "errors hookspecs plugins records registry tracing",
    "machine": "environment exclusive files json_text memory toolchain",
    "pools": "chat_text study.families study.tasks",
    "selection": "inference.answers inference.expressions inference.grade inference.numerals "
    "inference.rules inference.select inference.spelling",
    "engine": "inference.capacity inference.captures inference.decoder inference.hidden nn.jit "
    "inference.lockstep inference.prefill inference.programs inference.workspace",
    "sampling": "inference.generate inference.settings inference.stops",
    "scoring": "inference.score inference.steps inference.verifier",
    "study.report": "report.charts report.page report.problems report.sections report.svg",
    "architectures": "nn.copies nn.fingerprint",
    "cli": "commands.curve commands.curve_table commands.installed commands.options commands.pools "
    "commands.sampling commands.training terminal",
    "nn.cpu": "nn.kernels nn.replay",
    "nn.stored": "nn.int8",
}
_RENAMED = {
    "architectures.options": "contract.options",
    "inference.candidates": "pools.pool",
    "inference.generate_pools": "sampling.runs",
    "inference.pool_file": "pools.pool",
    "inference.pool_import": "pools.foreign",
    "inference.pool_lines": "pools.lines",
    "inference.pool_merge": "pools.merge",
    "inference.pool_reader": "pools.pool",
    "inference.sampling": "sampling.draws",
    "nn.init": "nn.buffers",
    "nn.precision": "nn.stored.halves",
    "nn.quantized": "nn.stored.blocks",
    "nn.scorers": "nn.heads",
    "verifiers": "scoring.shipped",
    "weights.llama": "weights.gguf_model",
    "weights.llama_config": "weights.gguf_config",
    "weights.tokenizer_folder": "weights.tokenizer.folder",
    "weights.tokenizer_gguf": "weights.tokenizer.gguf",
    "weights.vocabulary": "weights.tokenizer.vocabulary",
}
FORMER = _RENAMED | {
    former: f"{room}.{former.rpartition('.')[2]}"
    for room, names in _NOW.items()
    for former in names.split()
}


class _Former(MetaPathFinder, Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        former = name.removeprefix(_ROOT)
        if former == name or former not in (*FORMER, *_PACKAGES):
            return None
        return ModuleSpec(name, self, is_package=former in _PACKAGES)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        now = FORMER.get(spec.name.removeprefix(_ROOT))
        if now is None:
            return None
        module = import_module(_ROOT + now)
        spec.loader_state = module.__spec__  # which Python overwrites
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state


def install() -> None:
    """Let former names be imported; asked last, so that no present name is looked up here."""
    if not any(isinstance(finder, _Former) for finder in sys.meta_path):
        sys.meta_path.append(_Former())
