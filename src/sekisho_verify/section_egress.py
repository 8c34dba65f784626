"""What left an attempt: its egress report, and what a listener outside observed of its canaries.

`egress.json` is `{"v": 1, "attempt", "canaries", "egress"}`, where `egress` is what the agent's last message says and
`canaries` the results by route; the message stands in the same record and both must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from sekisho_verify.canonical import from_base64url, to_base64url
from sekisho_verify.detail import LEVEL_MAX, read_canaries
from sekisho_verify.errors import Exit, RecordError, VerifyError
from sekisho_verify.lines import ABSENT, DECLARED, MEASURED, NOTE, OK, Case, Evidence, Line, failed
from sekisho_verify.observation import PROTOCOLS, Observation, read_canaries_file, read_observation
from sekisho_verify.sealed import AgentMessage
from sekisho_verify.section import Section

EGRESS_FILE = "egress.json"
CANARIES_FILE = "canaries.json"
CANARY_OPEN = "wall.canary_open"
MECHANISM_OPEN = "open"
STARTED = "started"
SKEW_MS = 30_000
"""How far the clocks of a listener and an agent may differ."""
_FIELDS = {"v", "attempt", "canaries", "egress"}
_REPORT = {"mechanism", "reached", "refused", "refused_count"}
_REACHED = {"destination", "connections", "sent_bytes", "received_bytes", "addresses"}

NAMES = ("egress", "外向き通信")
SENTENCES = {
    "egress.none": (
        "{mechanism}: nothing was let out, {refused} requests refused, by the site's own report",
        "{mechanism}：外部への通信はなく、拒否した要求は{refused}件です（拠点自身の報告）。",
    ),
    "egress.listed": (
        "{mechanism}: {connections} connections to {destinations}; {sent} bytes out, {received} in; {refused} refused",
        "{mechanism}：{destinations}へ{connections}件接続。送信{sent}、受信{received}バイト、拒否{refused}件。",
    ),
    "egress.open": (
        "no wall: nothing held traffic back and nothing counted it, by the site's own report",
        "遮断なし：通信は制限も計測もされていません（拠点自身の報告）。",
    ),
    "egress.missing": (
        "absent: a record names {name}, which is not in the bundle",
        "なし：記録にある{name}が証跡一式に含まれていません。",
    ),
    "observed.closed": (
        "listener {listener}: its own path was alive ({alive}) and nothing came from inside the wall",
        "観測者{listener}：経路は有効であり（{alive}）、遮断の内側からは何も届いていません。",
    ),
    "observed.unproven": (
        "listener {listener}: nothing arrived by {unproven}, not even from outside the wall; shown closed: {alive}",
        "観測者{listener}：{unproven}は遮断の外側からも届いていません。遮断を確認した経路：{alive}。",
    ),
    "observed.open": (
        "listener {listener}: arrived from inside the wall by {open}",
        "観測者{listener}：遮断の内側から{open}で届いています。",
    ),
    "observed.none": (
        "absent: no listener's report of attempt {attempt}",
        "なし：試行{attempt}について観測者の報告がありません。",
    ),
    "observed.unknown": (
        "a report under the name {listener}, by key {key}, which the trust file does not name: {results}",
        "{listener}名義の報告。署名鍵{key}は信頼ファイルにありません：{results}",
    ),
}


class EgressError(VerifyError):
    """A report that contradicts the message it is from, or a listener that heard what it should not have."""

    exit_code = Exit.EGRESS


class Run(NamedTuple):
    """One attempt under one token, and when its payload ran by its agent's clock, in milliseconds."""

    attempt: str
    token: object
    begun_ms: int
    ended_ms: int


def check(case: Case) -> list[Line]:
    """The agent's reports (D), then what listeners observed (M where the trust file names them)."""
    lines: list[Line] = []
    for found in case.evidence(EGRESS_FILE):
        lines += _told_of(found, EGRESS_FILE, lambda at: [_report(case, at)])
    runs = _Runs(case)
    for found in case.evidence(CANARIES_FILE):
        runs.heard[found.number] = set()
        lines += _told_of(found, CANARIES_FILE, lambda at: _observed(case, runs, at))
    return [*lines, *_left_out(case, runs)]


def _told_of(found: Evidence, name: str, read: Callable[[Evidence], list[Line]]) -> list[Line]:
    if found.data is None:
        return [Line("egress", ABSENT, "egress.missing", {"name": name})]
    try:
        return read(found)
    except VerifyError as error:
        return [failed("egress", error.at(found.where))]


class _Runs:
    """When attempts ran, from what their agents have signed; `heard` is what evidence holds of it, by record."""

    def __init__(self, case: Case) -> None:
        self.heard: dict[int, set[Observation]] = {}
        self._read: dict[str, list[Observation]] = {}
        self.begun: dict[tuple[str, object], str] = {}
        for message in case.messages.values():
            if message.body["kind"] == STARTED:
                self.begun.setdefault((message.attempt, message.token), message.time)

    def reports(self, found: Evidence) -> list[Observation]:
        """The reports in an evidence file, verified once; no attempt but one can be what they are of."""
        if found.digest not in self._read:
            self._read[found.digest] = []
            self._read[found.digest] = read_canaries_file(found.data or b"")
        return self._read[found.digest]

    def of(self, message: AgentMessage) -> Run:
        """The run that this last message is about: from when it was said to have started, for its `seconds`."""
        ended_ms, seconds = _clock_ms(message.time), message.body.get("seconds", 0)
        begun_ms = _clock_ms(self.begun.get((message.attempt, message.token), message.time))
        if type(seconds) is int and seconds > 0:
            ended_ms = min(ended_ms, begun_ms + seconds * 1000)
        return Run(message.attempt, message.token, begun_ms, ended_ms)


def _report(case: Case, found: Evidence) -> Line:
    body = case.body(found)
    if body.keys() != _FIELDS or type(body["v"]) is not int or body["v"] != 1:
        raise _wrong("a field missing or unknown")
    message = _message(case, found)
    said = {"attempt": message.attempt, "canaries": message.body.get("canaries", {})}
    if said != {"attempt": body["attempt"], "canaries": read_canaries(body["canaries"])}:
        raise EgressError("egress.differs", "not what the agent's signed message says")
    if body["egress"] != message.body.get("egress"):
        raise EgressError("egress.differs", "not what the agent's signed message says")
    return _told(body["egress"])


def _told(report: object) -> Line:
    """The line of one agent's report, whose shape is checked as far as the line needs it."""
    if not isinstance(report, dict) or report.keys() != _REPORT:
        raise _wrong("a report with a field missing or unknown")
    mechanism, reached, refused = report["mechanism"], report["reached"], report["refused_count"]
    if not isinstance(mechanism, str) or not isinstance(reached, list) or type(refused) is not int:
        raise _wrong("a report of the wrong shape")
    if mechanism == MECHANISM_OPEN:
        return Line("egress", NOTE, "egress.open", grade=DECLARED)
    fields: dict[str, str | int] = {"mechanism": mechanism, "refused": refused}
    if not reached:
        return Line("egress", NOTE, "egress.none", fields, DECLARED)
    fields["destinations"] = ", ".join(_destination(one) for one in reached)
    for name, counted in (
        ("connections", "connections"),
        ("sent", "sent_bytes"),
        ("received", "received_bytes"),
    ):
        fields[name] = sum(_count(one, counted) for one in reached)
    return Line("egress", NOTE, "egress.listed", fields, DECLARED)


def _observed(case: Case, runs: _Runs, found: Evidence) -> list[Line]:
    """Reports must be of this very attempt, token and agent, and of all its time: any other shows nothing here."""
    message, key = _message(case, found), case.bundle.details[found.number].agent_key
    run, lines = runs.of(message), list[Line]()
    for seen in runs.reports(found):
        _check_seen(seen, run, key)
        if seen.inside and case.protected and message.body.get("reason") != CANARY_OPEN:
            raise EgressError("observed.open", f"{seen.listener} heard {_names(seen.inside)} from inside")
        runs.heard[found.number].add(seen)
        lines.append(_seen(case, seen))
    return lines


def _check_seen(seen: Observation, run: Run, key: bytes) -> None:
    if (seen.attempt, seen.token, seen.agent) != (run.attempt, run.token, key):
        raise EgressError("observed.foreign", "a listener's report of another attempt, token or agent")
    if seen.opened_ms > run.begun_ms + SKEW_MS or seen.closed_ms < run.ended_ms - SKEW_MS:
        raise EgressError("observed.time", "the listener did not listen for as long as the attempt ran")


def _left_out(case: Case, runs: _Runs) -> list[Line]:
    """Reports that an agent's own message holds and no evidence does; then attempts of which nobody has reported.

    A listener that does not answer stops no attempt, so that a missing report fails where the trust file demands it.
    """
    if not case.protected:
        return []
    lines = [
        failed("egress", error.at(f"records/{number:06}.json detail.message"))
        for number in case.messages
        for error in _held_back(case, runs, number)
    ]
    wanted = case.trust is not None and case.trust.demand.max_level_without_observation < LEVEL_MAX
    if runs.heard or wanted:
        of = [case.messages[number] for number in runs.heard if number in case.messages]
        told = {(message.attempt, message.token) for message in of}
        missing = [attempt for attempt, token in runs.begun if (attempt, token) not in told]
        lines += [Line("egress", ABSENT, "observed.none", {"attempt": attempt}) for attempt in missing]
    return lines


def _held_back(case: Case, runs: _Runs, number: int) -> list[EgressError]:
    """What the control plane rightly refused (of another attempt, say) is not evidence that was left out."""
    message = case.messages[number]
    observed = message.body.get("observed", [])
    found: list[EgressError] = []
    for text in observed if isinstance(observed, list) else []:
        try:
            seen = read_observation(from_base64url(text if isinstance(text, str) else ""))
            _check_seen(seen, runs.of(message), case.bundle.details[number].agent_key)
        except VerifyError:
            continue
        if seen not in runs.heard.get(number, ()):
            found.append(EgressError("observed.left_out", f"a report of {seen.listener} is not in evidence"))
    return found


def _clock_ms(text: str) -> int:
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise _wrong("a time that is none") from error


def _seen(case: Case, seen: Observation) -> Line:
    fields: dict[str, str | int] = {"listener": seen.listener}
    if case.trust is None or (seen.listener, seen.key) not in case.trust.listeners:
        results = ", ".join(f"{protocol} {result}" for protocol, result in seen.results.items())
        fields |= {"key": to_base64url(seen.key), "results": results}
        return Line("egress", NOTE, "observed.unknown", fields, DECLARED)
    if seen.inside:
        return Line("egress", NOTE, "observed.open", fields | {"open": _names(seen.inside)}, MEASURED)
    fields["alive"] = _names(seen.outside) or "-"
    unproven = [protocol for protocol, result in seen.results.items() if result == "unproven"]
    if unproven:
        fields["unproven"] = _names(unproven)
        return Line("egress", NOTE, "observed.unproven", fields, MEASURED)
    return Line("egress", OK, "observed.closed", fields, MEASURED)


def _message(case: Case, found: Evidence) -> AgentMessage:
    """The agent's own message in the record that names the file: without it nobody has said any of this."""
    message = case.messages.get(found.number)
    if message is None:
        raise EgressError("egress.unsigned", "no message of the agent stands beside the file")
    return message


def _names(protocols: Iterable[str]) -> str:
    return ", ".join(protocol for protocol in PROTOCOLS if protocol in set(protocols))


def _destination(one: object) -> str:
    if not isinstance(one, dict) or one.keys() != _REACHED or not isinstance(one["destination"], str):
        raise _wrong("a destination of the wrong shape")
    return one["destination"]


def _count(one: dict[str, object], field: str) -> int:
    value = one[field]
    if type(value) is not int or value < 0:
        raise _wrong("a count of the wrong shape")
    return value


def _wrong(what: str) -> RecordError:
    return RecordError("egress.shape", f"not an egress report: {what}")


SECTION = Section("egress", NAMES, check, SENTENCES)
