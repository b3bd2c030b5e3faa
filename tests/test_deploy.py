"""The files of deploy/: valid, and about this service as it is."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tieshare_service.access import INFERENCE, control_group
from tieshare_service.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE, CLUSTER = DEPLOY / "compose.yaml", DEPLOY / "compose.cluster.yaml"
RESOURCES = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "tieshare.yaml").read_text()))
PODS = {
    item["metadata"]["name"]: item["spec"]["template"]["spec"]
    for item in RESOURCES
    if item["kind"] == "Deployment"
}
PORTS = {
    ("api", "http"): Settings().port,
    ("inference", "http"): Settings().inference_port,
    ("inference", "grpc"): Settings().inference_grpc_port,
}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda item: item["kind"])
def test_kubernetes_takes_every_resource(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", [COMPOSE, CLUSTER], ids=lambda path: path.name)
def test_compose_takes_its_files(path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_cluster_changes_roles_that_are_there_and_its_engine_is_ray() -> None:
    alone, cluster = (yaml.safe_load(path.read_text())["services"] for path in (COMPOSE, CLUSTER))
    assert set(cluster) - set(alone) == {"objects", "node"}
    assert cluster["worker"]["command"][-1].endswith("exec tieshare worker --engine ray")
    extras = cluster["node"]["build"]["args"]["EXTRAS"].split(",")
    known = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    assert {"ray", "objects", "postgresql"} < set(extras) <= set(known["optional-dependencies"])


def test_every_variable_is_a_setting() -> None:
    known = {PREFIX + item.name.upper() for item in fields(Settings)}
    assert {name for name in _variables() if name.startswith(PREFIX)} <= known


def test_every_role_has_its_command() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    commands = {name: one["command"] for name, one in services.items() if name != "database"}
    commands |= {
        one["containers"][0]["name"]: one["containers"][0]["command"] for one in PODS.values()
    }
    assert commands == {role: ["tieshare", role] for role in ("api", "worker", "inference")}


def test_ports_are_those_that_the_roles_listen_on() -> None:
    found = {}
    for pod in PODS.values():
        (container,) = pod["containers"]
        for port in container.get("ports", ()):
            found[container["name"], port["name"]] = port["containerPort"]
    assert found == PORTS


def test_probes_ask_what_needs_no_key() -> None:
    for pod in PODS.values():
        (container,) = pod["containers"]
        for probe in ("livenessProbe", "readinessProbe"):
            if probe in container:
                path = container[probe]["httpGet"]["path"]
                group = INFERENCE[path] if container["name"] == "inference" else control_group(path)
                assert group == "open"


def _variables() -> Iterator[str]:
    for path in (COMPOSE, CLUSTER):
        for service in yaml.safe_load(path.read_text())["services"].values():
            yield from service["environment"]
    for resource in RESOURCES:
        if resource["kind"] == "ConfigMap":
            yield from resource["data"]
    for pod in PODS.values():
        yield from (item["name"] for item in pod["containers"][0]["env"])
