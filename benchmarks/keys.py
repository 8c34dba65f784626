"""Keys: envelopes against bare AES-256-GCM, their memory for any size, what an HSM adds, releases through the gate.

Bare is the library called once on the whole object in memory, which is how it is called: plaintext in, a new ciphertext
out. The envelope streams the same object from memory into memory. The figure `of_warm_buffers` compares it with the
library writing into a buffer that is there already, which no stream can do: there its two copies are all that counts.
`between_files` has both read a file and write one, as the product does.
Memory is a process's peak above what it held before the first byte, for an object of 1 GiB that comes through a pipe.
"""

from __future__ import annotations

import functools
import io
import secrets
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.harness import Goal, Pair, goal, paired, report, seconds
from benchmarks.key_releases import release_goals
from sekisho_guarantor.keystore_pkcs11 import Pkcs11Store
from sekisho_wire.envelope import (
    AES_KW,
    EnvelopeKey,
    Header,
    Wrapped,
    decrypt_stream,
    encrypt_stream,
    new_data_key,
    new_header,
    read_header,
)
from tests.support import softhsm

OBJECT_BYTES = 64 << 20
LARGE_BYTES = 1 << 30
MEMORY_BYTES = 64 << 20
ROUNDS = 9
UNWRAPS = 200
KEY = EnvelopeKey(bytes(range(32)))
_CHUNK = 1 << 20


def header() -> Header:
    """The header of an object as the product makes it."""
    return new_header("file", Wrapped("bench", 1, AES_KW, bytes(40)))


class Warm:
    """A place in memory that was written before."""

    def __init__(self, size: int) -> None:
        self.buffer = memoryview(bytearray(secrets.token_bytes(size)))
        self._at = 0

    def write(self, data: memoryview | bytes, /) -> int:
        """Copy to where the last one ended."""
        self.buffer[self._at : self._at + len(data)] = data
        self._at += len(data)
        return len(data)

    def readinto(self, buffer: memoryview, /) -> int:
        """Copy from where the last one ended."""
        count = min(len(buffer), len(self.buffer) - self._at)
        buffer[:count] = self.buffer[self._at : self._at + count]
        self._at += count
        return count

    def rewind(self) -> Warm:
        """From the beginning again."""
        self._at = 0
        return self


def measured(first: functools.partial[object], second: functools.partial[object]) -> Pair:
    """In turns, by the time this thread has computed: other processes do not count."""
    return paired(first, second, rounds=ROUNDS, clock=time.thread_time)


def decrypted(sealed: bytes) -> bytes:
    """The plaintext of an envelope, in new memory."""
    source, target = io.BytesIO(sealed), io.BytesIO()
    decrypt_stream(source, target, read_header(source), KEY)
    return target.getvalue()


def encrypted(plain: bytes) -> bytes:
    """An envelope of bytes, in new memory."""
    target = io.BytesIO()
    encrypt_stream(io.BytesIO(plain), target, header(), KEY)
    return target.getvalue()


def throughput_goals(figures: dict[str, float]) -> list[Goal]:
    """Bytes a second of the envelope over those of the library, both ways."""
    plain, cipher, nonce = secrets.token_bytes(OBJECT_BYTES), AESGCM(KEY), bytes(12)
    bare_sealed, sealed = cipher.encrypt(nonce, plain, None), encrypted(plain)
    if decrypted(sealed) != plain:
        raise AssertionError("the envelope does not open")
    sealing = measured(
        functools.partial(encrypted, plain), functools.partial(cipher.encrypt, nonce, plain, None)
    )
    opening = measured(
        functools.partial(decrypted, sealed), functools.partial(cipher.decrypt, nonce, bare_sealed, None)
    )
    figures |= {
        "encrypt_bytes_per_second": OBJECT_BYTES / sealing.first_seconds,
        "decrypt_bytes_per_second": OBJECT_BYTES / opening.first_seconds,
        "bare_encrypt_bytes_per_second": OBJECT_BYTES / sealing.second_seconds,
        "bare_decrypt_bytes_per_second": OBJECT_BYTES / opening.second_seconds,
        "encrypt_of_warm_buffers": warm_ratio(plain),
        "encrypt_of_bare_between_files": file_ratio(plain),
    }
    return [
        goal("encrypt_of_bare_aes_gcm", sealing.ratio, ">=", 0.6),
        goal("decrypt_of_bare_aes_gcm", opening.ratio, ">=", 0.6),
    ]


def file_ratio(plain: bytes) -> float:
    """From one file into another, where the library has to be given the whole object in memory."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "plain", Path(folder) / "sealed"
        source.write_bytes(plain)

        def stream() -> None:
            with source.open("rb", buffering=0) as file, target.open("wb") as out:
                encrypt_stream(file, out, header(), KEY)

        def bare() -> None:
            target.write_bytes(AESGCM(KEY).encrypt(bytes(12), source.read_bytes(), None))

        return paired(stream, bare, rounds=ROUNDS, clock=time.thread_time).ratio


def warm_ratio(plain: bytes) -> float:
    """The same where neither side has to be given memory by the kernel."""
    source, target = Warm(0), Warm(header().ciphertext_bytes(OBJECT_BYTES) + 64)
    source.buffer = memoryview(bytearray(plain))
    cipher, out = AESGCM(KEY), target.buffer[: OBJECT_BYTES + 16]
    return measured(
        functools.partial(lambda: encrypt_stream(source.rewind(), target.rewind(), header(), KEY)),
        functools.partial(cipher.encrypt_into, bytes(12), plain, None, out),
    ).ratio


def memory_goals(figures: dict[str, float]) -> list[Goal]:
    """Two processes, one encrypting what the other decrypts, neither of which ever sees the whole object."""
    words = [sys.executable, "-m", "benchmarks.keys"]
    begin = time.perf_counter()
    with subprocess.Popen([*words, "encrypt"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sealing:
        opening = subprocess.run(
            [*words, "decrypt"], stdin=sealing.stdout, stderr=subprocess.PIPE, check=True, timeout=300
        )
        grown = {
            "encrypt": int(sealing.stderr.read() if sealing.stderr else 0),
            "decrypt": int(opening.stderr),
        }
    figures["piped_bytes_per_second"] = LARGE_BYTES / (time.perf_counter() - begin)
    return [goal(f"{way}_memory_bytes", size, "<=", MEMORY_BYTES) for way, size in grown.items()]


class Endless:
    """So many bytes, made up while they are read."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._chunk = secrets.token_bytes(_CHUNK)

    def readinto(self, buffer: memoryview, /) -> int:
        """The next of them."""
        count = min(len(buffer), self._left, _CHUNK)
        buffer[:count] = self._chunk[:count]
        self._left -= count
        return count


def child(way: str) -> int:
    """One side of the pipe; says on standard error by how many bytes its memory grew at most."""
    encrypted(bytes(10))
    before = resident("VmRSS")
    if way == "encrypt":
        with io.BufferedWriter(io.FileIO(1, "w", closefd=False)) as target:
            encrypt_stream(Endless(LARGE_BYTES), target, header(), KEY)
    else:
        with io.FileIO(0, closefd=False) as source, Path("/dev/null").open("wb") as target:
            if decrypt_stream(source, target, read_header(source), KEY) != LARGE_BYTES:
                return 1
    print(resident("VmHWM") - before, file=sys.stderr)
    return 0


def resident(field: str) -> int:
    """Bytes of this process's memory now (VmRSS) or at most so far (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def token_figures(figures: dict[str, float]) -> None:
    """What one unwrap costs in a token (SoftHSM: software, no hardware's speed), and in this process."""
    with TemporaryDirectory() as folder:
        token = softhsm.token(Path(folder))
        store = Pkcs11Store(token.module, token.label, token.pin_file)
        store.make("bench/1")
        wrapped = store.wrap("bench/1", new_data_key())

        def work() -> None:
            for _ in range(UNWRAPS):
                store.unwrap("bench/1", wrapped)

        figures["softhsm_unwrap_us"] = seconds(work) / UNWRAPS * 1e6
        store.close()


def main() -> int:
    """All goals of the keys; with a word, one side of the pipe."""
    if len(sys.argv) > 1:
        return child(sys.argv[1])
    figures: dict[str, float] = {}
    goals = throughput_goals(figures) + memory_goals(figures) + release_goals(figures)
    token_figures(figures)
    return report("keys", goals, figures)


if __name__ == "__main__":
    sys.exit(main())
