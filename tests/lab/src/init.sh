#!/bin/busybox sh
# First process of the emulated node: mounts, modules, both PFs up with carrier, then the jobs of the run.
/bin/busybox --install -s /bin
if [ -e /lab/containers ] && [ -z "$VIRTFN_MOVED" ]; then
	# runc cannot pivot away from the initramfs itself: go on in a tmpfs.
	mkdir /new
	mount -t tmpfs -o size=80% root /new
	for path in /*; do
		[ "$path" = /new ] || cp -a "$path" /new/
	done
	exec env VIRTFN_MOVED=1 switch_root /new /init
fi
export PATH=/usr/sbin:/usr/bin:/bin HOME=/root
# The root of an initramfs may be written by anybody, which programs refuse that load plugins.
chmod 755 /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /run/netns /run/k8s.cni.cncf.io
mount -t devpts devpts /dev/pts
# As systemd does.
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
while read -r module; do
	insmod "/lib/modules/$module" || echo "init: $module does not load"
done < /lib/modules/order
ip=/usr/sbin/ip
$ip link set lo up
read -r ports < /lab/ports
for port in $ports; do
	address=$(printf '52:54:00:00:00:1%x' "$port")
	for attempt in $(seq 100); do
		for path in /sys/class/net/*; do
			[ "$(cat "$path/address")" = "$address" ] && [ -d "$path/device" ] && found=${path##*/}
		done
		[ -n "$found" ] && break
		usleep 100000
	done
	$ip link set "$found" down
	$ip link set "$found" name "pf$port"
	$ip link set "pf$port" up
	device=$(readlink -f "/sys/class/net/pf$port/device")
	export "VIRTFN_PF$port=${device##*/}"
	found=
done
for port in $ports; do
	for attempt in $(seq 100); do
		[ "$(cat "/sys/class/net/pf$port/carrier")" = 1 ] && break
		usleep 100000
	done
done
if [ -e /lab/containers ]; then
	mount -t ext4 /dev/vda /var/lib
	mount --make-rshared /
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	for path in /sys/class/net/*; do
		[ "$(cat "$path/address")" = 52:54:00:00:00:20 ] && found=${path##*/}
	done
	$ip link set "$found" up name up0
	$ip address add 10.0.2.15/24 dev up0
	$ip route add default via 10.0.2.2
	# A namespace or a device that goes waits for what would else take most of its time.
	echo 1 > /sys/kernel/rcu_expedited
	hostname node
fi
export VIRTFN_GUEST=1 VIRTFN_SRIOV_CNI=/opt/cni/bin/sriov VIRTFN_DEVICE_PLUGIN=/opt/virtfn/sriov-device-plugin RUST_BACKTRACE=0
job() { # NAME COMMAND...: a job that ended before the node lost its power is not run again
	name=$1
	shift
	grep -qsx "$name" /var/lib/jobs && return
	"$@" < /dev/null >&3
	code=$?
	echo "$name" >> /var/lib/jobs
	sync
	echo "::exit $name $code" >&3
}
if [ -e /lab/jobs ]; then
	exec 3> /dev/vport0p1
	echo "::ready $(cut -d' ' -f1 /proc/uptime)" >&3
	. /lab/jobs
else
	setsid cttyhack sh
fi
sync
poweroff -f
