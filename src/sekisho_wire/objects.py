"""A site's object store: objects by digest, in a local folder, S3 or Azure Blob, whichever the URL names.

Every site has one, the control plane's own included; whoever runs the site holds its credentials.

An object is stored under `objects/sha256/<2 hex>/<62 hex>`. Nothing is stored, and nothing handed out, whose bytes do
not have the digest: every get hashes while it writes and renames only when the digest fits. The store's credentials
come from the machine's environment and stay in this process.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from sekisho_verify import canonical

CHUNK_BYTES: Final = 1 << 20
SCHEMES: Final = ("file://", "s3://", "az://", "abfs://", "abfss://")


class ObjectError(Exception):
    """The store failed, or bytes do not have the digest they are stored under. `code` is stable and dotted."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ObjectsByDigest:
    """Objects by digest. Safe to use from several threads: writes of one object are idempotent."""

    def __init__(self, backend: ObjectStore, scratch: Path) -> None:
        self._backend = backend
        self._scratch = scratch
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)

    @classmethod
    def open(cls, url: str, scratch: Path) -> ObjectsByDigest:
        """Open the store at a URL; `scratch` is a private folder for temporary files."""
        if not url.startswith(SCHEMES):
            raise ObjectError("object.store_url", "the store needs a file, s3, az or abfs URL")
        try:
            if url.startswith("file://"):
                folder = Path(url.removeprefix("file://"))
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                return cls(LocalStore(folder), scratch)
            return cls(from_url(url), scratch)
        except (BaseError, OSError, ValueError) as error:
            raise ObjectError(
                "object.store_url", f"the store cannot be opened: {type(error).__name__}"
            ) from error

    def has(self, digest: str) -> bool:
        """Whether an object is there; its bytes are checked when they are read."""
        return self.noted(object_key(digest))

    def put_bytes(self, content: bytes) -> str:
        """Store bytes and return their digest."""
        digest = canonical.digest(content)
        if not self.has(digest):
            self._put(digest, content)
        return digest

    def put_file(self, path: Path, digest: str) -> None:
        """Store a file that the caller has hashed and that nobody changes any more."""
        if self.has(digest):
            return
        with path.open("rb") as file:
            self._put(digest, file)

    def put_stream(self, chunks: Iterable[bytes], digest: str, *, size_bytes_max: int) -> int:
        """Store what comes in, if it has the digest and is no longer than allowed; returns its size."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            target = Path(folder) / "object"
            size_bytes = write_checked(chunks, target, digest, size_bytes_max=size_bytes_max)
            self.put_file(target, digest)
        return size_bytes

    def get_bytes(self, digest: str, *, size_bytes_max: int) -> bytes:
        """A small object in memory; ObjectError when it is missing, longer than allowed, or not what it is called."""
        content = bytearray()
        for chunk in self.stream(digest):
            content += chunk
            if len(content) > size_bytes_max:
                raise ObjectError("object.too_large", f"{digest} is longer than {size_bytes_max} bytes")
        if canonical.digest(bytes(content)) != digest:
            raise ObjectError("object.digest_mismatch", f"the store holds other bytes under {digest}")
        return bytes(content)

    def get_file(self, digest: str, target: Path, *, size_bytes_max: int) -> int:
        """Write an object to `target`, which appears only when its digest fits; returns its size."""
        return write_checked(self.stream(digest), target, digest, size_bytes_max=size_bytes_max)

    def stream(self, digest: str) -> Iterator[bytes]:
        """The stored bytes in chunks, unchecked."""
        try:
            for chunk in obstore.get(self._backend, object_key(digest)).stream(CHUNK_BYTES):
                yield bytes(chunk)
        except FileNotFoundError as error:
            raise ObjectError("object.missing", f"the site's store does not hold {digest}") from error
        except BaseError as error:
            raise _failed("read", digest, error) from error

    def note(self, key: str, content: bytes) -> None:
        """Keep a small document under a name (not a digest), such as the list of an attempt's outputs."""
        try:
            obstore.put(self._backend, key, content)
        except BaseError as error:
            raise _failed("written", key, error) from error

    def noted(self, key: str) -> bool:
        """Whether something is kept under this name."""
        try:
            obstore.head(self._backend, key)
        except FileNotFoundError:
            return False
        except BaseError as error:
            raise _failed("looked up", key, error) from error
        return True

    def _put(self, digest: str, content: object) -> None:
        try:
            obstore.put(self._backend, object_key(digest), content)  # type: ignore[arg-type] - bytes or an open file, both of which obstore takes
        except BaseError as error:
            raise _failed("written", digest, error) from error


def object_key(digest: str) -> str:
    """Where an object lies inside the store."""
    value = digest.removeprefix(canonical.DIGEST_PREFIX)
    return f"objects/sha256/{value[:2]}/{value[2:]}"


def write_checked(
    chunks: Iterable[bytes],
    target: Path,
    digest: str,
    *,
    size_bytes_max: int,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write chunks to a temporary file beside `target`, and rename it only when digest and size fit.

    `check` is called before every chunk and may raise to stop. Nothing is left behind on failure.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".incoming-")
        temporary = Path(name)
        hasher, size_bytes = hashlib.sha256(), 0
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                check()
                size_bytes += len(chunk)
                if size_bytes > size_bytes_max:
                    raise ObjectError("object.too_large", f"{digest} is longer than {size_bytes_max} bytes")
                hasher.update(chunk)
                file.write(chunk)
        if canonical.DIGEST_PREFIX + hasher.hexdigest() != digest:
            raise ObjectError("object.digest_mismatch", f"the bytes received are not {digest}")
        temporary.replace(target)
    except OSError as error:
        raise ObjectError("object.not_written", f"{digest} could not be written: {error.strerror}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return size_bytes


def _failed(verb: str, name: str, error: Exception) -> ObjectError:
    return ObjectError("store.failed", f"{name} could not be {verb}: {type(error).__name__}")
