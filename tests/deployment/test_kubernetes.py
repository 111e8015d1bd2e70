"""The Kubernetes documents: valid by Kubernetes' own schema, and true to the image and the service."""

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_documents import KUBERNETES, documents, kustomization

from service.settings import PREFIX, Settings

SCHEMA_VERSION = "1.33"
OVERLAYS = ["base", "gpu", "kserve"]
BASE = documents("base")
POD = BASE["deployment.yaml"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


def containers() -> dict[str, dict[str, Any]]:
    return {
        "deployment": CONTAINER,
        "gpu": documents("gpu")["deployment.yaml"]["spec"]["template"]["spec"]["containers"][0],
        "kserve": documents("kserve")["serving-runtime.yaml"]["spec"]["containers"][0],
    }


def validate(document: dict[str, Any]) -> None:
    """Raise when a document has a key that Kubernetes' own schema does not know, lacks one, or mistypes it."""
    kubernetes_validate.validate(document, SCHEMA_VERSION, strict=True)


@pytest.mark.parametrize("name", BASE)
def test_kubernetes_own_schema_accepts_every_document(name: str) -> None:
    validate(BASE[name])


def test_the_schema_refuses_what_it_does_not_know() -> None:
    wrong = copy.deepcopy(BASE["deployment.yaml"])
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(Exception, match="readynessProbe"):
        validate(wrong)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_kustomization_names_every_document_of_its_folder(overlay: str) -> None:
    written = kustomization(overlay)
    named = [*written["resources"], *(patch["path"] for patch in written.get("patches", ()))]
    assert {name for name in named if not name.startswith("..")} == set(documents(overlay))
    assert all((KUBERNETES / overlay / name).exists() for name in named)


@pytest.mark.parametrize("where", containers())
def test_every_setting_that_a_document_gives_is_one_of_the_service(where: str) -> None:
    given = {
        variable["name"].removeprefix(PREFIX).lower(): variable["value"] for variable in containers()[where]["env"]
    }
    Settings(**given)


def test_probes_ask_what_they_are_for() -> None:
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    for probe in ("startupProbe", "readinessProbe"):
        assert CONTAINER[probe]["httpGet"]["path"] == "/v2/health/ready"


def test_the_pod_outlives_the_drain_and_the_grace_period_of_the_service() -> None:
    given = {
        variable["name"]: float(variable["value"]) for variable in CONTAINER["env"] if "SECONDS" in variable["name"]
    }
    needed = given[f"{PREFIX}DRAIN_SECONDS"] + given[f"{PREFIX}GRACE_SECONDS"]
    assert POD["terminationGracePeriodSeconds"] > needed


def test_pods_are_as_confined_as_the_compose_services() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["runAsUser"] == 10001
    for container in (CONTAINER, containers()["kserve"]):
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"]
        assert confined["capabilities"] == {"drop": ["ALL"]}
        assert not confined["allowPrivilegeEscalation"]


def test_selectors_find_the_pods() -> None:
    labels = BASE["deployment.yaml"]["spec"]["template"]["metadata"]["labels"]
    selectors = (
        BASE["deployment.yaml"]["spec"]["selector"]["matchLabels"],
        BASE["service.yaml"]["spec"]["selector"],
        BASE["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
        BASE["network-policy.yaml"]["spec"]["podSelector"]["matchLabels"],
    )
    for selector in selectors:
        assert selector.items() <= labels.items()


def test_the_gpu_overlay_reserves_a_gpu_and_refuses_to_run_without_one() -> None:
    container = containers()["gpu"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": f"{PREFIX}DEVICE", "value": "cuda"} in container["env"]


def test_documents_hold_no_address_of_a_registry() -> None:
    for path in Path(KUBERNETES).rglob("*.yaml"):
        for line in path.read_text().splitlines():
            assert not line.strip().startswith("newName:") or "/" not in line, path
