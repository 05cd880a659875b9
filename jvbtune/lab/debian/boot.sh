#!/bin/sh
# Boot a tree with its own systemd as process 1: boot.sh CGROUP DIRECTORY TREE HOME HOST_NAME
# Starts as process 1 of new mount, process, UTS and IPC namespaces; everything that it mounts goes with them.
set -eu
if [ "${JVBTUNE_LAB_STAGE:-}" = "" ]; then
    echo 0 >"$1/cgroup.procs" # enters it, so that the namespace of control groups begins there
    JVBTUNE_LAB_STAGE=2 exec unshare --cgroup -- sh "$0" "$@"
fi
directory=$2 tree=$3 home=$4 name=$5
root=$directory/root
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$tree/host,upperdir=$directory/upper,workdir=$directory/work" "$root"
mount -t proc proc "$root/proc"
# The machine's own: systemd raises fs.file-max at each boot.
for shared in sys/fs sys/vm; do
    mount --bind "$root/proc/$shared" "$root/proc/$shared"
    mount -o remount,bind,ro "$root/proc/$shared"
done
mount --bind "$directory/boot_id" "$root/proc/sys/kernel/random/boot_id"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
: >"$root/dev/console"
mount --bind /dev/null "$root/dev/console"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
for link in "fd /proc/self/fd" "stdin /proc/self/fd/0" "stdout /proc/self/fd/1" "stderr /proc/self/fd/2"; do
    # shellcheck disable=SC2086
    set -- $link
    ln -s "$2" "$root/dev/$1"
done
package=$root/usr/share/jitsi-videobridge
mount --bind -o ro "$home/jitsi-videobridge.jar" "$package/jitsi-videobridge.jar"
mount --bind -o ro "$home/lib" "$package/lib"
mount --bind "$directory/containers" "$root/var/lib/containers"
mount --bind -o ro "$tree/images" "$root/var/lib/lab-images"
hostname "$name"
mkdir -p "$root/run/old-root"
cd "$root"
pivot_root . run/old-root
cd /
umount -l /run/old-root
rmdir /run/old-root
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --log-target=journal-or-kmsg
