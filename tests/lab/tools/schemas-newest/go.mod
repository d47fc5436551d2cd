module virtfn.example/tools/schemas-newest

go 1.24.0

require (
	github.com/openshift/api v3.9.0+incompatible
	github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring v0.95.2
	k8s.io/kubernetes v1.37.2
)
