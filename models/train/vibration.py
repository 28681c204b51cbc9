"""Synthetic three-axis vibration of a motor with a rolling bearing.

The sensor is a MEMS accelerometer (+-16 g, 4 mg a step, 3200 Hz) screwed to the bearing housing.
x and y are radial, z is axial; all values are in g. Everything that differs between real
installations is drawn anew for each machine, so that a model cannot lean on any one of them.

Fault frequencies are those of a 6205 deep-groove bearing, as multiples of the shaft's rotation:
3.585 for a defect on the outer race (BPFO), 5.415 on the inner race (BPFI).
"""

from dataclasses import dataclass

import numpy as np

RATE_HZ = 3200
WINDOW = 256
LABELS = ("healthy", "imbalance", "inner_race", "outer_race")
BPFO, BPFI = 3.585, 5.415


@dataclass
class Machine:
    """What stays the same while one machine runs."""

    shaft_hz: float
    gravity: np.ndarray  # [3] in g: the sensor is never mounted quite level
    gain: np.ndarray  # [3] how well each axis hears the bearing
    noise: np.ndarray  # [3] standard deviation of the broadband noise in g
    rumble: float  # low-frequency part of the noise, relative to the rest
    load: float
    hum_hz: float
    hum: np.ndarray  # [3] amplitude of a neighbour's tone in g

    @staticmethod
    def draw(rng: np.random.Generator) -> "Machine":
        up = np.zeros(3)
        up[rng.integers(3)] = rng.choice((-1.0, 1.0))
        up += rng.normal(0.0, 0.15, 3)
        gain = np.array([rng.uniform(0.45, 1.0), rng.uniform(0.45, 1.0), rng.uniform(0.2, 0.8)])
        return Machine(
            shaft_hz=rng.uniform(19.5, 30.5),
            gravity=up / np.linalg.norm(up),
            gain=gain / gain.max(),
            noise=rng.uniform(0.012, 0.05) * rng.uniform(0.8, 1.25, 3),
            rumble=rng.uniform(0.0, 0.6),
            load=rng.uniform(0.8, 1.25),
            hum_hz=rng.choice((50.0, 60.0, 100.0, 120.0)) * rng.uniform(0.99, 1.01),
            hum=rng.uniform(0.0, 0.03) * rng.uniform(0.3, 1.0, 3),
        )


def record(rng: np.random.Generator, fault: str, samples: int) -> np.ndarray:
    """[samples, 3] in g from a freshly drawn machine in the named condition."""
    machine = Machine.draw(rng)
    time = np.arange(samples) / RATE_HZ
    wander = 0.006 * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * time + rng.uniform(0, 2 * np.pi))
    turns = np.cumsum(machine.shaft_hz * (1 + wander)) / RATE_HZ + rng.uniform()

    signal = machine.gravity + _noise(rng, machine, samples)
    hum_phase = rng.uniform(0, 2 * np.pi, 3)
    signal += machine.hum * np.sin(2 * np.pi * machine.hum_hz * time[:, None] + hum_phase)
    for order, most in ((1, 0.06), (2, 0.03), (3, 0.015)):
        phase = rng.uniform(0, 2 * np.pi, 3)
        amplitude = machine.load * rng.uniform(0.1, 1.0, 3) * most
        signal += amplitude * np.sin(2 * np.pi * order * turns[:, None] + phase)

    if fault == "imbalance":
        signal += _imbalance(rng, machine, turns)
    elif fault == "outer_race":
        signal += _impacts(rng, machine, turns, BPFO, modulation=0.0)
    elif fault == "inner_race":
        signal += _impacts(rng, machine, turns, BPFI, modulation=rng.uniform(0.55, 0.95))
    return np.clip(np.round(signal / 0.004) * 0.004, -16, 16).astype(np.float32)


def windows(seed: int, fault: str, machines: int, per_machine: int) -> np.ndarray:
    """[machines * per_machine, 3, WINDOW] in g, each window from a random place of its record."""
    out = np.empty((machines * per_machine, 3, WINDOW), np.float32)
    samples = 2 * RATE_HZ
    for m in range(machines):
        rng = np.random.default_rng((seed, LABELS.index(fault), m))
        signal = record(rng, fault, samples)
        for k, start in enumerate(rng.integers(0, samples - WINDOW, per_machine)):
            out[m * per_machine + k] = signal[start : start + WINDOW].T
    return out


def _noise(rng, machine: Machine, samples: int) -> np.ndarray:
    white = rng.normal(0.0, 1.0, (samples, 3))
    # A short moving average stands for the structure-borne rumble below about 200 Hz.
    smooth = np.stack([np.convolve(rng.normal(0, 1, samples), np.ones(12) / 12**0.5, "same") for _ in range(3)], 1)
    return machine.noise * (white + machine.rumble * smooth)


def _imbalance(rng, machine: Machine, turns: np.ndarray) -> np.ndarray:
    """A heavy spot pulls outwards once per turn: x and y in quadrature, little along the shaft."""
    force = rng.uniform(0.3, 1.0) * machine.load
    phase = 2 * np.pi * turns + rng.uniform(0, 2 * np.pi)
    return force * np.stack(
        [
            machine.gain[0] ** 0.5 * np.cos(phase),
            machine.gain[1] ** 0.5 * np.sin(phase + rng.normal(0, 0.15)) * rng.choice((-1, 1)),
            rng.uniform(0.02, 0.2) * np.cos(phase + rng.uniform(0, 2 * np.pi)),
        ],
        axis=1,
    )


def _impacts(rng, machine: Machine, turns: np.ndarray, order: float, modulation: float) -> np.ndarray:
    """Each passing ball strikes the defect and makes the housing ring."""
    samples = len(turns)
    strength = rng.uniform(0.8, 2.8) * machine.load
    resonance = rng.uniform(880.0, 1320.0)
    decay = 1 / (2 * np.pi * resonance * rng.uniform(0.03, 0.08))  # seconds; from the damping ratio
    zone = rng.uniform(0, 2 * np.pi)  # where in the turn the load presses the inner race
    # The balls slip: the spacing of the impacts wanders by one or two per cent.
    slip = rng.uniform(0.008, 0.02)
    count = int((turns[-1] - turns[0]) * order * 1.3) + 2
    spacing = (1 + rng.normal(0, slip, count)) / order
    at_turn = turns[0] + np.cumsum(spacing) - rng.uniform(0, 1 / order)
    at_turn = at_turn[(at_turn > turns[0]) & (at_turn < turns[-1])]
    starts = np.interp(at_turn, turns, np.arange(samples))

    ring = np.zeros(samples)
    length = int(7 * decay * RATE_HZ)
    for start, turn in zip(starts, at_turn):
        first = int(np.ceil(start))
        index = np.arange(first, min(first + length, samples))
        since = (index - start) / RATE_HZ
        force = strength * (1 + modulation * np.cos(2 * np.pi * turn + zone)) / (1 + modulation)
        force *= max(0.3, 1 + rng.normal(0, 0.1))
        ring[index] += force * np.exp(-since / decay) * np.sin(2 * np.pi * resonance * since)
    return ring[:, None] * machine.gain * rng.choice((-1, 1), 3)
