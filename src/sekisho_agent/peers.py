"""What the nodes of one gang call each other: addresses, names, files and variables. Pure.

Every gang has the same addresses. Nothing but its own nodes can be reached under them: the overlay that joins the
network namespaces (`relay`) knows one attempt's key, and carries a packet only from and to those who hold it.

Several fields' words stand for the same things: torch.distributed's (`MASTER_ADDR`, `RANK`, ...; one process for each
node), SkyPilot's (`SKYPILOT_NODE_RANK`, ...), MPI's host file, and the interface that Gloo and NCCL are told to use.
"""

from __future__ import annotations

import ipaddress
from typing import Final

import msgspec

INTERFACE: Final = "peers"
NETWORK: Final = ipaddress.IPv4Network("10.73.0.0/16")
MTU_BYTES: Final = 65_000
"""Close to the largest packet there is: what a packet costs us hardly depends on its size."""
GANG_NODES_MAX: Final = 128
"""Each node holds one connection and one thread for each of the others."""
START_SECONDS_MAX: Final = 240
"""What a scheduler's job of several nodes may take, beside the payload, until all of them have begun."""
MASTER_PORT: Final = 29_500
FOLDER_INSIDE: Final = "/run/peers"
HOST_FILE_INSIDE: Final = f"{FOLDER_INSIDE}/hostfile"
HOSTS_INSIDE: Final = "/etc/hosts"


class Node(msgspec.Struct, frozen=True):
    """One node's place among `nodes`. `slots` is how many processes it is meant for: its GPUs, or 1."""

    rank: int
    nodes: int
    slots: int = 1

    @property
    def name(self) -> str:
        """Its host name inside the gang."""
        return node_name(self.rank)

    @property
    def address(self) -> str:
        """Its address inside the gang."""
        return node_address(self.rank)


def node_name(rank: int) -> str:
    """The host name of the node of this number."""
    return f"node-{rank}"


def node_address(rank: int) -> str:
    """The overlay's address of the node of this number; the network's own address stays free."""
    return str(NETWORK[rank + 1])


def hosts(nodes: int) -> bytes:
    """`/etc/hosts` of every node."""
    lines = [f"{node_address(rank)} {node_name(rank)}\n" for rank in range(nodes)]
    return "".join(["127.0.0.1 localhost\n", *lines]).encode("ascii")


def host_file(node: Node) -> bytes:
    """The host file as Open MPI, DeepSpeed and their kin read it."""
    return "".join(f"{node_name(rank)} slots={node.slots}\n" for rank in range(node.nodes)).encode("ascii")


def environment(node: Node) -> dict[str, str]:
    """What a program is told of its gang. A variable of the same name in the job's own file wins over these."""
    addresses = [node_address(rank) for rank in range(node.nodes)]
    return {
        "MASTER_ADDR": addresses[0],
        "MASTER_PORT": str(MASTER_PORT),
        "WORLD_SIZE": str(node.nodes),
        "RANK": str(node.rank),
        "NODE_RANK": str(node.rank),
        "NNODES": str(node.nodes),
        "SEKISHO_HOSTFILE": HOST_FILE_INSIDE,
        "SEKISHO_NODE_ADDRESSES": ",".join(addresses),
        "SKYPILOT_NODE_RANK": str(node.rank),
        "SKYPILOT_NUM_NODES": str(node.nodes),
        "SKYPILOT_NODE_IPS": "\n".join(addresses),
        "GLOO_SOCKET_IFNAME": INTERFACE,
        "NCCL_SOCKET_IFNAME": INTERFACE,
    }
