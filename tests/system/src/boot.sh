#!/bin/bash
# Becomes PID 1 of a throw-away host.
#
#   boot.sh enter BOX ROOT CGROUP   joins the cgroup, makes namespaces, goes on as "inside"
#   boot.sh inside BOX ROOT         builds the file system over ROOT, which is never written, and becomes systemd
#
# BOX is a directory with "layer", a tmpfs that holds everything the host writes; it outlives a power cut.
set -eu

enter() {
  echo $$ >"$3/cgroup.procs"
  exec setsid unshare --mount --uts --ipc --net --pid --cgroup --propagation private --fork --kill-child -- /bin/bash "$0" inside "$1" "$2"
}

# ro SOURCE: seen by the host, never written by it.
ro() { mount --bind "$1" "$1"; mount -o remount,bind,ro,nosuid,nodev,noexec "$1"; }

inside() {
  local box=$1 root=$2 new=$1/layer/root node unit
  mkdir -p "$box"/layer/{upper,work,root}
  mount -t overlay overlay -o "lowerdir=$root,upperdir=$box/layer/upper,workdir=$box/layer/work" "$new"

  # The kernel belongs to the machine: of its settings, only those of this network namespace can be changed.
  mount -t proc proc -o nosuid,nodev,noexec "$new/proc"
  ro "$new/proc/sys"
  [[ ! -e $new/proc/sysrq-trigger ]] || ro "$new/proc/sysrq-trigger"
  mount --bind "$new/proc/sys/net" "$new/proc/sys/net"
  mount -o remount,bind,rw "$new/proc/sys/net"
  mount -t sysfs sysfs -o ro,nosuid,nodev,noexec "$new/sys"
  mount -t cgroup2 cgroup2 -o nosuid,nodev,noexec "$new/sys/fs/cgroup"

  mount -t tmpfs tmpfs -o mode=755,nosuid,nodev "$new/run"
  mount -t tmpfs tmpfs -o mode=1777,nosuid,nodev "$new/tmp"
  mount -t tmpfs tmpfs -o mode=755,nosuid "$new/dev"
  for node in null zero full random urandom tty; do
    : >"$new/dev/$node"
    mount --bind "/dev/$node" "$new/dev/$node"
  done
  mkdir "$new"/dev/{pts,shm,mqueue}
  mount -t tmpfs tmpfs -o mode=1777,nosuid,nodev "$new/dev/shm"
  mount -t devpts devpts -o newinstance,ptmxmode=0666,mode=0620 "$new/dev/pts"
  ln -s pts/ptmx "$new/dev/ptmx"
  ln -s /proc/self/fd "$new/dev/fd"

  # The journal tells boots apart by this number.
  cat /proc/sys/kernel/random/uuid >"$new/run/boot-id"
  mount --bind "$new/run/boot-id" "$new/proc/sys/kernel/random/boot_id"

  if [[ ! -e $box/layer/booted ]]; then
    basename "$box" >"$new/etc/hostname"
    tr -d - </proc/sys/kernel/random/uuid >"$new/etc/machine-id"
    : >"$new/etc/resolv.conf"
    # What wants a console, a kernel of its own, or the Internet.
    for unit in console-getty.service getty@.service modprobe@.service systemd-{modules-load,sysctl,binfmt,timesyncd,udevd}.service \
      sys-kernel-{debug,tracing,config}.mount {apt-daily,apt-daily-upgrade,dpkg-db-backup,e2scrub_all,fstrim}.timer e2scrub_reap.service; do
      ln -sf /dev/null "$new/etc/systemd/system/$unit"
    done
    : >"$box/layer/booted"
  fi

  hostname "$(basename "$box")"
  cd "$new"
  pivot_root . mnt
  umount -l /mnt
  # Credentials reach a service only through shared mounts.
  mount --make-rshared /
  exec env -i container=postern-test PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd --system --unit=multi-user.target --show-status=0 --log-target=journal
}

"$1" "${@:2}"
