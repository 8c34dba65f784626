"""A real Slurm for tests: two clusters with fake GPUs, one accounting database, a REST daemon each, all in one folder.

The daemons are Debian's. Several node daemons share this machine (`slurmd -N`); GPUs are null devices. Nothing lies
outside the folder, and every process ends with `close`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROGRAMS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmrestd", "scontrol", "sacctmgr")
PACKAGES = "slurmctld slurmd slurm-client slurmrestd slurmdbd slurm-wlm-jwt-plugin munge mariadb-server"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
"""A plain login's path leaves out where daemons are."""
REST_USER = "nobody"
NODES = 2
WAIT_SECONDS = 60.0
INSTALL_TRIES = 4


class SlurmUnavailableError(RuntimeError):
    """No Slurm here, or this is not root, which its daemons need; the text says what to do."""


def find() -> None:
    """SlurmUnavailableError where none can be started."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if absent:
        raise SlurmUnavailableError(f"{', '.join(absent)}: apt-get install {PACKAGES}")
    if os.geteuid() != 0:
        raise SlurmUnavailableError("run as root")


@contextlib.contextmanager
def running(*clusters: str) -> Iterator[Site]:
    """The whole site, until the block ends; SlurmUnavailableError where it cannot be."""
    find()
    with tempfile.TemporaryDirectory(prefix="sks-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = Site(folder)
        try:
            site.start(clusters)
            yield site
        finally:
            site.close()


class Site:
    """Munge, the accounting database, and the clusters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clusters: dict[str, Cluster] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.dbd_port = free_port()

    def start(self, clusters: tuple[str, ...]) -> None:
        """Everything, in the order in which they need each other."""
        for part in ("run", "dbd", "database"):
            (self.folder / part).mkdir()
        self._munge()
        self._accounting()
        self.clusters = {name: Cluster(self, name) for name in clusters}
        for cluster in self.clusters.values():
            cluster.prepare()
        next(iter(self.clusters.values())).register(*self.clusters)
        with ThreadPoolExecutor(len(clusters)) as pool:
            list(pool.map(Cluster.start, self.clusters.values()))

    def _munge(self) -> None:
        key, run = self.folder / "munge.key", self.folder / "run"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        jwt = self.folder / "jwt.key"
        jwt.write_bytes(secrets.token_bytes(32))
        jwt.chmod(0o600)
        self.spawn(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={run}/munge.sock",
            f"--pid-file={run}/munged.pid",
            f"--log-file={run}/munged.log",
            f"--seed-file={run}/munged.seed",
        )
        until((run / "munge.sock").exists, "munge")

    def _accounting(self) -> None:
        data, socket_path = self.folder / "database" / "data", self.folder / "database" / "s.sock"
        install = (
            "mariadb-install-db",
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-use-native-aio=0",
        )
        # Seen to fail once in a while when several start at the same moment.
        for _ in range(INSTALL_TRIES):
            if succeeds(*install):
                break
            shutil.rmtree(data, ignore_errors=True)
            time.sleep(1)
        self.spawn(
            "mariadbd",
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            f"--socket={socket_path}",
            f"--pid-file={self.folder}/run/mariadb.pid",
            "--skip-networking",
            "--innodb-use-native-aio=0",
            "--innodb-buffer-pool-size=64M",
            "--innodb-lock-wait-timeout=900",
            "--innodb-flush-log-at-trx-commit=0",
        )
        until(
            lambda: succeeds("mariadb-admin", "--no-defaults", "-S", str(socket_path), "ping"), "the database"
        )
        config = self.folder / "dbd" / "slurmdbd.conf"
        config.write_text(
            f"""AuthType=auth/munge
AuthInfo=socket={self.folder}/run/munge.sock
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={self.folder}/jwt.key
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={self.dbd_port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
LogFile={self.folder}/dbd/log
PidFile={self.folder}/run/slurmdbd.pid
"""
        )
        config.chmod(0o600)
        self.spawn("slurmdbd", "-D", MYSQL_UNIX_PORT=str(socket_path), SLURM_CONF=str(config))
        until(lambda: listening(self.dbd_port), "the accounting daemon")

    def spawn(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """A daemon in the foreground, ended with the site."""
        with (self.folder / "daemons.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PATH": PATH, **environment},
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End every process, jobs included. Nothing of the site is used again, so nothing may take its time."""
        for cluster in self.clusters.values():
            cluster.end_jobs()
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.wait(10)


class Cluster:
    """One controller, its node daemons and its REST daemon."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name
        self.folder = site.folder / name
        self.nodes = [f"{name}-n{number + 1}" for number in range(NODES)]
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._port = free_port()
        self._node_ports = [free_port() for _ in self.nodes]
        self._rest_port = free_port()

    @property
    def url(self) -> str:
        """Where the REST daemon answers."""
        return f"http://127.0.0.1:{self._rest_port}"

    @property
    def token_file(self) -> Path:
        """A token of root's, valid for an hour."""
        return self.folder / "token"

    def prepare(self) -> None:
        """Configure."""
        for part in ("state", "log", "dev"):
            (self.folder / part).mkdir(parents=True)
        for node in self.nodes:
            (self.folder / "spool" / node).mkdir(parents=True)
        for number in range(8):
            os.mknod(self.folder / "dev" / f"nvidia{number}", 0o666 | 0o020000, os.makedev(1, 3))
        self._configure()

    def register(self, *clusters: str) -> None:
        """Make these known to accounting, with one account, all at once: each call takes half a second."""
        where = f"Cluster={','.join(clusters)}"
        for what in (
            ("cluster", *clusters),
            ("account", "tenant", where),
            ("user", "root", "account=tenant", where),
        ):
            self.run("sacctmgr", "-i", "-n", "add", *what)

    def start(self) -> None:
        """Start all daemons, wait for idle nodes."""
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        token = self.run("scontrol", "token", "username=root", "lifespan=3600").partition("=")[2].strip()
        self.token_file.write_text(token)
        self.start_rest()
        until(self.idle, "idle nodes")

    def start_controller(self) -> None:
        self.daemons["slurmctld"] = self._spawn("slurmctld", "-D", "-i")
        until(lambda: listening(self._port), "the controller")

    def start_node(self, node: str) -> None:
        self.daemons[node] = self._spawn("slurmd", "-D", "-N", node)

    def start_rest(self) -> None:
        """The REST daemon refuses to be root."""
        user = pwd.getpwnam(REST_USER)
        self.daemons["slurmrestd"] = self._spawn(
            "setpriv",
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            shutil.which("slurmrestd", path=PATH) or "slurmrestd",
            "-a",
            "rest_auth/jwt",
            "-s",
            "openapi/v0.0.38,openapi/v0.0.37,openapi/dbv0.0.38",
            f"127.0.0.1:{self._rest_port}",
            SLURM_JWT="daemon",
            SLURMRESTD_SECURITY="disable_user_check",
        )
        until(lambda: listening(self._rest_port), "the REST daemon")

    def kill(self, daemon: str) -> None:
        """As a power cut would."""
        self.daemons[daemon].kill()
        self.daemons[daemon].wait()

    def resume(self) -> None:
        """As an operator would: a controller that gives ids out again finds jobs of those ids running, and drains."""
        for node in self.run(
            "sinfo", "-h", "-N", "-p", "batch", "-t", "drain,drained,down", "-o", "%N"
        ).split():
            self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)

    def idle(self) -> bool:
        """Whether every node waits for work."""
        found = self.run("sinfo", "-h", "-N", "-p", "batch", "-o", "%T").split()
        return found == ["idle"] * len(self.nodes)

    def version(self) -> str:
        """Which Slurm this is."""
        return self.run("scontrol", "--version").strip()

    def said(self) -> str:
        """The last words of its controller's log, for whoever looks into a failure."""
        return (self.folder / "log" / "slurmctld.log").read_text(errors="replace")[-6000:]

    def state(self, native: str) -> str:
        """The job's state in the controller's words."""
        text = self.run("scontrol", "show", "job", native, "-o", check=False)
        return next((word[9:] for word in text.split() if word.startswith("JobState=")), "")

    def native(self, attempt: str) -> str:
        """The id of the job that carries this attempt's name."""
        return self.run("squeue", "-h", "-a", "-t", "all", "-n", attempt, "-o", "%i").strip()

    def end_jobs(self) -> None:
        """Cancel everything, and do not insist."""
        with contextlib.suppress(subprocess.SubprocessError):
            if not self.run("squeue", "-h", check=False).strip():
                return
            self.run("scancel", "-u", "root", check=False)
            deadline = time.monotonic() + WAIT_SECONDS
            while self.run("squeue", "-h", check=False).strip() and time.monotonic() < deadline:
                time.sleep(0.1)

    def run(self, *command: str, check: bool = True) -> str:
        """A client program of this cluster; its output."""
        done = subprocess.run(
            command,
            env={**os.environ, "PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")},
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
        if check and done.returncode:
            message = f"{' '.join(command)}: {done.stdout}{done.stderr}"
            raise AssertionError(message)
        return done.stdout

    def _spawn(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        return self.site.spawn(*command, SLURM_CONF=str(self.folder / "slurm.conf"), **environment)

    def _configure(self) -> None:
        base, own, name = self.site.folder, self.folder, self.name
        nodes = f"{name}-n[1-{len(self.nodes)}]"
        ports = ",".join(str(port) for port in self._node_ports)
        (own / "slurm.conf").write_text(
            f"""ClusterName={name}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={self._port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/run/munge.sock
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={base}/jwt.key
StateSaveLocation={own}/state
SlurmdSpoolDir={own}/spool/%n
SlurmctldPidFile={own}/slurmctld.pid
SlurmdPidFile={own}/slurmd-%n.pid
SlurmctldLogFile={own}/log/slurmctld.log
SlurmdLogFile={own}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=300
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self.site.dbd_port}
AccountingStoragePass={base}/run/munge.sock
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
SlurmdParameters=config_overrides
KillWait=2
MinJobAge=300
NodeName={nodes} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports} CPUs=16 RealMemory=64000 Gres=gpu:h100:8
PartitionName=batch Nodes={nodes} Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes={nodes} PriorityTier=10 PreemptMode=OFF
"""
        )
        (own / "gres.conf").write_text(f"NodeName={nodes} Name=gpu Type=h100 File={own}/dev/nvidia[0-7]\n")
        (own / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        for path in (own / "slurm.conf", own / "gres.conf", own / "cgroup.conf"):
            path.chmod(0o644)


def free_port() -> int:
    """A port that nobody has, below those that the system gives to connections of its own choice."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as opened, contextlib.suppress(OSError):
            opened.bind(("127.0.0.1", port))
            return port


def listening(port: int) -> bool:
    """Whether somebody accepts there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a daemon."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            message = f"{what} did not come up in {WAIT_SECONDS} s"
            raise AssertionError(message)
        time.sleep(0.05)


def succeeds(*command: str) -> bool:
    """Whether a program does."""
    return subprocess.run(command, check=False, capture_output=True, timeout=WAIT_SECONDS).returncode == 0
