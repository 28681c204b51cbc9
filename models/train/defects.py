"""Trains `defects`: scratches, dents and missing holes of metal plates in camera frames."""

import time

import numpy as np
import torch

import conveyor
import frames
from conveyor import LABELS
from detector import PACKAGE, Detector, detections, loss, overlap, prepare
from package import run, run_torch

TRAIN_SEED, HELD_OUT_SEED = 1000, 2000
TRAIN_FRAMES, HELD_OUT_FRAMES = 11000, 1000
STEPS, BATCH = 9000, 16


def vary(images: np.ndarray, boxes: np.ndarray, rng):
    """Mirrored frames are as plausible as the originals; light and contrast vary beyond the camera's."""
    boxes = boxes.copy()
    if rng.random() < 0.5:
        images = images[:, :, ::-1]
        boxes[..., [1, 3]] = frames.SIZE[0] - boxes[..., [3, 1]]
    if rng.random() < 0.5:
        images = images[:, ::-1]
        boxes[..., [2, 4]] = frames.SIZE[1] - boxes[..., [4, 2]]
    x = prepare(images)
    gain = rng.uniform(0.8, 1.2, (len(x), 1, 1, 1)).astype(np.float32)
    shift = rng.uniform(-0.25, 0.25, (len(x), 3, 1, 1)).astype(np.float32)
    return torch.from_numpy(x * gain + shift), torch.from_numpy(boxes)


def fit(images: np.ndarray, boxes: np.ndarray, steps: int = STEPS) -> Detector:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    network = Detector().to(memory_format=torch.channels_last)
    # The average of late weights is steadier than any one step's.
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps, pct_start=0.15)
    began, told = time.monotonic(), np.zeros(2)
    network.train()
    for step in range(1, steps + 1):
        pick = rng.integers(0, len(images), BATCH)
        x, truth = vary(images[pick], boxes[pick], rng)
        # Half precision is twice as fast where the processor has it, and too coarse for the last bit.
        with torch.autocast("cpu", torch.bfloat16, enabled=step < 0.75 * steps):
            raw = network.raw(x.contiguous(memory_format=torch.channels_last))
        score, place = loss(network, raw.float(), truth)
        optimizer.zero_grad()
        (score + place).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        told += (score.item(), place.item())
        if step % 250 == 0:
            print(f"defects step {step}: score {told[0] / 250:.3f} box {told[1] / 250:.3f} ({time.monotonic() - began:.0f} s)", flush=True)
            told[:] = 0
    return average.module.to(memory_format=torch.contiguous_format).eval()


def mean_average_precision(found: list, boxes: np.ndarray, least: float = 0.5):
    """Area under the precision-recall curve per label, at the given overlap. A detection on a defect
    that is too much cut off to be judged counts neither way."""
    result = []
    for c, label in enumerate(LABELS):
        rows, total = [], 0
        for frame, truths in zip(found, boxes):
            mine = [(*t[1:3] * 2, *(t[3:5] - t[1:3]) * 2) for t in truths if t[5] == 1 and t[0] == c]
            unclear = [(*t[1:3] * 2, *(t[3:5] - t[1:3]) * 2) for t in truths if t[5] == 2 and t[0] == c]
            total, taken = total + len(mine), set()
            for d in frame:
                if d["label"] != label:
                    continue
                box = (d["x"], d["y"], d["w"], d["h"])
                best = max(range(len(mine)), key=lambda k: overlap(box, mine[k]), default=None)
                hit = best is not None and best not in taken and overlap(box, mine[best]) >= least
                if hit:
                    taken.add(best)
                elif any(overlap(box, u) > 0.05 for u in unclear):
                    continue
                rows.append((d["score"], hit))
        rows.sort(key=lambda r: -r[0])
        hits = np.cumsum([hit for _, hit in rows])
        precision = np.maximum.accumulate((hits / np.arange(1, len(rows) + 1))[::-1])[::-1]
        result.append(float(sum(p for p, (_, hit) in zip(precision, rows) if hit) / total))
    return result


def main():
    images, boxes = frames.load(TRAIN_SEED, TRAIN_FRAMES)
    network = fit(images, boxes)
    batches = [prepare(images[i : i + 16]) for i in range(0, 256, 16)]
    plain, engine = PACKAGE.write_model(
        network, torch.zeros(1, 3, frames.SIZE[1], frames.SIZE[0]), batches, "detections",
        # Eight bits would round boxes and scores; the tail's arithmetic is negligible.
        exclude=("/tail/", "/Add_1", "/Mul"), only=("Conv", "Relu", "Add", "Resize"),
    )  # fmt: skip
    PACKAGE.write_labels(LABELS)

    images, boxes = frames.load(HELD_OUT_SEED, HELD_OUT_FRAMES, (80, 90))
    x = prepare(images)
    for name, out in (("float", run_torch(network, x, 32)), ("int8", run(engine, x, 1))):
        found = [detections(o, conveyor.WIDTH, conveyor.HEIGHT, 0.05) for o in out]
        strict = [mean_average_precision(found, boxes, least) for least in (0.5, 0.75)]
        for least, ap in zip((0.5, 0.75), strict):
            print(f"defects {name}: mAP@{least} {np.mean(ap):.4f}", dict(zip(LABELS, np.round(ap, 4))))
    sure = [d["score"] for o in out for d in detections(o, conveyor.WIDTH, conveyor.HEIGHT)]
    PACKAGE.write_reference(sure, [images[::8, :, :, c].ravel() for c in range(3)])
    golden(network)


def golden(network: Detector):
    """Frames of every kind, whole and cut off, with what the float model sees in them."""
    PACKAGE.clear_golden()
    textures = conveyor.Textures(3)
    wanted = [("none", [])] + [("whole", [])] + [("whole", [k]) for k in (0, 0, 1, 1, 2, 2)]
    wanted += [("whole", [0, 1, 2]), ("cut", []), ("cut", [0]), ("cut", [1]), ("cut", [2])]
    for index, (where, kinds) in enumerate(wanted):
        for attempt in range(100):
            rng = np.random.default_rng((3000, index, attempt))
            scene = conveyor.draw(rng, textures, where, kinds)
            data = conveyor.jpeg(scene.image, 85)
            out = run_torch(network, prepare(frames.shrink(data)[None]))[0]
            seen = detections(out, conveyor.WIDTH, conveyor.HEIGHT)
            # A sample at the threshold would test the dice, not the engine.
            clear = all(d["score"] > 0.6 for d in seen) and len(seen) == len(scene.boxes)
            if clear and not scene.unclear and len(scene.boxes) == len(kinds):
                break
        rounded = [{k: v if k == "label" else round(v, 4 if k == "score" else 2) for k, v in d.items()} for d in seen]
        PACKAGE.write_golden(index, data, {"detections": rounded})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
