"""The detector's network, its loss, and the reference for what comes after the network."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from conveyor import LABELS
from frames import SIZE
from package import Package

STRIDE = 8
COLUMNS, ROWS = SIZE[0] // STRIDE, SIZE[1] // STRIDE
PACKAGE = Package("defects")
SCORE_THRESHOLD, NMS_IOU = (PACKAGE.settings["output"][key] for key in ("score_threshold", "nms_iou"))


def _block(inputs, outputs, stride=1, dilation=1, kernel=3):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Detector(nn.Module):
    """[N, 3, 240, 320] to [N, 7, 1200]: centre x, y, width, height in input pixels, then one score
    per label. Each cell of a 40x30 grid speaks for defects whose centre lies near it.
    """

    def __init__(self):
        super().__init__()
        self.near = nn.Sequential(_block(3, 8, 2), _block(8, 20, 2), _block(20, 40, 2))
        # A missing hole is seen by its neighbours: a coarse path looks 100 pixels around.
        self.far = nn.Sequential(
            _block(40, 48, 2), _block(48, 48), _block(48, 48, dilation=2), _block(48, 48), _block(48, 40, kernel=1)
        )
        self.mix = nn.Sequential(_block(40, 40), _block(40, 40))
        self.tail = nn.Conv2d(40, 4 + len(LABELS), 1)
        nn.init.constant_(self.tail.bias[4:], -4.0)
        y, x = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij")
        cells = (torch.stack([x, y]).reshape(1, 2, -1) + 0.5) * STRIDE
        self.register_buffer("cells", cells, persistent=False)

    def raw(self, x):
        """Offsets, logarithms of sizes and logits: what the loss works on."""
        near = self.near(x)
        wide = F.interpolate(self.far(near), scale_factor=2.0, mode="nearest")
        return self.tail(self.mix(near + wide)).reshape(-1, 4 + len(LABELS), ROWS * COLUMNS)

    def decode(self, raw):
        centre = raw[:, 0:2] * STRIDE + self.cells
        size = raw[:, 2:4].exp() * (2 * STRIDE)
        return centre, size

    def forward(self, x):
        raw = self.raw(x)
        centre, size = self.decode(raw)
        return torch.cat([centre, size, raw[:, 4:].sigmoid()], 1)


def prepare(images: np.ndarray) -> np.ndarray:
    """[N, 240, 320, 3] uint8 to the network's input."""
    return ((images.astype(np.float32) - PACKAGE.mean[:, 0]) * PACKAGE.scale[:, 0]).transpose(0, 3, 1, 2)


def loss(network: Detector, raw, boxes):
    """Scores: cells within about one cell of a centre shall fire, those around them may. Boxes: both
    learn the box, so that whichever fires tells the same one."""
    cells = network.cells[0].T  # [A, 2]
    label, box, kind = boxes[..., 0].long(), boxes[..., 1:5], boxes[..., 5]
    middle, size = (box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]
    apart = (cells[None, None] - middle[:, :, None]).norm(dim=-1) / STRIDE  # [B, M, A]
    # The nearest cell always counts, wherever the centre lies within it.
    fires = (kind == 1)[..., None] & ((apart < 0.8) | (apart == apart.amin(2, keepdim=True)))
    may = ((kind == 1)[..., None] & (apart < 2.2)) | ((kind == 2)[..., None] & (apart < 3.5))

    classes = F.one_hot(label, len(LABELS)).bool()  # [B, M, C]
    target = (fires[:, :, None] & classes[..., None]).any(1)  # [B, C, A]
    skip = (may[:, :, None] & classes[..., None]).any(1) & ~target
    logits = raw[:, 4:]
    p = logits.sigmoid()
    wrong = torch.where(target, 1 - p, p)
    each = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none") * wrong
    # Confident cells add little; misses weigh more than the sea of empty cells.
    score = (each * torch.where(target, 2.0, 1.0) * ~skip).sum() / target.sum().clamp(min=1)

    b, m, a = torch.nonzero((kind == 1)[..., None] & (apart < 1.7), as_tuple=True)
    # Where two defects are close, a cell speaks for the nearer one.
    apart_of_known = apart.masked_fill((kind != 1)[..., None], 1e9)
    own = apart_of_known.argmin(1)[b, a] == m
    b, m, a = b[own], m[own], a[own]
    if len(b) == 0:
        return score, raw.sum() * 0
    centre, extent = network.decode(raw)
    off = (centre[b, :, a] - middle[b, m]).abs() / size[b, m].clamp(min=6)
    stretch = (extent[b, :, a].log() - size[b, m].log()).abs()
    low = torch.maximum(centre[b, :, a] - extent[b, :, a] / 2, box[b, m, :2])
    high = torch.minimum(centre[b, :, a] + extent[b, :, a] / 2, box[b, m, 2:])
    common = (high - low).clamp(min=0).prod(1)
    iou = common / (extent[b, :, a].prod(1) + size[b, m].prod(1) - common)
    return score, (off.sum(1) + 0.5 * stretch.sum(1) + (1 - iou)).mean()


def detections(output: np.ndarray, width: int, height: int, threshold=SCORE_THRESHOLD) -> list[dict]:
    """One frame's [7, A] output to boxes in source pixels: threshold, non-maximum suppression per
    label, and the way back through the resize (both have the same aspect here)."""
    scores = output[4:]
    found = []
    for c, label in enumerate(LABELS):
        keep = np.flatnonzero(scores[c] >= threshold)
        keep = keep[np.argsort(-scores[c, keep], kind="stable")]
        chosen = []
        for a in keep:
            cx, cy, w, h = (float(v) for v in output[:4, a])
            x0, y0 = max(cx - w / 2, 0), max(cy - h / 2, 0)
            x1, y1 = min(cx + w / 2, SIZE[0]), min(cy + h / 2, SIZE[1])
            box = (x0, y0, x1 - x0, y1 - y0)
            if all(overlap(box, other) <= NMS_IOU for other, _ in chosen):
                chosen.append((box, float(scores[c, a])))
        found += [(label, score, box) for box, score in chosen]
    sx, sy = width / SIZE[0], height / SIZE[1]
    found.sort(key=lambda f: -f[1])
    return [
        {"label": label, "score": score, "x": x * sx, "y": y * sy, "w": w * sx, "h": h * sy}
        for label, score, (x, y, w, h) in found
    ]


def overlap(a, b) -> float:
    """Intersection over union of two boxes given as x, y, w, h."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)
