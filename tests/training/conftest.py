"""A tiny model of each kind, exported once: an export takes seconds."""

import pytest
import torch
from tiny_export import export_tiny
from tiny_vae import BITS, CATEGORIES, vae

from models.repository import Repository


@pytest.fixture(scope="session", params=[BITS, CATEGORIES], ids=lambda latent: latent.kind)
def published(request, tmp_path_factory):
    """The model and its repository, one export into it."""
    model = vae(request.param, dtype=torch.float32)
    root = tmp_path_factory.mktemp("repository")
    return model, Repository(root), export_tiny(root, model)
