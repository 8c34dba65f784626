"""Problems of data."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Text, define

NAME_TAKEN = define(
    "data.name_taken",
    409,
    Exit.CONFLICT,
    Text(
        "Your organisation already has a dataset named {name}.",
        "{name}という名前のデータセットは既にあります。",
    ),
)
NOT_READY = define(
    "data.not_ready",
    409,
    Exit.CONFLICT,
    Text(
        "Dataset {name} has not arrived completely yet.", "データセット{name}は、まだすべて届いていません。"
    ),
)
INCOMPLETE = define(
    "data.incomplete",
    409,
    Exit.CONFLICT,
    Text(
        "{missing} of {files} files have not arrived; first: {path}",
        "{files}件中{missing}件が届いていません。最初：{path}",
    ),
)
TREE = define(
    "data.tree",
    422,
    Exit.USAGE,
    Text("This is no valid file tree: {what}", "ファイルツリーとして正しくありません：{what}"),
)
RESIDENCY = define(
    "data.residency",
    422,
    Exit.USAGE,
    Text('"any" stands alone in a residency.', "所在地条件で「any」は単独でのみ使えます。"),
)
NOT_HERE = define(
    "data.not_here",
    409,
    Exit.CONFLICT,
    Text(
        "The bytes lie at site {site} only and were not sent to the control plane.",
        "実体は拠点{site}にのみあり、管理側には送られていません。",
    ),
)
EXPORT_NEEDED = define(
    "data.export_needed",
    403,
    Exit.DENIED,
    Text(
        "Level {level}, or somebody else's share in it, keeps this where it is: ask for an export with approvers.",
        "レベル{level}であるか、他の所有者がいるため、このままでは取り出せません。承認者を指名して持ち出しを申請してください。",
    ),
)
EXPORT_NEVER = define(
    "data.export_never",
    403,
    Exit.DENIED,
    Text(
        "Level 4 and above, and specially designated secrets, never leave, whoever approves.",
        "レベル4以上のデータと特定秘密は、承認があっても持ち出せません。",
    ),
)
EXPORT_PLACE = define(
    "data.export_place",
    403,
    Exit.DENIED,
    Text(
        "The bytes would pass through the control plane in {country}, which their residency does not name.",
        "データは{country}にある管理拠点を通りますが、所在地条件に含まれていません。",
    ),
)
APPROVER_REQUESTER = define(
    "data.approver.requester",
    403,
    Exit.DENIED,
    Text("Whoever asks cannot approve as well.", "申請者自身は承認者になれません。"),
)
APPROVER_TWICE = define(
    "data.approver.same_organisation",
    403,
    Exit.DENIED,
    Text(
        "Approvers {person} and {other} are of the same organisation; each must be of another.",
        "承認者{person}と{other}は同じ組織に属しています。承認者の組織は、互いに異なる必要があります。",
    ),
)
APPROVER_UNKNOWN = define(
    "data.approver.unknown",
    403,
    Exit.DENIED,
    Text("{person} is no person who can approve.", "{person}は、承認できる利用者ではありません。"),
)
APPROVER_MISSING = define(
    "data.approver.missing",
    403,
    Exit.DENIED,
    Text(
        "Owner {organisation} has a say and no approver among those named.",
        "所有者{organisation}の承認者が指名されていません。",
    ),
)
APPROVER_ALONE = define(
    "data.approver.alone",
    403,
    Exit.DENIED,
    Text(
        "Level {level} leaves only with approvers of two organisations.",
        "レベル{level}の持ち出しには、2つの組織の承認者が必要です。",
    ),
)
RELEASE_NOT_READY = define(
    "data.release_not_ready",
    409,
    Exit.CONFLICT,
    Text("This export cannot be fetched: {state}.", "この持ち出しは取り出せません（状態：{state}）。"),
)
LOWER_FLOOR = define(
    "data.lower_floor",
    403,
    Exit.DENIED,
    Text(
        "Level {level} cannot become {wanted}: 2 and 3 stay at 2 or above, and 4 is lifted only by who designated it.",
        "レベル{level}を{wanted}にすることはできません。レベル2と3の下限は2で、レベル4は指定した機関だけが解除できます。",
    ),
)
LOWER_NOT = define(
    "data.lower_not",
    409,
    Exit.CONFLICT,
    Text("It is at level {level} already.", "すでにレベル{level}です。"),
)
TICKET = define(
    "data.ticket",
    403,
    Exit.DENIED,
    Text("This ticket does not open that object, or has expired.", "この許可証は無効か、期限切れです。"),
)
WRONG_DIGEST = define(
    "data.digest",
    422,
    Exit.USAGE,
    Text("The bytes are not those of {digest}.", "届いたデータが{digest}と一致しません。"),
)
KEY_NEEDED = define(
    "data.key_needed",
    422,
    Exit.USAGE,
    Text(
        "Data of level {level} is encrypted before it is sent: name the key.",
        "レベル{level}のデータは、送る前に暗号化します。鍵を指定してください。",
    ),
    hint=Text(
        "sekisho data add NAME PATH --level 1 --key KEY", "sekisho data add 名前 パス --level 1 --key 鍵"
    ),
)
KEY_OWNER = define(
    "data.key_owner",
    403,
    Exit.DENIED,
    Text(
        "The custodian of key {name} keeps it for another organisation than yours.",
        "鍵{name}は、保管者があなたの組織以外のために保管している鍵です。",
    ),
)
KEY_ADDRESS = define(
    "data.key_address",
    422,
    Exit.USAGE,
    Text(
        "No custodian is asked at {host}: agents of every site would call that address of their own networks.",
        "{host}は保管者のアドレスとして登録できません。各拠点のエージェントが、自分のネットワーク内の"
        "そのアドレスに接続することになるためです。",
    ),
)
KEY_TAKEN = define(
    "data.key_taken",
    409,
    Exit.CONFLICT,
    Text("Your organisation already has a key named {name}.", "{name}という名前の鍵は既にあります。"),
)
KEY_STATE = define(
    "data.key_state",
    409,
    Exit.CONFLICT,
    Text("Key {name} is {state}.", "鍵{name}の状態は{state}です。"),
)
KEY_VERSION = define(
    "data.key_version",
    409,
    Exit.CONFLICT,
    Text(
        "Key {name} is at version {version}; {asked} does not fit.",
        "鍵{name}の版は{version}です。{asked}は指定できません。",
    ),
)
KEY_CUSTODY = define(
    "data.key_custody",
    422,
    Exit.USAGE,
    Text(
        "A development key lies in a file: register it as exportable.",
        "開発用の鍵はファイルにあります。exportable を指定して登録してください。",
    ),
)
KEY_STAND_IN = define(
    "data.key_stand_in",
    409,
    Exit.CONFLICT,
    Text(
        "In production no development key is registered.",
        "本番環境では開発用の鍵を登録できません。",
    ),
)
KEY_EVIDENCE = define(
    "data.key_evidence",
    422,
    Exit.USAGE,
    Text(
        "This is no evidence of key {name} by its custodian: {what}",
        "鍵{name}の保管者による証拠として認められません：{what}",
    ),
)
ENVELOPE_LEVEL = define(
    "data.envelope_level",
    409,
    Exit.CONFLICT,
    Text(
        "This encrypted object is known here at level {level}: it cannot be added at a lower one.",
        "この暗号化された実体はレベル{level}として登録済みです。より低いレベルでは追加できません。",
    ),
)
ENVELOPE_LABEL = define(
    "data.envelope_label",
    409,
    Exit.CONFLICT,
    Text(
        "This encrypted object is known here with further labels, a narrower residency, or other owners.",
        "この暗号化された実体は、より厳しいラベルか所在、または別の所有者で登録済みです。",
    ),
)
KEY_RELEASES = define(
    "data.key_releases",
    409,
    Exit.CONFLICT,
    Text(
        "Attempt {attempt} has asked for more than {limit} data keys.",
        "試行{attempt}が求めたデータ鍵が上限（{limit}件）を超えました。",
    ),
)
