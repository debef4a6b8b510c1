"""`python -m edifice_tt` is `edifice-tt`."""

import sys

from edifice_tt.cli import main

if __name__ == "__main__":
    sys.exit(main())
