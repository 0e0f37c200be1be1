"""A headless Chromium for tests; those that want it are skipped where it is not installed."""

import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--window-size=1000,900",
)


def start(folder, *flags):
    """A Selenium driver of a new Chromium, whose profile lies in `folder`; it is the caller's to `quit`."""
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("Chromium and its driver are not here: install the packages chromium and chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, *flags, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = webdriver.chrome.service.Service(CHROMEDRIVER)  # named: Selenium looks for none, and downloads none
    return webdriver.Chrome(options=options, service=service)
