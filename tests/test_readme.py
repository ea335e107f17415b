"""The code of README and docs runs, and what they say of numbers and names is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from kfac_ref import given_pairs
from kfac_ref.damping import RULES
from kfac_ref.estimates import ESTIMATES
from kfac_ref.matrices import BlockDiagonalMatrix, KroneckerProduct
from kfac_ref.structures import STRUCTURES, make_structure
from kfac_ref.words import ALIASES, OTHERS

ROOT = Path(__file__).parent.parent
PAGES = {page.stem: page for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
TEXT, WORDS, RACES = (PAGES[name].read_text() for name in ("README", "words", "races"))
BLOCKS = {"README": 2, "extend": 4, "train": 2}  # pages with code, and how many of it


def code(name):
    return re.findall(r"```python\n(.*?)```", PAGES[name].read_text(), re.DOTALL)


def run(*blocks):
    """What the names are after these blocks; the ten lines of the README are first."""
    session: dict = {}
    for block in [code("README")[0], *blocks]:
        exec(compile(block, "page", "exec"), session)
    return session


def test_every_page_with_code_is_known():
    assert {name: len(code(name)) for name in PAGES if code(name)} == BLOCKS


def without_seconds(table):
    """The lines, without the two columns that a clock filled."""
    return [line.rsplit(maxsplit=4 if "build" in line else 2)[0] for line in table]


def test_the_ten_lines_print_the_table_that_is_shown(capsys):
    run()
    printed = capsys.readouterr().out.splitlines()
    shown = re.search(r"```\n(whole matrix.*?)```", TEXT, re.DOTALL).group(1)
    title, *rows = shown.splitlines()
    place = printed.index(title)
    assert len(rows) == 3 and all(len(row) == len(rows[0]) for row in rows)
    assert without_seconds(rows) == without_seconds(printed[place + 1 : place + 4])
    assert "layer 0 (54 x 54), lambda = 0.01" in printed


def test_train_and_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = run(*code("train"))
    assert session["later"].state.step == session["run"].state.step + 3


def test_layer_and_distribution():
    session = run(*code("extend"))
    with pytest.raises(ValueError, match="expected y >= 0"):
        session["net"].loss(session["params"], session["x"], -session["y"])


def test_faults_of_an_implementation_have_the_errors_that_are_written(capsys):
    """Those of the section "Test your own implementation", made on purpose."""
    session = run(code("README")[1])
    assert "A and G" in capsys.readouterr().out
    A, G, a, g = (session[name] for name in ("A", "G", "a", "g"))
    reference = session["reference"]

    def error(matrix):
        gap = matrix.to_dense() - reference.to_dense()
        return np.linalg.norm(gap) / reference.frobenius_norm()

    def products(left, right):
        pairs = zip(left, right, strict=True)
        return BlockDiagonalMatrix([KroneckerProduct(*block) for block in pairs])

    assert error(products([50 * M for M in A], G)) == pytest.approx(49, rel=1e-12)
    assert error(products(G, A)) > 1
    a, g = [X[:, None] for X in a], [X[:, :, None] for X in g]
    divided = given_pairs(a, [X / 50 for X in g])
    assert error(make_structure("kronecker", divided)) > 0.99
    turned = given_pairs(a, [X[::-1] for X in g])  # the columns of another order
    assert error(make_structure("kronecker", turned)) < 1e-12


def test_ten_lines_are_ten():
    lines = [line for line in code("README")[0].splitlines() if line.strip()]
    assert len(lines) <= 11


def test_every_name_and_every_alias_is_listed():
    for name in [*ESTIMATES, *STRUCTURES, *RULES]:
        assert f"`{name}`" in TEXT, name
    rows = [line.split("|") for line in WORDS.splitlines() if line.startswith("| `")]
    for words in ALIASES.values():
        for alias, name in words.items():
            beside = [others for _, here, *others in rows if f"`{name}`" in here]
            assert any(f"`{alias}`" in cell for cells in beside for cell in cells), (
                alias
            )


def test_words_that_are_refused_are_words_of_others():
    for word in ("kron_in_diag", "NaiveDiagonal"):
        assert f"`{word}`" in WORDS and word in OTHERS["structure"]
    said = {word for cells in re.findall(r"\| [^|]*\|$", WORDS, re.MULTILINE)
            for word in re.findall("`([^`]+)`", cells)}  # fmt: skip
    listed = {alias for words in ALIASES.values() for alias in words}
    assert (
        listed <= said and not said & {w for t in OTHERS.values() for w in t} - listed
    )


def test_links_and_the_names_of_files_lead_somewhere():
    others = [ROOT / "CONTRIBUTING.md", *ROOT.glob("tutorials/*.md")]
    for page in [*PAGES.values(), *others]:
        text = page.read_text()
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
        for name in re.findall(r"`([\w/.]+(?:\.py|/))`", text):
            places = (page.parent, ROOT, ROOT / "kfac_ref")
            assert any((place / name).exists() for place in places), (
                f"{page.name}: {name}"
            )


def record(name):
    return json.loads((ROOT / "figures" / f"race_{name}.json").read_text())


def test_the_figures_of_the_autoencoder_race_are_those_of_its_record():
    words = " ".join(RACES.split())
    found = record("autoencoder_curves")
    sgd, adam = found["finishes"]
    batches = {name: c["batch"] for name, c in found["contestants"].items()}
    images = []
    for finish in (sgd, adam):
        few, many = min(finish["fewer_updates"]), max(finish["fewer_updates"])
        assert f"after {few:.0f} to {many:.0f} times fewer updates" in words
        ratios = [baseline / kfac for baseline, kfac in finish["seconds"]]
        few, many = min(ratios), max(ratios)
        assert f"and {few:.1f} to {many:.1f} times fewer seconds" in words
        larger = batches["K-FAC"] / batches[finish["baseline"]]
        images += [ratio / larger for ratio in finish["fewer_updates"]]
    assert f"it is {min(images):.0f} to {max(images):.0f} times fewer" in words
    assert f"batches of {batches['K-FAC']:,}" in words
    assert (
        f"{found['contestants']['SGD']['updates']:,} updates with batches of" in words
    )


def test_the_figures_of_the_convolutional_race_are_those_of_its_record():
    words = " ".join(RACES.split())
    against = record("convolutional")["against"]
    (adam, kfac), (sgd, _) = (
        against["Adam"]["updates"],
        (against["SGD with momentum"]["updates"]),
    )
    assert (
        f"{kfac} updates to reach the loss that takes Adam {adam} and SGD {sgd},"
        in words
    )
