"""A Ray cluster of three node processes on this machine: ``python -m tests.ray_cluster``.

It prints its address; nodes 0 and 1 have a core each, the head has none. A line "kill N" on its
standard input kills node N, "start N" makes it anew, the end of it ends all. ``Cluster`` is one of
those, for a test.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import IO


class Cluster:
    """In a process of its own, for it stays as long as its standard input is open."""

    def __init__(self, code: Path) -> None:
        path = f"{code}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.ray_cluster"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "RAY_DISABLE_IMPORT_WARNING": "1"},
            text=True,
        )
        self.address = self._line()

    def kill(self, node: int) -> None:
        self._order(f"kill {node}")

    def start(self, node: int) -> None:
        """One that was killed."""
        self._order(f"start {node}")

    def close(self) -> None:
        self._input.close()
        self._output.close()
        self._process.wait(60)

    def _order(self, what: str) -> None:
        self._input.write(f"{what}\n")
        self._input.flush()
        assert self._line() == what

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _line(self) -> str:
        return self._output.readline().strip()


def main() -> None:
    """Run until standard input ends."""
    from ray import cluster_utils  # noqa: PLC0415 - warns where it is imported

    memory = 80 << 20
    head = {"num_cpus": 0, "object_store_memory": memory}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    new = partial(cluster.add_node, num_cpus=1, object_store_memory=memory)
    nodes = [new() for _ in range(2)]
    say(cluster.address)
    for line in sys.stdin:
        what, node = line.split()
        if what == "kill":
            cluster.remove_node(nodes[int(node)], allow_graceful=False)
        else:
            nodes[int(node)] = new()
        say(line.strip())
    cluster.shutdown()


def say(line: str) -> None:
    """To who started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
