#!/bin/sh
# First process of the guest: what a system of Debian's would have set up for a login over SSH, and no more.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /dev/pts /dev/shm /run/sshd
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
ln -sf /proc/self/fd /dev/fd
hostname edge-device
# An NVMe disk brings a true sensor of temperature along.
modprobe -a virtio_net nvme 2>/dev/null
ip link set lo up
tries=0
while card=$(ls /sys/class/net | grep -v '^lo$' | head -1) && [ -z "$card" ] && [ "$tries" -lt 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
ip link set "$card" up
ip addr add 10.0.2.15/24 dev "$card"
ip route add default via 10.0.2.2
/usr/sbin/sshd
echo "guest-init: ready after $(cut -d' ' -f1 /proc/uptime) s" > /dev/console
# The shell reaps whatever process loses its parent.
while :; do sleep 3600 & wait; done
