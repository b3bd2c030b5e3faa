"""A child process that must not outlive its parent, however the parent ends.

The parent holds the writing end of the child's standard input and never writes. The system closes
it when the parent is gone, SIGKILL included, and the child then ends itself.
"""

import os
import signal
import threading
import time

STDIN = 0


def end_with_stdin(grace_s: float = 9.0) -> None:
    """Send this process SIGTERM at the end of its standard input; ``grace_s`` later end it hard."""

    def wait_for_the_end() -> None:
        while os.read(STDIN, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os._exit(1)

    threading.Thread(target=wait_for_the_end, name="lifeline", daemon=True).start()
