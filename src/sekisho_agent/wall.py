"""The wall: the arguments of bubblewrap, and what the payload sees of the machine.

PID 1 puts the payload under a filter of its system calls (`seccomp`), so that it makes no namespaces of its own.

Known hole, until a later version closes it: the host's /usr is shown read-only and is not part of an image's digest.

A node of a gang has one interface more than loopback: PID 1 makes it with rights that it gives up before the canaries
run (`tunnel`), and a relay outside carries its packets to the other nodes of the attempt and to nobody else (`relay`).

Order matters: bubblewrap works through its arguments from left to right, and implicit parents of a mount point get mode
0700, which the payload could not enter, so each parent is made by name first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent import peers
from sekisho_agent.errors import EngineError
from sekisho_agent.interpreter import Interpreter

PAYLOAD_UID_FIRST: Final = 61_234
PAYLOAD_UIDS: Final = 200
PACKAGE_INSIDE: Final = "/wall/sekisho_agent"
IMAGE_INSIDE: Final = "/image"
PROXY_FOLDER_INSIDE: Final = "/run/proxy"
SECRETS_FOLDER_INSIDE: Final = "/run/secrets"
SECRETS_BYTES_MAX: Final = 1 << 20
INSIDE_MODULES: Final = ("__init__.py", "inside.py", "canaries.py", "forward.py", "health.py", "tunnel.py")
RESERVED: Final = (
    "bin",
    "dev",
    "etc",
    "home",
    "image",
    "lib",
    "lib64",
    "proc",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "wall",
)

NAMESPACES: Final = (
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-uts",
    "--unshare-cgroup-try",
)
ROOT_CAPABILITIES: Final = ("CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_DAC_READ_SEARCH")
GANG_CAPABILITIES: Final = ("CAP_NET_ADMIN",)
"""For the interface. PID 1 gives it up."""
GANG_CAPABILITIES_PLAIN: Final = ("CAP_NET_ADMIN", "CAP_SYS_RESOURCE", "CAP_SETFCAP")
"""For a plain user's PID 1 also what takes it into a user namespace of its own, where none of these is left."""
START: Final = "import sys; sys.path.insert(0, '/wall'); from sekisho_agent.inside import main; main()"


class Mount(msgspec.Struct, frozen=True):
    """One host path shown inside at `inside`."""

    source: Path
    inside: str
    writable: bool = False


class WallPlan(msgspec.Struct, frozen=True):
    """All that differs between one attempt's wall and another's.

    `proxy_folder` holds the egress proxy's socket; `devices` are the files of the GPUs that the payload was given.
    """

    bubblewrap: Path
    interpreter: Interpreter
    image: Path | None
    mounts: tuple[Mount, ...]
    tmp_bytes: int
    payload_uid: int
    as_root: bool
    proxy_folder: Path | None = None
    image_writable: bool = False
    node: peers.Node | None = None
    devices: tuple[Mount, ...] = ()


class GangDescriptors(msgspec.Struct, frozen=True):
    """What a node of a gang inherits besides: a socket to its keeper, the device, its hosts file and its host file."""

    keeper: int
    device: int
    hosts: int
    host_file: int


class WallDescriptors(msgspec.Struct, frozen=True):
    """Descriptors that bubblewrap and PID 1 inherit: bubblewrap's info, the account file, orders in, reports out."""

    info: int
    accounts: int
    orders: int
    reports: int


def check_mounts(mounts: tuple[Mount, ...]) -> None:
    """Refuse mounts that would cover the wall's own folders or each other; EngineError `wall.mount`."""
    seen: list[str] = []
    for mount in mounts:
        parts = mount.inside.split("/")
        if not mount.inside.startswith("/") or any(part in {"", ".", ".."} for part in parts[1:]):
            raise EngineError("wall.mount", f"not a plain absolute path: {mount.inside!r}")
        if parts[1] in RESERVED:
            raise EngineError("wall.mount", f"reserved inside the wall: {mount.inside!r}")
        for other in seen:
            if f"{mount.inside}/".startswith(f"{other}/") or f"{other}/".startswith(f"{mount.inside}/"):
                raise EngineError("wall.mount", f"{mount.inside!r} and {other!r} cover each other")
        seen.append(mount.inside)


def arguments(plan: WallPlan, descriptors: WallDescriptors, gang: GangDescriptors | None = None) -> list[str]:
    """The whole command line: bubblewrap, then our PID 1 under the host's interpreter. `gang` if it has a node."""
    check_mounts(plan.mounts)
    return [
        str(plan.bubblewrap),
        *NAMESPACES,
        *_privileges(plan),
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",
        "--clearenv",
        "--hostname",
        plan.node.name if plan.node else "job",
        *("--info-fd", str(descriptors.info)),
        *_base_folders(plan),
        *_interpreter_mounts(plan.interpreter),
        *_own_mounts(),
        *_mounts(plan),
        *_shown_file(descriptors.accounts, "/etc/passwd"),
        *_gang_files(gang),
        *_sealed_folders(plan.interpreter),
        *("--chdir", "/"),
        str(plan.interpreter.executable),
        "-I",
        "-S",
        *("-c", START),
        str(descriptors.orders),
        str(descriptors.reports),
        *_gang_words(plan, gang),
    ]


def writable_folders(plan: WallPlan) -> list[str]:
    """Folders of the host that the payload may fill, by the path it sees: they count as its output."""
    image = [IMAGE_INSIDE] if plan.image is not None and plan.image_writable else []
    return [*(mount.inside for mount in plan.mounts if mount.writable), *image]


def account_file(plan: WallPlan) -> bytes:
    """The payload's `/etc/passwd`: one account, so that programs which look themselves up work."""
    return b"job:x:%d:%d::/home:/bin/sh\n" % (plan.payload_uid, plan.payload_uid)


def _privileges(plan: WallPlan) -> list[str]:
    """As root, PID 1 keeps only what it needs to become the payload's user; else a user namespace of one user."""
    if plan.as_root:
        return [
            *("--cap-drop", "ALL"),
            *_added(ROOT_CAPABILITIES),
            *_added(GANG_CAPABILITIES if plan.node else ()),
        ]
    if (
        plan.node
    ):  # PID 1 has to own its network namespace for a moment: it leaves this user namespace by itself
        own = ["--unshare-user", "--uid", "0", "--gid", "0", "--cap-drop", "ALL"]
        return [*own, *_added(GANG_CAPABILITIES_PLAIN)]
    uid = str(plan.payload_uid)
    return ["--unshare-user", "--disable-userns", "--uid", uid, "--gid", uid, "--cap-drop", "ALL"]


def _added(capabilities: tuple[str, ...]) -> list[str]:
    return [part for name in capabilities for part in ("--cap-add", name)]


def _shown_file(descriptor: int, path: str) -> tuple[str, ...]:
    return ("--perms", "0644", "--ro-bind-data", str(descriptor), path)


def _gang_files(gang: GangDescriptors | None) -> list[str]:
    if gang is None:
        return []
    return [
        *_shown_file(gang.hosts, peers.HOSTS_INSIDE),
        *("--dir", peers.FOLDER_INSIDE),
        *_shown_file(gang.host_file, peers.HOST_FILE_INSIDE),
    ]


def _gang_words(plan: WallPlan, gang: GangDescriptors | None) -> list[str]:
    """What `tunnel.hand_out` is told: on the command line, because it comes before the order and holds no secret."""
    if plan.node is None or gang is None:
        return []
    uid = "" if plan.as_root else str(plan.payload_uid)
    network = (peers.INTERFACE, plan.node.address, str(peers.NETWORK.netmask), str(peers.MTU_BYTES))
    return [str(gang.keeper), str(gang.device), *network, uid]


def _base_folders(plan: WallPlan) -> list[str]:
    size = str(plan.tmp_bytes)
    links = [part for name in ("bin", "sbin", "lib", "lib64") for part in _link(name)]
    return [
        *("--ro-bind", "/usr", "/usr", "--tmpfs", "/usr/local"),
        *links,
        *("--proc", "/proc", "--dev", "/dev"),
        *_devices(plan),
        *("--size", size, "--perms", "1777", "--tmpfs", "/dev/shm"),  # noqa: S108 (inside the wall)
        *("--dir", "/etc", "--dir", "/run"),
        *("--size", size, "--perms", "1777", "--tmpfs", "/tmp"),  # noqa: S108 (inside the wall)
        *("--size", size, "--perms", "0777", "--tmpfs", "/home"),
        *("--size", str(SECRETS_BYTES_MAX), "--perms", "1777", "--tmpfs", SECRETS_FOLDER_INSIDE),
    ]


def _devices(plan: WallPlan) -> list[str]:
    shown: list[str] = []
    for device in plan.devices:
        shown += [*_parents(device.inside)[2:], "--dev-bind", str(device.source), device.inside]
    return shown


def _link(name: str) -> tuple[str, ...]:
    """Merged-/usr systems link /bin to usr/bin; others have real folders, shown as they are."""
    outside = Path("/", name)
    if outside.is_symlink():
        return ("--symlink", f"usr/{name}", f"/{name}")
    return ("--ro-bind-try", str(outside), str(outside))


def _interpreter_mounts(interpreter: Interpreter) -> list[str]:
    """An interpreter outside /usr: its bin and lib at the same path, the host's own packages hidden."""
    if interpreter.prefix is None:
        return []
    shown = _parents(str(interpreter.prefix), include_self=True)
    for name in ("bin", "lib"):
        shown += ["--ro-bind", f"{interpreter.prefix}/{name}", f"{interpreter.prefix}/{name}"]
    for packages in _hidden_packages(interpreter):
        shown += ["--tmpfs", packages]
    for link in interpreter.links:
        shown += [*_parents(str(link)), "--ro-bind", os.path.realpath(link), str(link)]
    return shown


def _own_mounts() -> list[str]:
    """PID 1's modules, one file each: the rest of the agent is not shown to the payload."""
    shown = ["--dir", "/wall", "--dir", PACKAGE_INSIDE]
    for name in INSIDE_MODULES:
        shown += ["--ro-bind", str(Path(__file__).with_name(name)), f"{PACKAGE_INSIDE}/{name}"]
    return shown


def _mounts(plan: WallPlan) -> list[str]:
    shown: list[str] = []
    if plan.image is not None:
        shown += ["--bind" if plan.image_writable else "--ro-bind", str(plan.image), IMAGE_INSIDE]
    if plan.proxy_folder is not None:
        shown += ["--ro-bind", str(plan.proxy_folder), PROXY_FOLDER_INSIDE]
    for mount in plan.mounts:
        kind = "--bind" if mount.writable else "--ro-bind"
        shown += [*_parents(mount.inside), kind, str(mount.source), mount.inside]
    return shown


def _sealed_folders(interpreter: Interpreter) -> list[str]:
    """A plain user's payload owns the empty file systems that hide the host's folders: none may be written."""
    hidden = _hidden_packages(interpreter)
    return [part for folder in ("/usr/local", "/dev", *hidden, "/") for part in ("--remount-ro", folder)]


def _hidden_packages(interpreter: Interpreter) -> list[str]:
    if interpreter.prefix is None:
        return []
    return [
        str(packages) for packages in sorted((interpreter.prefix / "lib").glob("python3.*/site-packages"))
    ]


def _parents(path: str, *, include_self: bool = False) -> list[str]:
    parts = path.strip("/").split("/")
    last = len(parts) if include_self else len(parts) - 1
    return [part for length in range(1, last + 1) for part in ("--dir", "/" + "/".join(parts[:length]))]
