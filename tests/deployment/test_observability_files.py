"""The dashboard, the alerts and the balancer: what they ask for is what the service has."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import yaml
from service_process import ServiceProcess

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_METRIC = re.compile(r"\blatent_codes_[a-z_]+")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "latent-codes.json").read_text())
    return found


def asked_for() -> set[str]:
    """Names of metrics in the expressions of the dashboard, the alerts and the autoscaler."""
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    alerts = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    expressions += [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    scaler = yaml.safe_load((DEPLOY / "kubernetes" / "base" / "autoscaler.yaml").read_text())
    expressions += [metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]]
    return {name for expression in expressions for name in _METRIC.findall(expression)}


def test_every_metric_that_is_asked_for_is_one_of_the_service(running_service: ServiceProcess) -> None:
    exposed = httpx.get(f"{running_service.url}/metrics").text
    families = dict(re.findall(r"^# TYPE (latent_codes_\w+) (\w+)$", exposed, flags=re.MULTILINE))
    offered = set(families)
    for name, kind in families.items():
        if kind == "histogram":
            offered |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    assert len(asked_for()) > 10
    assert asked_for() <= offered


def test_panels_do_not_overlap_and_ask_the_provisioned_source() -> None:
    sources = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    taken = set()
    for panel in dashboard()["panels"]:
        assert panel["datasource"]["uid"] == sources["datasources"][0]["uid"]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_compose_mounts_every_file_that_the_programs_are_told_to_read() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service in ("balancer", "prometheus", "grafana"):
        for mount in services[service]["volumes"]:
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), mount


def test_the_balancer_looks_for_the_replicas_under_the_name_that_compose_gives_them() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    configuration = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    (template,) = re.findall(r"server-template replica (\d+) ([\w-]+):8000", configuration)
    assert template[1] in services
    assert "/v2/health/ready" in configuration
