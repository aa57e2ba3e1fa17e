"""The rhythm of motion: the strongest frequency in the range of human steps, and how much of the motion it is.

It is a periodogram (https://en.wikipedia.org/wiki/Periodogram) at the samples' own times, so that they need not be
evenly spaced, at 1.2, 1.4, .. 3.2 Hz: the resolution of a window of five seconds. Walkers take about 1.4 to 2.3 steps
per second, runners 2.4 to 3.2 (Pachi and Ji, 2005); an engine, a road and a hand have no such rhythm.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STEP_HZ: Final = 0.2
FIRST, LAST = 6, 16
"""The range in steps of `STEP_HZ`."""
LEAST_SAMPLES: Final = 20
"""Fewer in a window have no rhythm: chance alone would find one."""


def rhythm(seconds: Floats, values: Floats, counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Frequency (Hz) and share of the variance (0 to 1) of the strongest oscillation in each group; both (m,).

    `seconds` (n,) and `values` (n,) of all groups follow each other; `counts` (m,) is how many each group has, at least
    one. NaN where a group has fewer than `LEAST_SAMPLES`, or does not change.
    """
    if len(counts) == 0:
        return np.empty(0), np.empty(0)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    centred = values - np.repeat(np.add.reduceat(values, starts) / counts, counts)
    power = np.add.reduceat(centred * centred, starts)
    turn = np.exp(2j * np.pi * STEP_HZ * seconds)
    wave = centred * np.exp(2j * np.pi * STEP_HZ * (FIRST - 1) * seconds)
    best, hertz = np.full(len(counts), -1.0), np.zeros(len(counts))
    for multiple in range(FIRST, LAST + 1):
        wave *= turn
        found = np.add.reduceat(wave, starts)
        strength = found.real**2 + found.imag**2
        hertz = np.where(strength > best, multiple * STEP_HZ, hertz)
        best = np.maximum(best, strength)
    heard = (counts >= LEAST_SAMPLES) & (power > 0)
    share = np.minimum(2.0 * best / np.where(heard, power * counts, 1.0), 1.0)
    return np.where(heard, np.round(hertz, 1), np.nan), np.where(heard, share, np.nan)
