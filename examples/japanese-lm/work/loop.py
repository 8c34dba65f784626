"""The run itself: text, vocabulary, steps until the budget is spent, then the measured figures and the model file."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import checkpoint
import export
import jax
import jax.numpy as jnp
import model
import numpy as np
import optax
import text
from checkpoint import Position, State
from failures import TrainError
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from threading import Event

RATE_FINAL_SHARE = 0.05
WARM_UP_STEPS = 50
SHOWN_EVERY_SECONDS = 2.0
SAVED_EVERY_SECONDS = 20.0
# The running mean of the loss looks back over about this many steps.
_RECENT_STEPS = 50
_HELD_OUT_WINDOWS_MAX = 256
_HELD_OUT_BATCH = 8


def _is_matrix(leaf: jax.Array) -> bool:
    return leaf.ndim > 1


# The norms are left out of the decay: pulling a scale of one towards zero regularises nothing.
OPTIMIZER = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.scale_by_adam(b1=0.9, b2=0.95),
    optax.add_decayed_weights(0.05, mask=functools.partial(jax.tree.map, _is_matrix)),
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model with what suits it: sequences a batch, and the peak of the learning rate (found by trying)."""

    config: model.Config
    batch_sequences: int
    rate_peak: float


# tiny is made for a minute and a half on two processor cores, where many small steps beat few large ones;
# small for a few minutes on one GPU.
RECIPES: dict[str, Recipe] = {
    "tiny": Recipe(config=model.Config(), batch_sequences=4, rate_peak=3e-3),
    "small": Recipe(
        config=model.Config(
            vocabulary=8192,
            width=512,
            feed_forward_width=1408,
            layers=8,
            heads=8,
            key_heads=4,
            context=256,
        ),
        batch_sequences=32,
        rate_peak=1e-3,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one run is asked for.

    With `steps` the run is a function of text, seed and machine type: the learning rate follows the step. With
    `seconds` alone it follows the clock, so that a slow machine also reaches the end of the schedule.
    `checkpoint_folder` None means that a stopped run starts anew.
    """

    data_folder: Path
    out_folder: Path
    checkpoint_folder: Path | None
    seconds: float
    steps: int | None
    seed: int
    recipe: Recipe

    @property
    def config(self) -> model.Config:
        """The shape of the model."""
        return self.recipe.config

    def share_spent(self, position: Position) -> float:
        """How much of the budget is used, from 0; 1 or more ends the run."""
        by_clock = position.spent_seconds / self.seconds
        return by_clock if self.steps is None else max(position.step / self.steps, math.floor(by_clock))


@dataclass(frozen=True, kw_only=True)
class Text:
    """The text made ready: both parts as tokens, the vocabulary, and the name of the run that it gives."""

    trained: text.Tokens
    held_out: text.Tokens
    tokenizer: Tokenizer
    run: str


class Stopped(Exception):  # noqa: N818 - it is no error: the run was asked to stop and has saved what it had
    """The run was asked to stop; its checkpoint, where it has a folder for one, is written."""


def rate(share_spent: float, step: int, *, peak: float) -> float:
    """The learning rate: up linearly over the first steps, then down to a twentieth of its peak along a cosine."""
    decayed = RATE_FINAL_SHARE + (1 - RATE_FINAL_SHARE) * (1 + math.cos(math.pi * min(1.0, share_spent))) / 2
    return peak * min(1.0, (step + 1) / WARM_UP_STEPS) * decayed


@functools.partial(jax.jit, static_argnames="config", donate_argnames="state")
def step(
    state: State, tokens: jax.Array, learning_rate: jax.Array, config: model.Config
) -> tuple[State, jax.Array]:
    """One update on `tokens` (B, T + 1); returns the new state and the loss before it. The old state is used up."""
    loss, gradients = jax.value_and_grad(model.loss)(state.parameters, tokens, config)
    updates, optimizer = OPTIMIZER.update(gradients, state.optimizer, state.parameters)
    scaled = jax.tree.map(functools.partial(jnp.multiply, -learning_rate), updates)
    return State(jax.tree.map(jnp.add, state.parameters, scaled), optimizer), loss


def fresh_state(config: model.Config, *, seed: int) -> State:
    """Initial parameters with empty moments."""
    parameters = model.initial(config, seed=seed)
    return State(parameters, OPTIMIZER.init(parameters))


def prepare(settings: Settings, say: Callable[..., None]) -> Text:
    """Read, split and encode the text; the vocabulary of an earlier attempt is taken over, else trained and kept."""
    started = time.monotonic()
    texts, digest = text.read(settings.data_folder)
    trained, held_out = text.split(texts, seed=settings.seed)
    kept = settings.checkpoint_folder / checkpoint.TOKENIZER_NAME if settings.checkpoint_folder else None
    if kept is not None and kept.exists():
        tokenizer = _kept_tokenizer(kept, settings.config.vocabulary)
    else:
        tokenizer = text.trained_tokenizer(trained, settings.config.vocabulary)
    vocabulary = tokenizer.to_str(pretty=True).encode()
    for path in (kept, settings.out_folder / checkpoint.TOKENIZER_NAME):
        if path is not None:
            checkpoint.write_whole(path, lambda file: file.write(vocabulary))
    ready = Text(
        # One window with its last target, and one token with the token that follows it.
        trained=text.encode(trained, tokenizer, tokens_min=settings.config.context + 1),
        held_out=text.encode(held_out, tokenizer, tokens_min=2),
        tokenizer=tokenizer,
        run=_run_name(settings, digest, vocabulary),
    )
    say(
        "text",
        documents=len(texts),
        characters=ready.trained.characters + ready.held_out.characters,
        tokens=len(ready.trained.ids),
        held_out_tokens=len(ready.held_out.ids),
        vocabulary=tokenizer.get_vocab_size(),
        digest=digest,
        seconds=round(time.monotonic() - started, 1),
    )
    return ready


def _kept_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises the bare class for every damage
        raise TrainError("train.checkpoint.damaged", "the checkpoint's vocabulary cannot be read") from error
    if tokenizer.get_vocab_size() > vocabulary:
        raise TrainError(
            "train.checkpoint.foreign", "the checkpoint's vocabulary is larger than this model's"
        )
    return tokenizer


def _run_name(settings: Settings, text_digest: str, vocabulary: bytes) -> str:
    parts = {
        "recipe": asdict(settings.recipe),
        "seed": settings.seed,
        "text": text_digest,
        "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Trainer:
    """The steps of one attempt. Owns state and position; nobody else changes them."""

    def __init__(self, settings: Settings, ready: Text, say: Callable[..., None]) -> None:
        """Take up a checkpoint of this run where there is one, else start from the seed."""
        self.settings, self.ready, self._say = settings, ready, say
        self.state = fresh_state(settings.config, seed=settings.seed)
        self.position = Position()
        saved = None
        if settings.checkpoint_folder is not None:
            saved = checkpoint.load(settings.checkpoint_folder, self.state, run=ready.run)
        if saved is not None:
            self.state, self.position = saved
            say("resumed", step=self.position.step, spent_s=round(self.position.spent_seconds, 1))
        self._tokens_per_step = settings.recipe.batch_sequences * settings.config.context
        self._spent_before = self.position.spent_seconds
        self._step_before = self.position.step
        self._started = time.monotonic()

    @property
    def tokens_per_second(self) -> int:
        """Over this attempt, compilation included."""
        tokens = (self.position.step - self._step_before) * self._tokens_per_step
        return round(tokens / max(1e-9, time.monotonic() - self._started))

    def train(self, stop: Event) -> None:
        """Step until the budget is spent. Raises `Stopped` once `stop` is set and the state is saved."""
        shown = saved = self._started
        while self.settings.share_spent(self.position) < 1:
            if stop.is_set():
                self.save()
                raise Stopped
            self._step()
            now = time.monotonic()
            if now - shown >= SHOWN_EVERY_SECONDS or self.position.step == 1:
                self._show()
                shown = now
            if now - saved >= SAVED_EVERY_SECONDS:
                self.save()
                saved = now
        if self.position.step > self._step_before:
            self._show()

    def _step(self) -> None:
        settings, position = self.settings, self.position
        tokens = text.batch(
            self.ready.trained,
            size=settings.recipe.batch_sequences,
            context=settings.config.context,
            seed=settings.seed,
            step=position.step,
        )
        learning_rate = rate(settings.share_spent(position), position.step, peak=settings.recipe.rate_peak)
        self.state, loss = step(self.state, jnp.asarray(tokens), jnp.float32(learning_rate), settings.config)
        # The value is read every step: else dozens of steps queue up, and the clock and a stop lag seconds behind.
        value = float(loss)
        if not math.isfinite(value):
            raise TrainError("train.loss.not_finite", f"the loss of step {position.step + 1} is not a number")
        position.step += 1
        position.loss_first = position.loss_first or value
        position.loss_recent += (value - position.loss_recent) / min(position.step, _RECENT_STEPS)
        position.spent_seconds = self._spent_before + time.monotonic() - self._started

    def _show(self) -> None:
        loss = self.position.loss_recent
        self._say(
            "progress",
            step=self.position.step,
            of_steps=self.settings.steps,
            spent_s=round(self.position.spent_seconds, 1),
            of_s=self.settings.seconds,
            loss=round(loss, 4),
            bits_per_char=round(bits_per_character(loss, self.ready.trained), 3),
            tokens_per_s=self.tokens_per_second,
        )

    def save(self) -> None:
        """Write the checkpoint where the run has a folder for it."""
        if self.settings.checkpoint_folder is None:
            return
        size_bytes = checkpoint.save(
            self.settings.checkpoint_folder, self.state, self.position, run=self.ready.run
        )
        self._say("checkpoint", step=self.position.step, size_bytes=size_bytes)


def bits_per_character(loss: float, tokens: text.Tokens) -> float:
    """Nats per token to bits per character of the text, which compares across vocabularies."""
    return loss / math.log(2) * tokens.per_character


def held_out_loss(parameters: model.Parameters, ready: Text, config: model.Config) -> float:
    """Mean nats per token on text that was never trained on, over at most `_HELD_OUT_WINDOWS_MAX` windows."""
    found = text.windows(ready.held_out, context=config.context, count_max=_HELD_OUT_WINDOWS_MAX)
    measure = jax.jit(model.loss, static_argnames="config")
    # A last part of another size would be compiled again, so each part counts by its own number of windows.
    parts = np.array_split(found, math.ceil(len(found) / _HELD_OUT_BATCH))
    total = sum(float(measure(parameters, jnp.asarray(part), config)) * len(part) for part in parts)
    return total / len(found)


def run(settings: Settings, stop: Event, say: Callable[..., None]) -> None:
    """Train and write `model.gguf`, `tokenizer.json` and `metrics.json`. Raises `Stopped` and `TrainError`."""
    started = time.monotonic()
    devices = jax.devices()
    say(
        "start",
        devices=[str(device) for device in devices],
        processors=len(os.sched_getaffinity(0)),
        seed=settings.seed,
    )
    ready = prepare(settings, say)
    trainer = Trainer(settings, ready, say)
    say("model", parameters=sum(leaf.size for leaf in trainer.state.parameters.values()))
    trainer.train(stop)
    trainer.save()
    measured = held_out_loss(trainer.state.parameters, ready, settings.config)
    size_bytes = export.write_gguf(
        settings.out_folder / "model.gguf", trainer.state.parameters, settings.config, ready.tokenizer
    )
    figures = {
        "steps": trainer.position.step,
        "loss_first": round(trainer.position.loss_first, 4),
        "loss_last": round(trainer.position.loss_recent, 4),
        "held_out_loss": round(measured, 4),
        "held_out_bits_per_char": round(bits_per_character(measured, ready.held_out), 3),
        "tokens_per_s": trainer.tokens_per_second,
        "trained_s": round(trainer.position.spent_seconds, 1),
        "total_s": round(time.monotonic() - started, 1),
        "gguf_bytes": size_bytes,
    }
    platform = {"device": devices[0].device_kind, "backend": devices[0].platform, "jax": jax.__version__}
    metrics = {
        "v": 1,
        **figures,
        "seed": settings.seed,
        "recipe": asdict(settings.recipe),
        **platform,
        "run": ready.run,
    }
    report = (json.dumps(metrics, indent=1) + "\n").encode()
    checkpoint.write_whole(settings.out_folder / "metrics.json", lambda file: file.write(report))
    say("done", **figures)
