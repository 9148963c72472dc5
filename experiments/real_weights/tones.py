"""Synthetic sound of known pitch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.real_weights.crepe import FRAME

RATE = 16_000
# Cents are hundredths of a semitone, here above 10 Hz: those of the first output, and how far apart they are.
FIRST_CENTS, CENTS_PER_BIN = 1997.3794084376191, 20


class Tones(NamedTuple):
    """Synthetic sound.

    Attributes:
        frames: `[number, 1024]`, each with mean 0 and deviation 1, as CREPE wants them.
        cents: `[number]`, their pitches above 10 Hz.
    """

    frames: np.ndarray
    cents: np.ndarray


def tones(rng: np.random.Generator, number: int) -> Tones:
    """Sines of 65 to 1000 Hz, every second one with seven harmonics of any strength, in a little noise."""
    cents = rng.uniform(1200 * np.log2(6.5), 1200 * np.log2(100), number)
    harmonics = np.arange(1, 9)
    strengths = rng.uniform(0, 1, (number, 8)) / harmonics
    strengths[:, 0] = 1
    strengths[::2, 1:] = 0
    turns = 10 * 2 ** (cents / 1200) / RATE * np.arange(FRAME)[:, None]
    phases = rng.uniform(0, 1, (number, 8))
    waves = np.sin(2 * np.pi * (turns.T[..., None] * harmonics + phases[:, None]))
    # Above half the rate there is nothing that could be heard.
    audible = 10 * 2 ** (cents / 1200)[:, None] * harmonics < RATE / 2
    sound = np.einsum("ntk,nk->nt", waves, strengths * audible) + rng.normal(0, 0.01, (number, FRAME))
    sound -= sound.mean(1, keepdims=True)
    return Tones((sound / sound.std(1, keepdims=True)).astype(np.float32), cents)


def right(activations: np.ndarray, cents: np.ndarray) -> float:
    """How often the largest activation `[number, 360]` lies within 50 cents of the pitch."""
    heard = FIRST_CENTS + CENTS_PER_BIN * activations.argmax(1)
    return float(np.mean(np.abs(heard - cents) < 50))
