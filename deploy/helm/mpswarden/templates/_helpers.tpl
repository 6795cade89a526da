{{/* Name of the release's objects. */}}
{{- define "mpswarden.name" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects the pods of a form: (list . "agent"). */}}
{{- define "mpswarden.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels of an object: (list . "agent"). */}}
{{- define "mpswarden.labels" -}}
{{ include "mpswarden.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end }}

{{- define "mpswarden.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "mpswarden.probes" -}}
startupProbe:
  httpGet: {path: /-/healthy, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  # The core loop's alone: a sick GPU ends no watchdog.
  httpGet: {path: /-/healthy, port: metrics}
  periodSeconds: 10
  failureThreshold: 3
{{- end }}

{{/* Environment of every container of the sidecar's pod: (list . "/mps/NAME"). */}}
{{- define "mpswarden.sidecarEnvironment" -}}
- {name: CUDA_MPS_PIPE_DIRECTORY, value: {{ index . 1 }}/pipe}
{{- with (index . 0).Values.sidecar.gpu.visibleDevices }}
- {name: NVIDIA_VISIBLE_DEVICES, value: {{ . | quote }}}
- {name: NVIDIA_DRIVER_CAPABILITIES, value: "compute,utility"}
{{- end }}
{{- end }}

{{/* Resources of a container of the sidecar's pod, with the pod's GPU where it is claimed: (list CLAIMED RESOURCES). */}}
{{- define "mpswarden.resources" -}}
{{- $gpu := ternary (dict "claims" (list (dict "name" "gpu"))) dict (not (empty (index . 0))) }}
{{- toYaml (merge (dict) $gpu (index . 1 | default dict)) }}
{{- end }}
