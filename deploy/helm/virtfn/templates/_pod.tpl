{{- /* One DaemonSet: `root` is the chart's scope, `suffix` ends the names of the DaemonSet, `isNamed` selects the nodes of config.nodes. */ -}}
{{- define "virtfn.daemonset" }}
{{- $isByName := or .isNamed .root.Values.config.byNodeName }}
{{- $suffix := .suffix }}
{{- $affinity := include "virtfn.affinity" . }}
{{- with .root }}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "virtfn.fullname" . }}{{ $suffix }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "virtfn.labels" . | nindent 4 }}
spec:
  revisionHistoryLimit: {{ .Values.revisionHistoryLimit }}
  selector:
    matchLabels:
      app.kubernetes.io/name: {{ include "virtfn.name" . }}{{ $suffix }}
      app.kubernetes.io/instance: {{ .Release.Name }}
  updateStrategy:
    type: {{ .Values.updateStrategy.type }}
    {{- if eq .Values.updateStrategy.type "RollingUpdate" }}
    rollingUpdate:
      # Two device plugins with the same resources must not run on one node.
      maxSurge: {{ .Values.updateStrategy.rollingUpdate.maxSurge }}
      maxUnavailable: {{ .Values.updateStrategy.rollingUpdate.maxUnavailable }}
    {{- end }}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {{ include "virtfn.name" . }}{{ $suffix }}
        app.kubernetes.io/instance: {{ .Release.Name }}
        {{- include "virtfn.otherLabels" . | nindent 8 }}
        {{- with .Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: sriov-device-plugin
        {{- with .Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      # /sys and the kernel's notices show the network devices of the process's own network namespace.
      hostNetwork: true
      dnsPolicy: Default
      enableServiceLinks: false
      serviceAccountName: {{ include "virtfn.serviceAccount" . }}
      automountServiceAccountToken: false
      {{- with .Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $affinity }}
      affinity:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        # The kubelet's directories and the plugins' directory belong to root.
        runAsUser: 0
        runAsGroup: 0
        seccompProfile:
          type: RuntimeDefault
      {{- if .Values.cni.install }}
      initContainers:
        - name: install-cni
          image: {{ include "virtfn.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command: [/usr/bin/sriov, install]
          args: [--no-sleep]
          securityContext:
            {{- include "virtfn.security" . | nindent 12 }}
              {{- with .Values.cni.capabilities }}
              add: {{ toJson . }}
              {{- end }}
            {{- with .Values.cni.seLinuxOptions }}
            seLinuxOptions:
              {{- toYaml . | nindent 14 }}
            {{- end }}
          resources:
            {{- toYaml .Values.cni.resources | nindent 12 }}
          volumeMounts:
            - name: cni-bin
              mountPath: /host/opt/cni/bin
            # The Go CNI plugin makes it with mode 0600, which the device plugin could not enter.
            - name: cni-state
              mountPath: /var/lib/cni/sriov
      {{- end }}
      containers:
        - name: sriov-device-plugin
          image: {{ include "virtfn.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            - --config-file=/etc/pcidp/{{ ternary "$(NODE_NAME)" "config.json" $isByName }}
            - --metrics-address={{ .Values.metrics.host }}:{{ .Values.metrics.port }}
            {{- if not .Values.metrics.exporterNames }}
            - --exporter-metrics=false
            {{- end }}
            {{- with .Values.devicePlugin.resourcePrefix }}
            - --resource-prefix={{ . }}
            {{- end }}
            {{- if ne .Values.devicePlugin.logLevel "info" }}
            - --log-level={{ .Values.devicePlugin.logLevel }}
            {{- end }}
            {{- if ne .Values.devicePlugin.registration "auto" }}
            - --registration={{ .Values.devicePlugin.registration }}
            {{- end }}
            {{- if ne .Values.kubeletDir "/var/lib/kubelet" }}
            - --kubelet-dir={{ .Values.kubeletDir }}
            {{- end }}
            {{- if .Values.devicePlugin.useCdi }}
            - --use-cdi
            {{- end }}
            {{- with .Values.devicePlugin.extraArgs }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- if or $isByName .Values.devicePlugin.extraEnv }}
          env:
            {{- if $isByName }}
            - name: NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
            {{- end }}
            {{- with .Values.devicePlugin.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- end }}
          securityContext:
            {{- include "virtfn.security" . | nindent 12 }}
            {{- with .Values.devicePlugin.seLinuxOptions }}
            seLinuxOptions:
              {{- toYaml . | nindent 14 }}
            {{- end }}
          {{- if ne .Values.metrics.host "127.0.0.1" }}
          ports:
            - name: metrics
              containerPort: {{ .Values.metrics.port }}
          {{- end }}
          startupProbe:
            {{- include "virtfn.probe" (dict "root" . "path" "/healthz" "timing" .Values.devicePlugin.startupProbe) | nindent 12 }}
          livenessProbe:
            {{- include "virtfn.probe" (dict "root" . "path" "/healthz" "timing" .Values.devicePlugin.livenessProbe) | nindent 12 }}
          readinessProbe:
            {{- include "virtfn.probe" (dict "root" . "path" "/readyz" "timing" .Values.devicePlugin.readinessProbe) | nindent 12 }}
          resources:
            {{- toYaml .Values.devicePlugin.resources | nindent 12 }}
          volumeMounts:
            - name: config
              mountPath: /etc/pcidp
              readOnly: true
            {{- if eq .Values.devicePlugin.registration "watcher" }}
            - name: plugins-registry
              mountPath: {{ .Values.kubeletDir }}/plugins_registry
            {{- else }}
            - name: device-plugins
              mountPath: {{ .Values.kubeletDir }}/device-plugins
            {{- end }}
            - name: pod-resources
              mountPath: {{ .Values.kubeletDir }}/pod-resources
              readOnly: true
            - name: device-info
              mountPath: /var/run/k8s.cni.cncf.io/devinfo/dp
            - name: cni-state
              mountPath: /var/lib/cni/sriov
              readOnly: true
            {{- if .Values.devicePlugin.useCdi }}
            - name: cdi
              mountPath: /var/run/cdi
            {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ include "virtfn.config" . }}
        {{- if eq .Values.devicePlugin.registration "watcher" }}
        - name: plugins-registry
          hostPath:
            path: {{ .Values.kubeletDir }}/plugins_registry
            type: Directory
        {{- else }}
        - name: device-plugins
          hostPath:
            path: {{ .Values.kubeletDir }}/device-plugins
            type: Directory
        {{- end }}
        - name: pod-resources
          hostPath:
            path: {{ .Values.kubeletDir }}/pod-resources
            type: Directory
        - name: device-info
          hostPath:
            path: /var/run/k8s.cni.cncf.io/devinfo/dp
            type: DirectoryOrCreate
        - name: cni-state
          hostPath:
            path: {{ .Values.cni.stateDir }}
            type: DirectoryOrCreate
        {{- if .Values.cni.install }}
        - name: cni-bin
          hostPath:
            path: {{ .Values.cni.binDir }}
            type: DirectoryOrCreate
        {{- end }}
        {{- if .Values.devicePlugin.useCdi }}
        - name: cdi
          hostPath:
            path: {{ .Values.devicePlugin.cdiDir }}
            type: DirectoryOrCreate
        {{- end }}
{{- end }}
{{- end }}
