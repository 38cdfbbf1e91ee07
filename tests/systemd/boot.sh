#!/bin/sh
# The first process of the namespaces that tests/worlds/systemd.py makes: builds a machine out of this one, and becomes
# its systemd. Nothing that happens in there reaches the files, the processes or the network out here.
#
# usage: boot.sh FOLDER PYTHON PACKAGES PROGRAM UNIT
#   FOLDER    an empty folder out here; PYTHON  the interpreter's prefix; PACKAGES  a site-packages folder
#   PROGRAM   the folder that holds `probe`; UNIT  the unit file to install
set -eu
folder=$1 python=$2 packages=$3 program=$4 unit=$5
umask 022

# Every write goes to memory. systemd wants "/" to be a mount point of its own, shared, and the old root out of sight.
mount --make-rprivate /
mount -t tmpfs -o mode=0755 machine "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" machine "$folder/root"
cd "$folder/root"

mount -t proc proc proc
mount -o bind,ro proc/sys proc/sys # the kernel's settings are everybody's
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=0755 dev dev
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/shm dev/pts dev/mqueue dev/hugepages # PrivateDevices= makes its own /dev out of these
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t devpts -o mode=0620,ptmxmode=0666 devpts dev/pts
mount -t mqueue mqueue dev/mqueue
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd

# A plain machine: what its packages would start at boot is no part of the test. The targets that a unit depends on by
# default are left, and are empty.
rm -rf lib/systemd/system/*.wants etc/systemd/system/*.wants lib/systemd/system-generators etc/fstab
rm -rf etc/systemd/system/mailcanary.service* etc/mailcanary var/lib/mailcanary var/lib/private var/log/journal
mkdir -p etc/systemd/system
for each in tmp.mount swap.target systemd-journal-flush.service; do
    ln -sf /dev/null "etc/systemd/system/$each"
done
cat > etc/systemd/system/machine.target <<'TARGET'
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
After=systemd-journald.service
TARGET
od -An -N16 -tx1 /dev/urandom | tr -d ' \n' > etc/machine-id
echo >> etc/machine-id

# The program where the unit looks for it. The interpreter may stand in somebody's home, which the unit cannot see, and
# so it is shown at another place; the packages are those that the tests run with.
mkdir -p opt/mailcanary/bin opt/mailcanary-python opt/mailcanary-packages opt/mailcanary-program/probe
mount --bind "$python" opt/mailcanary-python
mount --bind "$packages" opt/mailcanary-packages
mount --bind "$program/probe" opt/mailcanary-program/probe
version=$(basename "$(dirname "$packages")")
mkdir -p "opt/mailcanary/lib/$version/site-packages"
printf '/opt/mailcanary-packages\n/opt/mailcanary-program\n' > "opt/mailcanary/lib/$version/site-packages/machine.pth"
printf 'home = /opt/mailcanary-python/bin\n' > opt/mailcanary/pyvenv.cfg
ln -s "/opt/mailcanary-python/bin/$version" opt/mailcanary/bin/python
cat > opt/mailcanary/bin/mailcanary <<'PROGRAM'
#!/opt/mailcanary/bin/python
import sys
from probe.cli.main import main
sys.exit(main())
PROGRAM
chmod 0755 opt/mailcanary/bin/mailcanary
cp "$unit" etc/systemd/system/
if ls opt/mailcanary-python/lib/libpython* > /dev/null 2>&1; then # it was built to find itself in its old place
    mkdir -p "etc/systemd/system/$(basename "$unit").d"
    printf '[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/mailcanary-python/lib\n' \
        > "etc/systemd/system/$(basename "$unit").d/machine.conf"
fi

ip link set lo up
mkdir old
pivot_root . old
umount -l /old
rmdir /old
mount --make-rshared /
export container=machine PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset NOTIFY_SOCKET
exec /lib/systemd/systemd --unit=machine.target --log-level=notice --log-target=journal --show-status=no \
    systemd.unified_cgroup_hierarchy=1
