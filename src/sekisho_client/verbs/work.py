"""The hand-written verbs about jobs, data and evidence, in the shape of the catalogue's entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_JOB = {
    "name": "job",
    "required": True,
    "word": True,
    "help": {"en": "the job's id, or its name", "ja": "ジョブのIDまたは名前"},
    "sample": "job_01kae7x2m4",
}
_JOB_FILE = {
    "name": "path",
    "required": True,
    "word": True,
    "help": {
        "en": "the job file (YAML); also a SkyPilot task, an sbatch script, a Kubernetes Job or JobSet",
        "ja": "ジョブファイル（YAML）。SkyPilotのタスク、sbatchスクリプト、KubernetesのJob・JobSetも可",
    },
    "sample": "train.yaml",
}
_IMPORTED: list[dict[str, Any]] = [
    {
        "name": "image",
        "help": {
            "en": "image of ours for a file of another system",
            "ja": "他システムのファイルに使うイメージ名",
        },
        "sample": "train",
    },
    {
        "name": "gpu",
        "help": {
            "en": "type of GPU where a Kubernetes file counts them only",
            "ja": "Kubernetesのファイルに使うGPUの種類",
        },
        "sample": "H100",
    },
]

_TOKEN_FILE = {
    "name": "token_file",
    "help": {
        "en": "file with a token of the key's custodian, unless SEKISHO_CUSTODIAN_TOKEN holds it",
        "ja": "鍵の保管者のトークンを含むファイル（SEKISHO_CUSTODIAN_TOKENでも指定できます）",
    },
    "sample": "owner.token",
}
_OPENING: list[dict[str, Any]] = [
    {
        "name": "sealed",
        "kind": "boolean",
        "help": {
            "en": "leave what is encrypted as it is, and ask no custodian",
            "ja": "暗号化されたまま書き出し、鍵の保管者に問い合わせません",
        },
    },
    _TOKEN_FILE,
]

_WAITING: list[dict[str, Any]] = [
    {
        "name": "folder",
        "help": {"en": "folder to write to", "ja": "書き出し先のフォルダー"},
        "sample": "model/",
    },
    {
        "name": "timeout",
        "kind": "integer",
        "help": {
            "en": "stop waiting after so many seconds (exit 8)",
            "ja": "指定秒数で待つのをやめます（終了コード8）",
        },
        "sample": "600",
    },
]

BY_HAND: Mapping[str, Mapping[str, Any]] = {
    "job run": {
        "daily": "run",
        "module": "run",
        "needs": "compute.job.submit",
        "en": "Submit a job file and follow the job to its end; Ctrl-C stops following, not the job.",
        "ja": "ジョブファイルを投入し、終わりまで見守ります。Ctrl-Cでは見守りだけを止めます。",
        "fields": [
            _JOB_FILE,
            {
                "name": "detach",
                "kind": "boolean",
                "help": {"en": "submit and return", "ja": "投入したらすぐ戻ります"},
            },
            {
                "name": "dry_run",
                "kind": "boolean",
                "help": {
                    "en": "print the job file that would be submitted, and stop",
                    "ja": "投入するジョブファイルを表示して終わります",
                },
            },
            {
                "name": "timeout",
                "kind": "integer",
                "help": {
                    "en": "stop following after so many seconds (exit 8)",
                    "ja": "指定秒数で見守りを終えます（終了コード8）",
                },
                "sample": "600",
            },
            *_IMPORTED,
        ],
        "examples": [
            "sekisho run train.yaml",
            "sekisho run train.yaml --detach --json",
            "sekisho run train.sbatch --dry-run",
        ],
    },
    "job plan": {
        "daily": "plan",
        "module": "plan",
        "needs": "compute.job.plan",
        "en": "Tell what would happen to a job file: its level, and the charter's answer for every site.",
        "ja": "ジョブファイルのレベルと、拠点ごとの可否を試算します。",
        "fields": [_JOB_FILE, *_IMPORTED],
        "examples": ["sekisho plan train.yaml"],
    },
    "job logs": {
        "daily": "logs",
        "module": "logs",
        "needs": "compute.log.read",
        "en": "Print a job's log; with --follow until the job ends.",
        "ja": "ジョブのログを表示します。--followで終わりまで表示し続けます。",
        "fields": [
            _JOB,
            {
                "name": "follow",
                "kind": "boolean",
                "help": {"en": "go on until the job ends", "ja": "終わるまで表示し続けます"},
            },
            {
                "name": "attempt",
                "kind": "integer",
                "help": {
                    "en": "number of the attempt; the newest unless given",
                    "ja": "試行の番号（省略時は最新）",
                },
                "sample": "1",
            },
        ],
        "examples": ["sekisho logs job_01kae7x2m4 --follow"],
    },
    "data add": {
        "module": "data_add",
        "needs": "data.dataset.add",
        "en": "Add a folder or file as a dataset; the charter is asked before a byte is sent.",
        "ja": "フォルダーまたはファイルをデータセットとして追加します。送る前に憲章が判断します。",
        "fields": [
            {
                "name": "name",
                "required": True,
                "word": True,
                "help": {"en": "name of the dataset", "ja": "データセットの名前"},
                "sample": "corpus-ja",
            },
            {
                "name": "path",
                "required": True,
                "word": True,
                "help": {"en": "the folder or file", "ja": "フォルダーまたはファイル"},
                "sample": "corpus/",
            },
            {
                "name": "level",
                "kind": "integer",
                "required": True,
                "help": {"en": "how sensitive: 0 public to 4", "ja": "区分：0（公開）から4まで"},
                "sample": "1",
            },
            {
                "name": "residency",
                "required": True,
                "help": {"en": "countries it may be in, or any", "ja": "置いてよい国（制限なしはany）"},
                "sample": "JP",
            },
            {
                "name": "labels",
                "help": {"en": "labels, separated by commas", "ja": "ラベル（コンマ区切り）"},
                "sample": "personal",
            },
            {
                "name": "licence",
                "help": {"en": "its licence", "ja": "ライセンス"},
                "sample": "CC-BY-4.0",
            },
            {
                "name": "key",
                "help": {
                    "en": "key to encrypt it under before it is sent; needed from level 1 on",
                    "ja": "送る前に暗号化する鍵（レベル1以上では必須）",
                },
                "sample": "hospital",
            },
            _TOKEN_FILE,
        ],
        "examples": ["sekisho data add corpus-ja corpus/ --level 1 --residency JP"],
    },
    "artefact fetch": {
        "module": "artefact_fetch",
        "needs": "data.artefact.fetch",
        "en": "Write an artefact's files to a new folder; what is encrypted under your own key is opened.",
        "ja": "成果物のファイルを新しいフォルダーに書き出します。自分の鍵で暗号化されたものは復号します。",
        "fields": [
            {
                "name": "artefact",
                "required": True,
                "word": True,
                "help": {"en": "the artefact's id", "ja": "成果物のID"},
                "sample": "art_01kae7x2m4",
            },
            {
                "name": "to",
                "help": {"en": "folder to write to", "ja": "書き出し先のフォルダー"},
                "sample": "model/",
            },
            *_OPENING,
        ],
        "examples": [
            "sekisho artefact fetch art_01kae7x2m4 --to model",
            "sekisho artefact fetch art_01kae7x2m4 --to model --sealed",
        ],
    },
    "artefact export": {
        "module": "artefact_export",
        "needs": "data.artefact.export",
        "en": "Ask to export an artefact, wait for its approvers, and write its files to a new folder.",
        "ja": "成果物の持ち出しを申請し、承認を待って、ファイルを新しいフォルダーに書き出します。",
        "fields": [
            {
                "name": "artefact",
                "required": True,
                "word": True,
                "help": {"en": "the artefact's id", "ja": "成果物のID"},
                "sample": "art_01kae7x2m4",
            },
            {
                "name": "to",
                "required": True,
                "help": {"en": "country it goes to, two letters", "ja": "持ち出し先の国（2文字）"},
                "sample": "JP",
            },
            {
                "name": "approver",
                "required": True,
                "help": {
                    "en": "ids of those who are to approve, with commas: one of each owner, each of another organisation",
                    "ja": "承認を求める利用者のID（コンマ区切り）。所有者ごとに1人、組織は互いに別",
                },
                "sample": "usr_01kae7x2m4,usr_01kae7x2m5",
            },
            {
                "name": "reason",
                "required": True,
                "help": {"en": "why, for approvers and the record", "ja": "理由（承認者と記録に残ります）"},
                "sample": "'for the journal'",
            },
            {
                "name": "licence",
                "help": {"en": "number of the export licence", "ja": "輸出許可の番号"},
                "sample": "METI-2026-0001",
            },
            *_WAITING,
            *_OPENING,
            {
                "name": "detach",
                "kind": "boolean",
                "help": {"en": "ask and return", "ja": "申請したらすぐ戻ります"},
            },
        ],
        "examples": [
            "sekisho artefact export art_01kae7x2m4 --to JP --approver usr_01kae7x2m4,usr_01kae7x2m5 --reason journal"
        ],
    },
    "release fetch": {
        "module": "release_fetch",
        "needs": "data.release.fetch",
        "en": "Wait for an export that was asked for, and write its files; again after a break goes on.",
        "ja": "申請済みの持ち出しを待ち、ファイルを書き出します。中断しても続きから再開できます。",
        "fields": [
            {
                "name": "release",
                "required": True,
                "word": True,
                "help": {
                    "en": "the release's id, or its proposal's",
                    "ja": "持ち出しのID、またはその申請のID",
                },
                "sample": "prop_01kae7x2m4",
            },
            *_WAITING,
            *_OPENING,
        ],
        "examples": ["sekisho release fetch prop_01kae7x2m4 --folder model"],
    },
    "charter test": {
        "module": "charter_test",
        "needs": "charter.version.replay",
        "en": "Ask recorded decisions again under a draft, and show which would change; nothing happens.",
        "ja": "記録された判断を憲章の案の下でやり直し、変わるものを示します。何も変更しません。",
        "fields": [
            {
                "name": "draft",
                "required": True,
                "word": True,
                "help": {"en": "the draft's version id", "ja": "案の版のID"},
                "sample": "chv_01kae7x2m4",
            },
            {
                "name": "records",
                "kind": "integer",
                "help": {
                    "en": "how many of the newest records to look at (10000)",
                    "ja": "新しい順に調べる記録の数（既定は10000）",
                },
                "sample": "2000",
            },
            {
                "name": "upto",
                "kind": "integer",
                "help": {
                    "en": "only records before this place in the log, to repeat a run exactly",
                    "ja": "台帳のこの位置より前の記録のみ（同じ結果を再現するため）",
                },
                "sample": "48213",
            },
        ],
        "examples": [
            "sekisho charter test chv_01kae7x2m4",
            "sekisho charter test chv_01kae7x2m4 --records 2000",
        ],
    },
    "evidence export": {
        "module": "evidence_export",
        "needs": "ledger.bundle.export",
        "noun": {"en": "Evidence of a job", "ja": "ジョブの証跡"},
        "en": "Write a job's evidence bundle, for checking without a network.",
        "ja": "ジョブの証跡一式を書き出します。ネットワークなしで検証できます。",
        "fields": [
            _JOB,
            {
                "name": "to",
                "help": {"en": "file to write", "ja": "書き出すファイル"},
                "sample": "job.bundle.zip",
            },
        ],
        "examples": ["sekisho evidence export job_01kae7x2m4"],
    },
}
