#!/bin/sh
# Build the Debian host that labs boot, and the image that their containers run: tree.sh DIRECTORY [MIRROR]
# Runs in mount and process namespaces of its own, which take every mount and process of it away with them.
# DIRECTORY/host is the host's root; DIRECTORY/images is podman's store with the image jitsi/jvb:lab.
set -eu
out=$1 mirror=${2:-}
host=$out/host image=$out/image
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

mount --make-rprivate /
mount -t proc proc /proc # of this process namespace

in_tree() { tree=$1; shift; chroot "$tree" "$@"; }

# What both are made of. openjdk's set-up needs /proc.
# shellcheck disable=SC2086
debootstrap --variant=minbase --include=ca-certificates,procps,iproute2 bookworm "$image" $mirror
printf '#!/bin/sh\nexit 101\n' >"$image/usr/sbin/policy-rc.d"
chmod 755 "$image/usr/sbin/policy-rc.d"
printf 'path-exclude=/usr/share/%s/*\n' doc man locale info lintian >"$image/etc/dpkg/dpkg.cfg.d/no-documentation"
mount -t proc proc "$image/proc"
in_tree "$image" apt-get install -qq -y --no-install-recommends openjdk-17-jre-headless
in_tree "$image" apt-get clean
umount "$image/proc"
for directory in doc man locale info; do rm -rf "$image/usr/share/$directory"/*; done
cp -a "$image" "$host"

mount -t proc proc "$host/proc"
in_tree "$host" apt-get install -qq -y --no-install-recommends \
    systemd systemd-sysv dbus libpam-systemd openssh-server sudo python3 curl podman runc netavark
in_tree "$host" apt-get clean
in_tree "$host" systemd-sysusers
in_tree "$host" groupadd --system jitsi
in_tree "$host" useradd --system --gid jitsi --home-dir /usr/share/jitsi-videobridge --shell /usr/sbin/nologin jvb
in_tree "$host" useradd --create-home --shell /bin/bash ops
printf 'ops ALL=(ALL) NOPASSWD: ALL\n' >"$host/etc/sudoers.d/ops"
chmod 440 "$host/etc/sudoers.d/ops"
rm -f "$host/usr/sbin/policy-rc.d" "$host"/etc/ssh/ssh_host_* "$host/etc/machine-id" "$host/etc/hostname"
rm -rf "$host"/var/lib/apt/lists/*
: >"$host/etc/machine-id"
# The host shares the machine's kernel: nothing of it may load modules, rewrite sysctls, or change devices.
for unit in systemd-sysctl.service systemd-modules-load.service systemd-binfmt.service systemd-remount-fs.service \
    systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service \
    proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    dev-hugepages.mount dev-mqueue.mount getty.target console-getty.service systemd-firstboot.service \
    podman.service podman.socket podman-auto-update.timer podman-auto-update.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer \
    systemd-random-seed.service systemd-hostnamed.service; do
    ln -sf /dev/null "$host/etc/systemd/system/$unit"
done

# The image: a user of its own for the JVM, whose number means nobody on the host.
in_tree "$image" groupadd --gid 4321 jitsi
in_tree "$image" useradd --uid 4321 --gid jitsi --no-create-home --shell /usr/sbin/nologin jvb
rm -rf "$image"/var/lib/apt/lists/* "$image"/var/cache/apt/* "$image/usr/sbin/policy-rc.d"
mkdir -p "$image/config" "$image/defaults" "$image/usr/share/jitsi-videobridge"
mkdir -p "$out/images" "$host/var/lib/lab-images"
umount "$host/proc"
mount --bind "$host" "$host" # podman unpacks below a root that is a mount
mount -t proc proc "$host/proc"
mount -t sysfs -o ro sysfs "$host/sys"
mount -t cgroup2 cgroup2 "$host/sys/fs/cgroup"
mount --bind "$out/images" "$host/var/lib/lab-images"
tar -C "$image" --exclude=./proc/* -cf - . |
    in_tree "$host" podman --root /var/lib/lab-images --runroot /tmp/import --storage-driver overlay \
        --events-backend none import - docker.io/jitsi/jvb:lab
umount --recursive "$host"
rm -rf "$image" "$host"/tmp/*
