"""Synthetic camera frames of metal plates on a conveyor belt, with three kinds of defects.

One frame is 640x480 RGB. A plate is a rounded rectangle of brushed metal with six holes (two rows of
three); it lies on a textured belt, slightly turned, lit from one side. Everything is drawn from
distance functions directly at full size, with one pixel of softening at the edges.
"""

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 640, 480
LABELS = ("scratch", "dent", "missing_hole")
SCRATCH, DENT, MISSING = range(3)
# Thinner boxes than this would make overlap a matter of luck.
MIN_SIDE = 12.0


@dataclass
class Scene:
    """A frame, its defects that can be seen, and those too much cut off to be judged."""

    image: np.ndarray  # [HEIGHT, WIDTH, 3] uint8
    boxes: list = field(default_factory=list)  # (label index, x0, y0, x1, y1) in pixels
    unclear: list = field(default_factory=list)  # likewise; at most half visible


class Textures:
    """Tiles of noise, made once: drawing noise for every frame would cost more than the frame."""

    SIZE = 1024

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        n = self.SIZE
        # Brushing leaves streaks: white noise smeared far along one axis and hardly along the other.
        self.brushed = _normal(_smear(_smear(rng.normal(size=(n, n)), 60, 1), 2, 0))
        self.coarse = _normal(_smear(_smear(rng.normal(size=(n, n)), 9, 1), 9, 0))
        self.fine = _normal(rng.normal(size=(n, n)))

    def cut(self, tile: np.ndarray, rng, height: int, width: int) -> np.ndarray:
        top, left = rng.integers(0, self.SIZE - height), rng.integers(0, self.SIZE - width)
        return tile[top : top + height, left : left + width]


def draw(rng: np.random.Generator, textures: Textures, where: str = "any", kinds=None) -> Scene:
    """One frame. `where`: any, none, whole or cut (by a border); `kinds`: the defects, else random."""
    if where == "any":
        where = rng.choice(("none", "whole", "cut"), p=(0.06, 0.54, 0.4))
    light = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(light), np.sin(light)], np.float32)
    image = _belt(rng, textures)
    scene = Scene(image)
    if where != "none":
        if kinds is None:
            kinds = rng.integers(0, 3, rng.choice(4, p=(0.3, 0.4, 0.2, 0.1)))
        plate = _Plate(rng, where)
        plate.place(rng, kinds)
        plate.paint(rng, textures, image, light)
        for defect in plate.defects:
            plate.tell(defect, scene)
    scene.image = _camera(rng, textures, image)
    return scene


def jpeg(image: np.ndarray, quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality)
    return out.getvalue()


def _smear(a: np.ndarray, length: int, axis: int) -> np.ndarray:
    """A circular moving average."""
    kernel = np.zeros(a.shape[axis])
    kernel[:length] = 1 / length
    shape = [1, 1]
    shape[axis] = -1
    return np.fft.ifft(np.fft.fft(a, axis=axis) * np.fft.fft(kernel).reshape(shape), axis=axis).real


def _normal(a: np.ndarray) -> np.ndarray:
    return ((a - a.mean()) / a.std()).astype(np.float32)


def _belt(rng, textures: Textures) -> np.ndarray:
    grey = rng.uniform(30, 95)
    tint = rng.normal(0, 7, 3).astype(np.float32)
    pattern = rng.uniform(1, 6) * textures.cut(textures.coarse, rng, HEIGHT, WIDTH)
    pattern = pattern + rng.uniform(1, 5) * textures.cut(textures.fine, rng, HEIGHT, WIDTH)
    # Ribs across the belt, sometimes hardly visible.
    ribs = rng.uniform(0, 9) * np.sin(2 * np.pi * np.arange(WIDTH) / rng.uniform(14, 60) + rng.uniform(0, 6))
    return (grey + pattern + ribs.astype(np.float32))[:, :, None] + tint


def _camera(rng, textures: Textures, image: np.ndarray) -> np.ndarray:
    """Uneven light, motion blur, exposure and sensor noise."""
    y, x = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None], np.linspace(-1, 1, WIDTH, dtype=np.float32)
    falloff = 1 + rng.uniform(-0.15, 0.15) * x + rng.uniform(-0.15, 0.15) * y - rng.uniform(0, 0.12) * (x * x + y * y)
    image = image * (np.float32(rng.uniform(0.74, 1.14)) * falloff)[:, :, None]
    blur = rng.integers(1, 4)
    if blur > 1:
        image = sum(np.roll(image, k - blur // 2, axis=1) for k in range(blur)) / blur
    noise = rng.uniform(0.5, 4.0)
    for channel in range(3):
        image[:, :, channel] += noise * textures.cut(textures.fine, rng, HEIGHT, WIDTH)
    return np.clip(image, 0, 255).astype(np.uint8)


@dataclass
class _Defect:
    kind: int
    u: float  # centre, in the plate's own coordinates
    v: float
    size: float  # radius of a dent or hole, half the length of a scratch
    angle: float = 0.0
    thickness: float = 0.0


class _Plate:
    def __init__(self, rng, where: str):
        self.half = np.array([rng.uniform(132, 168), rng.uniform(96, 124)])
        self.corner = rng.uniform(16, 42)
        self.turn = np.radians(rng.uniform(-9, 9))
        reach = self.half[0] + 18
        x = rng.uniform(reach, WIDTH - reach)
        if where == "cut":
            # Beyond 1 for frames in which the rim just touches the border.
            inside = rng.uniform(-0.95, 1.25) * self.half[0]
            x = inside if rng.random() < 0.5 else WIDTH - inside
        self.centre = np.array([x, HEIGHT / 2 + rng.uniform(-70, 70)])
        self.hole = rng.uniform(13, 19)
        apart = self.half * [rng.uniform(0.62, 0.70), rng.uniform(0.56, 0.64)]
        self.holes = [(i * apart[0], j * apart[1]) for j in (-1, 1) for i in (-1, 0, 1)]
        self.defects = []

    def place(self, rng, kinds):
        for kind in kinds:
            for _ in range(30):
                defect = self._propose(rng, kind)
                if self._free(defect):
                    self.defects.append(defect)
                    break
        gone = {(d.u, d.v) for d in self.defects if d.kind == MISSING}
        self.drilled = [h for h in self.holes if h not in gone]

    def _propose(self, rng, kind: int) -> _Defect:
        if kind == MISSING:
            u, v = self.holes[rng.integers(len(self.holes))]
            return _Defect(MISSING, u, v, self.hole)
        u, v = rng.uniform(-1, 1, 2) * self.half
        if kind == DENT:
            return _Defect(DENT, u, v, rng.uniform(12, 25))
        return _Defect(SCRATCH, u, v, rng.uniform(25, 70), rng.uniform(0, np.pi), rng.uniform(3, 6))

    def _free(self, new: _Defect) -> bool:
        """Inside the plate, clear of its rim, of all holes' places and of the other defects."""
        spots = self._spots(new)
        radius = new.thickness if new.kind == SCRATCH else new.size
        if new.kind != MISSING:
            if (np.abs(spots) > self.half - radius - 9).any():
                return False
            taken = [(u, v, self.hole) for u, v in self.holes]
        else:
            taken = []
        for other in self.defects:
            margin = other.thickness if other.kind == SCRATCH else other.size
            taken += [(u, v, margin) for u, v in self._spots(other)]
        return all(np.hypot(*(spots - [u, v]).T).min() > radius + r + 4 for u, v, r in taken)

    @staticmethod
    def _spots(d: _Defect) -> np.ndarray:
        """Points that stand for the defect when distances are asked for."""
        along = np.linspace(-d.size, d.size, 9)[:, None] if d.kind == SCRATCH else np.zeros((1, 1))
        return np.array([d.u, d.v]) + along * [np.cos(d.angle), np.sin(d.angle)]

    def _to_image(self, points: np.ndarray) -> np.ndarray:
        c, s = np.cos(self.turn), np.sin(self.turn)
        return points @ np.array([[c, s], [-s, c]]) + self.centre

    def tell(self, d: _Defect, scene: Scene):
        """Adds the defect's box, cut to the frame, if it is in view."""
        if d.kind == SCRATCH:
            a, b = self._to_image(self._spots(d)[[0, -1]])
            path = a + np.linspace(0, 1, 201)[:, None] * (b - a)
            seen = path[(path >= 0).all(1) & (path[:, 0] <= WIDTH) & (path[:, 1] <= HEIGHT)]
            share, pad = len(seen) / len(path), d.thickness / 2
        else:
            c = self._to_image(np.array([[d.u, d.v]]))
            seen = np.concatenate([c - d.size, c + d.size])
            full = (2 * d.size) ** 2
            seen = np.clip(seen, 0, [WIDTH, HEIGHT])
            share, pad = np.prod(seen[1] - seen[0]) / full, 0.0
        if share <= 0.03:
            return
        low, high = seen.min(0) - pad, seen.max(0) + pad
        grow = np.maximum(0, MIN_SIDE - (high - low)) / 2
        low, high = np.clip(low - grow, 0, [WIDTH, HEIGHT]), np.clip(high + grow, 0, [WIDTH, HEIGHT])
        (scene.boxes if share > 0.5 else scene.unclear).append((d.kind, *low, *high))

    def paint(self, rng, textures: Textures, image: np.ndarray, light: np.ndarray):
        reach = np.abs(self._to_image(np.array([[i, j] for i in (-1, 1) for j in (-1, 1)]) * self.half) - self.centre).max(0) + 8
        x0, y0 = np.clip(self.centre - reach, 0, [WIDTH, HEIGHT]).astype(int)
        x1, y1 = np.clip(self.centre + reach, 0, [WIDTH, HEIGHT]).astype(int)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        belt = image[y0:y1, x0:x1]
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32) + 0.5  # the middle of each pixel
        c, s = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        dx, dy = x - np.float32(self.centre[0]), y - np.float32(self.centre[1])
        u, v = c * dx + s * dy, c * dy - s * dx
        light = np.array([c * light[0] + s * light[1], c * light[1] - s * light[0]])  # in the plate's frame

        height, width = u.shape
        metal = rng.uniform(115, 180) + rng.uniform(2, 7) * textures.cut(textures.brushed, rng, height, width)
        metal += rng.uniform(0, 4) * textures.cut(textures.coarse, rng, height, width)
        metal *= 1 + rng.uniform(-0.12, 0.12) * u / self.half[0] + rng.uniform(-0.12, 0.12) * v / self.half[1]
        metal = metal.astype(np.float32)

        qu, qv = np.abs(u) - (self.half[0] - self.corner), np.abs(v) - (self.half[1] - self.corner)
        edge = np.hypot(np.maximum(qu, 0), np.maximum(qv, 0)) + np.minimum(np.maximum(qu, qv), 0) - self.corner
        slope = (u / self.half[0] * light[0] + v / self.half[1] * light[1]).astype(np.float32)
        metal += rng.uniform(15, 40) * slope * np.exp(-((edge + 3) ** 2) / 8)

        for d in self.defects:
            if d.kind == DENT:
                self._dent(rng, d, metal, u, v, light)
            elif d.kind == SCRATCH:
                self._scratch(rng, d, metal, u, v)
        for _ in range(rng.integers(0, 6)):  # dust: too small to be a dent
            self._dust(rng, metal, u, v)

        open_ = np.zeros_like(u)
        rim = rng.uniform(15, 45)
        for hu, hv in self.drilled:
            du, dv = u - np.float32(hu), v - np.float32(hv)
            far = np.hypot(du, dv) - np.float32(self.hole)
            open_ = np.maximum(open_, np.clip(0.5 - far, 0, 1))
            metal += rim * (du * light[0] + dv * light[1]) / self.hole * np.exp(-((far - 1.5) ** 2) / 4)
        solid = np.clip(0.5 - edge, 0, 1) * (1 - open_)
        # The belt under the plate lies in its shadow, and a little of it shows around the rim.
        shade = np.where(open_ > 0, rng.uniform(0.35, 0.75), 1 - 0.45 * np.exp(-np.maximum(edge, 0) / 3))
        tint = rng.normal(0, 3, 3).astype(np.float32)
        belt *= shade[:, :, None].astype(np.float32)
        belt += solid[:, :, None].astype(np.float32) * (metal[:, :, None] + tint - belt)

    @staticmethod
    def _dent(rng, d, metal, u, v, light):
        du, dv = u - np.float32(d.u), v - np.float32(d.v)
        q = np.hypot(du, dv) / np.float32(d.size)
        bowl = np.where(q < 1, np.sin(np.pi * np.minimum(q, 1)), 0)
        facing = (du * light[0] + dv * light[1]) / (np.hypot(du, dv) + 1)
        metal -= rng.uniform(35, 70) * bowl * facing
        metal -= rng.uniform(15, 40) * np.maximum(0, 1 - q * q)
        metal += rng.uniform(12, 35) * np.exp(-(((q - 0.95) / 0.1) ** 2))

    @staticmethod
    def _scratch(rng, d, metal, u, v):
        along = np.array([np.cos(d.angle), np.sin(d.angle)], np.float32)
        du, dv = u - np.float32(d.u), v - np.float32(d.v)
        t = np.clip(du * along[0] + dv * along[1], -d.size, d.size)
        off = np.hypot(du - t * along[0], dv - t * along[1])
        side = dv * along[0] - du * along[1]
        groove = np.clip(d.thickness / 2 + 0.5 - off, 0, 1)
        lip = np.exp(-((side - d.thickness / 2 - 1) ** 2) / 2) * (off < d.thickness)
        depth = rng.uniform(50, 95) * rng.choice((-1, 1))
        metal += depth * groove - 0.35 * depth * lip

    def _dust(self, rng, metal, u, v):
        at = rng.uniform(-0.9, 0.9, 2) * self.half
        far = np.hypot(u - np.float32(at[0]), v - np.float32(at[1]))
        metal += rng.uniform(-35, 35) * np.exp(-((far / rng.uniform(0.8, 2.0)) ** 2))
