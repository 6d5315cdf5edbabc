"""What ties a child process to its supervisor: instructions come on stdin, and the child ends when stdin does.

The supervisor holds the other end as long as it lives, so however it dies (kill -9, too) no orphan remains. It does not
know what any process is for.
"""

import ctypes
import os
import signal
import sys
import threading
from typing import TypeVar

import msgspec

T = TypeVar("T")
_PR_SET_PDEATHSIG = 1


def receive_instructions(type: type[T]) -> T:
    """The instructions, one line of JSON on stdin; from now on this process ends with its supervisor.

    Raises:
        msgspec.ValidationError: the line is not a `type`.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # some tools send it to all processes of a service
    if sys.platform == "linux":
        # The thread below needs the interpreter, which a library may hold for seconds (llama.cpp while it loads a
        # model does): the kernel needs nothing.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_stdin, name="lifeline", daemon=True).start()
    return msgspec.json.decode(line, type=type)


def _end_with_stdin() -> None:
    # Not the buffered reader: a thread that waits in it breaks the interpreter's own end.
    while os.read(0, 4096):
        pass
    os._exit(1)
