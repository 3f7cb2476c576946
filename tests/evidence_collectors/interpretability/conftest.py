"""One thread: threads that wait for each other are slower than one on models this small."""

import torch

torch.set_num_threads(1)
