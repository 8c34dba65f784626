"""Checks of the job's own modules, for the interpreter of the job's environment (which has no test runner).

    image/bin/python checks.py

prints one JSON line a check, `{"check": name, "error": null or a traceback}`; exit status 1 when one failed.
The repository's tests run this file and show each check as a test.
"""

# A check is a test: its name is its sentence, and the values it expects are literals on purpose.
# ruff: noqa: D103, PLR2004

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "work"))

import checkpoint
import export
import gguf
import jax
import jax.numpy as jnp
import loop
import model
import numpy as np
import text
from failures import TrainError
from numpy.typing import NDArray

CONFIG = model.Config(
    vocabulary=320, width=24, feed_forward_width=40, layers=2, heads=6, key_heads=2, context=16
)
# Compiled as a whole: operation by operation, each new shape would be compiled by itself.
LOGITS = jax.jit(model.logits, static_argnames="config")
LOSS = jax.jit(model.loss, static_argnames="config")
SENTENCES = ["関所では手形を見せます。", "荷物は帳面に書きます。", "峠は雪の日に閉じます。", "😀 a\tb"]


def require(condition: object, message: str = "it does not hold") -> None:
    """Fail the check; `assert` would vanish under -O."""
    if not bool(condition):
        raise AssertionError(message)


def require_error(code: str, action: Callable[[], object]) -> None:
    """The action is refused with this code."""
    try:
        action()
    except TrainError as error:
        require(error.code == code, f"{error.code} instead of {code}")
        return
    raise AssertionError(f"{code} was not raised")


def lively(config: model.Config = CONFIG, seed: int = 1) -> model.Parameters:
    """Parameters large enough that attention is not near uniform and norms are not one: mistakes then show."""
    key = jax.random.key(seed)
    parameters = {name: 12 * leaf for name, leaf in model.initial(config, seed=seed).items()}
    for index, name in enumerate(parameters):
        if name.endswith("norm.weight"):
            noise = jax.random.normal(jax.random.fold_in(key, 1000 + index), parameters[name].shape)
            parameters[name] = 1 + noise / 5
    return parameters


def some_tokens(count: int, length: int, seed: int = 0) -> jax.Array:
    """Random token ids (count, length)."""
    return jnp.asarray(np.random.default_rng(seed).integers(0, CONFIG.vocabulary, (count, length)))


def check_shapes() -> None:
    parameters = model.initial(CONFIG, seed=0)
    require({name: leaf.shape for name, leaf in parameters.items()} == model.shapes(CONFIG))
    require(LOGITS(parameters, some_tokens(3, 7), CONFIG).shape == (3, 7, CONFIG.vocabulary))
    untrained = float(LOSS(parameters, some_tokens(8, 17), CONFIG))
    require(abs(untrained - np.log(CONFIG.vocabulary)) < 0.1, f"an untrained loss of {untrained}")


def check_shapes_that_do_not_fit_are_refused() -> None:
    for wrong in ({"heads": 5}, {"key_heads": 3}, {"width": 12, "heads": 4}, {"layers": 0}, {"context": 0}):
        try:
            model.Config(**wrong)
        except ValueError:
            continue
        raise AssertionError(f"{wrong} was taken")


def check_the_seed_decides() -> None:
    first, same, other = (model.initial(CONFIG, seed=seed) for seed in (0, 0, 1))
    require(all(jnp.array_equal(first[name], same[name]) for name in first))
    require(not jnp.array_equal(first["token_embd.weight"], other["token_embd.weight"]))


def check_no_position_sees_what_follows() -> None:
    parameters, tokens = lively(), some_tokens(1, 12)
    changed = tokens.at[0, 6].set((tokens[0, 6] + 1) % CONFIG.vocabulary)
    before, after = (LOGITS(parameters, given, CONFIG) for given in (tokens, changed))
    require(jnp.allclose(before[:, :6], after[:, :6], atol=1e-5), "a position saw its future")
    for position in range(6, 12):
        require(
            jnp.abs(before[:, position] - after[:, position]).max() > 1e-3, f"{position} did not see its past"
        )


def check_rotation_tells_distances_only() -> None:
    one = jax.random.normal(jax.random.key(0), (1, 1, 2, CONFIG.head_width))
    turned = model.rotated(jnp.repeat(one, 10, axis=1), CONFIG)[0, :, 0]
    products = turned @ turned.T
    for distance in range(10):
        diagonal = jnp.diagonal(products, distance)
        require(jnp.allclose(diagonal, diagonal[0], rtol=1e-4, atol=1e-4))
    require(jnp.abs(products[0, 1:] - products[0, 0]).min() > 1e-4, "a rotation did nothing")


def check_gradients_against_differences() -> None:
    parameters, tokens = lively(), some_tokens(2, 9)
    gradients = jax.jit(jax.grad(model.loss), static_argnames="config")(parameters, tokens, CONFIG)
    for index, (name, leaf) in enumerate(parameters.items()):
        direction = jax.random.normal(jax.random.key(index), leaf.shape)
        direction *= 0.02 / jnp.linalg.norm(direction)
        up, down = (
            float(LOSS({**parameters, name: leaf + sign * direction}, tokens, CONFIG)) for sign in (1, -1)
        )
        told = float(jnp.vdot(gradients[name], direction))
        require(
            abs((up - down) / 2 - told) < 2e-2 * abs(told) + 2e-5, f"{name}: {(up - down) / 2} and {told}"
        )


def check_a_pattern_is_learnt() -> None:
    state = loop.fresh_state(CONFIG, seed=0)
    tokens = jnp.tile(jnp.arange(5), 8)[None, : CONFIG.context + 1]
    losses = []
    for _ in range(40):
        state, loss = loop.step(state, tokens, jnp.float32(1e-2), CONFIG)
        losses.append(float(loss))
    require(losses[0] > 3 and losses[-1] < 0.1, f"{losses[0]} to {losses[-1]}")


def check_the_rate_rises_and_falls() -> None:
    require(loop.rate(0.0, 0, peak=1.0) == 1 / loop.WARM_UP_STEPS)
    require(loop.rate(0.0, 1000, peak=2.0) == 2.0)
    falling = [loop.rate(share / 10, 1000, peak=1.0) for share in range(11)]
    require(falling == sorted(falling, reverse=True))
    require(abs(loop.rate(2.0, 1000, peak=1.0) - loop.RATE_FINAL_SHARE) < 1e-12)


def check_every_text_survives_the_vocabulary() -> None:
    tokenizer = text.trained_tokenizer(SENTENCES, CONFIG.vocabulary)
    for given in (*SENTENCES, "見たことのない字：龘 𠮷 \u0000", " 空白 "):
        require(
            tokenizer.decode(tokenizer.encode(given).ids, skip_special_tokens=False) == given, repr(given)
        )


def check_batches_depend_on_seed_and_step_alone() -> None:
    tokens = text.Tokens(ids=np.arange(1000, dtype=np.int32), characters=500)
    one, same, later, other = (
        text.batch(tokens, size=4, context=16, seed=seed, step=step)
        for seed, step in ((0, 5), (0, 5), (0, 6), (1, 5))
    )
    require(np.array_equal(one, same))
    require(not np.array_equal(one, later))
    require(not np.array_equal(one, other))
    require(
        np.array_equal(one[:, 1:] - one[:, :-1], np.ones((4, 16))), "a window is not a stretch of the text"
    )
    many = text.batch(tokens, size=100_000, context=16, seed=0, step=0)
    require(many.min() == 0, "the first token is never seen")
    require(many.max() == 999, "the last token is never seen")


def check_windows_cover_each_target_once() -> None:
    tokens = text.Tokens(ids=np.arange(100, dtype=np.int32), characters=100)
    found = text.windows(tokens, context=16, count_max=99)
    require(np.array_equal(found[:, 1:].ravel(), np.arange(1, 97)))
    require(len(text.windows(tokens, context=16, count_max=2)) == 2)
    require(np.array_equal(text.windows(tokens, context=500, count_max=2), tokens.ids[None]), "a short text")


def check_held_out_text_is_not_trained_on() -> None:
    many = [f"文書{number}" for number in range(200)]
    trained, held_out = text.split(many, seed=3)
    require(sorted(trained + held_out) == sorted(many))
    require(len(held_out) == 4)
    require(text.split(many, seed=3) == (trained, held_out))
    require(text.split(many, seed=4)[1] != held_out)
    trained, held_out = text.split(["一\n二\n三"], seed=0)
    require(
        sorted(trained + held_out) == sorted(["一", "二", "三"]), "one document is parted into paragraphs"
    )


def check_bad_data_is_refused(folder: Path) -> None:
    require_error("train.data.none", lambda: text.read(folder))
    (folder / "a.jsonl").write_text('{"text": " "}\n')
    require_error("train.data.none", lambda: text.read(folder))
    for content in (b'{"text": "\xff"}', b'{"name": "a"}', b"[1]", b'{"text": 3}', b'{"text": null}', b"x"):
        (folder / "a.jsonl").write_bytes(content)
        require_error("train.data.not_text", lambda: text.read(folder))
    tokenizer = text.trained_tokenizer(SENTENCES, CONFIG.vocabulary)
    require_error("train.data.too_short", lambda: text.encode(["短い"], tokenizer, tokens_min=17))


def check_a_checkpoint_gives_the_state_back(folder: Path) -> None:
    state, _ = loop.step(loop.fresh_state(CONFIG, seed=0), some_tokens(2, 17), jnp.float32(1e-2), CONFIG)
    position = checkpoint.Position(7, 1.25, 6.5, 6.25)
    require(checkpoint.load(folder, state, run="a") is None)
    checkpoint.save(folder, state, position, run="a")
    found = checkpoint.load(folder, loop.fresh_state(CONFIG, seed=9), run="a")
    if found is None:
        raise AssertionError("nothing was loaded")
    for left, right in zip(jax.tree.leaves(state), jax.tree.leaves(found[0]), strict=True):
        require(left.dtype == right.dtype and np.array_equal(left, right))
    require(jax.tree.structure(state) == jax.tree.structure(found[0]))
    require(found[1] == position)
    require([path.name for path in folder.iterdir()] == ["state.npz"], "an unfinished file was left")


def check_a_foreign_or_damaged_checkpoint_is_refused(folder: Path) -> None:
    state = loop.fresh_state(CONFIG, seed=0)
    checkpoint.save(folder, state, checkpoint.Position(), run="a")
    require_error("train.checkpoint.foreign", lambda: checkpoint.load(folder, state, run="b"))
    wider = loop.fresh_state(model.Config(vocabulary=320, width=32), seed=0)
    require_error("train.checkpoint.foreign", lambda: checkpoint.load(folder, wider, run="a"))
    whole = (folder / "state.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (b"", b"x", whole[: len(whole) // 2], bytes(flipped)):
        (folder / "state.npz").write_bytes(damaged)
        require_error("train.checkpoint.damaged", lambda: checkpoint.load(folder, state, run="a"))


def reference_logits(path: Path, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """What a reader of the file computes: plain loops in float64 over the file's own shapes, nothing of the model's."""
    file = gguf.GGUFReader(path)
    weights = {tensor.name: np.asarray(tensor.data, np.float64) for tensor in file.tensors}

    def number(name: str) -> float:
        return float(file.fields[f"llama.{name}"].parts[-1][0])

    heads, key_heads = int(number("attention.head_count")), int(number("attention.head_count_kv"))
    width, turned = int(number("embedding_length")) // heads, int(number("rope.dimension_count"))

    def norm(vectors: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        scale = np.sqrt(
            np.mean(vectors**2, axis=-1, keepdims=True) + number("attention.layer_norm_rms_epsilon")
        )
        return vectors / scale * weights[name]

    def turn(vector: NDArray[np.float64], position: int) -> NDArray[np.float64]:
        result = vector.copy()
        for pair in range(turned // 2):
            angle = position * number("rope.freq_base") ** (-2 * pair / turned)
            number_ = (vector[2 * pair] + 1j * vector[2 * pair + 1]) * np.exp(1j * angle)
            result[2 * pair], result[2 * pair + 1] = number_.real, number_.imag
        return result

    hidden = weights["token_embd.weight"][tokens]
    for layer in range(int(number("block_count"))):
        block = f"blk.{layer}."
        normed = norm(hidden, block + "attn_norm.weight")
        parts = {k: normed @ weights[f"{block}attn_{k}.weight"].T for k in "qkv"}
        mixed = np.zeros_like(hidden)
        for head in range(heads):
            own, shared = slice(head * width, (head + 1) * width), head // (heads // key_heads) * width
            keys = [turn(row[shared : shared + width], at) for at, row in enumerate(parts["k"])]
            for position in range(len(tokens)):
                query = turn(parts["q"][position, own], position)
                scores = np.exp([query @ keys[at] / np.sqrt(width) for at in range(position + 1)])
                mixed[position, own] = (
                    scores @ parts["v"][: position + 1, shared : shared + width] / scores.sum()
                )
        hidden = hidden + mixed @ weights[block + "attn_output.weight"].T
        normed = norm(hidden, block + "ffn_norm.weight")
        gate = normed @ weights[block + "ffn_gate.weight"].T
        inner = gate / (1 + np.exp(-gate)) * (normed @ weights[block + "ffn_up.weight"].T)
        hidden = hidden + inner @ weights[block + "ffn_down.weight"].T
    return norm(hidden, "output_norm.weight") @ weights["token_embd.weight"].T


def check_a_reader_of_the_file_computes_the_same(folder: Path) -> None:
    parameters = lively()
    tokenizer = text.trained_tokenizer(SENTENCES, CONFIG.vocabulary)
    size = export.write_gguf(folder / "model.gguf", parameters, CONFIG, tokenizer)
    require(size == (folder / "model.gguf").stat().st_size)
    require([path.name for path in folder.iterdir()] == ["model.gguf"], "an unfinished file was left")
    tokens = some_tokens(1, 11, seed=5)
    ours = np.asarray(LOGITS(parameters, tokens, CONFIG))[0]
    theirs = reference_logits(folder / "model.gguf", np.asarray(tokens)[0])
    require(np.abs(ours).max() > 1, "the comparison would see nothing")
    require(np.allclose(ours, theirs, rtol=1e-3, atol=1e-3), f"apart by {np.abs(ours - theirs).max()}")


def check_the_file_names_every_row_of_the_embedding(folder: Path) -> None:
    tokenizer = text.trained_tokenizer(["短い"], CONFIG.vocabulary)
    export.write_gguf(folder / "model.gguf", model.initial(CONFIG, seed=0), CONFIG, tokenizer)
    file = gguf.GGUFReader(folder / "model.gguf")
    tokens = file.fields["tokenizer.ggml.tokens"].contents()
    kinds = file.fields["tokenizer.ggml.token_type"].contents()
    known = tokenizer.get_vocab_size()
    require(len(tokens) == len(kinds) == CONFIG.vocabulary > known)
    require(tokens[:known] == [tokenizer.id_to_token(index) for index in range(known)])
    require(kinds[0] == gguf.TokenType.CONTROL and tokens[0] == text.END_OF_TEXT)
    require(set(kinds[known:]) == {gguf.TokenType.UNUSED})
    require("output.weight" not in {tensor.name for tensor in file.tensors})


def main() -> int:
    """Run every check in a folder of its own; returns the exit status."""
    failed = False
    for name, check in list(globals().items()):
        if not name.startswith("check_"):
            continue
        error = None
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(Path(folder)) if check.__code__.co_argcount else check()
            except Exception:  # noqa: BLE001 - whatever it is, it is this check's result
                error = traceback.format_exc()
                failed = True
        sys.stdout.write(json.dumps({"check": name, "error": error}) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
