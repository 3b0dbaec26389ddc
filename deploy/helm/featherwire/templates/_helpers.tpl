{{- define "featherwire.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "featherwire.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "featherwire.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "featherwire.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "featherwire.adminName" -}}
{{- printf "%s-admin" (include "featherwire.fullname" . | trunc 57 | trimSuffix "-") }}
{{- end }}

{{- define "featherwire.selectorLabels" -}}
app.kubernetes.io/name: {{ include "featherwire.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "featherwire.labels" -}}
{{ include "featherwire.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "featherwire.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{/* The port for probes and /metrics. */}}
{{- define "featherwire.probePort" -}}
{{ ternary "admin" "http" .Values.admin.enabled }}
{{- end }}

{{- define "featherwire.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ include "featherwire.probePort" .root }}
  scheme: {{ ternary "HTTPS" "HTTP" (ne .root.Values.tls.existingSecret "") }}
{{- end }}

{{/* The values that do not go together. */}}
{{- define "featherwire.check" -}}
{{- if and (not .Values.emulator) (not .Values.featherless.existingSecret) }}
{{- fail "featherless.existingSecret is not set: make a secret with the key of your Featherless account, or set emulator=true for a trial" }}
{{- end }}
{{- if and (not .Values.gatewayKeys.existingSecret) (not .Values.gatewayKeys.inDatabase) }}
{{- fail "gatewayKeys.existingSecret is not set: make a secret with keys for callers, or set gatewayKeys.inDatabase=true if the database has some" }}
{{- end }}
{{- $replicas := ternary (int .Values.autoscaling.maxReplicas) (int .Values.replicaCount) .Values.autoscaling.enabled }}
{{- if and (gt $replicas 1) (not .Values.database.existingSecret) }}
{{- fail "several gateways need PostgreSQL: set database.existingSecret, or replicaCount=1 without autoscaling" }}
{{- end }}
{{- if and .Values.tls.clientCaSecret (not .Values.tls.existingSecret) }}
{{- fail "tls.clientCaSecret needs tls.existingSecret" }}
{{- end }}
{{- if and .Values.tls.clientCaSecret (not .Values.tls.clientCertOptional) (not .Values.admin.enabled) }}
{{- fail "probes have no client certificate: with tls.clientCaSecret set admin.enabled=true, or tls.clientCertOptional=true" }}
{{- end }}
{{- if and .Values.tls.existingSecret (eq .Values.service.grpcAppProtocol "kubernetes.io/h2c") }}
{{- fail "kubernetes.io/h2c is HTTP/2 without TLS: with tls.existingSecret unset service.grpcAppProtocol, or set what your proxy knows" }}
{{- end }}
{{- if and .Values.admin.enabled (eq (int .Values.admin.port) 8000) }}
{{- fail "callers are served at port 8000 of the pod: set admin.port to another one" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.admin.enabled) (not .Values.metrics.serviceMonitor.keySecret) }}
{{- fail "/metrics needs an admin key: set metrics.serviceMonitor.keySecret, or admin.enabled=true" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.cpu) (not .Values.autoscaling.queueWaitSeconds) }}
{{- fail "autoscaling has no metric: set autoscaling.cpu or autoscaling.queueWaitSeconds" }}
{{- end }}
{{- end }}
