"""What the control plane does by itself: background work, the log's sequence, publishing."""

from sekisho.background.loop import Loop as Loop
from sekisho.background.loop import log_loop as log_loop
from sekisho.background.loop import running as running
from sekisho.background.loop import stamp_loop as stamp_loop
from sekisho.background.loop import witness_loop as witness_loop
from sekisho.background.loop import work_loop as work_loop
