"""`make run`: an example on this machine, from an empty folder to a verified bundle and a summary.

EXAMPLE names it: japanese-lm, the main job, or robot-arm. ONCE=1 ends after the summary. TEXT=folder takes that text,
IMAGE=cuda takes the GPU environment, still on the CPU (japanese-lm); SLURM=1 puts a real Slurm of this machine behind
one of the sites, which robot-arm does unasked where it can.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from scripts.main_job import summary
from scripts.main_job.example import ROOT, Example
from scripts.main_job.japanese_lm import JapaneseLm
from scripts.main_job.processes import StepFailedError
from scripts.main_job.robot_arm import RobotArm
from scripts.main_job.story import Story
from sekisho_client.client import Client
from sekisho_client.refusals import ProblemError, Refused

EXAMPLES: tuple[Example, ...] = (JapaneseLm(), RobotArm())
BAD_INPUT, INTERRUPTED = 2, 130


def chosen(environment: Mapping[str, str]) -> Example:
    """The example that EXAMPLE names, the first where it names none; StepFailedError for what none would heed."""
    wanted = environment.get("EXAMPLE") or EXAMPLES[0].name
    found = next((example for example in EXAMPLES if example.name == wanted), None)
    if found is None:
        names = ", ".join(example.name for example in EXAMPLES)
        raise StepFailedError(f"EXAMPLE={wanted[:64]!r} is none of {names}")
    known = frozenset[str]().union(*(example.variables for example in EXAMPLES))
    for name in sorted(known - found.variables):
        if environment.get(name):
            raise StepFailedError(f"{name} means nothing to EXAMPLE={found.name}")
    return found


def main() -> int:
    """Tell the story; exit status 0 only when everything in it held."""
    # Ended from outside, we still end what we started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        example = chosen(os.environ)
    except StepFailedError as error:
        sys.stderr.write(f"error: {error}\n")
        return BAD_INPUT
    try:
        return _tell(example)
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted: everything that was started has ended.\n")
        return INTERRUPTED


def _tell(example: Example) -> int:
    folder = ROOT / ".run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        story = Story(example, folder, stack)
        try:
            administrator = story.start_control_plane()
            engineer = story.open_sites(administrator)
            example.prepare(story, engineer)
            story.submit(engineer)
            story.watch(engineer)
            example.collect(story)
            story.prove(engineer)
            example.afterwards(story, administrator, engineer)
        except (StepFailedError, ProblemError, Refused) as error:
            sys.stderr.write(f"\n{error}\nLogs: {folder}\n")
            return 1
        once = bool(os.environ.get("ONCE"))
        good = summary.show(example, story.found, seconds=time.monotonic() - story.begun, serving=not once)
        if once:
            return 0 if good else 1
        return _keep_serving(story, administrator)


def _keep_serving(story: Story, administrator: Client) -> int:
    """Go on until Ctrl-C, with a one-time link into the console."""
    link: dict[str, Any] = administrator.call("identity.person.invite", person=story.found.visitor)
    sys.stdout.write(
        f"\nConsole: {story.url}/signin/{link['secret']}?next=/jobs/{story.found.job}  (one-time link)\nCtrl-C ends.\n"
    )
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
