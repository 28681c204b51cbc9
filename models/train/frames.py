"""Held-out and training sets of conveyor frames, shrunk to what the detector sees.

Drawing takes longer than training, so finished sets are kept in the system's temporary directory.
"""

import hashlib
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import conveyor

# Width and height of the model's input; half the camera's.
SIZE = (320, 240)
MOST = 6  # boxes in one frame


def shrink(jpeg: bytes) -> np.ndarray:
    """[240, 320, 3] uint8, as eir prepares a frame: decoded, then an antialiased bilinear resize."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    return np.asarray(image.resize(SIZE, Image.BILINEAR))


def load(seed: int, count: int, quality=(70, 95)):
    """Images [count, 240, 320, 3] uint8 and boxes [count, MOST, 6]: label, x0, y0, x1, y1 in model
    pixels, and 1 if the box counts or 2 if it is too much cut off to be judged (0 = no box)."""
    source = Path(conveyor.__file__).read_bytes() + repr((seed, count, quality)).encode()
    path = Path(tempfile.gettempdir()) / "eir-train" / f"frames-{hashlib.sha256(source).hexdigest()[:16]}.npz"
    if path.exists():
        kept = np.load(path)
        return kept["images"], kept["boxes"]
    textures = conveyor.Textures(seed)
    images = np.empty((count, SIZE[1], SIZE[0], 3), np.uint8)
    boxes = np.zeros((count, MOST, 6), np.float32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        scene = conveyor.draw(rng, textures)
        images[i] = shrink(conveyor.jpeg(scene.image, int(rng.integers(quality[0], quality[1] + 1))))
        rows = [(*b, 1) for b in scene.boxes] + [(*b, 2) for b in scene.unclear]
        for k, (label, *box, kind) in enumerate(rows[:MOST]):
            boxes[i, k] = (label, *(side / 2 for side in box), kind)
    path.parent.mkdir(exist_ok=True)
    # A set that was only half written must not be found by the next run.
    part = path.with_suffix(".part.npz")
    np.savez(part, images=images, boxes=boxes)
    part.rename(path)
    return images, boxes
