"""The command line, from end to end on tiny nets, and every way a user can err."""

from __future__ import annotations

import errno
import json
import os
import runpy
import sys
from importlib.metadata import PackageNotFoundError

import pytest

import kfac_ref.cli.commands as cli
from kfac_ref.backend import current
from kfac_ref.cli import main
from kfac_ref.examples import running
from kfac_ref.examples.demo import measuring, reporting
from kfac_ref.examples.demo.problem import Settings
from test_demo import write_mnist

TINY = ["--net", "5-3", "--steps", "1"]


@pytest.fixture
def quick(monkeypatch):
    """Without the figures, and with few sampled labels."""
    monkeypatch.setattr(running, "save", lambda figure, path: None)
    monkeypatch.setattr(reporting, "heat_maps", lambda *args: None)
    monkeypatch.setattr(measuring, "SAMPLES", [1, 2])


@pytest.fixture
def few(tmp_path, rng):
    """A folder with a training set of a few small images."""
    folder = tmp_path / "images"
    folder.mkdir()
    write_mnist(folder, rng, count=43, height=4, width=3)
    return folder


def numbers(folder):
    """demo.json without what a clock says, and without the folder's name."""
    found = json.loads((folder / "demo.json").read_text())
    found.pop("exact_seconds")
    found["settings"].pop("out")
    for row in found["comparison"]["rows"]:
        assert row.pop("solve_seconds") > 0
        row.pop("build_seconds")
    return found


def failing(capsys, *argv, code=2):
    """The line on stderr of a command that ends with this exit code."""
    assert main(list(argv)) == code
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in out + err
    return err


# From end to end


def test_the_demo_from_end_to_end(tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert main(["demo", *TINY, "--out", str(out)]) == 0
    text, _ = capsys.readouterr()
    assert "UCI digits: 1,797 images of 8 x 8 pixels" in text
    assert "net 64-5-3-10, tanh: 383 parameters, exact Fisher 383 x 383" in text
    found = json.loads((out / "demo.json").read_text())
    for layer in found["layers"]:
        assert f"\n{layer} (" in text
    assert "\nwhole matrix (383 x 383), lambda = 0.03\n" in text
    rows = found["comparison"]["rows"]
    names = dict.fromkeys(row["approximation"] for row in rows)
    assert len(names) == 10 and len(rows) == 10 * (3 + 1)
    for name in names:
        assert text.count(f"\n  {name}  ") == 4
    for line in found["summary"]:
        assert line in text
    figures = {path.name for path in out.iterdir()} - {"demo.json"}
    assert f"{len(figures)} figures and demo.json are in {out}" in text
    maps = [name for name in figures if name.startswith("heat_map_")]
    others = {"sampled_labels.png", "spectra.png", "training.png", "comparison.png"}
    assert len(maps) == len(reporting.MAPS) and figures == {*maps, *others}
    for figure in figures:
        assert (out / figure).read_bytes().startswith(b"\x89PNG")
    assert found["losses"][1] < found["losses"][0]
    assert found["parameters"] == 383 and found["settings"]["hidden"] == [5, 3]
    kfac, blocks, scale = (
        next(r for r in rows[-10:] if r["approximation"] == name)
        for name in ("K-FAC", "block-diagonal", "scaled identity")
    )
    assert 0 < blocks["frobenius_error"] < kfac["frobenius_error"] < 1
    assert kfac["angle"] < scale["angle"] < 90


def test_the_same_seed_gives_the_same_numbers(tmp_path, few, quick):
    found = []
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        options = ["--data", str(few), "--out", str(tmp_path / name), "--seed", seed]
        assert main(["demo", *TINY, *options]) == 0
        found.append(numbers(tmp_path / name))
    assert found[0] == found[1]
    assert found[2]["losses"] != found[0]["losses"]
    for one in found:
        one["settings"].pop("seed")
    assert found[2]["settings"] == found[0]["settings"]


def test_files_of_mnist_in_the_format_and_damping(tmp_path, few, quick, capsys):
    options = ["--data", str(few), "--out", str(tmp_path), "--damping", "0.2"]
    assert main(["demo", *TINY, *options, "--backend", "numpy"]) == 0
    text, _ = capsys.readouterr()
    assert f"{few}: the first 43 of 43 images, 4 x 3 pixels" in text
    assert "net 12-5-3-10, tanh: 123 parameters" in text
    assert "whole matrix (123 x 123), lambda = 0.2" in text
    assert numbers(tmp_path)["settings"]["damping"] == 0.2


def test_python_m_kfac_ref_is_the_same_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kfac_ref", "--help"])
    with pytest.raises(SystemExit) as exit:
        runpy.run_module("kfac_ref", run_name="__main__")
    assert exit.value.code == 0
    assert "usage: kfac-ref" in capsys.readouterr().out


# Help and version


def test_help_names_every_option_with_its_default(capsys):
    assert main(["demo", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in "--steps --net --data --seed --out --damping --backend".split():
        assert option in text
    assert "(7)" in text and "(20-20-20-20-20)" in text and "(0.03)" in text


def test_without_options_the_settings_are_the_defaults(monkeypatch):
    seen = []
    monkeypatch.setattr(cli.demo, "run", seen.append)
    monkeypatch.delenv("KFAC_REF_BACKEND", raising=False)
    assert main(["demo"]) == 0
    assert seen == [Settings()]


def test_the_backend_is_switched_for_the_run_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(cli.demo, "run", lambda settings: seen.append(current()))
    before = current()
    assert main(["demo", "--backend", "numpy"]) == 0
    assert seen == ["numpy"] and current() == before


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    monkeypatch.setattr(cli, "version", lambda name: f"1.2.3 of {name}")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "kfac-ref 1.2.3 of kfac_ref\n"

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cli, "version", missing)
    assert main(["--version"]) == 0
    assert "not installed" in capsys.readouterr().out


# What a user can do wrong: one line, exit code 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "required: COMMAND"),
        (["dmeo"], "invalid choice: 'dmeo'"),
        (["demo", "--see", "3"], "unrecognized arguments: --see"),
        (["demo", "--net", "5x3"], "sizes of hidden layers such as 20-20-20"),
        (["demo", "--net", "5-0"], "found '5-0'"),
        (["demo", "--steps", "-1"], "steps: expected a whole number >= 0, found -1"),
        (["demo", "--seed", "two"], "expected a whole number, found 'two'"),
        (["demo", "--damping", "much"], "invalid float value: 'much'"),
        (["demo", "--backend", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_wrong_options(capsys, options, message):
    error = failing(capsys, *options)
    assert message in error and "--help" in error


@pytest.mark.parametrize("damping", ["nan", "-1", "inf", "0"])
def test_wrong_damping(tmp_path, capsys, quick, damping, few):
    options = [*TINY, "--data", str(few), "--out", str(tmp_path)]
    error = failing(capsys, "demo", *options, "--damping=" + damping)
    assert "damping: expected a finite number > 0 (the exact" in error


def test_damping_that_is_too_small(tmp_path, capsys, few):
    options = [*TINY, "--data", str(few), "--out", str(tmp_path), "--damping", "1e-300"]
    error = failing(capsys, "demo", *options, code=1)
    assert "is not positive definite" in error and "larger damping" in error


def test_a_net_that_is_too_large(tmp_path, capsys):
    error = failing(capsys, "demo", "--net", "500", "--out", str(tmp_path))
    assert error.startswith("kfac-ref: a net of 64-500-10 has 37,510 parameters: ")


def test_data_that_are_missing_or_malformed(tmp_path, capsys, few):
    out = ["--out", str(tmp_path / "out")]
    missing = str(tmp_path / "nowhere")
    error = failing(capsys, "demo", "--data", missing, *out)
    assert missing in error and "train-images" in error
    labels = few / "train-labels-idx1-ubyte"
    labels.write_bytes(b"not an IDX file")
    error = failing(capsys, "demo", "--data", str(few), *out)
    assert str(labels) in error and "IDX" in error


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("in the way")
    error = failing(capsys, "demo", "--out", str(file))
    assert str(file) in error
    assert file.read_text() == "in the way"


def test_a_backend_that_does_not_answer(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    error = failing(capsys, "demo", "--backend", "cupy")
    assert "CuPy is not installed" in error


def test_an_interrupt_is_no_traceback(monkeypatch, capsys):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.demo, "run", interrupted)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "kfac-ref: interrupted\n"


def test_an_error_of_a_stream_says_what_was_not_written(monkeypatch, capsys):
    """The system's error has a number, and no name of a file."""

    def full(options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("kfac_ref.cli.demo._run", full)
    assert main(["demo"]) == 1
    expected = f"kfac-ref: cannot write the output: {os.strerror(errno.ENOSPC)}\n"
    assert capsys.readouterr().err == expected
