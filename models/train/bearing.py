"""Trains `bearing`: which of four conditions a motor bearing is in, from 80 ms of vibration."""

import numpy as np
import torch
from torch import nn

import vibration
from package import Package, run, run_torch, softmax

TRAIN_SEED, HELD_OUT_SEED = 100, 200
EPOCHS = 10
PACKAGE = Package("bearing")


class Network(nn.Module):
    def __init__(self):
        super().__init__()

        def block(inputs, outputs, kernel, stride):
            conv = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
            return nn.Sequential(conv, nn.BatchNorm1d(outputs), nn.ReLU())

        # The first layer sees resonances, the next two their envelope at 800 Hz; the wide kernels
        # after that span more than one interval between impacts (20 to 45 samples).
        self.first = block(3, 16, 9, 2)
        self.body = nn.Sequential(
            block(16, 24, 7, 2), block(24, 32, 9, 1), block(32, 32, 9, 2), block(32, 48, 5, 2)
        )
        self.last = nn.Linear(48, len(vibration.LABELS))

    def forward(self, x):
        # Gravity says how the sensor is mounted, nothing about the bearing. Taken away here, in
        # float, it does not use up the range of the 8-bit activations either.
        x = x - x.mean(2, keepdim=True)
        return self.last(self.body(self.first(x)).mean(2))


def dataset(seed: int, machines: int, per_machine: int):
    parts = [vibration.windows(seed, label, machines, per_machine) for label in vibration.LABELS]
    return PACKAGE.prepare(np.concatenate(parts)), np.repeat(np.arange(len(parts)), machines * per_machine)


def fit(x: np.ndarray, y: np.ndarray) -> Network:
    torch.manual_seed(1)
    network, batch = Network(), 128
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-3)
    steps = EPOCHS * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    # A little smoothing keeps the logits in a narrow range, which 8 bits can resolve.
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.01)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    for epoch in range(EPOCHS):
        network.train()
        order, total = torch.randperm(len(x)), 0.0
        for i in range(len(x) // batch):
            pick = order[i * batch : (i + 1) * batch]
            loss = loss_of(network(x[pick]), y[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"bearing epoch {epoch + 1}: loss {total / (len(x) // batch):.4f}", flush=True)
    return network.eval()


def main():
    network = fit(*dataset(TRAIN_SEED, machines=800, per_machine=12))
    x, y = dataset(HELD_OUT_SEED, machines=250, per_machine=10)

    calibration, _ = dataset(TRAIN_SEED + 1, machines=40, per_machine=4)
    batches = [calibration[i::5] for i in range(5)]
    _, engine = PACKAGE.write_model(
        network, torch.zeros(1, 3, vibration.WINDOW), batches, "logits",
        # The first layer meets the raw range from milli-g to many g; the last one costs nothing.
        exclude=("/first/", "/last/"), only=("Conv", "Relu"),
    )  # fmt: skip
    PACKAGE.write_labels(vibration.LABELS)

    exact, rounded = softmax(run_torch(network, x)), softmax(run(engine, x))
    for name, p in (("float", exact), ("int8", rounded)):
        confusion = np.array([[np.sum((y == t) & (p.argmax(1) == k)) for k in range(4)] for t in range(4)])
        print(f"bearing {name}: accuracy {np.mean(p.argmax(1) == y):.4f} of {len(y)}\n{confusion}")
    print("bearing |float-int8|: mean %.4f, 99 %% %.4f, max %.4f" % _gap(exact, rounded))

    PACKAGE.write_reference(rounded.max(1), [(x[:, c] / PACKAGE.scale[c] + PACKAGE.mean[c]).ravel() for c in range(3)])
    golden(network)


def golden(network: Network):
    """Three windows of each class, from machines that neither training nor evaluation saw."""
    PACKAGE.clear_golden()
    index = 0
    for label in vibration.LABELS:
        for window in vibration.windows(300, label, machines=3, per_machine=1):
            scores = softmax(run_torch(network, PACKAGE.prepare(window[None])))[0]
            expect = {"scores": {name: round(float(s), 5) for name, s in zip(vibration.LABELS, scores)}}
            PACKAGE.write_golden(index, window.T, expect)
            index += 1


def _gap(a, b):
    gap = np.abs(a - b).max(1)
    return gap.mean(), np.quantile(gap, 0.99), gap.max()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
