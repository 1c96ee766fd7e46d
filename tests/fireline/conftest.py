"""The networks that these tests share."""
import pytest

import fireline


@pytest.fixture(scope="session")
def model() -> fireline.Model:
    return fireline.load("digits")


@pytest.fixture(scope="session")
def net(model) -> fireline.QuantisedModel:
    return model.quantise()
