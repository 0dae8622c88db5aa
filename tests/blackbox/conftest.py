"""Fixtures: a broker for one test, and one for a module."""

import pytest
from broker import Broker


@pytest.fixture
def broker(tmp_path):
    with Broker(tmp_path) as running:
        yield running
        assert "panicked" not in running.log(), running.log()


@pytest.fixture(scope="module")
def broker_four_partitions(tmp_path_factory):
    """One broker for a module, with four partitions for topics that are created by being asked for."""
    with Broker(tmp_path_factory.mktemp("broker"), num__partitions=4) as running:
        yield running
        assert "panicked" not in running.log(), running.log()
