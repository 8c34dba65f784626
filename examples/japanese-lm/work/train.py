"""Train a small Japanese language model: `/data/*.jsonl` to `/out/model.gguf`, going on from `/ckpt`.

Progress is one JSON object a line on standard output. Exit status: 0 done, 1 a file
cannot be written, 2 the input cannot be taken, 75 stopped by SIGTERM with its checkpoint written
(start again to go on).

Environment, each with a flag of the same meaning: SECONDS_TO_TRAIN (90), STEPS_TO_TRAIN (none: the clock decides),
SEED (0), MODEL_SIZE (tiny). A GPU is used where the image's JAX has one; nothing here names it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from threading import Event

FAILED = 1
BAD_INPUT = 2
STOPPED = 75


def say(event: str, **fields: object) -> None:
    """One line at once: whoever follows the log sees it without waiting for a buffer."""
    sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def positive(text: str) -> float:
    """A number of seconds above zero that is also finite."""
    number = float(text)
    if not 0 < number < float("inf"):
        message = "not a number above zero"
        raise ValueError(message)
    return number


def steps(text: str) -> int:
    """A whole number of steps above zero."""
    number = int(text)
    if number < 1:
        message = "not a whole number above zero"
        raise ValueError(message)
    return number


def options(sizes: list[str]) -> argparse.Namespace:
    """Flags, with the environment as their defaults (argparse checks a default that is text like a flag)."""
    environment = os.environ
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("/data"))
    parser.add_argument("--out", type=Path, default=Path("/out"))
    parser.add_argument(
        "--checkpoint", type=Path, default=Path("/ckpt"), help="no such folder: nothing is kept"
    )
    parser.add_argument("--seconds", type=positive, default=environment.get("SECONDS_TO_TRAIN") or "90")
    parser.add_argument("--steps", type=steps, default=environment.get("STEPS_TO_TRAIN") or None)
    parser.add_argument("--seed", type=int, default=environment.get("SEED") or "0")
    parser.add_argument("--size", choices=sizes, default=environment.get("MODEL_SIZE") or "tiny")
    chosen = parser.parse_args()
    if chosen.size not in sizes:
        parser.error(f"MODEL_SIZE is none of {', '.join(sizes)}")
    return chosen


def main() -> int:
    """Run as a program; returns the exit status."""
    stop = Event()
    # Before the imports below, which take seconds: until then a stop would end the process where it stands.
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    # The numeric libraries start one thread for every core they see, which may be more than the wall lets run.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import loop  # noqa: PLC0415 - brings JAX, which takes seconds

    chosen = options(list(loop.RECIPES))
    settings = loop.Settings(
        data_folder=chosen.data,
        out_folder=chosen.out,
        checkpoint_folder=chosen.checkpoint if chosen.checkpoint.is_dir() else None,
        seconds=chosen.seconds,
        steps=chosen.steps,
        seed=chosen.seed,
        recipe=loop.RECIPES[chosen.size],
    )
    try:
        loop.run(settings, stop, say)
    except loop.TrainError as error:
        say("error", code=error.code, message=error.message)
        return BAD_INPUT
    except OSError as error:
        say("error", code="train.io.failed", message=f"a file cannot be read or written: {error.strerror}")
        return FAILED
    except loop.Stopped:
        say("stopped", kept=settings.checkpoint_folder is not None)
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
