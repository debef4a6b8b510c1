"""The command `edifice-tt plot`: a curve's JSON in, a PNG or SVG out.

Knows the command line; matplotlib is imported only when the command runs.
"""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from edifice_tt import hookimpl

if TYPE_CHECKING:
    from argparse import _SubParsersAction

FORMATS = ("png", "svg")


@hookimpl
def register_commands(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    summary = "draw what `curve --json` measured"
    plot = subparsers.add_parser("plot", help=summary, description=f"{summary.capitalize()}.")
    plot.set_defaults(run=_plot)
    plot.add_argument("curve", help="JSON of `edifice-tt curve POOL --json`; - is standard input")
    plot.add_argument("-o", "--output", type=Path, required=True, help="file, .png or .svg")
    plot.add_argument("--format", choices=FORMATS, help="default: the output's suffix")
    plot.add_argument(
        "--what",
        choices=("all", "curve", "histogram", "calibration"),
        default="all",
        help="default: all that there is data for",
    )
    plot.add_argument(
        "--x", choices=("k", "tokens", "seconds"), default="k", help="x axis of the curve"
    )
    plot.add_argument("--scorer", help="this scorer alone, and the rules that use none")
    plot.add_argument("--title", help="default: the pool's name")
    plot.add_argument(
        "--dpi", type=_dpi, default=150, help="pixels per inch of a PNG (default: %(default)s)"
    )
    plot.add_argument("--style", choices=("light", "dark"), default="light", help="default: light")


def _dpi(text: str) -> int:
    if not (text.isdecimal() and 30 <= int(text) <= 600):
        raise ArgumentTypeError(f"{text}: expected a whole number from 30 to 600")
    return int(text)


def _plot(arguments: Namespace) -> None:
    from edifice_tt import write_atomically
    from edifice_tt_plots.reading import read_curve

    path = arguments.output
    kind = arguments.format or path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"output {path}: expected a name in .png or .svg, or --format png or svg")
    if path.exists() and not path.is_file():
        raise ValueError(f"output {path}: it is there and no file; give another name")
    if arguments.curve == "-":
        curve = read_curve(sys.stdin.buffer.read(), "standard input")
    else:
        curve = read_curve(Path(arguments.curve).read_bytes(), arguments.curve)

    from edifice_tt_plots import figure

    with figure.look(arguments.style) as palette:
        drawn = figure.draw(
            curve,
            palette,
            what=arguments.what,
            x=arguments.x,
            scorer=arguments.scorer,
            title=arguments.title,
        )
        data = figure.render(drawn, kind, arguments.dpi)
    write_atomically(path, lambda file: file.write(data))
    print(path)
