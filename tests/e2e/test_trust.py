"""``enarx trust`` of a Keep that serves, as a tenant runs it, and of the bundle that he keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import workloads
from tests.e2e.attested import Tenant, serving, tenant
from tests.e2e.command import enarx


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tenant, str]]:
    echo, text = workloads.example("echo"), workloads.example_config("echo")
    with ExitStack() as stack:
        ours = stack.enter_context(tenant(tmp_path_factory.mktemp("trusted"), echo.read_bytes(), configured=text))
        port = stack.enter_context(serving(ours, echo, text)).port
        yield ours, f"https://localhost:{port}"


def trust(ours: Tenant, *arguments: str | Path, status: int = 0) -> dict[str, Any]:
    done = enarx("trust", *arguments, "--json", cwd=ours.home)
    assert done.returncode == status, done.stderr.decode()
    (stack,) = json.loads(done.stdout)["stacks"]
    found: dict[str, Any] = stack
    return found


def test_a_keep_that_serves_is_shown_with_fresh_evidence(served: tuple[Tenant, str]) -> None:
    ours, url = served
    stack = trust(ours, url, "--policy", ours.directory / "steward.toml", "--ca", ours.ca, "--fresh")
    assert (stack["verdict"], stack["kind"], stack["simulated"]) == ("accepted", "keep-simulated", True)
    assert {row["status"] for row in stack["layers"]} == {"assumed", "absent"}
    middleware = next(row for row in stack["layers"] if row["id"] == "middleware")
    measured = enarx("simulator", "measure", cwd=ours.home).stdout.decode().strip()
    assert {"name": "MEASUREMENT", "label": "MEASUREMENT", "value": measured, "source": "simulated"} in (
        middleware["evidence"]
    )
    assert {"measurement", "session-binding"} <= set(middleware["checks"])


def test_components_of_the_keep_come_from_the_packages_bill_of_materials(served: tuple[Tenant, str]) -> None:
    ours, url = served
    (ours.home / "app").mkdir(exist_ok=True)
    (ours.home / "app" / "main.wasm").write_bytes(workloads.example("echo").read_bytes())
    (ours.home / "app" / "Enarx.toml").write_text('[[files]]\nkind = "stdout"\n')
    assert enarx("package", "build", "app", "-o", "app.package", cwd=ours.home).returncode == 0
    (ours.home / "sbom.json").write_bytes(enarx("package", "sbom", "app.package", cwd=ours.home).stdout)
    stack = trust(ours, url, "--policy", ours.directory / "steward.toml", "--ca", ours.ca, "--sbom", "sbom.json")
    versions = {row["id"]: {fact["name"]: fact["value"] for fact in row["versions"]} for row in stack["layers"]}
    assert "sha256:" in versions["middleware"]["enarx"]
    assert "sha256:" in versions["application"]["main.wasm"]
    assert "CPython" in versions["userland"]


def test_a_bundle_shows_the_same_stack_without_the_keep(served: tuple[Tenant, str]) -> None:
    ours, url = served
    policy = ours.home / "client.toml"
    text = (ours.directory / "steward.toml").read_text()
    kept = [table for table in text.split("\n[") if not table.startswith(("[secret", "service", "certificate"))]
    policy.write_text("\n[".join(kept).replace('"../root.pem"', '"root.pem"'))
    done = enarx("bundle", "save", url, "-o", "keep.bundle", "--policy", policy, "--ca", ours.ca, cwd=ours.home)
    assert done.returncode == 0, done.stderr.decode()
    stack = trust(ours, "--bundle", "keep.bundle")
    assert (stack["verdict"], stack["kind"]) == ("accepted", "keep-simulated")
    assert trust(ours, "--bundle", "keep.bundle", "--policy", policy)["verdict"] == "accepted"


def test_a_page_of_a_keep_that_serves_is_written(served: tuple[Tenant, str]) -> None:
    ours, url = served
    options = ("--policy", ours.directory / "steward.toml", "--ca", ours.ca, "--compare", "vm,container,keep")
    done = enarx("trust", url, *options, "--html", "stack.html", "--svg", "stack.svg", cwd=ours.home)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    text = (ours.home / "stack.html").read_text()
    assert "SIMULATED" in text
    assert "Cloud virtual machine" in text
    assert "SIMULATED" in (ours.home / "stack.svg").read_text()
