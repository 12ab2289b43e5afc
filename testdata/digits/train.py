"""Train the small convolutional network that demo and tests compile, and export it.

Writes next to itself: digits.onnx (batch 1, batch normalisation still in the graph), digits_dyn.onnx (open batch N, batch normalisation
folded by the exporter) and digits.npz (the held-out samples). It needs an environment of its own, apart from edgec's:

    python3 -m venv testdata/digits/.venv
    testdata/digits/.venv/bin/pip install torch==2.13.0 scikit-learn onnx
    testdata/digits/.venv/bin/python testdata/digits/train.py

Everything is seeded and runs on one thread; the held-out samples choose nothing (fixed number of epochs, last weights).
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent
SEED, EPOCHS, BATCH, LEARNING_RATE = 7, 60, 32, 3e-3


def split():
    """Training and held-out samples: x f32[n,1,8,8] in 0..1 (pixels / 16), y int64[n]."""
    digits = load_digits()
    x = (digits.images / 16).astype(np.float32)[:, None]
    return train_test_split(x, digits.target.astype(np.int64), test_size=450, random_state=SEED, stratify=digits.target)


def network() -> nn.Sequential:
    """f32[n,1,8,8] -> logits f32[n,10]: 6,266 trained numbers in three convolutions and one linear layer."""
    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, 8, 3, padding=1), norm1=nn.BatchNorm2d(8), relu1=nn.ReLU(),
        conv2=nn.Conv2d(8, 16, 3, stride=2, padding=1), norm2=nn.BatchNorm2d(16), relu2=nn.ReLU(),
        conv3=nn.Conv2d(16, 32, 3, padding=1), relu3=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(32, 10),
    ))


def shifted(x: torch.Tensor) -> torch.Tensor:
    """Each sample of x f32[n,1,8,8] moved by -1, 0 or 1 pixels in both directions, zeros moving in."""
    dy, dx = torch.randint(0, 3, (2, len(x)))
    padded = F.pad(x, (1, 1, 1, 1))
    return torch.stack([p[:, i:i + 8, j:j + 8] for p, i, j in zip(padded, dy.tolist(), dx.tolist())])


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """Fit model to x f32[n,1,8,8], y int64[n] with AdamW under a one-cycle learning rate; returns it in evaluation mode."""
    steps = EPOCHS * -(-len(x) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(model(shifted(x[batch])), y[batch]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def export(model: nn.Module, path: Path, batch: int | str, fold: bool) -> None:
    """Write model followed by softmax to path; a batch given as text is an open dimension of that name."""
    sample = torch.zeros(1, 1, 8, 8)
    open_batch = {"image": {0: batch}, "probabilities": {0: batch}} if isinstance(batch, str) else None
    torch.onnx.export(
        nn.Sequential(OrderedDict(body=model, softmax=nn.Softmax(1))).eval(), (sample,), path, dynamo=False, opset_version=17,
        input_names=["image"], output_names=["probabilities"], dynamic_axes=open_batch, do_constant_folding=fold,
        training=torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE,
    )
    onnx.save(cleaned(onnx.load(path)), path)


def cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """model without the texts that name the machine it was made on, checked."""
    for part in (model, model.graph, *model.graph.node):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    model.graph.name = "digits"
    onnx.checker.check_model(model, full_check=True)
    return model


def accuracy(path: Path, x: np.ndarray, y: np.ndarray) -> float:
    """Share of the samples x f32[n,1,8,8] that the model file at path puts into their class y int64[n], one sample a call."""
    run = ReferenceEvaluator(str(path)).run
    classes = [run(None, {"image": x[i:i + 1]})[0].argmax() for i in range(len(x))]
    return float(np.mean(np.array(classes) == y))


def main() -> None:
    """Train, write the three files, print each model's accuracy."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train_x, test_x, train_y, test_y = split()
    model = train(network(), torch.from_numpy(train_x), torch.from_numpy(train_y))
    np.savez_compressed(HERE / "digits.npz", inputs=test_x, labels=test_y)
    for name, batch, fold in (("digits.onnx", 1, False), ("digits_dyn.onnx", "N", True)):
        export(model, HERE / name, batch, fold)
        print(f"{name}: {accuracy(HERE / name, test_x, test_y):.2%} of {len(test_x)} held-out samples")


if __name__ == "__main__":
    main()
