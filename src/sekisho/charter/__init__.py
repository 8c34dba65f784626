"""The charter: who may do what to which data where, decided, explained and changed under two signatures."""

from sekisho.charter.actions import (
    Drift,
    KeepCharter,
    Office,
    charter_document,
    default_policies,
    drift,
    handlers,
)
from sekisho.charter.changes import Change
from sekisho.charter.compiled import NO_CHARTER
from sekisho.charter.engine import GENESIS_ACTION, CharterEngine
from sekisho.charter.errors import CharterError
from sekisho.charter.labels import PUBLIC, Labels, at_least, join
from sekisho.charter.model import (
    Activated,
    ActivateVersion,
    Difference,
    DiffVersions,
    Drafted,
    DraftVersion,
    EntityInput,
    ListVersions,
    ShowVersion,
    Trial,
    TryRequest,
    Version,
    VersionPage,
    VersionText,
)
from sekisho.charter.model_replay import Altered, Recorded, Replay, ReplayVersion
from sekisho.charter.rules import FLOOR_LEVEL, Candidate, Wishes, narrow
from sekisho.charter.schema import VocabularyError, program_specs, schema_text
from sekisho.charter.stores import stores_jp
from sekisho.charter.vocabulary import ANYWHERE, ENTITY_TYPES, GROUPS, EntityType, Group

__all__ = [
    "ANYWHERE",
    "ENTITY_TYPES",
    "FLOOR_LEVEL",
    "GENESIS_ACTION",
    "GROUPS",
    "NO_CHARTER",
    "PUBLIC",
    "ActivateVersion",
    "Activated",
    "Altered",
    "Candidate",
    "Change",
    "CharterEngine",
    "CharterError",
    "DiffVersions",
    "Difference",
    "DraftVersion",
    "Drafted",
    "Drift",
    "EntityInput",
    "EntityType",
    "Group",
    "KeepCharter",
    "Labels",
    "ListVersions",
    "Office",
    "Recorded",
    "Replay",
    "ReplayVersion",
    "ShowVersion",
    "Trial",
    "TryRequest",
    "Version",
    "VersionPage",
    "VersionText",
    "VocabularyError",
    "Wishes",
    "at_least",
    "charter_document",
    "default_policies",
    "drift",
    "handlers",
    "join",
    "narrow",
    "program_specs",
    "schema_text",
    "stores_jp",
]
