"""Collect what an array trained: every try's figures, the best policy, and a picture of the reward curves.

    SEKISHO_CONFIG=... python collect.py JOB --out folder

makes `tries/INDEX/` with the files of each try, `best/` with those of the best by validation reward, `curves.svg`, and
`summary.json`, whose content is also the one line on standard output. Bytes are checked against the digests in the
evidence on the way; what is encrypted under a key of yours is opened as `sekisho artefact fetch` does it, with
SEKISHO_CUSTODIAN_TOKEN and SEKISHO_CUSTODIAN_URL. Exit status: 0 done, 2 refused, otherwise as the client's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import curves
from curves import Curve

from sekisho_client import download, settings
from sekisho_client.client import Client, ProblemError, connect
from sekisho_client.refusals import Refused
from sekisho_client.settings import Settings

BAD_INPUT, FAILED = 2, 1
OUTPUT = "policy"
OWN_NAMES = frozenset({"tries", "best", "curves.svg", "summary.json"})
FILE_BYTES_MAX, OUTPUT_BYTES_MAX = 1_000_000, 10_000_000
POINTS_MAX = 10_000
COMMON: Mapping[str, float] = {"untrained_reward": 1, "untrained_success": 1, "tolerance_mm": 1000}
"""Figures that do not depend on the try, and the largest value of each."""


class CollectError(Exception):
    """Nothing is shown of this array; `code` is stable and dotted, the message one sentence."""

    def __init__(self, code: str, message: str) -> None:
        """Keep both parts."""
        super().__init__(f"{message}  [{code}]")
        self.code = code


class Try(NamedTuple):
    """One member's result as it was read back."""

    job: str
    artefact: str
    digest: str
    curve: Curve
    common: Mapping[str, float]
    """What is the same for all tries: the untrained policy's figures, the tolerance."""


def refuse_foreign(out: Path) -> None:
    """Refuse a target that holds anything but an earlier collection: what is ours is replaced, nothing else touched."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise CollectError("collect.out.not_empty", f"{str(out)!r} is not a folder")
    foreign = (
        sorted(path.name for path in out.iterdir() if path.name not in OWN_NAMES) if out.exists() else []
    )
    if foreign:
        raise CollectError("collect.out.not_empty", f"{str(out)!r} holds something else: {foreign[0]!r}")


def read_object(path: Path) -> dict[str, Any]:
    """One JSON object of a try. Raises `CollectError`: `collect.result.malformed`."""
    try:
        with path.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
        value = json.loads(content) if len(content) <= FILE_BYTES_MAX else None
    except (OSError, ValueError, RecursionError) as error:
        raise CollectError("collect.result.malformed", f"{path.name!r} cannot be read") from error
    if not isinstance(value, dict):
        raise CollectError("collect.result.malformed", f"{path.name!r} holds no object, or too large a one")
    return value


def number(value: Mapping[str, Any], name: str, *, high: float) -> float:
    """A figure from 0 to `high`. Raises `CollectError`: `collect.result.malformed`."""
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= high:
        raise CollectError("collect.result.malformed", f"{name!r} is no number from 0 to {high:g}")
    return float(found)


def read_try(folder: Path, *, index: int, site: str) -> tuple[Curve, dict[str, float]]:
    """The curve of the try whose files lie in `folder`, and the figures that are common to all tries.

    Raises `CollectError`: `collect.result.malformed`, `collect.result.other_index`.
    """
    result, curve = read_object(folder / "result.json"), read_object(folder / "curve.json")
    if not result.get("index") == curve.get("index") == index:
        raise CollectError("collect.result.other_index", f"the result of index {index} names another one")
    points = curve.get("points")
    if not isinstance(points, list) or not 0 < len(points) <= POINTS_MAX:
        raise CollectError("collect.result.malformed", "the curve has no points, or too many")
    if not all(isinstance(point, dict) for point in points):
        raise CollectError("collect.result.malformed", "a point of the curve is no object")
    reaches = [int(number(point, "reaches", high=2**53)) for point in points]
    if reaches != sorted(reaches) or reaches[-1] < 1:
        raise CollectError("collect.result.malformed", "the points of the curve are out of order")
    rewards = [number(point, "reward", high=1) for point in points]
    figures = [number(result, name, high=1) for name in ("held_out_reward", "held_out_success")]
    drawn = Curve(index, site, figures[0], figures[1], list(zip(reaches, rewards, strict=True)))
    return drawn, {name: number(result, name, high=high) for name, high in COMMON.items()}


def best_of(tries: Sequence[Try]) -> Try:
    """The try whose curve ends highest, of equal ones the lowest index.

    Not by its held-out figures: those are measured once, on reaches that decided nothing.
    """
    return max(tries, key=lambda one: (one.curve.points[-1][1], -one.curve.index))


def fetch_try(client: Client, member: Mapping[str, Any], folder: Path, *, chosen: Settings) -> Try:
    """Fetch the output of one member into `folder`, checked against the digest that its record names, and opened."""
    named = [
        artefact
        for artefact in client.pages("data.artefact.list", job=member["id"])
        if artefact["kind"] == "output" and artefact["name"] == OUTPUT
    ]
    if len(named) != 1:
        raise CollectError(
            "collect.result.missing", f"job {member['id']} has {len(named)} outputs {OUTPUT!r}"
        )
    (artefact,) = named
    if artefact["size_bytes"] > OUTPUT_BYTES_MAX:
        raise CollectError("collect.result.too_large", f"artefact {artefact['id']} is larger than any result")
    ticket = client.call("data.artefact.fetch", artefact=artefact["id"])
    if ticket["object"] != artefact["object"]:
        raise CollectError("collect.result.other_digest", f"artefact {artefact['id']} is another object now")
    folder.mkdir(parents=True)
    download.written(client, (ticket, artefact["id"]), folder, settings=chosen, tell=_tell)
    curve, common = read_try(folder, index=member["index"], site=member["site_name"])
    return Try(member["id"], artefact["id"], artefact["object"], curve, common)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def collect(client: Client, job: str, out: Path, *, chosen: Settings) -> dict[str, Any]:
    """Fetch all tries of an array and draw them; answers the summary."""
    refuse_foreign(out)
    members = client.call("compute.job.show", job=job)["members"]
    ended = [member for member in members if member["state"] == "succeeded"]
    if not ended:
        raise CollectError("collect.array.nothing", f"{job} is no array with a member that succeeded")
    for name in OWN_NAMES & {path.name for path in (out.iterdir() if out.exists() else ())}:
        old = out / name
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    tries = [
        fetch_try(client, member, out / "tries" / str(member["index"]), chosen=chosen) for member in ended
    ]
    best = best_of(tries)
    shutil.copytree(out / "tries" / str(best.curve.index), out / "best")
    picture = curves.drawn(
        [one.curve for one in tries],
        best=best.curve.index,
        untrained=best.common["untrained_reward"],
        tolerance_mm=best.common["tolerance_mm"],
    )
    (out / "curves.svg").write_text(picture, encoding="utf-8")
    summary = summarised(job, tries, best, missing=len(members) - len(ended))
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def summarised(job: str, tries: Sequence[Try], best: Try, *, missing: int) -> dict[str, Any]:
    """What was found, for people and programs."""
    return {
        "v": 1,
        "job": job,
        "missing": missing,
        "best": best.curve.index,
        **best.common,
        "tries": [
            {
                "index": one.curve.index,
                "job": one.job,
                "site": one.curve.site,
                "held_out_reward": one.curve.reward,
                "held_out_success": one.curve.success,
                "artefact": one.artefact,
                "object": one.digest,
            }
            for one in sorted(tries, key=lambda one: one.curve.index)
        ],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit status."""
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", help="the array's own job, as `sekisho jobs` lists it")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to make; an earlier collection in it is replaced"
    )
    options = parser.parse_args(arguments)
    try:
        chosen = settings.load(os.environ)
        with connect(chosen) as client:
            found = collect(client, options.job, options.out, chosen=chosen)
    except CollectError as error:
        sys.stderr.write(f"error: {error}\n")
        return BAD_INPUT
    except (Refused, ProblemError) as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    except OSError as error:
        name = Path(str(error.filename)).name if error.filename else "a file"
        sys.stderr.write(f"error: {name}: {error.strerror}  [collect.io.failed]\n")
        return FAILED
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
