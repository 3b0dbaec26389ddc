"""What renderings of the chart must have: `helm_facts.py FOLDER PROGRAM`, with the renderings of ci/ in the folder."""

import subprocess
import sys
from pathlib import Path

import yaml

folder, program = Path(sys.argv[1]), sys.argv[2]
renderings = {
    name: {
        (one["kind"], one["metadata"]["name"]): one
        for one in yaml.safe_load_all((folder / f"{name}.yaml").read_text())
        if one
    }
    for name in ["trial", "one", "many"]
}


def kinds(name):
    return [kind for kind, _ in renderings[name]]


def one(name, kind, suffix=""):
    return renderings[name][kind, f"release-featherwire{suffix}"]


def pod(name):
    return one(name, "Deployment")["spec"]["template"]["spec"]


def container(name):
    [container] = pod(name)["containers"]
    return container


def variables(name):
    return {variable["name"]: variable["value"] for variable in container(name)["env"]}


def check(what, is_true):
    """`run` counts these lines."""
    print(f"ok helm: {what}" if is_true else f"not ok helm: {what}", flush=True)


for name in renderings:
    spec, box = pod(name), container(name)
    drain = int(variables(name)["FEATHERWIRE_DRAIN_TIMEOUT"].removesuffix("s"))
    pause = box["lifecycle"]["preStop"]["sleep"]["seconds"]
    check(
        f"{name}: the grace period is longer than the pause and the drain",
        spec["terminationGracePeriodSeconds"] > drain + pause,
    )
    security = spec["securityContext"] | box["securityContext"]
    check(
        f"{name}: the restricted standard of pod security",
        security["runAsNonRoot"]
        and security["runAsUser"] == 65532
        and security["readOnlyRootFilesystem"]
        and not security["allowPrivilegeEscalation"]
        and security["capabilities"] == {"drop": ["ALL"]}
        and security["seccompProfile"] == {"type": "RuntimeDefault"}
        and spec["automountServiceAccountToken"] is False,
    )
    secrets = {"FEATHERLESS_API_KEY", "FEATHERWIRE_API_KEYS", "FEATHERWIRE_DATABASE_URL"}
    check(f"{name}: no secret is a variable", not secrets & variables(name).keys())
    mounted = {mount["name"] for mount in box["volumeMounts"]}
    check(f"{name}: every volume is mounted", mounted == {volume["name"] for volume in spec["volumes"]})
    files = [value for variable, value in variables(name).items() if variable.endswith("_FILE")]
    paths = [
        f"/run/secrets/featherwire/{item['path']}"
        for volume in spec["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    ]
    check(f"{name}: the files of secrets are those that the variables name", sorted(files) == sorted(paths))

check(
    "the port for gRPC tells proxies its protocol, with and without TLS, and as the values say",
    [
        port["appProtocol"]
        for name in renderings
        for port in one(name, "Service")["spec"]["ports"]
        if port["name"] == "grpc"
    ]
    == ["kubernetes.io/h2c", "grpc", "https"],
)
labels = one("trial", "Pod", "-health")["metadata"]["labels"]
check(
    "trial: the pod of `helm test` is no endpoint of the service",
    not one("trial", "Service")["spec"]["selector"].items() <= labels.items(),
)
check(
    "trial: one gateway is replaced before the next one starts",
    one("trial", "Deployment")["spec"]["strategy"]["type"] == "Recreate",
)
check(
    "trial: it has no budget of disruptions, no scaling and no monitor",
    not {"PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor"} & set(kinds("trial")),
)
check(
    "one: the monitor sends a key",
    one("one", "ServiceMonitor")["spec"]["endpoints"][0]["authorization"]["credentials"]["name"]
    == "featherwire-viewer",
)
text = Path("deploy/prometheus/alerts.yaml").read_text()
for name, service, base, patience in [
    ("one", "release-featherwire", "https://featherwire.example/", "120s"),
    ("many", "release-featherwire-admin", "https://runbooks.example/gateway/", "365s"),
]:
    series = f'namespace="apps", job="{service}"'
    alerts = yaml.safe_load(text.replace("https://featherwire.example/", base))
    for rule in alerts["groups"][0]["rules"]:
        rule["expr"] = rule["expr"].replace('job=~".*featherwire.*"', series)
        if rule["alert"] == "FeatherwireGone":
            rule["expr"] = f"absent(featherwire_build_info{{{series}}})"
        if rule["alert"] == "FeatherwireNotReady":
            rule["for"] = patience
    check(f"{name}: the alerts are those of deploy/prometheus", one(name, "PrometheusRule")["spec"] == alerts)
    check(f"{name}: the monitor gives the series that job", ("Service", service) in renderings[name])
check(
    "one: the configuration file is mounted where the variable says",
    variables("one")["FEATHERWIRE_CONFIG"] == "/etc/featherwire/featherwire.toml"
    and "featherwire.toml" in one("one", "ConfigMap")["data"],
)
for name in renderings:
    if "ConfigMap" in kinds(name):
        file = folder / f"{name}.toml"
        file.write_text(one(name, "ConfigMap")["data"]["featherwire.toml"])
        command = [program, "config", "check", "--config", file]
        found = subprocess.run(command, env={"FEATHERWIRE_DATA_DIR": "/data"}, capture_output=True)
        check(f"{name}: the program accepts the configuration file", found.returncode == 0)
probes = [container("many")[f"{name}Probe"]["httpGet"] for name in ["startup", "liveness", "readiness"]]
check(
    "many: probes use TLS at the listener that needs no client certificate",
    all(probe["port"] == "admin" and probe["scheme"] == "HTTPS" for probe in probes)
    and "FEATHERWIRE_ADMIN_TLS_CERT" in variables("many"),
)
check("many: the deployment does not fight with the scaling", "replicas" not in one("many", "Deployment")["spec"])
check(
    "many: the monitor selects the service of the administration",
    one("many", "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    <= one("many", "Service", "-admin")["metadata"]["labels"].items(),
)
check("many: no volume for keys that are in PostgreSQL", "PersistentVolumeClaim" not in kinds("many"))
