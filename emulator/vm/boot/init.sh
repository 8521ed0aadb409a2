#!/bin/sh
# The guest's process 1: mounts what a program expects, runs the job, hands its results out, and powers off.
# /job is the job disk: the project (read only; what is written over it stays in memory), and what to do.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=dumb PYTHONUNBUFFERED=1

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
ip link set lo up
hostname wfplab-vm
modprobe -a tun overlay

mkdir -p /run/over/new /run/over/work /var/tmp/results /project
mount -t overlay -o lowerdir=/job/project,upperdir=/run/over/new,workdir=/run/over/work overlay /project
cd /project || exit
# The image's environment stands where the launcher keeps its own, complete for this pyproject.toml; the
# project is on its path as an editable installation would put it there.
ln -s /opt/wfplab /project/.venv
cp -R /job/site/. /opt/wfplab/site-packages/
if [ -e pyproject.toml ]; then
    sum=$(sha256sum <pyproject.toml)
    echo "test ${sum%% *} /project" >/opt/wfplab/wfplab.stamp
fi

printf '\001%s\n' "wfplab vm: Linux $(uname -r) is up after $(cut -d' ' -f1 /proc/uptime) s"
# Through pipes: programs that see a terminal draw. The console is one; a mark tells errors from output.
mark=$(printf '\001')
{
    /opt/wfplab/bin/python -P -m emulator.vm.guest /job/job.json /var/tmp/results </dev/null 2>&1 >&3 3>&- |
        sed -u "s/^/$mark/"
} 3>&1 | cat
# The root disk's image is shared by all runs and never written; only this disk goes back.
tar -cf /dev/vdc -C /var/tmp/results .
sync
mkfifo /run/never
echo o >/proc/sysrq-trigger
read -r _ <>/run/never # from now on no program can be loaded to wait
