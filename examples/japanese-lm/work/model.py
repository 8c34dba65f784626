"""A small Llama: pre-norm blocks of grouped-query attention with rotary positions and a SwiGLU feed-forward layer.

Shapes are written with these letters: B sequences in a batch, T positions, V vocabulary, D width of the model,
H query heads, K key and value heads, W width of one head (D / H), F width of the feed-forward layer.

Parameters are one flat dictionary whose keys are the tensor names of the GGUF format, so that a checkpoint, an
export and a gradient all speak of the same names. Matrices are stored (input, output) and applied from the right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

Parameters = dict[str, jax.Array]


@dataclass(frozen=True, kw_only=True)
class Config:
    """The shape of a model. Raises `ValueError` where heads, widths or context do not fit together."""

    vocabulary: int = 2048
    width: int = 128
    feed_forward_width: int = 352
    layers: int = 3
    heads: int = 4
    key_heads: int = 2
    context: int = 96
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Check what the arithmetic below takes for granted."""
        if self.width % self.heads or self.heads % self.key_heads:
            message = "width must be a multiple of heads, and heads of key_heads"
            raise ValueError(message)
        if self.head_width % 2 or self.context < 1 or self.layers < 1:
            message = "the width of a head must be even, context and layers at least 1"
            raise ValueError(message)

    @property
    def head_width(self) -> int:
        """W: the width of one head."""
        return self.width // self.heads


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor by its name; there is no output matrix because it is tied to the embedding."""
    width, inner = config.width, config.feed_forward_width
    key_width = config.key_heads * config.head_width
    found: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (config.vocabulary, width),
        "output_norm.weight": (width,),
    }
    for layer in range(config.layers):
        block = f"blk.{layer}."
        found[block + "attn_norm.weight"] = (width,)
        found[block + "attn_q.weight"] = (width, width)
        found[block + "attn_k.weight"] = (width, key_width)
        found[block + "attn_v.weight"] = (width, key_width)
        found[block + "attn_output.weight"] = (width, width)
        found[block + "ffn_norm.weight"] = (width,)
        found[block + "ffn_gate.weight"] = (width, inner)
        found[block + "ffn_up.weight"] = (width, inner)
        found[block + "ffn_down.weight"] = (inner, width)
    return found


def initial(config: Config, *, seed: int) -> Parameters:
    """Float32 parameters: norms are one, matrices drawn from N(0, 0.02²).

    Those that write into the residual stream are divided by sqrt(2 layers), so that its variance does not grow.
    """
    key = jax.random.key(seed)
    parameters: Parameters = {}
    for index, (name, shape) in enumerate(shapes(config).items()):
        if name.endswith("norm.weight"):
            parameters[name] = jnp.ones(shape, jnp.float32)
            continue
        deviation = 0.02
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            deviation /= math.sqrt(2 * config.layers)
        parameters[name] = deviation * jax.random.normal(jax.random.fold_in(key, index), shape, jnp.float32)
    return parameters


def logits(parameters: Parameters, tokens: jax.Array, config: Config) -> jax.Array:
    """Unnormalised log-probabilities (B, T, V) of the next token after each of `tokens` (B, T)."""
    hidden = parameters["token_embd.weight"][tokens]
    for layer in range(config.layers):
        block = f"blk.{layer}."
        hidden += _attention(
            parameters, block, _norm(hidden, parameters[block + "attn_norm.weight"], config), config
        )
        hidden += _feed_forward(
            parameters, block, _norm(hidden, parameters[block + "ffn_norm.weight"], config)
        )
    return _norm(hidden, parameters["output_norm.weight"], config) @ parameters["token_embd.weight"].T


def loss(parameters: Parameters, tokens: jax.Array, config: Config) -> jax.Array:
    """Mean cross-entropy in nats per token: `tokens` (B, T + 1) holds each input followed by its target."""
    # Written out as log_softmax and a gather, this keeps a second (B, T, V) array and is a fifth slower on a processor.
    predicted = logits(parameters, tokens[:, :-1], config)
    return optax.softmax_cross_entropy_with_integer_labels(predicted, tokens[:, 1:]).mean()


def _norm(hidden: jax.Array, weight: jax.Array, config: Config) -> jax.Array:
    """Root-mean-square norm over the last axis."""
    scale = jax.lax.rsqrt(jnp.mean(jnp.square(hidden), axis=-1, keepdims=True) + config.norm_epsilon)
    return hidden * scale * weight


def rotated(heads: jax.Array, config: Config) -> jax.Array:
    """Rotary positions for (B, T, heads, W).

    The pairs are neighbours, (0, 1), (2, 3), ..., as llama.cpp has them for the architecture "llama"; with the
    halves-apart pairing of other libraries the export would have to permute rows.
    """
    frequencies = config.rope_base ** (-jnp.arange(0, config.head_width, 2) / config.head_width)
    angles = jnp.arange(heads.shape[1])[:, None] * frequencies
    cosine, sine = jnp.cos(angles)[:, None, :], jnp.sin(angles)[:, None, :]
    even, odd = heads[..., ::2], heads[..., 1::2]
    return jnp.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1).reshape(heads.shape)


def _attention(parameters: Parameters, block: str, hidden: jax.Array, config: Config) -> jax.Array:
    batch, positions, _ = hidden.shape

    def heads(name: str) -> jax.Array:
        return (hidden @ parameters[f"{block}{name}.weight"]).reshape(batch, positions, -1, config.head_width)

    queries, keys, values = (
        rotated(heads("attn_q"), config),
        rotated(heads("attn_k"), config),
        heads("attn_v"),
    )
    mixed = jax.nn.dot_product_attention(queries, keys, values, is_causal=True)
    return mixed.reshape(batch, positions, config.width) @ parameters[block + "attn_output.weight"]


def _feed_forward(parameters: Parameters, block: str, hidden: jax.Array) -> jax.Array:
    gate = jax.nn.silu(hidden @ parameters[block + "ffn_gate.weight"])
    return (gate * (hidden @ parameters[block + "ffn_up.weight"])) @ parameters[block + "ffn_down.weight"]
