"""What left an attempt: its egress report, and what a listener outside observed of its canaries.

`egress.json` is `{"v": 1, "attempt", "canaries", "egress"}`, where `egress` is what the agent's last message says and
`canaries` the results by route; the message stands in the same record and both must agree.
"""

from __future__ import annotations

from collections.abc import Iterable

from sekisho_verify.canonical import decode_object, to_base64url
from sekisho_verify.detail import read_canaries
from sekisho_verify.errors import Exit, RecordError, VerifyError
from sekisho_verify.lines import ABSENT, DECLARED, MEASURED, NOTE, OK, Case, Evidence, Line, failed
from sekisho_verify.observation import PROTOCOLS, Observation, read_canaries_file
from sekisho_verify.sealed import AgentMessage
from sekisho_verify.section import Section

EGRESS_FILE = "egress.json"
CANARIES_FILE = "canaries.json"
CANARY_OPEN = "wall.canary_open"
MECHANISM_OPEN = "open"
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
    "observed.unknown": (
        "a report under the name {listener}, by key {key}, which the trust file does not name: {results}",
        "{listener}名義の報告。署名鍵{key}は信頼ファイルにありません：{results}",
    ),
}


class EgressError(VerifyError):
    """A report that contradicts the message it is from, or a listener that heard what it should not have."""

    exit_code = Exit.EGRESS


def check(case: Case) -> list[Line]:
    """The agent's reports (D), then what listeners observed (M where the trust file names them)."""
    lines: list[Line] = []
    for name, read in ((EGRESS_FILE, _report), (CANARIES_FILE, _observed)):
        for found in case.evidence(name):
            if found.data is None:
                lines.append(Line("egress", ABSENT, "egress.missing", {"name": name}))
                continue
            try:
                lines += read(case, found, found.data)
            except VerifyError as error:
                lines.append(failed("egress", error.at(found.where)))
    return lines


def _report(case: Case, found: Evidence, data: bytes) -> list[Line]:
    body = decode_object(data)
    if body.keys() != _FIELDS or type(body["v"]) is not int or body["v"] != 1:
        raise _wrong("a field missing or unknown")
    message = _message(case, found)
    said = {"attempt": message.attempt, "canaries": message.body.get("canaries", {})}
    if said != {"attempt": body["attempt"], "canaries": read_canaries(body["canaries"])}:
        raise EgressError("egress.differs", "not what the agent's signed message says")
    if body["egress"] != message.body.get("egress"):
        raise EgressError("egress.differs", "not what the agent's signed message says")
    return [_told(body["egress"])]


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


def _observed(case: Case, found: Evidence, data: bytes) -> list[Line]:
    """Reports must be of this very attempt and agent: one of another, or of an earlier token, shows nothing here."""
    message, detail = _message(case, found), case.bundle.details[found.number]
    lines: list[Line] = []
    for seen in read_canaries_file(data):
        if (seen.attempt, seen.agent) != (message.attempt, detail.agent_key):
            raise EgressError("observed.foreign", "a listener's report of another attempt or agent")
        if seen.inside and case.protected and message.body.get("reason") != CANARY_OPEN:
            raise EgressError("observed.open", f"{seen.listener} heard {_names(seen.inside)} from inside")
        lines.append(_seen(case, seen))
    return lines


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
    for opened in case.opened[0]:
        if opened.number == found.number:
            return opened.message
    raise EgressError("egress.unsigned", "no message of the agent stands beside the file")


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
