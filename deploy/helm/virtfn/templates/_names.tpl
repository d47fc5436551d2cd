{{- define "virtfn.name" -}}
sriov-device-plugin
{{- end }}

{{- define "virtfn.selector" -}}
app.kubernetes.io/name: {{ include "virtfn.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "virtfn.labels" -}}
{{ include "virtfn.selector" . }}
app.kubernetes.io/part-of: virtfn
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "virtfn.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "virtfn.config" -}}
{{ .Values.config.existing | default "sriovdp-config" }}
{{- end }}

{{- /* Security context of each container: root without capabilities. */ -}}
{{- define "virtfn.security" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The kubelet probes the node's address by default; `host` makes it probe loopback. */ -}}
{{- define "virtfn.probe" -}}
{{- if eq .Values.metrics.host "127.0.0.1" }}
host: 127.0.0.1
{{- end }}
port: {{ .Values.metrics.port }}
{{- end }}
