import pytest
import sample_reports

from lego_core.run_report import RunReport


@pytest.fixture(scope="session")
def survival_report() -> RunReport:
    return sample_reports.survival_report()


@pytest.fixture(scope="session")
def classification_report() -> RunReport:
    return sample_reports.classification_report()


@pytest.fixture
def failed_report() -> RunReport:
    return sample_reports.failed_report()
