"""The ledger: records, streams, the Merkle log over them, checkpoints, bundles.

`app.py` makes `KeyFolder`, `Ledger` and `Parts`, gives `Ledger` to the gate as its recorder and `handlers(parts)`
beside the other capabilities'; background work performs `SequenceBatch`, `SignCheckpoint` and `Publisher.advance`.
"""

from sekisho.ledger.actions import LEDGER as LEDGER
from sekisho.ledger.actions import Parts as Parts
from sekisho.ledger.actions import handlers as handlers
from sekisho.ledger.bundle import Subjects as Subjects
from sekisho.ledger.bundle import trust_file as trust_file
from sekisho.ledger.check import check as check
from sekisho.ledger.history import Decided as Decided
from sekisho.ledger.history import decisions as decisions
from sekisho.ledger.keys import KeyFolder as KeyFolder
from sekisho.ledger.model import BundleExport as BundleExport
from sekisho.ledger.model import BundleFile as BundleFile
from sekisho.ledger.model import CheckLedger as CheckLedger
from sekisho.ledger.model import CheckpointView as CheckpointView
from sekisho.ledger.model import CheckReport as CheckReport
from sekisho.ledger.model import CloseStream as CloseStream
from sekisho.ledger.model import EraseRecord as EraseRecord
from sekisho.ledger.model import ExportBundle as ExportBundle
from sekisho.ledger.model import Finding as Finding
from sekisho.ledger.model import KeepCosignature as KeepCosignature
from sekisho.ledger.model import KeyRotated as KeyRotated
from sekisho.ledger.model import ListRecords as ListRecords
from sekisho.ledger.model import LogRestored as LogRestored
from sekisho.ledger.model import NoteWitness as NoteWitness
from sekisho.ledger.model import Offer as Offer
from sekisho.ledger.model import OfferCheckpoint as OfferCheckpoint
from sekisho.ledger.model import ReadBundle as ReadBundle
from sekisho.ledger.model import ReadTiles as ReadTiles
from sekisho.ledger.model import RecordLine as RecordLine
from sekisho.ledger.model import RecordPage as RecordPage
from sekisho.ledger.model import RecordView as RecordView
from sekisho.ledger.model import RestoreLog as RestoreLog
from sekisho.ledger.model import RootView as RootView
from sekisho.ledger.model import RotateKey as RotateKey
from sekisho.ledger.model import SequenceBatch as SequenceBatch
from sekisho.ledger.model import Sequenced as Sequenced
from sekisho.ledger.model import ShowCheckpoint as ShowCheckpoint
from sekisho.ledger.model import ShowRecord as ShowRecord
from sekisho.ledger.model import ShowRoot as ShowRoot
from sekisho.ledger.model import ShowTrust as ShowTrust
from sekisho.ledger.model import SignCheckpoint as SignCheckpoint
from sekisho.ledger.model import StreamClosed as StreamClosed
from sekisho.ledger.model import TileBatch as TileBatch
from sekisho.ledger.model import TrustFile as TrustFile
from sekisho.ledger.model_time import KeepStamp as KeepStamp
from sekisho.ledger.model_time import OfferHead as OfferHead
from sekisho.ledger.offering import Offering as Offering
from sekisho.ledger.offering import figures as figures
from sekisho.ledger.proofs import Proven as Proven
from sekisho.ledger.proofs import prove as prove
from sekisho.ledger.publish import Publisher as Publisher
from sekisho.ledger.recorder import Ledger as Ledger
from sekisho.ledger.recorder import newest_time_ms as newest_time_ms
from sekisho.ledger.recorder import read_file as read_file
from sekisho.ledger.recorder import under_checkpoint as under_checkpoint
from sekisho.ledger.stamping import Stamping as Stamping
from sekisho.ledger.timestamps import TimeAuthority as TimeAuthority
from sekisho.ledger.timestamps import read_authorities as read_authorities
from sekisho.ledger.witnesses import Witness as Witness
from sekisho.ledger.witnesses import WitnessState as WitnessState
from sekisho.ledger.witnesses import read_witnesses as read_witnesses
from sekisho.ledger.witnesses import witness_states as witness_states
