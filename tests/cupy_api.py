"""What CuPy offers of NumPy's names: listed from an installed CuPy, without a device.

    python tests/cupy_api.py                    the list of the installed version
    python tests/cupy_api.py LIST OTHER_LIST    what two lists have in common

`tests/cupy_api.txt` is the common part of the lowest and the newest version supported
(`make cupy-api` writes it). One name a line, with its parameters where it is called;
defaults are not compared, so each is written as `...`. The parameters are those of the
Python functions, and of compiled ones those that their docstring begins with. Where
neither says which keywords there are, the line ends in `**unknown`.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("cupy_api.txt")
LIBRARIES = "cublas cufft curand cusolver cusparse nvrtc".split()
BESIDE_NUMPY = {  # what the package calls and NumPy does not have
    "cupy.ndarray": ["get"],
    "cupyx": ["errstate"],
    "cupyx.scipy.linalg": ["solve_triangular"],
    "cupyx.scipy.sparse.linalg": ["LinearOperator"],
}
Signature = inspect.Signature
Parameter = inspect.Parameter
PLACED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class Absent(ModuleType):
    """One of CUDA's libraries on a machine without them: its constants are 0."""

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0


def import_without_cuda() -> ModuleType:
    """CuPy with `cupyx.scipy`, whose modules name CUDA's libraries as they load."""
    import cupy
    import cupy_backends.cuda.libs as libs

    for name in LIBRARIES:
        try:
            getattr(libs, name)
        except (ImportError, AttributeError):
            module = Absent(name)
            sys.modules[f"{libs.__name__}.{name}"] = module
            setattr(libs, name, module)
    import cupyx.scipy.linalg
    import cupyx.scipy.sparse.linalg  # noqa: F401

    return cupy


def installed() -> dict[str, Signature | None]:
    """Dotted name -> signature, None where nothing is called."""
    cupy = import_without_cuda()
    pairs = {
        "cupy": (cupy, np),
        "cupy.linalg": (cupy.linalg, np.linalg),
        "cupy.ndarray": (cupy.ndarray, np.ndarray),
    }
    found: dict[str, Signature | None] = {}
    for prefix, (theirs, numpys) in pairs.items():
        hidden = set(dir(object)) if prefix == "cupy.ndarray" else set(dir(ModuleType))
        for name in (set(dir(theirs)) & set(dir(numpys))) - hidden:
            thing = getattr(theirs, name)
            special = name.startswith("_")  # an operator, whose signature is Python's
            if thing is None or isinstance(thing, ModuleType):
                continue
            if special and prefix != "cupy.ndarray":
                continue
            own = not special and thing is not getattr(numpys, name)
            found[f"{prefix}.{name}"] = signature(thing) if own else None
    for prefix, names in BESIDE_NUMPY.items():
        owner = cupy.ndarray if prefix == "cupy.ndarray" else sys.modules[prefix]
        found |= {f"{prefix}.{n}": signature(getattr(owner, n)) for n in names}
    return found


def signature(thing: Any) -> Signature | None:
    """That of a function, class, method or ufunc, without defaults and annotations."""
    if not callable(thing):
        return None
    if thing.__name__ == "LinearOperator":  # made by __new__, of a class of its own
        thing = sys.modules[thing.__module__]._CustomLinearOperator
    documented = re.match(r"[\w.]+\((.*)\)", (thing.__doc__ or "").replace("\\", ""))
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        try:
            return parse(documented[1])
        except (TypeError, SyntaxError):  # no documented signature, or a broken one
            return parse("*args, **unknown")
    parameters = [
        p.replace(name="unknown") if p.kind is Parameter.VAR_KEYWORD else p
        for p in found.parameters.values()
    ]
    return parse(show(Signature(parameters))[1:-1])


def parse(text: str) -> Signature:
    """Of the text between the brackets; C types before a name are left out."""
    parts = []
    for part in re.sub(r"[(\[].*?[)\]]", "...", text).split(", "):
        name = part.partition("=")[0].split(":")[0].strip().split(" ")[-1]
        parts.append(f"{name}=..." if "=" in part else name)
    scope: dict[str, Any] = {}
    exec(f"def f({', '.join(filter(None, parts))}): ...", scope)
    return inspect.signature(scope["f"])


def show(found: Signature) -> str:
    parameters = [
        p.replace(
            annotation=Parameter.empty,
            default=p.default if p.default is Parameter.empty else ...,
        )
        for p in found.parameters.values()
    ]
    return str(Signature(parameters)).replace("Ellipsis", "...")


def common(a: Signature | None, b: Signature | None) -> Signature | None:
    """What both take: by position as far as the positions agree, or by name."""
    if a is None or b is None:
        return None
    kept: list[Parameter] = []
    order = list(b.parameters)
    for i, p in enumerate(a.parameters.values()):
        if p.name not in order:
            continue
        kinds = {p.kind, b.parameters[p.name].kind}
        place = kinds <= {*PLACED} and order.index(p.name) == i == len(kept)
        named = kinds <= {*NAMED}
        if place or named or not kinds <= {*PLACED, *NAMED}:
            kind = PLACED[named] if place else NAMED[-1] if named else p.kind
            kept.append(p.replace(kind=kind))
    return Signature(sorted(kept, key=lambda p: p.kind))


def write(names: dict[str, Signature | None]) -> str:
    return "".join(f"{n}{show(s) if s else ''}\n" for n, s in sorted(names.items()))


def read(path: Path = FILE) -> dict[str, Signature | None]:
    """The names of a list, with what each may be called with."""
    found: dict[str, Signature | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, bracket, rest = line.partition("(")
        found[name] = parse(rest[:-1]) if bracket else None
    return found


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one, other = (read(Path(path)) for path in sys.argv[1:])
        print(write({n: common(one[n], other[n]) for n in one if n in other}), end="")
    else:
        print(write(installed()), end="")
