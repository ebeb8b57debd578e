"""Fit y = a x + b to noisy points by stochastic gradient descent; the standard library is all it needs."""

import argparse
import csv
import json
import math
import pathlib
import random
import time


def points(count, seed):
    random.seed(seed)
    for _ in range(count):
        x = random.uniform(-1, 1)
        yield x, 3 * x + 2 + random.gauss(0, 0.1)


def loss(data, a, b):
    return sum((a * x + b - y) ** 2 for x, y in data) / len(data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()

    train, test = list(points(200, seed=1)), list(points(100, seed=2))
    a = b = 0.0
    curve = []
    for epoch in range(args.epochs):
        for x, y in train:
            error = a * x + b - y
            a -= args.lr * error * x
            b -= args.lr * error
        curve.append(loss(train, a, b))
        print(f"epoch {epoch + 1:2} loss {curve[-1]:.5f}", flush=True)
        time.sleep(0.02)

    results = pathlib.Path("results")
    results.mkdir(exist_ok=True)
    with open(results / "curve.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "loss"])
        writer.writerows(enumerate(curve, start=1))
    metrics = {"loss": loss(test, a, b), "a": a, "b": b}
    (results / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    assert all(math.isfinite(value) for value in metrics.values())


if __name__ == "__main__":
    main()
