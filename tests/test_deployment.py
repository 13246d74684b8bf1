"""The files for platforms say what the service knows, and what one of them says of another is true."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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


def test_compose_lets_the_app_the_service_and_browsers_find_each_other() -> None:
    """The app reads what it is told; each is told the other's address, as it is published or inside."""
    [compose] = load("compose.yaml")
    app, api = compose["services"]["app"], compose["services"]["api"]
    theirs, ours = app["environment"], api["environment"]
    code = [*(CHECKOUT / "example" / "app").rglob("*.ts*"), *(CHECKOUT / "example" / "lib").glob("*.ts")]
    read = set(re.findall(r"process\.env\.(\w+)", "".join(path.read_text() for path in code)))
    assert theirs.keys() <= read | {"BETTER_AUTH_URL", "BETTER_AUTH_SECRET"}  # which Better Auth reads itself
    published = [service["ports"][0].rpartition(":")[0].rpartition(":")[2] for service in (app, api)]
    assert [urlsplit(theirs[name]).port for name in ("BETTER_AUTH_URL", "TASKS_URL")] == list(
        map(int, published)
    )
    assert theirs["BETTER_AUTH_URL"] == ours["BETTER_AUTH_URL"] == ours["CORS_ORIGINS"]
    assert urlsplit(theirs["TASKS_URL_INSIDE"]).netloc == "api:8000"
    assert ours["AUTH_JWKS_URL"] == "http://app:3000/api/auth/jwks"
    assert theirs["DATABASE_URL"] == ours["DATABASE_URL"]


def test_the_apps_image_is_made_of_what_there_is() -> None:
    """Each COPY finds its source, and the file that says what is left out lets it in."""
    text = (CHECKOUT / "example" / "Dockerfile").read_text()
    kept = (CHECKOUT / "example" / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [
        name for line in re.findall(r"^COPY (?!--)(.*)", text, re.MULTILINE) for name in line.split()[:-1]
    ]
    assert sources
    for name in sources:
        assert (CHECKOUT / name).exists()
        assert f"!{name.partition('/')[0]}" in kept
        assert name not in kept


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
