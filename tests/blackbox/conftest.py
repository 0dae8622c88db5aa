"""Fixtures, and the rule that in CI a skipped test is a failed one."""

import os

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


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
