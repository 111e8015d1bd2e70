"""What many tests start from: a repository of tiny models, and the service as its users run it."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

import pytest
from hypothesis import HealthCheck, settings
from service_process import ServiceProcess
from tiny_models import TINY_MODELS

from models.repository import Repository

if find_spec("torch") is not None and find_spec("beartype") is not None:
    # Where training can be tested, every shape written down in it is checked while it is. `training.data` is numpy and
    # refuses options of the wrong type itself, in words that its tests read.
    from jaxtyping import install_import_hook

    import training

    checked = [module.name for module in iter_modules(training.__path__, "training.") if module.name != "training.data"]
    install_import_hook(checked, "beartype.beartype")

# The same cases at every run, however slow the machine is at the time.
settings.register_profile("repeated", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeated")


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with "tiny-binary" and "tiny-categorical", one version each. Not to be written to."""
    root = tmp_path_factory.mktemp("repository")
    for model in TINY_MODELS:
        model.publish(Repository(root))
    return root


@pytest.fixture(scope="session")
def running_service(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """`python -m service` over `tiny_repository`, ready, on a port of its own at `.url`."""
    log = tmp_path_factory.mktemp("service") / "log"
    with ServiceProcess([tiny_repository], log=log) as service:
        yield service


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the service's log with the report of a failed test that used it."""
    report = yield
    service = getattr(item, "funcargs", {}).get("running_service")
    if report.failed and service is not None:
        report.sections.append(("log of running_service", service.log_text()[-20_000:]))
    return report
