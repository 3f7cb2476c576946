"""One thread: the organism is trained on one, and sums in another order give other bytes."""

import torch

torch.set_num_threads(1)
