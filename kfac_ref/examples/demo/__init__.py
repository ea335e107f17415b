"""The main job: train a small net with K-FAC, and measure every approximation.

problem.py    the data and the net
training.py   a few K-FAC steps
measuring.py  the exact Fisher, its approximations, and how far they are from it
reporting.py  table, figures, and a file with the numbers
"""

from __future__ import annotations

from time import perf_counter

from kfac_ref.examples.demo.measuring import measure
from kfac_ref.examples.demo.problem import Settings, make_problem
from kfac_ref.examples.demo.reporting import announce, report
from kfac_ref.examples.demo.training import train
from kfac_ref.examples.running import one_thread
from kfac_ref.extras import check_extras
from kfac_ref.files import make_folder
from kfac_ref.optimizer.training import watched

__all__ = ["Settings", "run"]


def run(settings: Settings) -> None:
    """Run the whole demo, from the data to the figures. Raises KfacError, OSError."""
    start = perf_counter()
    make_folder(settings.out)
    digits, seen = settings.data == "digits", watched()
    modules = ["matplotlib", "threadpoolctl", *["sklearn"] * digits, *["tqdm"] * seen]
    check_extras("the demo", *modules)
    with one_thread():
        problem = make_problem(settings)
        announce(problem)
        training = train(problem)
        report(problem, training, measure(problem, training))
    print(f"{perf_counter() - start:.0f} s in all")
