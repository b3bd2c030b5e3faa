"""A Ray cluster of three node processes on this machine: ``python -m tests.ray_cluster``.

It prints its address; nodes 0 and 1 have a core each, the head has none. A line N on standard input
kills node N, the end of standard input all.
"""

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    """Run until standard input ends."""
    memory = 80 << 20
    head = {"num_cpus": 0, "object_store_memory": memory}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=memory) for _ in range(2)]
    say(cluster.address)
    for line in sys.stdin:
        cluster.remove_node(nodes[int(line)], allow_graceful=False)
        say("killed")
    cluster.shutdown()


def say(line: str) -> None:
    """To who started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
