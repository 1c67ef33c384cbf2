"""Averages of weights during a training, against their closed forms."""

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from speech2face.training.callbacks import Averaging

STEPS, EPOCHS = 3, 4


class Line(lightning.LightningModule):
    """One weight, and what it was after every step and while each epoch was validated and kept."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))
        self.steps, self.validated, self.kept = [], [], []

    def training_step(self, batch, index):
        return (self.weight * batch[0] - batch[1]).square().mean()

    def on_train_batch_end(self, *_):
        self.steps.append(self.weight.item())

    def validation_step(self, *_):
        self.validated.append(self.weight.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.2)


class Kept(lightning.Callback):
    """Sees what Keep writes."""

    def on_validation_end(self, trainer, module):
        module.kept.append(module.weight.item())


def trained(averaging: Averaging) -> Line:
    rows = torch.arange(1.0, STEPS + 1)
    data = DataLoader(TensorDataset(rows, 2 * rows))
    module = Line()
    lightning.Trainer(
        max_epochs=EPOCHS, callbacks=[Kept(), averaging], logger=False, enable_checkpointing=False, accelerator="cpu",
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=1,
    ).fit(module, data, data)  # fmt: skip
    return module


def test_a_moving_average_of_the_steps_is_validated_and_kept() -> None:
    module = trained(Averaging(0.8))
    averages = [module.steps[0]]
    for weight in module.steps[1:]:
        averages.append(0.8 * averages[-1] + 0.2 * weight)
    expected = averages[STEPS - 1 :: STEPS]
    assert module.validated == pytest.approx(expected) and module.kept == pytest.approx(expected)


def test_the_mean_of_the_ends_of_epochs_is_validated_and_kept() -> None:
    module = trained(Averaging(None, first=2))
    ends = module.steps[STEPS - 1 :: STEPS]
    expected = [ends[0], ends[1], ends[2], np.mean(ends[2:])]
    assert module.validated == pytest.approx(expected) and module.kept == pytest.approx(expected)
