"""The command line: `kfac-ref COMMAND`, or `python -m kfac_ref COMMAND`.

Every command has a file here, with its options (`add`) and what it does with them.
This file imports nothing that takes time, for Ctrl-C must be answered from the start.
"""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: list[str] | None = None) -> int:
    """Run a command; the exit code, one of commands.CODES."""
    usual = _end_at_interrupts()
    _mend_streams()  # first: NumPy 2.0 writes to them when it is imported
    from kfac_ref.cli.commands import run  # NumPy and SciPy: a second

    if usual is not None:
        signal.signal(signal.SIGINT, usual)
    code = run(argv)
    try:
        sys.stdout.flush()
    except OSError:  # Python would try again at its end, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _mend_streams() -> None:
    """Streams that can be written to: they may be closed, None (pythonw), or ASCII."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - to the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _end_at_interrupts() -> signal._HANDLER:
    """Ctrl-C ends the process at once; the handler that was there, None: it still is.

    As an exception in the middle of an import it could become any other, and there is
    nothing yet to be put aside.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return None
    try:
        return signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    except ValueError:  # not in the main thread, which alone is interrupted
        return None
