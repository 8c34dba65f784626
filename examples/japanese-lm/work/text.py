"""Text to token ids: reading, the byte-level vocabulary, the split, and batches that depend on seed and step alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from failures import TrainError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
# One unit in fifty is never trained on; the figure at the end is measured on those.
_UNITS_PER_HELD_OUT = 50
# Enough for a small vocabulary; more text would only make the merges slower to count.
_VOCABULARY_CHARACTERS_MAX = 1_200_000


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """One stream of token ids (int32), documents parted by `END_OF_TEXT_ID`, and how many characters it stands for."""

    ids: NDArray[np.int32]
    characters: int

    @property
    def per_character(self) -> float:
        """Tokens per character: turns nats per token into a figure that does not depend on the vocabulary."""
        return len(self.ids) / self.characters


def read(folder: Path) -> tuple[list[str], str]:
    """The texts of every `*.jsonl` in order of names, and `sha256:...` over those files.

    Raises `TrainError`: `train.data.none`, `train.data.not_text`.
    """
    texts: list[str] = []
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.jsonl")):
        data = path.read_bytes()
        digest.update(hashlib.sha256(data).digest())
        try:
            documents = [json.loads(line) for line in data.decode("utf-8").split("\n") if line.strip()]
            texts += [document["text"] for document in documents]
        except (ValueError, TypeError, KeyError) as error:
            message = f"{path.name!r} is not UTF-8 with one JSON object a line that has a text"
            raise TrainError("train.data.not_text", message) from error
    if not all(isinstance(text, str) for text in texts):
        raise TrainError("train.data.not_text", "a text is not a string")
    if not any(text.strip() for text in texts):
        raise TrainError("train.data.none", "the data folder holds no *.jsonl with text")
    return texts, f"sha256:{digest.hexdigest()}"


def split(texts: Sequence[str], *, seed: int) -> tuple[list[str], list[str]]:
    """Shuffle by seed and part into (trained on, held out); a few long documents are parted into paragraphs first."""
    units = list(texts)
    if len(units) < _UNITS_PER_HELD_OUT:
        units = [paragraph for text in texts for paragraph in text.split("\n")]
    order = np.random.default_rng(seed).permutation(len(units))
    held_out_count = max(1, len(units) // _UNITS_PER_HELD_OUT)
    shuffled = [units[index] for index in order]
    return shuffled[held_out_count:], shuffled[:held_out_count]


def trained_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE with GPT-2's pre-tokenizer: nothing is unknown, and decoding gives every text back."""
    sample: list[str] = []
    characters = 0
    for text in texts:
        if characters >= _VOCABULARY_CHARACTERS_MAX:
            break
        # Paragraphs, because the counting is quadratic in what it takes for one word.
        sample += text.split("\n")
        characters += len(text)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    return tokenizer


def encode(texts: Sequence[str], tokenizer: Tokenizer, *, tokens_min: int) -> Tokens:
    """Join texts to one stream; raises `TrainError` (`train.data.too_short`) when it has fewer than `tokens_min`."""
    ids = [token for encoded in tokenizer.encode_batch(texts) for token in (*encoded.ids, END_OF_TEXT_ID)]
    if len(ids) < tokens_min:
        message = f"a part of the text has {len(ids)} tokens where {tokens_min} are needed; give more text"
        raise TrainError("train.data.too_short", message)
    return Tokens(ids=np.asarray(ids, np.int32), characters=max(1, sum(map(len, texts))))


def batch(tokens: Tokens, *, size: int, context: int, seed: int, step: int) -> NDArray[np.int32]:
    """Random windows (size, context + 1) for one step: a function of seed and step, so a resumed run sees the same."""
    generator = np.random.default_rng((seed, step))
    starts = generator.integers(0, len(tokens.ids) - context, size)
    return tokens.ids[starts[:, None] + np.arange(context + 1)]


def windows(tokens: Tokens, *, context: int, count_max: int) -> NDArray[np.int32]:
    """Windows side by side from the start of the stream, (count, context + 1); each token is a target at most once.

    A stream shorter than one window is one shorter window.
    """
    length = min(context, len(tokens.ids) - 1)
    count = min(count_max, (len(tokens.ids) - 1) // length)
    starts = np.arange(count) * length
    return tokens.ids[starts[:, None] + np.arange(length + 1)]
