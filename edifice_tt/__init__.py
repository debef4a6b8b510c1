"""Test-time compute on tinygrad: sample N answers, score them, keep the best.

The front door: every public name, each imported from its room when it is first used, so that
`import edifice_tt` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edifice_tt.former import install as _install_former_names
from edifice_tt.machine.toolchain import offer_clang as _offer_clang
from edifice_tt.version import __version__ as __version__

_install_former_names()
_offer_clang()  # here, since the first Tensor of a program may stand before its first call of ours

if TYPE_CHECKING:
    from edifice_tt.architectures.causal_lm import CausalLM as CausalLM
    from edifice_tt.architectures.model import Model as Model
    from edifice_tt.architectures.model import build as build
    from edifice_tt.architectures.test_time_compute import TestTimeCompute as TestTimeCompute
    from edifice_tt.architectures.test_time_compute import select_best_of_n as select_best_of_n
    from edifice_tt.contract.errors import CheckpointError as CheckpointError
    from edifice_tt.contract.errors import EdificeError as EdificeError
    from edifice_tt.contract.errors import NameTakenError as NameTakenError
    from edifice_tt.contract.errors import PluginError as PluginError
    from edifice_tt.contract.errors import PluginWarning as PluginWarning
    from edifice_tt.contract.errors import PoolWarning as PoolWarning
    from edifice_tt.contract.errors import PrecisionWarning as PrecisionWarning
    from edifice_tt.contract.errors import ToolchainError as ToolchainError
    from edifice_tt.contract.errors import TrainedOnWarning as TrainedOnWarning
    from edifice_tt.contract.errors import UnknownNameError as UnknownNameError
    from edifice_tt.contract.errors import unknown_name as unknown_name
    from edifice_tt.contract.hookspecs import hookimpl as hookimpl
    from edifice_tt.contract.options import make_config as make_config
    from edifice_tt.contract.registry import architecture as architecture
    from edifice_tt.contract.registry import list_architectures as list_architectures
    from edifice_tt.contract.registry import list_executors as list_executors
    from edifice_tt.contract.registry import list_extractors as list_extractors
    from edifice_tt.contract.registry import list_scorers as list_scorers
    from edifice_tt.contract.registry import list_searches as list_searches
    from edifice_tt.contract.registry import list_selectors as list_selectors
    from edifice_tt.contract.registry import list_tasks as list_tasks
    from edifice_tt.contract.registry import list_verifiers as list_verifiers
    from edifice_tt.contract.registry import output_size as output_size
    from edifice_tt.contract.registry import recommended_defaults as recommended_defaults
    from edifice_tt.contract.registry import scorer as scorer
    from edifice_tt.contract.registry import selector as selector
    from edifice_tt.engine.jit import jit as jit
    from edifice_tt.live.search import search as search
    from edifice_tt.machine.files import write_atomically as write_atomically
    from edifice_tt.machine.progress import Progress as Progress
    from edifice_tt.pools.candidates import Candidate as Candidate
    from edifice_tt.pools.choices import read_choices as read_choices
    from edifice_tt.pools.export import export_pools as export_pools
    from edifice_tt.pools.filling import Filling as Filling
    from edifice_tt.pools.filling import fill_pool as fill_pool
    from edifice_tt.pools.foreign import import_pools as import_pools
    from edifice_tt.pools.merge import merge_pools as merge_pools
    from edifice_tt.pools.messages import Message as Message
    from edifice_tt.pools.pool import Pool as Pool
    from edifice_tt.pools.pool import Problem as Problem
    from edifice_tt.pools.pool import read_pools as read_pools
    from edifice_tt.pools.problems import read_problems as read_problems
    from edifice_tt.pools.split import split_pools as split_pools
    from edifice_tt.pools.tasks import make_problems as make_problems
    from edifice_tt.pools.writer import write_pools as write_pools
    from edifice_tt.sampling.generate import generate as generate
    from edifice_tt.scoring.judges.judge import Judge as Judge
    from edifice_tt.scoring.judges.load import load_reward as load_reward
    from edifice_tt.scoring.score import score as score
    from edifice_tt.scoring.steps import reduce_steps as reduce_steps
    from edifice_tt.scoring.verifier import Verifier as Verifier
    from edifice_tt.scoring.verifier import load_verifier as load_verifier
    from edifice_tt.search.books import Books as Books
    from edifice_tt.search.loop import Found as Found
    from edifice_tt.search.loop import make_search as make_search
    from edifice_tt.search.loop import run_search as run_search
    from edifice_tt.search.method import Ask as Ask
    from edifice_tt.search.method import Outcome as Outcome
    from edifice_tt.search.method import Row as Row
    from edifice_tt.search.method import Until as Until
    from edifice_tt.selection.answers import extractor as extractor
    from edifice_tt.selection.answers import without_thinking as without_thinking
    from edifice_tt.selection.grade import grade as grade
    from edifice_tt.selection.rules import group_by_answer as group_by_answer
    from edifice_tt.selection.select import Choice as Choice
    from edifice_tt.selection.select import select as select
    from edifice_tt.study.agreement import Agreement as Agreement
    from edifice_tt.study.agreement import compare_scorers as compare_scorers
    from edifice_tt.study.curve import scaling_curve as scaling_curve
    from edifice_tt.study.records import Curve as Curve
    from edifice_tt.study.replay import replay as replay
    from edifice_tt.study.replay_records import Replay as Replay
    from edifice_tt.study.statistics import best_of_k as best_of_k
    from edifice_tt.study.statistics import pass_at_k as pass_at_k
    from edifice_tt.study.voting import majority_at_k as majority_at_k
    from edifice_tt.training.combining import calibrate_scores as calibrate_scores
    from edifice_tt.training.combining import combine_scores as combine_scores
    from edifice_tt.training.fit import Fit as Fit
    from edifice_tt.training.fit import fit_scorer as fit_scorer
    from edifice_tt.training.layers import compare_layers as compare_layers
    from edifice_tt.weights.checkpoint import load as load
    from edifice_tt.weights.checkpoint import save as save
    from edifice_tt.weights.edifice import load_edifice as load_edifice
    from edifice_tt.weights.edifice import save_edifice as save_edifice
    from edifice_tt.weights.local_models import LocalModel as LocalModel
    from edifice_tt.weights.local_models import local_models as local_models
    from edifice_tt.weights.pretrained import load_pretrained as load_pretrained
    from edifice_tt.weights.tokenizer import Tokenizer as Tokenizer
    from edifice_tt.workers.many import generate_pools as generate_pools
    from edifice_tt.workers.many import score_pools as score_pools
    from edifice_tt.workers.many import search_pools as search_pools

_ROOMS = {
    "contract.errors": "CheckpointError EdificeError NameTakenError PluginError PluginWarning "
    "PoolWarning PrecisionWarning ToolchainError TrainedOnWarning UnknownNameError unknown_name",
    "machine.files": "write_atomically",
    "machine.progress": "Progress",
    "contract.hookspecs": "hookimpl",
    "contract.registry": "architecture list_architectures list_executors "
    "list_extractors list_scorers list_searches list_selectors list_tasks list_verifiers "
    "output_size recommended_defaults scorer selector",
    "engine.jit": "jit",
    "contract.options": "make_config",
    "architectures.causal_lm": "CausalLM",
    "architectures.model": "Model build",
    "architectures.test_time_compute": "TestTimeCompute select_best_of_n",
    "weights.checkpoint": "load save",
    "weights.edifice": "load_edifice save_edifice",
    "weights.local_models": "LocalModel local_models",
    "weights.pretrained": "load_pretrained",
    "weights.tokenizer": "Tokenizer",
    "selection.answers": "extractor without_thinking",
    "pools.candidates": "Candidate",
    "pools.choices": "read_choices",
    "pools.messages": "Message",
    "pools.pool": "Pool Problem read_pools",
    "search.books": "Books",
    "search.loop": "Found make_search run_search",
    "search.method": "Ask Outcome Row Until",
    "live.search": "search",
    "sampling.generate": "generate",
    "workers.many": "generate_pools score_pools search_pools",
    "selection.grade": "grade",
    "pools.writer": "write_pools",
    "pools.export": "export_pools",
    "pools.filling": "Filling fill_pool",
    "pools.foreign": "import_pools",
    "pools.problems": "read_problems",
    "pools.merge": "merge_pools",
    "pools.split": "split_pools",
    "selection.rules": "group_by_answer",
    "scoring.judges.judge": "Judge",
    "scoring.judges.load": "load_reward",
    "scoring.score": "score",
    "selection.select": "Choice select",
    "scoring.steps": "reduce_steps",
    "scoring.verifier": "Verifier load_verifier",
    "study.agreement": "Agreement compare_scorers",
    "study.curve": "scaling_curve",
    "study.records": "Curve",
    "study.replay": "replay",
    "study.replay_records": "Replay",
    "study.statistics": "best_of_k pass_at_k",
    "pools.tasks": "make_problems",
    "study.voting": "majority_at_k",
    "training.combining": "calibrate_scores combine_scores",
    "training.fit": "Fit fit_scorer",
    "training.layers": "compare_layers",
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = sorted(_HOMES)


if not TYPE_CHECKING:  # which would take any name for one of the package

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'edifice_tt' has no attribute {name!r}")
        try:
            return getattr(import_module(f"edifice_tt.{_HOMES[name]}"), name)
        except Exception as error:
            from edifice_tt.machine.environment import misread_variable

            if (told := misread_variable(error)) is None:
                raise
            raise told from error


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__version__"]
