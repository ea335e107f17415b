"""The command line on real pipes, closed streams, full disks and interrupts."""

from __future__ import annotations

import json
import os
import pty
import runpy
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import kfac_ref
import kfac_ref.cli.commands as commands
from kfac_ref import files
from kfac_ref.cli import main
from kfac_ref.errors import NotPositiveDefinite, ShapeError, UnknownName
from kfac_ref.examples import running
from kfac_ref.examples.autoencoder import race as autoencoder
from kfac_ref.examples.convolutional import race as convolutional
from kfac_ref.examples.demo import reporting as demo
from kfac_ref.examples.lbann import race as lbann_race
from kfac_ref.examples.lbann import training as lbann
from kfac_ref.optimizer import Diverged

ROOT = Path(kfac_ref.__file__).parent.parent
TRAIN = ["train", "--model", "cnn", "--mini-batch-size", "750"]
SCRIPT = "import re, sys; from kfac_ref.cli import main; sys.exit(main())"  # pip's


def environment(**more):
    usual = {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return os.environ | usual | more


def started(*command, **options):
    """The process of a command, with pipes."""
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    python = [sys.executable, "-m", "kfac_ref", *command]
    return subprocess.Popen(python, **(dict(env=environment()) | pipes | options))


def shell(line, folder, **more):
    """Exit code, stdout and stderr of a line of the shell, in which $K is kfac-ref."""
    K = f"{shlex.quote(sys.executable)} -m kfac_ref"
    found = subprocess.run(
        ["sh", "-c", line.replace("$K", K)],
        cwd=folder, env=environment(**more), capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in found.stderr and "ignored" not in found.stderr
    return found.returncode, found.stdout, found.stderr


# Pipes, closed streams, ASCII


def test_who_reads_one_line_and_goes(tmp_path):
    """As in `| head -1`: what was reached is saved, and nobody is told off."""
    epochs = ["--num-epochs", "2000", "--out", str(tmp_path)]
    with started(*TRAIN, *epochs) as process:
        assert process.stdout.readline().startswith("UCI digits: 1,500 images")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
    [file] = tmp_path.iterdir()
    assert file.name == "train_cnn_adam_unfinished.json"
    assert len(json.loads(file.read_text())["epochs"]) >= 1


def test_streams_that_are_closed(tmp_path):
    short = shlex.join([*TRAIN, "--num-epochs", "1", "--out", "é"])
    assert shell(f"$K {short} >&-", tmp_path) == (0, "", "")
    assert (tmp_path / "é" / "train_cnn_adam.json").is_file()
    assert shell("$K trian 2>&-", tmp_path) == (2, "", "")
    assert shell("$K trian >&- 2>&- <&-", tmp_path) == (2, "", "")


@pytest.mark.parametrize(
    "coding",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_output_that_can_only_be_ascii(tmp_path, coding):
    code, out, err = shell("$K demo --data é; $K --help", tmp_path, **coding)
    assert code == 0 and out.isascii()
    assert err.isascii() and err.startswith("kfac-ref: in '\\") and err.count("\n") == 1


def test_a_full_disk_under_the_output(tmp_path):
    code, out, err = shell("$K --help > /dev/full", tmp_path)
    assert (code, out) == (1, "")
    assert err == "kfac-ref: cannot write the output: No space left on device\n"


def test_a_bar_on_a_terminal_and_none_in_the_file(tmp_path):
    keyboard, screen = pty.openpty()
    options = ["--net", "3", "--steps", "0", "--out", str(tmp_path / "out")]
    data = ["--data", str(tmp_path / "nowhere")]
    with started("demo", *options, *data, stderr=screen) as process:
        os.close(screen)
        assert process.stdout.read() == ""
    assert process.returncode == 2
    assert b"there is no such folder" in os.read(keyboard, 2000)
    os.close(keyboard)


# Interrupts


@pytest.fixture
def interruptible():
    """A job in the background ignores Ctrl-C, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("start", [["-c", SCRIPT], ["-m", "kfac_ref"]])
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_importing(tmp_path, start):
    """While NumPy is imported, which would make an ImportError of it."""
    stub = tmp_path / "numpy"
    stub.mkdir()
    (stub / "__init__.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n"
        "except KeyboardInterrupt:\n    raise ImportError('broken')\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    found = subprocess.run(
        [sys.executable, *start, "demo"], env=environment(PYTHONPATH=path),
        capture_output=True, text=True,
    )  # fmt: skip
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_during_the_work(tmp_path):
    with started(*TRAIN, "--num-epochs", "2000", "--out", str(tmp_path)) as process:
        while not process.stdout.readline().startswith("    2 "):
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode in (130, -signal.SIGINT)  # the shell calls both 130
    assert err == "kfac-ref: interrupted\n"
    assert f"train_cnn_adam_unfinished.json is in {tmp_path}\n" in out
    [file] = tmp_path.iterdir()
    assert len(json.loads(file.read_text())["epochs"]) >= 2


def test_the_handler_of_interrupts_is_put_back(monkeypatch):
    monkeypatch.setattr(commands, "run", lambda argv: 7)
    before = signal.getsignal(signal.SIGINT)
    assert main([]) == 7
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main([])))
    thread.start(), thread.join()
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
        assert main([]) == 7 and codes == [7]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# Exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ShapeError("of a batch"), 2),
        (UnknownName("of a rule"), 2),
        (files.NotWritable("x: expected a folder"), 2),
        (Diverged("loss"), 1),
        (NotPositiveDefinite("A", 0.0, [0.0]), 1),
        (OSError(28, "No space left on device", "demo.json"), 1),
        (MemoryError(), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_code_and_a_line(error, code, monkeypatch, capsys):
    def run(settings):
        print("begun")
        raise error

    monkeypatch.setattr(commands.demo, "run", run)
    assert main(["demo"]) == code
    out, err = capsys.readouterr()
    assert out == "begun\n"
    assert err.startswith("kfac-ref: ") and err.count("\n") == 1


def test_the_codes_are_in_the_help(capsys):
    assert main(["--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    for code, meaning in commands.CODES.items():
        assert f"{code} {meaning}" in words
    assert sorted(commands.CODES) == [0, 1, 2, 130, 141]


def test_a_code_of_its_own(monkeypatch):
    monkeypatch.setattr(commands.demo, "_run", lambda options: 1)
    assert main(["demo"]) == 1


def test_python_m_is_guarded():
    module = runpy.run_module("kfac_ref.__main__", run_name="imported")
    assert module["main"] is main


class Broken:
    """A stream into a pipe that nobody reads."""

    closed = False

    def __init__(self):
        reads, self.end = os.pipe()
        os.close(reads)

    def write(self, text):
        return len(text)

    def flush(self):
        os.write(self.end, b"text")

    def fileno(self):
        return self.end


def test_a_broken_pipe_is_let_go(monkeypatch):
    broken = Broken()
    monkeypatch.setattr(sys, "stdout", broken)
    assert main(["--help"]) == 141
    broken.flush()  # as Python does at its end
    os.close(broken.end)


def test_streams_that_are_none(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        patch.setattr(sys, "stderr", None)  # pythonw
        assert main(["trian"]) == 2
        sys.stdout.close(), sys.stderr.close()
        assert main(["--help"]) == 0  # closed
        sys.stdout.close(), sys.stderr.close()


# Save, then print


each_example = pytest.mark.parametrize(
    "module", [demo, autoencoder, convolutional, lbann, lbann_race],
    ids=lambda module: module.__name__,
)  # fmt: skip


@each_example
def test_what_cannot_be_saved_is_said(module, tmp_path, monkeypatch, capsys):
    """The disk is full when the work is done; the table is there, and the code 1."""
    made = []

    def full(path, content):
        made.append(path)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(running, "write_whole", full)
    command, shown = run_small(module, monkeypatch)
    assert main([*command, "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert shown in out and len(made) == 1
    assert err.endswith(f"No space left on device: '{made[0]}'\n")
    assert list(tmp_path.iterdir()) == []


@each_example
def test_what_cannot_be_said_is_saved(module, tmp_path, monkeypatch, capsys):
    """The table meets a broken pipe; the numbers are there."""
    command, shown = run_small(module, monkeypatch)
    real = sys.stdout.write

    def write(text):
        if shown in text:
            raise BrokenPipeError(32, "Broken pipe")
        return real(text)

    monkeypatch.setattr(sys.stdout, "write", write)
    assert main([*command, "--out", str(tmp_path)]) == 141
    assert any(path.suffix == ".json" for path in tmp_path.iterdir())
    assert "unfinished" not in str(list(tmp_path.iterdir()))


def run_small(module, monkeypatch):
    """A command of a few seconds, and a part of what it says at its end."""
    if module is demo:
        monkeypatch.setattr(running, "save", lambda figure, path: None)
        monkeypatch.setattr(demo, "heat_maps", lambda *args: None)
        monkeypatch.setattr("kfac_ref.examples.demo.measuring.SAMPLES", [1, 2])
        return ["demo", "--net", "3", "--steps", "0"], "Look at the angles"
    if module is convolutional:
        return ["race", "convolutional", "--updates", "1"], "K-FAC did not reach"
    if module is autoencoder:
        few = few_contestants(module.contestants)
        monkeypatch.setattr(module, "contestants", few)
        return ["race", "autoencoder", "--small", "--seeds", "1"], "K-FAC was where"
    monkeypatch.setattr(lbann_race, "SEEDS", 1)
    sizes = [*TRAIN, "--num-epochs", "1"]
    if module is lbann_race:
        return [*sizes, "--compare"], "both tuned: Adam's objective"
    return sizes, "    1  "


def few_contestants(make):
    from dataclasses import replace

    return lambda *args: {
        name: replace(who, updates=2) for name, who in make(*args).items()
    }
