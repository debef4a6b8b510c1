"""`python -m edifice_tt_lm_eval` is `edifice-tt lm-eval`."""

import sys
from argparse import Namespace

from edifice_tt_lm_eval import _run

_run(Namespace(words=sys.argv[1:]))
