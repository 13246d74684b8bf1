"""The files for platforms say what the service knows, and what one of them says of another is true."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.config import Settings
from backend.server import RETIRE_SECONDS, STOP_SECONDS
from backend.web.limits import UNLIMITED_PATHS

CHECKOUT = Path(__file__).parent.parent
SETTINGS = {name.upper() for name in Settings.model_fields}


def load(name: str) -> list[Any]:
    """The documents of a file."""
    return list(yaml.safe_load_all((CHECKOUT / name).read_text()))


def test_the_manifest_sets_what_there_is() -> None:
    """Variables are settings, probes are addresses, and nobody is killed before the draining is over."""
    [deployment] = [part for part in load("docs/kubernetes.yaml") if part["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert variables.keys() <= SETTINGS
    assert float(variables["DRAIN_SECONDS"]) + STOP_SECONDS + 5 < pod["terminationGracePeriodSeconds"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in UNLIMITED_PATHS
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_compose_sets_what_there_is() -> None:
    """As in the manifest; and it stops within its time."""
    [compose] = load("compose.yaml")
    api = compose["services"]["api"]
    assert api["environment"].keys() <= SETTINGS
    assert api["read_only"]
    assert int(api["stop_grace_period"].removesuffix("s")) > STOP_SECONDS + RETIRE_SECONDS


def test_the_image_is_built_with_the_uv_of_the_makefile() -> None:
    """One version in both."""
    [own] = re.findall(r"^UV_VERSION := (\S+)", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert f"ARG UV_VERSION={own}\n" in (CHECKOUT / "Dockerfile").read_text()


@pytest.mark.parametrize(
    "name", [".github/workflows/ci.yml", ".github/dependabot.yml", ".pre-commit-config.yaml"]
)
def test_the_files_of_tools_are_read(name: str) -> None:
    """They are YAML, and call what there is."""
    [content] = load(name)
    assert content
    text = (CHECKOUT / name).read_text()
    for target in re.findall(r"make -s (\w+)", text):
        assert re.search(rf"^{target}:", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert ".ci/run" in text or name != ".github/workflows/ci.yml"
