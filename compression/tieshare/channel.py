"""How a child process talks to the one that started it."""

import os
import sys
from typing import BinaryIO


def take_standard_output() -> BinaryIO:
    """Keep the pipe for messages, unbuffered; what libraries print goes to standard error."""
    pipe = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return os.fdopen(pipe, "wb", buffering=0)
