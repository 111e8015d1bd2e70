"""A tiny model of each kind, exported once: an export takes seconds. And no test whose numbers depend on another."""

import pytest
import torch
from tiny_export import export_tiny
from tiny_vae import BITS, CATEGORIES, vae

from models.repository import Repository


@pytest.fixture(autouse=True)
def _same_start():
    """Of every test, whichever ran before it: what is drawn, and one thread, since several round otherwise."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=[BITS, CATEGORIES], ids=lambda latent: latent.kind)
def published(request, tmp_path_factory):
    """The model and its repository, one export into it."""
    model = vae(request.param, dtype=torch.float32)
    root = tmp_path_factory.mktemp("repository")
    return model, Repository(root), export_tiny(root, model)
