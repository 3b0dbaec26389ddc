# The Helm chart: linted, rendered with the values of ci/ and validated against Kubernetes' schemas, and what a rendering must have.

chart=deploy/helm/featherwire
for values in "$chart"/ci/*.yaml; do
  name=$(basename "$values" .yaml)
  succeeds "helm: lint with $name" helm lint --strict --quiet "$chart" --values "$values"
  helm template release "$chart" --values "$values" --namespace apps >"$work/$name.yaml" 2>"$work/helm.err" ||
    cat "$work/helm.err" >&2
  # The oldest version that the chart is for, and the newest that the schemas have.
  for version in 1.30 1.37; do
    succeeds "helm: $name is valid for Kubernetes $version" kubernetes-validate --strict --quiet --no-warn \
      --kubernetes-version "$version" "$work/$name.yaml"
  done
done
succeeds "helm: a package of it can be made" helm package "$chart" --destination "$work/package"
expect "helm: the package has the alerts" "FeatherwireDown" \
  tar --to-stdout --extract --gzip --file "$work/package/featherwire-0.1.0.tgz" featherwire/files/alerts.yaml
needs_program
suite helm python3 "$here/helm_facts.py" "$work" "$program"

refused() {
  fails "helm: $1" "$2" helm template release "$chart" "${@:3}"
}
with=(--values "$chart/ci/one.yaml")
refused "without a key of Featherless" "featherless.existingSecret is not set"
refused "without keys for callers" "gatewayKeys.existingSecret is not set" "${with[@]}" --set gatewayKeys.existingSecret=
refused "several gateways on SQLite" "need PostgreSQL" "${with[@]}" --set replicaCount=2
refused "client certificates that probes do not have" "admin.enabled=true" "${with[@]}" --set tls.existingSecret=a \
  --set tls.clientCaSecret=b
refused "a protocol without TLS for a port with TLS" "is HTTP/2 without TLS" "${with[@]}" --set tls.existingSecret=a \
  --set service.grpcAppProtocol=kubernetes.io/h2c
refused "an administration at the port for callers" "set admin.port" "${with[@]}" --set admin.enabled=true --set admin.port=8000
refused "a monitor without a key" "keySecret" "${with[@]}" --set metrics.serviceMonitor.keySecret=
refused "a misspelt value" "additional properties 'replicas' not allowed" "${with[@]}" --set replicas=2
