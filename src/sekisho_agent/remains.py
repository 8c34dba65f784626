"""What a payload leaves behind, outputs and log: stored at the site, sealed first where the job's data asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog

from sekisho_agent.engines.contract import Observation
from sekisho_agent.errors import AgentError, store_errors
from sekisho_agent.folders import Collected, collect, hash_file
from sekisho_agent.keys import Keys
from sekisho_agent.preparation import Layout, log_rests
from sekisho_agent.sealed_trees import seal_tree
from sekisho_agent.site import Site
from sekisho_agent.staging import Stager
from sekisho_verify import canonical
from sekisho_wire.messages import LogReport, Offer, OutputReport

LOG_FLUSH_SECONDS_MAX: Final = 10.0

log = structlog.get_logger(__name__)


class Remains:
    """Of one attempt; used by its thread. With `keys` nothing rests outside the attempt's folder unsealed."""

    def __init__(self, site: Site, layout: Layout, offer: Offer, keys: Keys | None) -> None:
        self._site = site
        self._layout = layout
        self._offer = offer
        self.keys = keys

    @store_errors()
    def collect(self, uploader: Stager) -> list[OutputReport]:
        """Store every output, send those that leave, and keep their list beside them."""
        reports, room = list[OutputReport](), self._offer.limits.output_bytes
        for output in self._offer.outputs:
            found = self._stored(self._layout.output(output.name), size_bytes_max=room)
            room -= found.size_bytes
            if output.upload:
                uploader.upload_tree(found, attempt=self._layout.attempt, token=self._layout.token)
            reports.append(
                OutputReport(
                    name=output.name,
                    object=found.digest,
                    size_bytes=found.size_bytes,
                    refused=found.refused,
                    envelope=found.envelope,
                ),
            )
        rows = [[report.name, report.object, report.size_bytes] for report in reports]
        self._site.store.note(
            f"attempts/{self._layout.attempt}/outputs.json", canonical.encode({"v": 1, "outputs": rows})
        )
        return reports

    def _stored(self, folder: Path, *, size_bytes_max: int) -> Collected:
        keys, store, scratch = self.keys, self._site.store, self._layout.scratch
        if keys is None:
            return collect(store, folder, scratch, size_bytes_max=size_bytes_max)
        return seal_tree(store, folder, scratch, keys=keys, size_bytes_max=size_bytes_max)

    @store_errors()
    def log_report(self, seen: Observation, uploader: Stager) -> LogReport | None:
        """None where nothing has begun to write one, as in a queue of the site's, and for one that may not be kept."""
        path = self._layout.folder / "log"
        if not path.exists():
            return None
        if self.keys is not None:
            return self._sealed_log(path, seen, uploader)
        if not log_rests(self._offer):
            return None
        size_bytes, digest = hash_file(path)
        self._site.store.put_file(path, digest)
        self._site.logs.finish(
            self._layout.attempt, size_bytes=size_bytes, timeout_seconds=LOG_FLUSH_SECONDS_MAX
        )
        return LogReport(bytes=size_bytes, dropped=seen.log_dropped_bytes, digest=digest)

    def _sealed_log(self, path: Path, seen: Observation, uploader: Stager) -> LogReport | None:
        """The log as a sealed tree; without a key it goes with the attempt's folder."""
        folder = self._layout.scratch / "log"
        folder.mkdir(exist_ok=True)
        path.replace(folder / "log.txt")
        try:
            found = self._stored(folder, size_bytes_max=self._offer.limits.log_bytes)
            if self._offer.seal == "leaves":
                uploader.upload_tree(found, attempt=self._layout.attempt, token=self._layout.token)
        except AgentError as error:
            log.warning("log.not_sealed", attempt=self._layout.attempt, error=str(error))
            return None
        return LogReport(
            bytes=found.size_bytes,
            dropped=seen.log_dropped_bytes,
            digest=found.digest,
            envelope=found.envelope,
        )
