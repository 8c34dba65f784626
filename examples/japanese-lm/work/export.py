"""The trained model as one GGUF file that llama.cpp and everything built on it can load."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import gguf
import numpy as np
from text import END_OF_TEXT_ID

if TYPE_CHECKING:
    from pathlib import Path

    from model import Config, Parameters
    from tokenizers import Tokenizer

NAME = "Sekisho example, Japanese"


def write_gguf(path: Path, parameters: Parameters, config: Config, tokenizer: Tokenizer) -> int:
    """Write float32 weights and the vocabulary; the file appears whole or not at all. Returns its size in bytes.

    There is no `output.weight`: llama.cpp then uses the embedding, which is what the model was trained with.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    writer = gguf.GGUFWriter(unfinished, "llama")
    _add_shape(writer, config)
    _add_vocabulary(writer, tokenizer, config.vocabulary)
    for name, tensor in parameters.items():
        # The format wants (output, input) for a matrix that is applied from the left; the embedding already is (V, D).
        array = np.asarray(tensor, np.float32)
        is_matrix = array.ndim > 1 and not name.startswith("token_embd")
        writer.add_tensor(name, np.ascontiguousarray(array.T) if is_matrix else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(path)
    return path.stat().st_size


def _add_shape(writer: gguf.GGUFWriter, config: Config) -> None:
    writer.add_name(NAME)
    writer.add_languages(["ja"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(config.vocabulary)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.feed_forward_width)
    writer.add_block_count(config.layers)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.key_heads)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_rope_dimension_count(config.head_width)
    writer.add_rope_freq_base(config.rope_base)


def _add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer, size: int) -> None:
    found = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(found["vocab"], key=found["vocab"].get)
    # A short text gives fewer merges than the embedding has rows; the file must name every row.
    unused = [f"<unused{index}>" for index in range(size - len(tokens))]
    kinds = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.UNUSED] * len(unused)
    kinds[END_OF_TEXT_ID] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens + unused)
    writer.add_token_types(kinds)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in found["merges"]])
    writer.add_bos_token_id(END_OF_TEXT_ID)
    writer.add_eos_token_id(END_OF_TEXT_ID)
    writer.add_add_bos_token(value=False)
