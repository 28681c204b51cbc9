"""Trains `vibration-anomaly`: an autoencoder that knows healthy vibration and nothing else."""

import numpy as np
import torch
from torch import nn

import vibration
from package import Package, run, run_torch

TRAIN_SEED, HELD_OUT_SEED = 400, 500
EPOCHS = 12
PACKAGE = Package("vibration-anomaly")


class Autoencoder(nn.Module):
    """Sixteen numbers between 0 and 1 have to carry a window's shaft harmonics and hum. They can not
    carry impacts, and a vibration stronger than any seen in training does not fit into them."""

    def __init__(self):
        super().__init__()

        def block(inputs, outputs, kernel):
            conv = nn.Conv1d(inputs, outputs, kernel, 2, kernel // 2, bias=False)
            return nn.Sequential(conv, nn.BatchNorm1d(outputs), nn.ReLU())

        self.first = block(3, 16, 9)
        self.encode = nn.Sequential(block(16, 24, 9), block(24, 32, 7), block(32, 32, 5))
        self.code = nn.Linear(32 * 16, 16)
        self.decode = nn.Sequential(nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU())
        self.last = nn.Linear(96, 3 * vibration.WINDOW)

    def forward(self, x):
        # Gravity passes by the code: how the sensor is mounted is no anomaly.
        level = x.mean(2, keepdim=True)
        code = self.code(self.encode(self.first(x - level)).reshape(-1, 32 * 16)).sigmoid()
        return self.last(self.decode(code)).reshape(-1, 3, vibration.WINDOW) + level


def fit(x: np.ndarray) -> Autoencoder:
    torch.manual_seed(1)
    network, batch = Autoencoder(), 128
    steps = EPOCHS * (len(x) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    x = torch.from_numpy(x)
    for epoch in range(EPOCHS):
        network.train()
        order, total = torch.randperm(len(x)), 0.0
        for i in range(len(x) // batch):
            pick = x[order[i * batch : (i + 1) * batch]]
            error = ((network(pick) - pick) ** 2).mean((1, 2))
            # Noisy machines must not drown the quiet ones: the error is weighed by its own size.
            loss = torch.log(error + 1e-4).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += error.mean().item()
        print(f"vibration-anomaly epoch {epoch + 1}: error {total / (len(x) // batch):.5f}", flush=True)
    return network.eval()


def score(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    return ((inputs - outputs) ** 2).mean((1, 2))


def main():
    network = fit(PACKAGE.prepare(vibration.windows(TRAIN_SEED, "healthy", 2500, 12)))
    # Faults belong here: activations cut off at what health needs would score faults differently
    # from the float model.
    parts = [vibration.windows(TRAIN_SEED + 1, label, 40, 3) for label in vibration.LABELS]
    calibration = PACKAGE.prepare(np.concatenate(parts))
    _, engine = PACKAGE.write_model(
        network, torch.zeros(1, 3, vibration.WINDOW), [calibration[i::4] for i in range(4)], "reconstruction",
        # Ends that touch the signal itself stay float, and so does the code, which is 16 numbers.
        exclude=("/first/", "/code/", "/last/"), only=("Conv", "Relu", "Gemm"),
    )  # fmt: skip

    held = {label: vibration.windows(HELD_OUT_SEED, label, 250, 10) for label in vibration.LABELS}
    inputs, results = {label: PACKAGE.prepare(x) for label, x in held.items()}, {}
    for name, through in (("float", lambda x: run_torch(network, x)), ("int8", lambda x: run(engine, x))):
        scores = {label: score(x, through(x)) for label, x in inputs.items()}
        healthy, results[name] = scores["healthy"], scores
        limit = np.quantile(healthy, 0.995)
        plain = inputs["healthy"].var(2).mean()
        print(f"vibration-anomaly {name}: {1 - healthy.mean() / plain:.3f} of the variance explained")
        print(f"vibration-anomaly {name}: healthy median {np.median(healthy):.4f}, 99.5 % {limit:.4f}, max {healthy.max():.4f}")
        for label in vibration.LABELS[1:]:
            lowest, found = scores[label].min(), np.mean(scores[label] > limit)
            print(f"  {label}: AUC {auc(healthy, scores[label]):.4f}, above the threshold {found:.4f}, min {lowest:.4f}, 1 % {np.quantile(scores[label], 0.01):.4f}")
    gap = max(np.abs(results["int8"][k] / results["float"][k] - 1).max() for k in held)
    print(f"vibration-anomaly: largest relative difference of a score between float and int8 {gap:.4f}")

    PACKAGE.write_reference(results["int8"]["healthy"], [held["healthy"][:, c].ravel() for c in range(3)])
    golden(network)


def golden(network: Autoencoder):
    PACKAGE.clear_golden()
    for index, label in enumerate(("healthy",) * 4 + vibration.LABELS[1:] + ("outer_race",)):
        window = vibration.windows(600 + index, label, 1, 1)
        inputs = PACKAGE.prepare(window)
        expect = score(inputs, run_torch(network, inputs))[0]
        PACKAGE.write_golden(index, window[0].T, {"score": round(float(expect), 6)})


def auc(negative: np.ndarray, positive: np.ndarray) -> float:
    """The chance that a random positive scores above a random negative."""
    below = np.searchsorted(np.sort(negative), positive, "left")
    return float(below.mean() / len(negative))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
