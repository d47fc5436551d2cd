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

{{- /* What each container may do: nothing but what root may without capabilities. */ -}}
{{- define "virtfn.security" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* kubelet asks on the node's address unless it is told to ask on loopback. */ -}}
{{- define "virtfn.probe" -}}
{{- if eq .Values.metrics.host "127.0.0.1" }}
host: 127.0.0.1
{{- end }}
port: {{ .Values.metrics.port }}
{{- end }}
