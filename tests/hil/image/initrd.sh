#!/bin/sh
# First process of the initial RAM disk: loads what the disk needs, and hands over to it.
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in virtio_pci virtio_blk crc32c_generic ext4; do modprobe "$module"; done
if [ ! -b /dev/vda ]; then
    # The raspi3b machine: an SD card, and a network behind USB.
    for module in bcm2835 sdhci-iproc mmc_block dwc2 usbnet cdc_ether rndis_host; do modprobe "$module"; done
fi
tries=0
while [ ! -b /dev/vda ] && [ ! -b /dev/mmcblk0 ] && [ "$tries" -lt 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
disk=/dev/vda
[ -b "$disk" ] || disk=/dev/mmcblk0
mount -t ext4 "$disk" /mnt
mount -o move /dev /mnt/dev
umount /proc /sys
exec switch_root /mnt /sbin/guest-init
