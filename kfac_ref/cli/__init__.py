"""The command line: `kfac-ref COMMAND`, or `python -m kfac_ref COMMAND`.

Each command has a file here, with its options (`add`) and what it does with them. This
file imports nothing slow, because Ctrl-C must work from the start.
"""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code, one of commands.CODES."""
    usual = _end_at_interrupts()
    _mend_streams()  # first: NumPy 2.0 writes to them when imported
    from kfac_ref.cli.commands import run  # imports NumPy and SciPy: a second

    if usual is not None:
        signal.signal(signal.SIGINT, usual)
    code = run(argv)
    try:
        sys.stdout.flush()
    except OSError:  # Python would try again at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _mend_streams() -> None:
    """Make streams writable that are closed, None (pythonw), or only ASCII."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - to the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _end_at_interrupts() -> signal._HANDLER:
    """Make Ctrl-C end the process at once; return the handler to restore, or None.

    In the middle of an import, KeyboardInterrupt could turn into any other exception,
    and there is nothing yet to clean up.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return None
    try:
        return signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    except ValueError:  # only the main thread is interrupted
        return None
