"""Sentences about jobs in both languages: why one waits or how it ended."""

from __future__ import annotations

from sekisho.compute.model import GROUPS, JobState, JobView
from sekisho.compute.placement import Reason
from sekisho_wire.problems import Text

WAITS = {
    Reason.CHARTER_FORBIDS: Text("No site meets the charter's conditions.", "条件に合う拠点がありません。"),
    Reason.NO_SUCH_SHAPE: Text("No allowed site has what it asks for.", "この構成を満たす拠点がありません。"),
    Reason.BUDGET_OR_DEADLINE: Text(
        "It does not fit its budget or deadline.", "予算または期限に収まりません。"
    ),
    Reason.SITE_UNAVAILABLE: Text("No allowed site answers.", "拠点が利用できません。"),
    Reason.ARRAY_LIMIT: Text(
        "As many jobs of its array as it allows itself are under way.",
        "配列ジョブの同時実行数の上限に達しています。",
    ),
    Reason.WAITING_CAPACITY: Text("Waiting for capacity.", "空きを待っています。"),
}
STATES = {
    JobState.WAITING: Text("Waiting for the next placement round.", "次の配置を待っています。"),
    JobState.STAGING: Text("Its data goes to {site}.", "{site}へ転送中です。"),
    JobState.STARTING: Text("It starts at {site}.", "{site}で起動中です。"),
    JobState.RUNNING: Text("It runs at {site}.", "{site}で実行中です。"),
    JobState.SUCCEEDED: Text("It succeeded at {site}.", "{site}で完了しました。"),
    JobState.FAILED: Text("It failed: {reason}.", "失敗しました：{reason}。"),
    JobState.CANCELLED: Text("It was cancelled.", "取り消されました。"),
}


TOGETHER = {
    JobState.WAITING: Text("All its jobs wait.", "すべてのジョブが待機中です。"),
    JobState.RUNNING: Text("Its jobs are under way.", "含まれるジョブが進行中です。"),
    JobState.SUCCEEDED: Text("All its jobs succeeded.", "すべてのジョブが完了しました。"),
    JobState.FAILED: Text("At least one of its jobs failed.", "失敗したジョブがあります。"),
    JobState.CANCELLED: Text("It was cancelled, or one of its jobs was.", "取り消されたジョブがあります。"),
}
"""Of an array or a service, which stands where its jobs do."""


def reason_sentence(job: JobView) -> Text:
    """One sentence that says why a job is where it is."""
    if job.kind in GROUPS and job.state in TOGETHER:
        return TOGETHER[job.state]
    if job.state is JobState.WAITING and job.reason in WAITS:
        return WAITS[Reason(job.reason)]
    text = STATES[job.state]
    values = {"site": job.site_name or "-", "reason": job.reason}
    return Text(text.en.format_map(values), text.ja.format_map(values))
