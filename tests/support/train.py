"""Fits a line by gradient descent: small, but a genuine experiment. Standard library only."""

import argparse
import json
import os
import pathlib
import random
import time

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--fail", action="store_true", help="end with an error after the last epoch")
arguments = parser.parse_args()

# For the tests: every launch leaves a line outside the run's own folder, and a closed gate keeps the run going.
notes = pathlib.Path(os.environ.get("TRAIN_NOTES") or pathlib.Path.home())
with open(notes / "launches", "a") as file:
    file.write(f"{os.getcwd()} lr={arguments.lr} seed={arguments.seed}\n")

random.seed(arguments.seed)
points = [(x / 10, 3 * x / 10 + 1 + random.gauss(0, 0.05)) for x in range(10)]
slope, offset = 0.0, 0.0
for epoch in range(arguments.epochs):
    errors = [(slope * x + offset - y, x) for x, y in points]
    slope -= arguments.lr * 2 * sum(e * x for e, x in errors) / len(points)
    offset -= arguments.lr * 2 * sum(e for e, _ in errors) / len(points)
    loss = sum(e * e for e, _ in errors) / len(points)
    print(f"epoch {epoch + 1}/{arguments.epochs} loss {loss:.6f}", flush=True)

waited = False
while (notes / "gate").exists():
    if not waited:
        print("waiting at the gate", flush=True)
        waited = True
    time.sleep(0.02)

if arguments.fail:
    raise SystemExit("asked to fail")
results = pathlib.Path("results")
results.mkdir(exist_ok=True)
(results / "metrics.json").write_text(json.dumps({"loss": loss, "slope": slope, "offset": offset}) + "\n")
print("done", flush=True)
