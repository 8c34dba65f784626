"""The charter's page, and the rules of the shipped charter in words."""

from __future__ import annotations

WORDS = {
    "charter.lead": (
        "This charter is in force: {permits} rules permit, {forbids} rules forbid, and no permit overrides a forbid.",
        "この憲章が有効です。許可の条項が{permits}件、禁止の条項が{forbids}件あり、許可が禁止に優先することはありません。",
    ),
    "charter.lead.other": (
        "This version is not in force: {permits} rules permit, {forbids} rules forbid.",
        "この版は有効ではありません。許可の条項が{permits}件、禁止の条項が{forbids}件あります。",
    ),
    "charter.outdated": (
        "The program has newer commands than this version knows; they are denied until a new version is activated.",
        "この版が知らない新しい操作があります。新しい版を有効にするまで、それらは許可されません。",
    ),
    "charter.try": ("Try it on recorded decisions", "記録された判断で試す"),
    "charter.test": ("What a draft would change", "案で変わる判断"),
    "charter.test.lead": (
        "{looked} of {upto} recorded decisions were asked again, newest first: {changed} would change, {same} would not.",
        "記録された判断{upto}件のうち、新しい順に{looked}件をやり直しました。{changed}件が変わり、{same}件は変わりません。",
    ),
    "charter.test.left": (
        "{left} could not be asked again: {missing} without facts, {erased} erased, {unfit} of another shape, {nameless} nameless.",
        "{left}件はやり直せません（事実なし{missing}件、消去済み{erased}件、形式に不適合{unfit}件、名前の記録なし{nameless}件）。",
    ),
    "charter.test.none": ("None of them would change.", "変わる判断はありません。"),
    "charter.test.nothing": ("Nothing happens by trying.", "試しても、何も変更されません。"),
    "charter.test.older": ("Older decisions", "より古い判断"),
    "charter.test.caption": ("Decisions that would change, most frequent first", "変わる判断（多い順）"),
    "charter.test.verdict": ("Would be", "変更後"),
    "charter.test.denied": ("denied", "不許可"),
    "charter.test.allowed": ("allowed", "許可"),
    "charter.test.rules": ("the same, by other rules", "同じ（条項が異なる）"),
    "charter.test.count": ("Number", "件数"),
    "charter.test.action": ("Action", "操作"),
    "charter.test.before": ("Rules then", "当時の条項"),
    "charter.test.after": ("Rules of this version", "この版の条項"),
    "charter.test.examples": ("Records", "記録"),
    "charter.version": ("Version", "版"),
    "charter.drafted": ("Drafted", "作成"),
    "charter.activated": ("Activated", "有効化"),
    "charter.rules": ("Rules", "条項"),
    "charter.caption": ("Every rule of this version", "この版のすべての条項"),
    "charter.effect": ("Effect", "効果"),
    "charter.words": ("In words", "説明"),
    "charter.words.none": ("Nobody wrote this rule down in words.", "この条項の説明は書かれていません。"),
    "charter.versions": ("Versions", "版の一覧"),
    "charter.versions.caption": ("Versions, newest first", "版（新しい順）"),
    "charter.text": ("The whole text", "全文"),
    "charter.state.active": ("In force", "有効"),
    "charter.state.draft": ("Draft", "案"),
    "charter.state.retired": ("Retired", "廃止"),
    "rule.permit": ("Permits", "許可"),
    "rule.forbid": ("Forbids", "禁止"),
    "rule.P01": ("Engineers use what their own organisation owns.", "技術者は、自組織のものを使えます。"),
    "rule.P02": (
        "Whoever has a role sees what their own organisation owns.",
        "役割のある人は、自組織のものを閲覧できます。",
    ),
    "rule.P03": (
        "Whoever has a role sees sites, organisations, the charter and the log.",
        "役割のある人は、拠点、組織、憲章、台帳を閲覧できます。",
    ),
    "rule.P04": (
        "Site operators run and see their own sites.",
        "拠点の運用者は、自分の拠点を運用し閲覧できます。",
    ),
    "rule.P05": ("Administrators administer.", "管理者は、管理の操作を行えます。"),
    "rule.P06": (
        "Administrators and compliance change the charter.",
        "管理者と法令順守担当は、憲章を変更できます。",
    ),
    "rule.P07": (
        "A second person may approve what a first proposed.",
        "申請した人とは別の人が承認できます。",
    ),
    "rule.P08": ("Auditors and compliance read the evidence.", "監査担当と法令順守担当は、証跡を読めます。"),
    "rule.P09": (
        "Everybody manages their own account and tokens.",
        "自分のアカウントとトークンは、自分で管理できます。",
    ),
    "rule.P10": ("The system does its background work.", "システムは、背景処理を行えます。"),
    "rule.P11": (
        "A site's agent speaks for its own site.",
        "拠点エージェントは、自分の拠点について報告できます。",
    ),
    "rule.P12": ("Anybody may do what is public.", "公開の操作は、誰でも行えます。"),
    "rule.P13": (
        "Callers use their own organisation's models.",
        "モデル利用者は、自組織のモデルを呼び出せます。",
    ),
    "rule.P14": (
        "Releasers with a second factor may export their own organisation's things.",
        "二要素認証を使う持ち出し承認者は、自組織のものを持ち出せます。",
    ),
    "rule.P15": (
        "An operator's staff may ask to enter their own site.",
        "運用者の要員は、自社の拠点への立ち入りを申請できます。",
    ),
    "rule.P16": ("Analysts share indicators.", "分析担当は、脅威指標を共有できます。"),
    "rule.P17": ("Learners work in labs.", "受講者は、演習を行えます。"),
    "rule.P18": (
        "Landmarks see what to measure and hand in measurements.",
        "測位基準点は、行うべき測定を確認し、測定記録を提出できます。",
    ),
    "rule.P19": (
        "Releasers with a second factor approve what names them.",
        "二要素認証を使う持ち出し承認者は、自分が指名された申請を承認できます。",
    ),
    "rule.P20": (
        "Releasers with a second factor may ask to lower the level of their own organisation's things.",
        "二要素認証を使う持ち出し承認者は、自組織のもののレベルを下げる申請ができます。",
    ),
    "rule.C01": (
        "Data is processed and kept only in the countries that its residency names.",
        "データの処理と保管は、所在地条件にある国だけで行います。",
    ),
    "rule.C02": (
        "Level 2 or above runs only where the place was measured within 15 minutes.",
        "レベル2以上は、15分以内に位置を実測した場所だけで動きます。",
    ),
    "rule.C03": (
        "Level 3 or above runs with no operator whom foreign law can compel, unless the key is out of its reach.",
        "レベル3以上は、外国法の開示命令が及び得る運用者では動きません（鍵が分離されている場合を除く）。",
    ),
    "rule.C04": (
        "The key for level 2 or above is held in a Japanese HSM, for level 3 by someone other than the operator.",
        "レベル2以上の鍵は国内のHSMで保管し、レベル3では運用者以外が保管します。",
    ),
    "rule.C05": (
        "Special-care data needs a stated purpose, consent, and no log of prompts.",
        "要配慮個人情報には、利用目的、本人の同意、入力を記録しない設定が必要です。",
    ),
    "rule.C06": ("A copy abroad needs a legal basis.", "国外への複製には、法的な根拠が必要です。"),
    "rule.C07": (
        "Level 4 needs a cleared person, a certified operator and a disconnected site.",
        "レベル4には、適性評価を受けた人、認定運用者、切り離された拠点が必要です。",
    ),
    "rule.C08": ("Specially designated secrets are never taken in.", "特定秘密は受け入れません。"),
    "rule.C09": (
        "Level 2 or above never runs with open egress.",
        "レベル2以上では、外向き通信を開放できません。",
    ),
    "rule.C10": (
        "An export needs approvers of different organisations.",
        "持ち出しには、別々の組織の承認者が必要です。",
    ),
    "rule.C11": (
        "An operator's staff enters only with the owner's approval, not older than 4 hours.",
        "運用者の立ち入りには、所有者による4時間以内の承認が必要です。",
    ),
    "rule.C12": ("Indicators stay within the circle of their TLP.", "脅威指標は、TLPの共有範囲を出ません。"),
    "rule.C13": (
        "Labs use no real data and end with their hours.",
        "演習では実データを使わず、時間枠の中で終わります。",
    ),
}
