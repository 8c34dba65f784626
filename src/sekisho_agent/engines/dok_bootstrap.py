"""What runs inside a container of DOK before and after the payload: shell text, and what it leaves behind.

The container may hold no program of ours, so this is POSIX sh with what every image with a shell has: tar, gzip,
base64, sha256sum, tee, head, wc, mkfifo, sleep; and curl, wget or python3 where inputs come by a signed address.

It unpacks the inputs, runs the payload with its time limit and grace, keeps a copy of its output, packs the writable
folders and leaves three files in the artefact: `sekisho-told` (lines `name=value`, then what `times` says),
`sekisho-log` and `sekisho-outputs.tar.gz`. It exits with the payload's status.

Known limits: the payload runs as the same user and can say here whatever it likes; a status above 128 cannot be told
from an end by a signal.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from sekisho_verify.canonical import INTEGER_LIMIT

TOLD, LOG, OUTPUTS = "sekisho-told", "sekisho-log", "sekisho-outputs.tar.gz"
TOLD_BYTES_MAX: Final = 64 << 10
SIGNAL_STATUS: Final = 128
SIGNAL_LAST: Final = 64
STATUS_MAX: Final = 255
CHUNK_LETTERS: Final = 96 << 10
"""Of one argument: the kernel takes no argument of 128 KiB or more."""

TIMES: Final = re.compile(r"(\d{1,9})m([\d.]{1,20})s (\d{1,9})m([\d.]{1,20})s", re.ASCII)

SCRIPT: Final = r"""
set -u
given=$PATH
PATH=$PATH:/usr/local/bin:/usr/bin:/bin
limit=$1 grace=$2 keep=$3 folder=$4 digest=$5 address=$6 parts=$7 outputs=$8
shift 8
own=/tmp/.sekisho
told=$SAKURA_ARTIFACT_DIR/sekisho-told
mkdir -p "$own" "$SAKURA_ARTIFACT_DIR" "$folder" "${HOME:-/}" || exit 125
broken() {
    echo "sekisho: $1"
    echo "broken=$1" > "$told"
    exit 125
}
while [ "$parts" -gt 0 ]; do
    printf %s "$1" >> "$own/letters"
    shift
    parts=$((parts - 1))
done
if [ -z "$address" ]; then
    base64 -d < "$own/letters" > "$own/parcel" || broken "the inputs could not be decoded"
elif command -v curl > /dev/null; then
    curl -fsS --max-redirs 0 -o "$own/parcel" "$address" || broken "the inputs could not be fetched"
elif command -v wget > /dev/null; then
    wget -q -O "$own/parcel" "$address" || broken "the inputs could not be fetched"
elif command -v python3 > /dev/null; then
    python3 -c 'import sys, urllib.request as r; r.urlretrieve(sys.argv[1], sys.argv[2])' "$address" "$own/parcel" ||
        broken "the inputs could not be fetched"
else
    broken "the image has no curl, wget or python3 to fetch the inputs with"
fi
echo "$digest  $own/parcel" | sha256sum -c > /dev/null 2>&1 || broken "the inputs are not what was sent"
tar -xzf "$own/parcel" -C / || broken "the inputs could not be unpacked"
rm -f "$own/letters" "$own/parcel"
mkfifo "$own/pipe" || broken "no pipe could be made"
tee "$own/log" < "$own/pipe" &
copier=$!
read -r began rest < /proc/uptime
(cd "$folder" && PATH=$given && export PATH && exec "$@") > "$own/pipe" 2>&1 < /dev/null &
payload=$!
(
    sleep "$limit"
    : > "$own/limit"
    kill -TERM "$payload"
    sleep "$grace"
    kill -KILL "$payload"
) > /dev/null 2>&1 &
watch=$!
trap 'kill -TERM "$payload" 2> /dev/null' TERM
while :; do
    wait "$payload"
    status=$?
    kill -0 "$payload" 2> /dev/null || break
done
read -r ended rest < /proc/uptime
kill -KILL "$watch" 2> /dev/null
if [ $$ = 1 ]; then
    for round in 1 2; do
        for process in /proc/[0-9]*; do
            process=${process#/proc/}
            [ "$process" = 1 ] || [ "$process" = "$copier" ] || kill -KILL "$process" 2> /dev/null
        done
    done
else
    (sleep 2; kill -TERM "$copier") > /dev/null 2>&1 &
fi
wait "$copier"
head -c "$keep" < "$own/log" > "$SAKURA_ARTIFACT_DIR/sekisho-log"
IFS='
'
set -f
set -- $outputs
packed=0
if [ $# -gt 0 ]; then
    tar -czf "$SAKURA_ARTIFACT_DIR/.sekisho-part" -C / "$@" || packed=$?
    mv "$SAKURA_ARTIFACT_DIR/.sekisho-part" "$SAKURA_ARTIFACT_DIR/sekisho-outputs.tar.gz" || packed=9
fi
{
    echo "status=$status"
    echo "began=$began"
    echo "ended=$ended"
    echo "packed=$packed"
    echo "log_bytes=$(wc -c < "$own/log")"
    [ -e "$own/limit" ] && echo "limit=1"
    times
} > "$told"
exit "$status"
"""


class Told(msgspec.Struct, frozen=True):
    """What the bootstrap left. `status` is the payload's, negative for a signal; `broken` that none ran, and why."""

    status: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    log_bytes: int = 0
    packed: bool = False
    limit: bool = False
    broken: str = ""


def read_told(content: bytes) -> Told:
    """Read `sekisho-told`; ValueError when it is not what the script writes."""
    text = content[:TOLD_BYTES_MAX].decode("utf-8", errors="replace")
    named = [line.partition("=") for line in text.splitlines() if "=" in line]
    lines = {name: value for name, _, value in named}
    if "broken" in lines:
        return Told(broken=lines["broken"][:500])
    status, log_bytes = int(lines.get("status", "")), int(lines.get("log_bytes", ""))
    if not 0 <= status <= STATUS_MAX or not 0 <= log_bytes < INTEGER_LIMIT:
        raise ValueError("a status or length that no shell writes")
    if SIGNAL_STATUS < status <= SIGNAL_STATUS + SIGNAL_LAST:
        status = SIGNAL_STATUS - status
    seconds = float(lines.get("ended", "")) - float(lines.get("began", ""))
    measured = TIMES.findall(text)
    user_minutes, user, system_minutes, system = measured[-1] if measured else ("0", "0", "0", "0")
    cpu = 60.0 * (int(user_minutes) + int(system_minutes)) + float(user) + float(system)
    if not 0 <= seconds < 1e9 or not 0 <= cpu < 1e12:  # noqa: PLR2004 (no clock says so)
        raise ValueError("times that nobody has measured")
    return Told(
        status=status,
        seconds=seconds,
        cpu_seconds=cpu,
        log_bytes=log_bytes,
        packed=lines.get("packed") in {"0", "1"},
        limit="limit" in lines,
    )
