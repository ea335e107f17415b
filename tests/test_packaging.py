"""What an installation promises: version, bounds, types, hints that lead somewhere."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import kfac_ref
from kfac_ref.errors import ExtraMissing, KfacError
from kfac_ref.extras import INSTALLED_AS, check_extras, optional

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kfac_ref"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]


def requirements():
    """Name and lower bound of every direct dependency that the lowest run installs."""
    groups = PROJECT["dependency-groups"]
    lists = [PROJECT["project"]["dependencies"], EXTRAS["demo"], EXTRAS["tutorials"]]
    for one in [r for rs in [*lists, groups["build"], groups["test"]] for r in rs]:
        yield re.fullmatch(r"([\w-]+)>=([\d.]+)", one).groups()


def test_one_version_everywhere():
    assert version("kfac_ref") == kfac_ref.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {kfac_ref.__version__}\n" in citation
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest.group(1) == kfac_ref.__version__


def test_types_are_part_of_the_package():
    assert (PACKAGE / "py.typed").read_bytes() == b""


@pytest.mark.parametrize(("name", "bound"), sorted(set(requirements())))
def test_lower_bounds_are_those_of_the_lowest_run(name, bound):
    """`make test-lowest` installs the versions of requirements/lowest.txt."""
    pinned = dict(
        re.findall(
            r"^([\w-]+)==([\d.]+)",
            (ROOT / "requirements/lowest.txt").read_text(),
            re.MULTILINE,
        )
    )
    lowest = pinned[name.lower().replace("_", "-")]
    assert (lowest + ".0").startswith(bound + "."), f"{name}>={bound}, tested: {lowest}"


def test_every_locked_package_has_one_version_and_a_hash():
    text = (ROOT / "requirements/lock.txt").read_text()
    for entry in re.split(r"\n(?=\w)", text.split("make lock\n")[1]):
        assert re.match(r"[\w.-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def calls_of_optional():
    """The modules that the package says it asks for."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "id", "")
            if name in ("optional", "check_extras"):
                some = node.args[:1] if name == "optional" else node.args[1:]
                for module in some:
                    if isinstance(module, ast.Constant):
                        yield module.value.split(".")[0]


def test_optional_packages_are_those_of_the_extras():
    asked = {INSTALLED_AS.get(name, name) for name in calls_of_optional()}
    listed = {re.match(r"[\w-]+", r).group() for rs in EXTRAS.values() for r in rs}
    assert len(asked) >= 5 and asked <= listed


def test_a_missing_package_says_how_to_get_it():
    expected = (
        "^the digits: no_such_thing is needed, and cannot be imported "
        r"\(No module named 'no_such_thing'\); install it: pip install no_such_thing, "
        "or do without$"
    )
    with pytest.raises(ExtraMissing, match=expected) as caught:
        optional("no_such_thing.deeper", "the digits", ", or do without")
    assert isinstance(caught.value, ImportError) and isinstance(caught.value, KfacError)
    assert optional("math", "pi").pi == __import__("math").pi


def test_all_that_is_missing_is_named_in_one_command():
    expected = (
        "^the race: nothing_a, nothing_b are needed, and not installed; "
        "pip install nothing_a nothing_b$"
    )
    with pytest.raises(ExtraMissing, match=expected):
        check_extras("the race", "nothing_a", "numpy", "nothing_b")
    with pytest.raises(ExtraMissing, match="^it: nothing_a is needed, and not"):
        check_extras("it", "nothing_a")
    check_extras("the race", "numpy", "scipy")


def test_no_hint_leads_to_a_registry_that_does_not_have_us():
    """The package is installed from its folder: `pip install '.[demo]'` works there."""
    for path in [*PACKAGE.rglob("*.py"), ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        assert not re.search(r"kfac[_-]ref\[", path.read_text(encoding="utf-8")), path
