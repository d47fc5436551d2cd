module virtfn.example/tools/peer-cni

go 1.24.2

tool github.com/intel/sriov-cni/cmd/sriov

// The plugin imports itself by the name of its former home.
replace github.com/intel/sriov-cni => github.com/k8snetworkplumbingwg/sriov-cni v2.1.0+incompatible

require (
	github.com/containernetworking/cni v0.6.0 // indirect
	github.com/containernetworking/plugins v0.7.4 // indirect
	github.com/coreos/go-iptables v0.4.2 // indirect
	github.com/intel/sriov-cni v2.1.0+incompatible // indirect
	github.com/vishvananda/netlink v0.0.0-20181108222139-023a6dafdcdf // indirect
	github.com/vishvananda/netns v0.0.0-20180720170159-13995c7128cc // indirect
	golang.org/x/sys v0.0.0-20190616124812-15dcb6c0061f // indirect
)
