"""Requests with their answers and the rules that decide: one row per thing the charter promises."""

from __future__ import annotations

from sekisho.kernel.facts import Entity, Ref, Request
from tests.charter.yard import ask, enter, export, infer, lab, place, replicate, share, store, user

PROPOSALS = Entity(Ref("Proposal", "all"))

JOBS: tuple[tuple[str, Request, str], ...] = (
    (
        "public job may burst to Seoul",
        place("ken", "j-public", "seoul-1", "k-platform", egress="open", attested=False),
        "P01-engineer",
    ),
    (
        "any is anywhere",
        place("ken", "j-anywhere", "frankfurt-1", "k-platform", egress="open", attested=False),
        "P01-engineer",
    ),
    ("gov-2 job on a domestic site", place("mio", "j-gov2", "ishikari-1", "k-north-hsm"), "P01-engineer"),
    (
        "gov-2 job in Seoul",
        place("mio", "j-gov2", "seoul-1", "k-north-hsm"),
        "-C01-residency -C02-location-proof",
    ),
    ("internal job in Seoul", place("ken", "j-internal", "seoul-1", "k-platform"), "-C01-residency"),
    ("proof 50 min old", place("mio", "j-gov2", "tokyo-stale", "k-north-hsm"), "-C02-location-proof"),
    ("proof from the future", place("mio", "j-gov2", "tokyo-future", "k-north-hsm"), "-C02-location-proof"),
    ("disc reaches Korea", place("mio", "j-gov2", "fukuoka-wide", "k-north-hsm"), "-C02-location-proof"),
    ("two landmarks", place("mio", "j-gov2", "fukuoka-few", "k-north-hsm"), "-C02-location-proof"),
    (
        "gov-2 job, open egress",
        place("mio", "j-gov2", "ishikari-1", "k-north-hsm", egress="open"),
        "-C09-egress",
    ),
    ("no wall", place("ken", "j-internal", "tokyo-bare", "k-keyhouse"), "-C09-wall"),
    ("no wall, public", place("ken", "j-public", "tokyo-bare", "k-keyhouse"), "P01-engineer"),
    ("US parent, its own HSM", place("aya", "j-care", "tokyo-us", "k-us-hsm"), "-C03-foreign-law"),
    ("US parent, outside key, bound TEE", place("aya", "j-care", "tokyo-us", "k-keyhouse"), "P01-engineer"),
    (
        "US parent, an outside key by the registrant's own word",
        place("aya", "j-care", "tokyo-us", "k-own-word"),
        "-C03-foreign-law",
    ),
    (
        "US parent, outside key, no TEE",
        place("aya", "j-care", "tokyo-us-notee", "k-keyhouse"),
        "-C03-foreign-law",
    ),
    (
        "US parent, attested in the future",
        place("aya", "j-care", "tokyo-us-future", "k-keyhouse"),
        "-C03-foreign-law",
    ),
    (
        "control is the operator's own word",
        place("aya", "j-care", "tokyo-own-word", "k-keyhouse"),
        "-C03-declared-control",
    ),
    (
        "egress not attested",
        place("aya", "j-care", "ishikari-1", "k-keyhouse", egress="allowlist-jp", attested=False),
        "-C09-egress",
    ),
    ("ESI job, cleared, vault", place("mio", "j-esi", "ishikari-vault", "k-keyhouse"), "P01-engineer"),
    ("ESI job, connected site", place("mio", "j-esi", "ishikari-1", "k-keyhouse"), "-C07-clearance"),
    ("ESI job, clearance lapsed", place("jun", "j-esi", "ishikari-vault", "k-keyhouse"), "-C07-clearance"),
    (
        "designated secret",
        place("mio", "j-secret", "ishikari-vault", "k-keyhouse"),
        "-C08-no-designated-secret",
    ),
    ("someone else's job", place("ken", "j-gov2", "ishikari-1", "k-north-hsm"), "-no-permit"),
    ("no role", place("nobody", "j-internal", "ishikari-1", "k-north-hsm"), "-no-permit"),
)
DATA: tuple[tuple[str, Request, str], ...] = (
    ("survey on a domestic HSM key", store("ken", "d-survey", "osaka-telco", "k-north-hsm"), "P01-engineer"),
    ("survey on a platform key", store("ken", "d-survey", "osaka-telco", "k-platform"), "-C04-key-custody"),
    ("survey on an exportable key", store("ken", "d-survey", "osaka-telco", "k-export"), "-C04-key-custody"),
    (
        "care data, operator is custodian",
        store("aya", "d-care", "ishikari-1", "k-north-hsm"),
        "-C04-key-custody",
    ),
    ("care data, outside custodian", store("aya", "d-care", "ishikari-1", "k-keyhouse"), "P01-engineer"),
    (
        "care data, custody is the registrant's own word",
        store("aya", "d-care", "ishikari-1", "k-own-word"),
        "-C04-declared-custody",
    ),
    ("survey, custody is declared", store("ken", "d-survey", "osaka-telco", "k-own-word"), "P01-engineer"),
    ("survey in Seoul", store("ken", "d-survey", "seoul-1", "k-keyhouse"), "-C01-residency-rest"),
    (
        "internal data in Seoul",
        store("ken", "d-internal", "seoul-1", "k-keyhouse"),
        "-C01-residency-rest",
    ),
    (
        "survey, stale proof",
        store("ken", "d-survey", "tokyo-stale", "k-keyhouse"),
        "-C02-location-proof-rest",
    ),
    ("secret at rest", store("mio", "d-secret", "ishikari-vault", "k-keyhouse"), "-C08-no-designated-secret"),
    (
        "survey to Frankfurt, adequacy",
        replicate("ken", "d-survey", "frankfurt-1", "adequacy"),
        "P01-engineer",
    ),
    ("survey to Frankfurt, no basis", replicate("ken", "d-survey", "frankfurt-1", "none"), "-C06-appi28"),
    (
        "care data to Frankfurt",
        replicate("aya", "d-care", "frankfurt-1", "consent-informed"),
        "-C01-residency-rest -C06-appi28",
    ),
)
PROMPTS: tuple[tuple[str, Request, str], ...] = (
    ("care prompt", infer("m-care", "ishikari-1", 3, "special-care"), "P13-caller"),
    (
        "care prompt, logged",
        infer("m-care", "ishikari-1", 3, "special-care", prompt_logging=True),
        "-C05-special-care",
    ),
    (
        "care prompt, other purpose",
        infer("m-care", "ishikari-1", 3, "special-care", purpose="sales"),
        "-C05-special-care",
    ),
    (
        "exposed operator, no TEE",
        infer("m-care-us", "tokyo-us-notee", 3, "special-care"),
        "-C03-foreign-law-infer",
    ),
    ("model on a stale site", infer("m-gov", "tokyo-stale", 1), "-C02-location-proof-infer"),
    ("another site than declared", infer("m-care", "tokyo-us", 2), "-C01-residency-infer"),
)
OUT: tuple[tuple[str, Request, str], ...] = (
    ("open weights to US", export("a-open", "US"), "P14-releaser"),
    ("core weights, two organisations", export("a-weights", "JP", "rie", "sho"), "P14-releaser"),
    ("core weights, oneself", export("a-weights", "JP", "rie", "ken"), "-C10-export"),
    ("core weights, nobody", export("a-weights", "JP"), "-C10-export"),
    ("level 4", export("a-esi", "JP", "rie", "sho"), "-C10-export"),
    ("open weights to KR", export("a-open", "KR"), "-C10-export"),
    ("controlled to DE, no licence", export("a-fefa", "DE"), "-C10-export"),
    ("controlled to DE, licence", export("a-fefa", "DE", licence=True), "P14-releaser"),
    ("approved 2 h ago", enter("op-jp", "d-care"), "P15-operator-staff"),
    ("approved 9 h ago", enter("op-jp", "d-care", hours=9), "-C11-lockbox"),
    ("approved in the future", enter("op-jp", "d-care", hours=-1), "-C11-lockbox"),
    ("engineer abroad", enter("op-us", "d-care"), "-C11-lockbox"),
    ("no approval", enter("op-jp", "d-care", by=""), "-C11-lockbox"),
    ("not recorded", enter("op-jp", "d-care", recorded=False), "-C11-lockbox"),
    ("ESI data", enter("op-jp", "d-esi", by="mio"), "-C11-lockbox"),
    ("another operator's staff", enter("op-other", "d-care"), "-no-permit"),
)
OTHERS: tuple[tuple[str, Request, str], ...] = (
    ("green to partner", share("i-green", "us-partner", "private", agreement=False), "P16-analyst"),
    ("amber without agreement", share("i-amber", "us-partner", "private", agreement=False), "-C12-tlp"),
    ("red to police", share("i-red", "npa", "national-authority", agreement=True), "-C12-tlp"),
    ("personal data to police", share("i-pd", "npa", "national-authority", agreement=True), "P16-analyst"),
    ("personal data abroad", share("i-pd", "us-partner", "private", agreement=True), "-C12-tlp"),
    ("lab at home", lab("lab-finetune", "osaka-telco", 5), "P17-learner"),
    ("lab with real data", lab("lab-real", "osaka-telco", 5), "-C13-lab"),
    ("lab abroad", lab("lab-finetune", "seoul-1", 5), "-C13-lab"),
    ("hours used up", lab("lab-finetune", "osaka-telco", 0), "-C13-lab"),
    ("own job", ask("eng", "yard.job.show", "j-internal"), "P02-own-things"),
    ("another's job", ask("eng", "yard.job.show", "j-gov2"), "-no-permit"),
)
SECOND_PEOPLE: tuple[tuple[str, Request, str], ...] = tuple(
    (
        f"{action} as {role}",
        ask(user(role, "maker", role), f"kernel.proposal.{action}", PROPOSALS),
        "P07-second-person" if role in {"administrator", "compliance"} else "-no-permit",
    )
    for action in ("list", "approve")
    for role in ("administrator", "compliance", "engineer", "site_operator", "auditor")
)
NAMED = Entity(Ref("Proposal", "named"))
RELEASING: tuple[tuple[str, Request, str], ...] = (
    *(
        (f"{action} where named", ask("ken", f"kernel.proposal.{action}", NAMED), "P19-approver")
        for action in ("list", "approve")
    ),
    ("approve where not named", ask("ken", "kernel.proposal.approve", PROPOSALS), "-no-permit"),
    (
        "approve without a second factor",
        ask(user("weak", "maker", "releaser", mfa=False), "kernel.proposal.approve", NAMED),
        "-no-permit",
    ),
    ("lower one's own", ask("ken", "lower.any", "a-weights"), "P20-lower"),
    ("lower another's", ask("aya", "lower.any", "a-weights"), "-no-permit"),
    ("lower as an engineer", ask("eng", "lower.any", "a-weights"), "-no-permit"),
)
CASES = (*JOBS, *DATA, *PROMPTS, *OUT, *OTHERS, *SECOND_PEOPLE, *RELEASING)


def expected(text: str) -> tuple[bool, tuple[str, ...]]:
    """`-C01 -C02` is a denial by these two; a bare id the permit that allowed."""
    return not text.startswith("-"), tuple(part.lstrip("-") for part in text.split())
