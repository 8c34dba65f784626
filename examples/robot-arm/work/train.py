"""Train one policy of the array: writes `/out/policy.json`, `curve.json` and `result.json`, going on from a checkpoint.

Progress is one JSON object a line on standard output. Exit status: 0 done, 1 a file cannot be written, 2 the input
cannot be taken, 75 stopped by SIGTERM with its checkpoint written (start again to go on).

Environment: SEKISHO_ARRAY_INDEX and SEKISHO_ARRAY_SIZE (0 of 1 where neither is set), SEKISHO_CHECKPOINT (a folder;
without it nothing is kept), REACHES_TO_TRAIN (4000).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from threading import Event

import plan
from failures import TrainError

FAILED = 1
BAD_INPUT = 2
STOPPED = 75
REACHES_MAX = 10_000_000


def say(event: str, **fields: object) -> None:
    """One line at once: whoever follows the log sees it without waiting for a buffer."""
    sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def reaches(text: str) -> int:
    """A whole number of reaches above zero."""
    number = int(text)
    if not 0 < number <= REACHES_MAX:
        message = f"not a whole number from 1 to {REACHES_MAX}"
        raise ValueError(message)
    return number


def options() -> argparse.Namespace:
    """Flags, with the environment as their defaults (argparse checks a default that is text like a flag)."""
    environment = os.environ
    kept = environment.get("SEKISHO_CHECKPOINT")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("/out"))
    parser.add_argument("--checkpoint", type=Path, default=Path(kept) if kept else None)
    parser.add_argument("--reaches", type=reaches, default=environment.get("REACHES_TO_TRAIN") or "4000")
    return parser.parse_args()


def main() -> int:
    """Run as a program; returns the exit status."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    chosen = options()
    try:
        part = plan.tried(*plan.place(os.environ))
        # The numeric libraries start one thread for every core they see, which may be more than the wall lets run.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        import loop  # noqa: PLC0415 - brings the simulator, which a refused input does not need

        settings = loop.Settings(
            out_folder=chosen.out, checkpoint_folder=chosen.checkpoint, reaches=chosen.reaches, part=part
        )
        try:
            loop.run(settings, stop, say)
        except loop.Stopped:
            say("stopped", kept=settings.checkpoint_folder is not None)
            return STOPPED
    except TrainError as error:
        say("error", code=error.code, message=error.message)
        return BAD_INPUT
    except OSError as error:
        say("error", code="train.io.failed", message=f"a file cannot be read or written: {error.strerror}")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
