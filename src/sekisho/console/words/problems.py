"""What a refusal, a denial and a failure say: three different things in three different words."""

from __future__ import annotations

WORDS = {
    "problem.code": ("Code", "コード"),
    "problem.status": ("Status", "状態"),
    "problem.request": ("Request", "受付番号"),
    "problem.home": ("To the overview", "概要へ"),
    "problem.denied.title": ("Not allowed", "不許可"),
    "problem.denied.advice": (
        "This is a decision, not an error. It is on record.",
        "これは判断であり、エラーではありません。記録に残っています。",
    ),
    "problem.refused.title": ("Not taken", "受け付けられません"),
    "problem.refused.advice": (
        "Nothing was changed. Go back, correct what is named above and send it again.",
        "変更はありません。前の画面に戻り、上に示した点を直してから送り直してください。",
    ),
    "problem.sign_in.title": ("Sign in", "サインインが必要です"),
    "problem.sign_in.advice": (
        "Sign in, and you come back to where you were. What you typed is still in your browser: go back to see it.",
        "サインインすると元のページに戻ります。入力した内容はブラウザーに残っています（前の画面に戻ると確認できます）。",
    ),
    "problem.not_found.title": ("Not found", "見つかりません"),
    "problem.not_found.advice": (
        "It does not exist, or you may not see it. Both look the same on purpose.",
        "存在しないか、閲覧が許可されていません。どちらであるかは、意図的に区別していません。",
    ),
    "problem.conflict.title": ("Changed meanwhile", "状態が変わっています"),
    "problem.conflict.advice": (
        "Nothing was changed. Load the page again to see how it stands now.",
        "変更はありません。ページを読み込み直して、いまの状態を確認してください。",
    ),
    "problem.unavailable.title": ("Try again later", "後で再試行してください"),
    "problem.unavailable.advice": (
        "Nothing was changed. Waiting and trying again may help.",
        "変更はありません。時間をおいて、もう一度試してください。",
    ),
    "problem.failed.title": ("Failed", "失敗しました"),
    "problem.failed.advice": (
        "This is our fault. Nothing was changed. Tell an administrator the request id below.",
        "こちら側の不具合です。変更はありません。下の受付番号を管理者に知らせてください。",
    ),
    "denial.because": ("Because", "理由"),
    "denial.record": ("The denial is on record:", "この不許可は記録されています："),
    "denial.instead": ("Instead", "できること"),
    "denial.plan": (
        "{link}: it shows for every site whether it is allowed, and under which rule.",
        "{link}：各拠点について、許可されるかどうかと、その条項が分かります。",
    ),
    "denial.plan.link": ("Plan the job", "ジョブを試算する"),
    "denial.role": (
        "Ask an administrator of your organisation for the role that the rule names.",
        "条項にある役割を、組織の管理者に依頼してください。",
    ),
    "denial.owner": (
        "Ask the owner of the data about its level and residency.",
        "データの所有者に、区分と所在地条件を相談してください。",
    ),
    "denial.nobody": (
        "Nobody can switch a rule off for a single request.",
        "個別の要求のために条項を外すことは、誰にもできません。",
    ),
}
