"""What the agent adds to an engine: from the accepted offer to the payload, and from its end to the recorded result.

An attempt does nothing, so all of its time is overhead: from the moment the control plane has the acceptance to the
moment it has the end, with wall, canaries, log, output and digests in between. On Slurm it is held against Slurm's own
`sbatch` of a script that does nothing, until the controller calls it done; locally against starting the same wall by
hand; each in turns with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.harness import Goal, goal, report
from sekisho_agent import clock, seccomp, wall
from sekisho_agent.bubblewrap import find_bubblewrap
from sekisho_agent.interpreter import base_interpreter
from sekisho_wire.messages import Accept, Ended, Started
from tests.agent import control as fake
from tests.agent import slurm_site
from tests.agent.control import ControlPlane
from tests.agent.support import LIMITS, agent_process, make_offer
from tests.support import slurm

ROUNDS, WARM_UP = 12, 2
NATIVE = ("-A", "tenant", "--mem=512", "-o", "/dev/null", "--wrap", "true")
"""Slurm's own `sbatch --wait` looks every two seconds only; here its controller is asked all the time."""


class Attempts:
    """Offers to one agent, timed where a control plane hears of them."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self.starts: list[float] = []

    def one(self) -> float:
        """Seconds from Accept to Ended of an attempt that does nothing."""
        attempt = self._control.offer(make_offer("true"))
        self._control.wait_for(Accept, attempt, seconds=60)
        accepted = time.perf_counter()
        self._control.wait_for(Started, attempt, seconds=60)
        self.starts.append(time.perf_counter() - accepted)
        ended = self._control.wait_for(Ended, attempt, seconds=60)
        taken = time.perf_counter() - accepted
        if ended.reason != "finished":
            message = f"the attempt ended as {ended.reason}: {ended.detail}"
            raise AssertionError(message)
        return taken


def in_turns(ours: Callable[[], float], native: Callable[[], float]) -> tuple[float, float]:
    """Median seconds of both."""
    pairs = [(ours(), native()) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


@contextlib.contextmanager
def walled_by_hand() -> Iterator[Callable[[], float]]:
    """The local engine's wall around `true`, without engine and agent: bubblewrap, our PID 1, an order, `go`."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        out.mkdir()
        found = find_bubblewrap(Path(name))
        if found is None:
            raise SystemExit("no working bubblewrap here")
        plan = wall.WallPlan(
            bubblewrap=found.path,
            interpreter=base_interpreter(),
            image=None,
            mounts=(wall.Mount(source=out, inside="/out", writable=True),),
            tmp_bytes=LIMITS.tmp_bytes,
            payload_uid=wall.PAYLOAD_UID_FIRST,
            as_root=os.geteuid() == 0,
        )
        order = {
            "lease": clock.monotonic() + 3600,
            "canaries": dict[str, str](),
            "forward": False,
            "uid": plan.payload_uid if plan.as_root else None,
            "rlimits": dict[str, int](),
            "wall_s": 60,
            "grace_s": 1,
            "output_bytes": LIMITS.output_bytes,
            "writable": ["/out"],
            "argv": ["true"],
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": "/home",
            "secrets": dict[str, str](),
            "secrets_folder": wall.SECRETS_FOLDER_INSIDE,
            "seccomp": seccomp.find(os.uname().machine).program.hex(),
        }
        yield lambda: _walled(plan, json.dumps(order).encode() + b"\n")


def _walled(plan: wall.WallPlan, order: bytes) -> float:
    begun = time.perf_counter()
    pipes = {name: os.pipe() for name in ("info", "accounts", "orders", "reports")}
    ours = {"info": 0, "accounts": 1, "orders": 1, "reports": 0}
    theirs = {name: pipes[name][1 - end] for name, end in ours.items()}
    os.write(pipes["accounts"][1], wall.account_file(plan))
    os.close(pipes["accounts"][1])
    process = subprocess.Popen(
        wall.arguments(plan, wall.WallDescriptors(**theirs)), pass_fds=tuple(theirs.values())
    )
    for descriptor in theirs.values():
        os.close(descriptor)
    os.write(pipes["orders"][1], order)
    with os.fdopen(pipes["reports"][0], "rb") as reports:
        said = reports.readline()
        os.write(pipes["orders"][1], b"go\n")
        said += reports.read()
    process.wait()
    os.close(pipes["orders"][1])
    os.close(pipes["info"][0])
    if b'"exit_status": 0' not in said:
        raise AssertionError(said)
    return time.perf_counter() - begun


def local(figures: dict[str, float]) -> list[Goal]:
    """The local engine against its own wall."""
    with fake.running() as control, agent_process(control) as _, walled_by_hand() as by_hand:
        attempts = Attempts(control)
        ours, native = in_turns(attempts.one, by_hand)
    figures |= {
        "local_attempt_ms": ours * 1000,
        "local_to_start_ms": statistics.median(attempts.starts) * 1000,
        "local_wall_by_hand_ms": native * 1000,
    }
    return [goal("local_overhead", ours / native, "<=", 3.0)]


def on_slurm(figures: dict[str, float]) -> list[Goal]:
    """A Slurm site against Slurm's own submit and wait."""
    with slurm.running("tokyo") as site, fake.running() as control:
        cluster = site.clusters["tokyo"]

        def native() -> float:
            begun = time.perf_counter()
            cluster.run("sbatch", "--wait", "-A", "tenant", "--mem=512", "-o", "/dev/null", "--wrap", "true")
            return time.perf_counter() - begun

        with agent_process(control, **slurm_site.settings(cluster)):
            attempts = Attempts(control)
            ours, theirs = in_turns(attempts.one, native)
    figures |= {
        "slurm_attempt_ms": ours * 1000,
        "slurm_to_start_ms": statistics.median(attempts.starts) * 1000,
        "slurm_native_ms": theirs * 1000,
    }
    return [goal("slurm_overhead", ours / theirs, "<=", 1.5)]


def main() -> int:
    """All engines that can run here."""
    figures: dict[str, float] = {}
    goals = local(figures)
    try:
        slurm.find()
    except slurm.SlurmUnavailableError as error:
        print(f"NOT MEASURED, no Slurm: {error}", file=sys.stderr)
        return 1
    goals += on_slurm(figures)
    return report("engines", goals, figures)


if __name__ == "__main__":
    sys.exit(main())
