"""Holds deploy/compose.yaml to the Compose specification, and to the files and programs that it names."""

from pathlib import Path

import compose_spec
import yaml

text = Path("deploy/compose.yaml").read_text()
compose = yaml.safe_load(text)
services = compose["services"]
gateway = services["featherwire"]


def check(what, is_true):
    """`run` counts these lines."""
    print(f"ok compose: {what}" if is_true else f"not ok compose: {what}", flush=True)


def is_valid(text):
    try:
        compose_spec.PyOptions(apply_merge=True).from_yaml(text).validate()
    except ValueError as error:
        print(f"# {error}")
        return False
    return True


check("the file is valid by the specification", is_valid(text))
check("an unknown member is not", not is_valid(text.replace("read_only:", "readonly:")))
check(
    "a secret that is not declared is not",
    not is_valid(text.replace("secrets: [grafana-password]", "secrets: [other]")),
)

mounts = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", [])]
check(
    "every mounted file is in deploy/, and every volume is declared",
    all(
        (Path("deploy") / mount).exists() if mount.startswith("./") else mount in compose["volumes"] for mount in mounts
    ),
)
check("every image has a version", all(":" in service["image"].rsplit("/", 1)[-1] for service in services.values()))
secrets = {
    value.removeprefix("/run/secrets/"): name
    for name, service in services.items()
    for variable, value in service.get("environment", {}).items()
    if variable.endswith("_FILE")
}
check(
    "the files of secrets are those of the services' secrets",
    secrets.keys() == compose["secrets"].keys()
    and all(secret in services[name]["secrets"] for secret, name in secrets.items()),
)
check("no secret is a value", all(secret["file"].startswith("secrets/") for secret in compose["secrets"].values()))
paths = {str(Path("deploy") / secret["file"]).rsplit("/", 1)[0] for secret in compose["secrets"].values()}
paths |= {f"deploy/{file['path']}" for file in gateway["env_file"]} | {"**/.env"}
ignored = Path(".dockerignore").read_text().splitlines()
check("no secret gets into an image that an engine builds", paths <= set(ignored))
check("the gateway is read-only and has no privilege", gateway["read_only"] and gateway["cap_drop"] == ["ALL"])
check("the grace period is longer than the drain", int(gateway["stop_grace_period"].removesuffix("s")) > 30)
admin = gateway["environment"]["FEATHERWIRE_ADMIN_LISTEN"].rsplit(":", 1)[1]
check("the port of the administration is not published", not any(admin in port for port in gateway["ports"]))
others = [port for name, service in services.items() if name != "featherwire" for port in service.get("ports", [])]
check("other ports are for this machine only", bool(others) and all(port.startswith("127.0.0.1:") for port in others))
check(
    "a network of a published port is not internal",
    all(
        any(not compose["networks"][network].get("internal") for network in service["networks"])
        for service in services.values()
        if "ports" in service
    ),
)
check("the gateway has a limit of memory", "mem_limit" in gateway)
prometheus = yaml.safe_load(Path("deploy/prometheus/prometheus.yml").read_text())
[job] = prometheus["scrape_configs"]
check("Prometheus scrapes that port", job["static_configs"] == [{"targets": [f"featherwire:{admin}"]}])
[source] = yaml.safe_load(Path("deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
check("Grafana asks Prometheus", source["url"] == "http://prometheus:9090")
[provider] = yaml.safe_load(Path("deploy/grafana/provisioning/dashboards/featherwire.yaml").read_text())["providers"]
check(
    "Grafana finds the dashboard",
    any(mount.split(":")[1].startswith(provider["options"]["path"] + "/") for mount in services["grafana"]["volumes"]),
)
