"""Runs the golden samples of the packages through ONNX Runtime, as eir does before a model serves."""

import sys

import anomaly
import bearing
import conveyor
import frames
import vibration
from detector import detections, overlap, prepare
from package import Package, run, session, softmax

# Boxes of one defect must overlap at least this much.
LEAST_IOU = 0.7


def check_bearing(engine, sample, expect):
    p = softmax(run(engine, bearing.PACKAGE.prepare(sample.T[None])))[0]
    return max(abs(p[i] - expect["scores"][label]) for i, label in enumerate(vibration.LABELS)), None


def check_anomaly(engine, sample, expect):
    x = anomaly.PACKAGE.prepare(sample.T[None])
    return abs(anomaly.score(x, run(engine, x))[0] / expect["score"] - 1), None


def check_defects(engine, sample, expect):
    out = run(engine, prepare(frames.shrink(sample)[None]))[0]
    seen, worst, least = detections(out, conveyor.WIDTH, conveyor.HEIGHT), 0.0, 1.0
    if len(seen) != len(expect["detections"]):
        return float("inf"), 0.0
    for want in expect["detections"]:
        box = [want[k] for k in "xywh"]
        same = [d for d in seen if d["label"] == want["label"]]
        best = max(same, key=lambda d: overlap([d[k] for k in "xywh"], box), default=None)
        if best is None:
            return float("inf"), 0.0
        worst = max(worst, abs(best["score"] - want["score"]))
        least = min(least, overlap([best[k] for k in "xywh"], box))
    return worst, least


def main() -> int:
    failed = 0
    for name, check in (("bearing", check_bearing), ("vibration-anomaly", check_anomaly), ("defects", check_defects)):
        package = Package(name)
        engine = session(package.path / "model.onnx")
        told = [(stem, *check(engine, sample, expect)) for stem, sample, expect in package.golden()]
        tolerance = package.settings["tolerance"]
        bad = [t for t in told if t[1] > tolerance or (t[2] is not None and t[2] < LEAST_IOU)]
        least = min((t[2] for t in told if t[2] is not None), default=None)
        print(f"{name}: {len(told)} samples, largest difference {max(t[1] for t in told):.4f} of {tolerance}"
              + (f", least overlap {least:.3f}" if least is not None else ""))  # fmt: skip
        for stem, difference, iou in bad:
            print(f"  {stem}: difference {difference:.4f}, overlap {iou}")
        failed += len(bad) + (not told)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
