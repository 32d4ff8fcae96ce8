"""What docs/serving.md gives to copy."""

import re
from pathlib import Path

import yaml

from serving.triton import health

GUIDE = Path("docs/serving.md").read_text(encoding="utf-8")


def test_the_manifest_is_of_kubernetes() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    service, servers = yaml.safe_load_all(text)
    assert [(each["apiVersion"], each["kind"]) for each in (service, servers)] == [
        ("v1", "Service"),
        ("apps/v1", "StatefulSet"),
    ]
    pod = servers["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert service["spec"]["selector"] == servers["spec"]["selector"]["matchLabels"] == labels
    assert service["metadata"]["name"] == servers["spec"]["serviceName"]
    (container,) = pod["spec"]["containers"]
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]}.items() <= named.items()
    assert container["startupProbe"]["httpGet"]["port"] == container["readinessProbe"]["httpGet"]["port"] == "http"
    (timeout,) = (int(word.split("=")[1]) for word in container["command"] if word.startswith("--exit-timeout-secs="))
    assert pod["spec"]["terminationGracePeriodSeconds"] > timeout
    _, _, module, *words = container["livenessProbe"]["exec"]["command"]
    assert module == health.__name__
    assert health.parse_args(words).model
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["spec"]["volumes"]}
