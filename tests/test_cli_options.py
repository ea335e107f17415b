"""Every option of every command, found by introspection: its range, its path, its help.

A number that an option does not take is refused before the work, by the same words as
the settings that use it, and the command's own --help is pointed to.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kfac_ref
from kfac_ref.cli import arguments, demo, gpu, main, race, train
from kfac_ref.cli.commands import make_parser
from kfac_ref.errors import KfacError
from kfac_ref.examples.autoencoder import race as autoencoder
from kfac_ref.examples.convolutional import race as convolutional
from kfac_ref.examples.demo import Settings as DemoSettings
from kfac_ref.examples.lbann.settings import KfacSettings
from kfac_ref.examples.lbann.settings import Settings as LbannSettings

VALUES = ["0", "-1", "1", "0.5", "nan", "inf", "-inf", "1e400", "much", ""]
COUNT, FROM_0 = {"1"}, {"0", "1"}  # of VALUES, what is taken
POSITIVE, DAMPING, SHARE = {"1", "0.5"}, {"0", "1", "0.5"}, {"0", "0.5"}
ALSO = ["--kfac", "--optimizer", "sgd"]  # without which there is no K-FAC to set
AUTOENCODER, CONVOLUTIONAL = "race autoencoder", "race convolutional"

TAKEN = {
    ("demo", "steps"): (FROM_0, DemoSettings),
    ("demo", "net"): (COUNT, lambda net: DemoSettings(hidden=net)),
    ("demo", "seed"): (FROM_0, DemoSettings),
    ("demo", "damping"): (POSITIVE, DemoSettings),
    (AUTOENCODER, "seeds"): (COUNT, autoencoder.Settings),
    (CONVOLUTIONAL, "seed"): (FROM_0, convolutional.Settings),
    (CONVOLUTIONAL, "updates"): (COUNT, convolutional.Settings),
    ("train", "learning_rate"): (POSITIVE, LbannSettings),
    ("train", "num_epochs"): (COUNT, LbannSettings),
    ("train", "mini_batch_size"): (COUNT, LbannSettings),
    ("train", "seed"): (FROM_0, LbannSettings),
    ("train", "damping_act"): (DAMPING, KfacSettings),
    ("train", "damping_err"): (DAMPING, KfacSettings),
    ("train", "damping_warmup_steps"): (COUNT, KfacSettings),
    ("train", "update_interval_init"): (COUNT, KfacSettings),
    ("train", "update_interval_target"): (COUNT, KfacSettings),
    ("train", "update_interval_steps"): (COUNT, KfacSettings),
    ("train", "compute_interval"): (COUNT, KfacSettings),
    ("train", "kronecker_decay"): (SHARE, KfacSettings),
}


def parsers(parser=None):
    """All of them, by what one types: "", "demo", "race autoencoder", ..."""
    parser = parser or make_parser()
    yield parser.prog.partition(" ")[2], parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def options(*types):
    """(command, option) of those types."""
    for command, parser in parsers():
        for action in parser._actions:
            if action.type in types:
                yield command, action


NUMBERS = (float, int, arguments.whole, arguments.sizes, train.damping)
PATHS = (arguments.place, arguments.data)


@pytest.fixture
def begun(monkeypatch):
    """What is run, without doing it."""
    seen = []
    for place in (
        (demo, "run"), (gpu, "run"), (race.autoencoder, "run"),
        (race.convolutional, "run"), (train.lbann, "run"),
        (train.lbann_race, "run"),
    ):  # fmt: skip
        monkeypatch.setattr(*place, lambda *args: seen.append(args))
    return seen


def refused(capsys, command, *argv):
    """The line of a command that was not begun."""
    assert main([*command.split(), *argv]) == 2, argv
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    prog = f"kfac-ref {command}".strip()
    assert error.startswith(f"{prog}: ") and error.endswith(f"; see {prog} --help\n")
    return error


def test_every_option_is_a_number_a_path_a_choice_or_a_flag():
    found = {(command, action.dest) for command, action in options(*NUMBERS)}
    assert found == set(TAKEN), "say in TAKEN what a new option takes"
    for command, action in options(None, str, Path):
        if action.nargs != 0 and not isinstance(action, argparse._SubParsersAction):
            assert action.choices, f"{command} {action.dest}: text without a check"


@pytest.mark.parametrize(
    ("command", "action"),
    [pytest.param(c, a, id=f"{c}.{a.dest}") for c, a in options(*NUMBERS)],
)
def test_a_number_out_of_range_is_refused_at_once(command, action, begun, capsys):
    taken, settings = TAKEN[command, action.dest]
    for text in VALUES:
        for name in action.option_strings:
            argv = [*(ALSO if settings is KfacSettings else []), f"{name}={text}"]
            if text in taken:
                assert main([*command.split(), *argv]) == 0, argv
                assert begun.pop()
            else:
                error = refused(capsys, command, *argv)
                assert action.dest in error.replace("-", "_"), error
            assert begun == []
        try:
            value = action.type(text)
            settings(**{action.dest: value})
            accepts = True
        except (KfacError, argparse.ArgumentTypeError, ValueError):
            accepts = False
        assert accepts is (text in taken), (text, "the settings' own outcome")


def test_numbers_of_too_many_digits(capsys, begun):
    assert "expected a whole number, found '999" in refused(
        capsys, "demo", "--seed", "9" * 5000
    )
    assert "seed: expected " in refused(capsys, "demo", "--seed", "9" * 3000)
    assert main(["demo", "--seed", str(2**40)]) == 0
    assert begun[0][0].seed == 2**40


@pytest.mark.parametrize(
    ("command", "action"),
    [pytest.param(c, a, id=f"{c}.{a.dest}") for c, a in options(*PATHS)],
)
def test_an_empty_path_is_not_the_current_folder(command, action, begun, capsys):
    for name in action.option_strings:
        error = refused(capsys, command, f"{name}=")
        assert f"argument {name}: expected a path, found ''" in error
    assert begun == []
    assert main([*command.split(), f"{name}=."]) == 0
    assert begun


@pytest.mark.parametrize("command", [command for command, _ in parsers()])
def test_what_a_command_does_not_know_points_to_its_own_help(command, capsys):
    error = refused(capsys, command, "--two\nlines")
    assert "--two lines" in error or "are required: " in error


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "argv", [*(f"{command} --help" for command, _ in parsers()), "--version"]
)
def test_help_on_a_full_disk(argv, buffered):
    """argparse passes over an error of a stream that is written to at once."""
    root = str(Path(kfac_ref.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}
    if buffered:
        del env["PYTHONUNBUFFERED"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kfac_ref", *argv.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
    assert done.returncode == 1
    words = "kfac-ref: cannot write the output: No space left on device\n"
    assert done.stderr == words


def test_help_that_nobody_reads(monkeypatch):
    def gone(text):
        raise BrokenPipeError

    monkeypatch.setattr(sys.stdout, "write", gone)
    assert main(["demo", "--help"]) == 141
