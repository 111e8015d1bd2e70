"""What the tests of other people's clients go through: every model, in both forms of tensors."""

import pytest
from tiny_models import TINY_MODELS, TinyModel


@pytest.fixture(params=TINY_MODELS, ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> TinyModel:
    return request.param


@pytest.fixture(params=[False, True], ids=["json", "binary"])
def is_binary(request: pytest.FixtureRequest) -> bool:
    return request.param
