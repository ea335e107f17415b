"""Does the set-up install today's lock on the day on which newer packages are out?

A folder beside the registry gets a release 99 of some locked packages: wheels of a few
lines. One of them, coverage, is asked for with an extra, by pytest-cov: that is how a
new release once broke the set-up. The set-up then runs into an empty folder, and every
package there must be the one of the lock. Before that pip is asked what it would take
without the lock: release 99, or the folder is not seen and this check could not fail.

usage: python .ci/ageing.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NEWER = ("coverage", "numpy", "ipykernel", "attrs", "pluggy", "flit-core")


def write_wheel(folder: Path, name: str, version: str = "99.0") -> None:
    """An empty package; coverage has an extra, as the true one."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if name == "coverage":
        metadata += "Provides-Extra: toml\n"
    wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", metadata)
        file.writestr(f"{info}/WHEEL", wheel)
        file.writestr(f"{info}/RECORD", "")


def locked() -> dict[str, str]:
    """Name and version of every package of the lock, whatever its marker."""
    text = (ROOT / "requirements/lock.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, flags=re.MULTILINE))


def ask(python: Path, *words: str, env: dict[str, str] | None = None) -> Any:
    """What pip answers in JSON."""
    command = [python, "-m", "pip", *words]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def offered(python: Path, env: dict[str, str]) -> set[str]:
    """The versions that pip takes of NEWER when nothing is locked."""
    words = "install --dry-run --ignore-installed --quiet --no-deps --report -".split()
    report = ask(python, *words, *NEWER, env=env)
    return {one["metadata"]["version"] for one in report["install"]}


def installed(python: Path) -> dict[str, str]:
    """What is there, but for pip and its like, and this package itself."""
    named = {
        one["name"].lower().replace("_", "-"): one["version"]
        for one in ask(python, "list", "--format", "json")
    }
    return {
        k: v for k, v in named.items() if k not in ("pip", "setuptools", "kfac-ref")
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as temporary:
        folder, venv = Path(temporary, "newer"), Path(temporary, "venv")
        folder.mkdir()
        for name in NEWER:
            write_wheel(folder, name)
        links = f"{os.environ.get('PIP_FIND_LINKS', '')} {folder}".strip()
        env = os.environ | {"PIP_FIND_LINKS": links}
        setup = ["requirements/setup.sh", str(venv), sys.executable]
        subprocess.run(setup, cwd=ROOT, env=env, check=True)
        python = venv / "bin/python"
        seen, found = offered(python, env), installed(python)
    assert seen == {"99.0"}, f"pip does not see the newer releases: {seen}"
    expected = locked()
    others = {k: v for k, v in found.items() if expected.get(k) != v}
    assert not others, f"not the versions of the lock: {others}"
    assert set(NEWER) <= set(found), f"not installed: {set(NEWER) - set(found)}"
    print(
        f"ageing: {len(found)} packages, all as in requirements/lock.txt, with release "
        f"99 of {len(NEWER)} of them in sight"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
