"""One thread in every test: results are repeatable and tests do not fight over the processor."""

import torch

torch.set_num_threads(1)
