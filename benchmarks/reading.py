"""Counts what one must open to follow K-FAC: `python -m benchmarks.reading`.

For some calls it counts, with sys.setprofile, the functions of the package that are
entered and their files; then the lines and files of every room, and of the two paths of
reading that the package's docstring marks. `--draw 10 --seed 0`
prints functions drawn at random, for a reader to judge.
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kfac_ref
from kfac_ref import Network, curvature
from kfac_ref.distributions import Categorical
from kfac_ref.layers import Dense, Tanh

ROOT = Path(kfac_ref.__file__).parent

FIRST_HOUR = """
    network.py estimates.py pairs.py structures/kronecker.py damping/rules.py
    optimizer/kfac.py optimizer/proposal.py
""".split()
PATHS = {  # what somebody reads, in this order
    "first hour": FIRST_HOUR,
    "afternoon": FIRST_HOUR
    + """
        layers/base.py layers/dense.py layers/activations.py layers/containers.py
        distributions/base.py distributions/categorical.py
        matrices/base.py matrices/kronecker.py matrices/block_diagonal.py
        matrices/diagonal.py matrices/eigen_kronecker.py
        structures/__init__.py structures/dense.py structures/diagonal.py
        structures/eigenvalue_corrected.py exact/dense.py exact/products.py
        damping/pi.py damping/factors.py quadratic_model.py
        optimizer/averages.py optimizer/statistics.py optimizer/state.py
        optimizer/stages.py optimizer/levenberg_marquardt.py
    """.split(),
}


def entered(call: Callable[[], Any]) -> list[tuple[str, str]]:
    """(file, function) for every function of the package that a call enters."""
    found: set[tuple[str, str]] = set()

    def look(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and Path(code.co_filename).is_relative_to(ROOT):
            file = str(Path(code.co_filename).relative_to(ROOT))
            if not code.co_qualname.endswith(">"):  # a comprehension, a lambda
                found.add((file, code.co_qualname))

    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    return sorted(found)


def calls() -> dict[str, Callable[[], Any]]:
    """The calls to count, on a net with two dense layers."""
    rng = np.random.default_rng(0)
    net = Network([Dense(8, 6), Tanh(), Dense(6, 3)], Categorical())
    params, x = net.init(rng), rng.normal(size=(50, 8))
    K, v = curvature(net, params, x, "kronecker"), rng.normal(size=net.size)
    return {
        'curvature(net, params, x, "kronecker")': lambda: curvature(
            net, params, x, "kronecker"
        ),
        "K.solve(v, damping=0.1)": lambda: K.solve(v, damping=0.1),
    }


def sizes() -> dict[str, tuple[int, int]]:
    """Lines and files of every room, and of each file at the top."""
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0]
        lines[room] += len(path.read_text().splitlines())
        files[room] += 1
    return {room: (lines[room], files[room]) for room in lines}


def lines_of(files: list[str]) -> int:
    """Lines of some files of the package."""
    return sum(len((ROOT / file).read_text().splitlines()) for file in files)


def functions() -> list[str]:
    """The source of every function and method, with its file and line."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                found.append(f"# {where}\n{ast.get_source_segment(text, node)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="What a reader must open.")
    parser.add_argument("--list", action="store_true", help="name the functions, too")
    parser.add_argument("--draw", type=int, default=0, help="functions at random")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.draw:
        drawn = random.Random(chosen.seed).sample(functions(), chosen.draw)
        print("\n\n".join(drawn))
        return
    for name, call in calls().items():
        found = entered(call)
        files = {file for file, _ in found}
        print(f"{name}: {len(found)} functions in {len(files)} files")
        for file, function in found if chosen.list else []:
            print(f"    {file}: {function}")
    print()
    for room, (lines, files) in sizes().items():
        print(f"{room:24} {lines:6} lines {files:3} files")
    for name, files in PATHS.items():
        print(f"{'path: ' + name:24} {lines_of(files):6} lines {len(files):3} files")
    every = sizes().values()
    total = sum(lines for lines, _ in every), sum(files for _, files in every)
    print(f"{'all':24} {total[0]:6} lines {total[1]:3} files")


if __name__ == "__main__":
    main()
