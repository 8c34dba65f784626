"""Problem codes of identity. `auth.required` and `auth.scope` are the gate's."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Text, define

EXPIRED = define(
    "auth.expired",
    401,
    Exit.SIGN_IN,
    Text("This token expired on {time}.", "トークンは{time}に失効しています。"),
)
RATE_LIMITED = define(
    "auth.rate_limited",
    429,
    Exit.UNAVAILABLE,
    Text(
        "Too many failed sign-ins from your address. Try again in {seconds} s.",
        "サインインの失敗が続いています。{seconds}秒後に再試行してください。",
    ),
)
CSRF = define(
    "auth.csrf",
    403,
    Exit.SIGN_IN,
    Text(
        "This form does not belong to your session. Load the page again and repeat.",
        "このフォームは現在のセッションのものではありません。ページを再読み込みしてやり直してください。",
    ),
)
DISABLED = define(
    "auth.disabled",
    403,
    Exit.SIGN_IN,
    Text("This account is disabled.", "このアカウントは無効です。"),
)
PEOPLE_ONLY = define(
    "auth.people_only",
    403,
    Exit.SIGN_IN,
    Text(
        "Only people sign in to the console; use this token with the API.",
        "コンソールにサインインできるのは利用者本人だけです。このトークンはAPIで使用してください。",
    ),
)
LINK_SPENT = define(
    "auth.link_spent",
    401,
    Exit.SIGN_IN,
    Text(
        "This sign-in link was used already or is too old. Ask for a new one.",
        "このサインイン用リンクは使用済みか、期限切れです。新しいリンクを発行してください。",
    ),
)
PROVIDER_REFUSED = define(
    "auth.provider_refused",
    401,
    Exit.SIGN_IN,
    Text(
        "The answer of the sign-in provider was refused ({check}). Start again.",
        "認証プロバイダーの応答を受け付けられません（{check}）。最初からやり直してください。",
    ),
)
DEVICE_DENIED = define(
    "auth.device_denied",
    403,
    Exit.DENIED,
    Text("The sign-in was declined in the browser.", "ブラウザーでサインインが拒否されました。"),
)
DEVICE_EXPIRED = define(
    "auth.device_expired",
    401,
    Exit.SIGN_IN,
    Text(
        "Nobody confirmed this sign-in in time. Start again.",
        "時間内にサインインが確認されませんでした。最初からやり直してください。",
    ),
)
CODE_REFUSED = define(
    "identity.code_refused",
    401,
    Exit.SIGN_IN,
    Text(
        "This registration code is unknown, used or too old. Ask for a new one.",
        "この登録コードは不明、使用済み、または期限切れです。新しいコードを発行してください。",
    ),
)
GENESIS_DONE = define(
    "identity.genesis_done",
    409,
    Exit.CONFLICT,
    Text("This installation was set up already.", "この環境は初期化済みです。"),
)
TWO_PEOPLE = define(
    "identity.needs_two_people",
    422,
    Exit.USAGE,
    Text(
        "The role {role} is granted by two people.",
        "役割{role}の付与には2人の承認が必要です。",
    ),
    hint=Text(
        "Use identity.administrator.grant or identity.approver.grant and have another administrator approve it.",
        "identity.administrator.grantまたはidentity.approver.grantを実行し、別の管理者の承認を受けてください。",
    ),
)
NOT_JOINED = define(
    "identity.not_joined",
    409,
    Exit.CONFLICT,
    Text(
        "This person has never signed in; somebody else could still do so in their name.",
        "この利用者はまだサインインしていません。他の人が本人としてサインインできる状態です。",
    ),
    hint=Text(
        "Have them sign in once, then grant the role.",
        "本人が一度サインインした後に、役割を付与してください。",
    ),
)
LAST_ADMINISTRATORS = define(
    "identity.last_administrators",
    409,
    Exit.CONFLICT,
    Text(
        "Nobody could grant administration afterwards: {left} active administrators would remain, {needed} are needed.",
        "有効な管理者が{left}人になり、管理者を追加できなくなります（必要な人数は{needed}人）。",
    ),
)
ALREADY_JOINED = define(
    "identity.already_joined",
    409,
    Exit.CONFLICT,
    Text(
        "This person has signed in already; nobody else makes sign-in links for them.",
        "この利用者はサインイン済みです。本人以外はサインイン用リンクを発行できません。",
    ),
)
EXISTS = define(
    "identity.exists",
    409,
    Exit.CONFLICT,
    Text("There is one already: {what}.", "すでに存在します：{what}。"),
)
