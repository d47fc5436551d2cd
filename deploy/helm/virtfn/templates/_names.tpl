{{- define "virtfn.name" -}}
{{ .Values.nameOverride | default "sriov-device-plugin" | trunc 54 | trimSuffix "-" }}
{{- end }}

{{- define "virtfn.fullname" -}}
{{ .Values.fullnameOverride | default (include "virtfn.name" .) | trunc 54 | trimSuffix "-" }}
{{- end }}

{{- define "virtfn.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "virtfn.fullname" .) }}
{{- end }}

{{- define "virtfn.selector" -}}
app.kubernetes.io/name: {{ include "virtfn.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "virtfn.labels" -}}
{{ include "virtfn.selector" . }}
{{ include "virtfn.otherLabels" . }}
{{- end }}

{{- /* Labels that all pods have, whichever DaemonSet they are of. */ -}}
{{- define "virtfn.pods" -}}
app.kubernetes.io/part-of: virtfn
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "virtfn.otherLabels" -}}
app.kubernetes.io/part-of: virtfn
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "virtfn.image" -}}
{{- if not .Values.image.repository -}}
{{- fail "Set image.repository to the name under which your nodes can pull the image, for example --set image.repository=registry.example.com/net/sriov-device-plugin." -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "virtfn.config" -}}
{{ .Values.config.existing | default .Values.config.name }}
{{- end }}

{{- /* Privileges of each container: those of root without capabilities. */ -}}
{{- define "virtfn.security" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The kubelet probes the node's address unless the probe names a host. */ -}}
{{- define "virtfn.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .root.Values.metrics.port }}
  {{- if eq .root.Values.metrics.host "127.0.0.1" }}
  host: 127.0.0.1
  {{- end }}
{{- with .timing }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The affinity of the values, and: nodes with a resource list of their own, or all others. A DaemonSet matches a node's name by matchFields, one value each. */ -}}
{{- define "virtfn.affinity" -}}
{{- $affinity := deepCopy .root.Values.affinity -}}
{{- $nodes := keys .root.Values.config.nodes | sortAlpha -}}
{{- if $nodes -}}
{{- $nodeAffinity := $affinity.nodeAffinity | default dict -}}
{{- $required := $nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution | default dict -}}
{{- $terms := list -}}
{{- range $term := $required.nodeSelectorTerms | default (list dict) -}}
{{- $fields := $term.matchFields | default list -}}
{{- if $.isNamed -}}
{{- range $nodes -}}
{{- $field := dict "key" "metadata.name" "operator" "In" "values" (list .) -}}
{{- $terms = append $terms (merge (dict "matchFields" (append $fields $field)) $term) -}}
{{- end -}}
{{- else -}}
{{- range $nodes -}}
{{- $fields = append $fields (dict "key" "metadata.name" "operator" "NotIn" "values" (list .)) -}}
{{- end -}}
{{- $terms = append $terms (merge (dict "matchFields" $fields) $term) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $nodeAffinity "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- $_ := set $affinity "nodeAffinity" $nodeAffinity -}}
{{- end -}}
{{- with $affinity -}}
{{ toYaml . }}
{{- end -}}
{{- end }}

{{- /* Settings that ServiceMonitor and PodMonitor share. honorLabels keeps the labels namespace, pod and container of the VFs' metrics, which name the pod that holds a VF. */ -}}
{{- define "virtfn.endpoint" -}}
port: metrics
interval: {{ .interval }}
honorLabels: true
relabelings:
  - action: replace
    sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: instance
  {{- with .relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "virtfn.reachable" -}}
{{- if eq .Values.metrics.host "127.0.0.1" }}
{{- fail "Set metrics.host to an address that Prometheus reaches, for example --set metrics.host=0.0.0.0: a ServiceMonitor or PodMonitor cannot scrape 127.0.0.1." }}
{{- end }}
{{- end }}
