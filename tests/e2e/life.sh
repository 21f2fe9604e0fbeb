#!/bin/bash
# The daemon's life: what its exit status says, one database in one mount, signals, unmounting, bad arguments.
. "$(dirname "$0")/lib.sh"
status_of() { local s=0; "$@" >"$dir/out" 2>&1 || s=$?; echo "$s"; }
alive() { pgrep -f "$wombatfs.*$db" >/dev/null; }
gone() { for _ in $(seq 100); do mountpoint -q "$mnt" || { sleep 0.2; return 0; }; sleep 0.1; done; return 1; }

# Into the background: when the command returns 0 the mount is live.
same "mount" "$(status_of "$wombatfs" "$db" "$mnt")" 0
mountpoint -q "$mnt" || fail "it returned before the mount was there"
echo kept >"$mnt/a"
mkdir "$dir/second"
same "a second mount of the database" "$(status_of "$wombatfs" "$db" "$dir/second")" 1
grep -q "$mnt" "$dir/out" || fail "it does not say where the database is mounted: $(cat "$dir/out")"
same "the tool's writer" "$(status_of "$wombat" put "$db" k v)" 4
grep -q "$mnt" "$dir/out" || fail "it does not say where the database is mounted: $(cat "$dir/out")"
same "the tool's reader" "$("$wombat" get "$db" a)" kept
same "findmnt" "$(findmnt -n -o FSTYPE "$mnt")" fuse.wombatfs
(cd "$mnt" && sleep 30) &
busy=$!
sleep 0.2
same "unmount while busy" "$(status_of fusermount3 -u "$mnt")" 1
kill "$busy"
wait "$busy" 2>/dev/null || true
fusermount3 -u "$mnt"
gone || fail "the mount stayed"
same "unmounted" "$("$wombat" get "$db" a)" kept

for signal in TERM INT HUP; do
	mount_db
	exec 9>"$mnt/staged"
	echo "by $signal" >&9
	kill "-$signal" "$daemon_pid"
	status=0
	wait "$daemon_pid" || status=$?
	daemon_pid=
	exec 9>&- || true
	same "exit status after $signal" "$status" 0
	mountpoint -q "$mnt" && fail "the mount stayed after $signal"
	same "staged data after $signal" "$("$wombat" get "$db" staged)" "by $signal"
done

same "no arguments" "$(status_of "$wombatfs")" 2
same "an unknown option" "$(status_of "$wombatfs" "$db" "$mnt" -o no_such=1)" 2
same "a bad value" "$(status_of "$wombatfs" "$db" "$mnt" -o block_size=tiny)" 2
same "no mount point" "$(status_of "$wombatfs" "$db" "$dir/none")" 1
same "a file as database" "$(status_of "$wombatfs" "$dir/out" "$mnt")" 1
same "version" "$(status_of "$wombatfs" -V)" 0
same "help" "$(status_of "$wombatfs" -h)" 0

# Options: read-only, owners and modes of what stores none, one thread.
mount_db -o ro
refused "Read-only file system" touch "$mnt/x"
same "read-only" "$(cat "$mnt/a")" kept
unmount_db
"$wombat" put "$db" plain value
mount_db -s -o uid=1234,gid=4321,umask=077
same "owner and mode" "$(stat -c '%u:%g %a' "$mnt/plain")" "1234:4321 600"
unmount_db
# By mount(8), whose helper looks for wombatfs in the system's path, or runs the program that is named before a '#'.

# Unmounted while somebody is in it: the name is free at once, and the daemon ends with the last user.
mount_db
exec 9>"$mnt/lazy"
echo "by the last" >&9
fusermount3 -uz "$mnt"
mountpoint -q "$mnt" && fail "the mount stayed after a lazy unmount"
same "the directory below" "$(ls "$mnt")" ""
kill -0 "$daemon_pid" || fail "the daemon left its last user"
echo "one" >&9
exec 9>&-
status=0
wait "$daemon_pid" || status=$?
daemon_pid=
same "exit status after a lazy unmount" "$status" 0
same "what its last user wrote" "$("$wombat" get "$db" lazy)" $'by the last\none'

# So it is each time, also when what the last user does is on its way as the mount goes.
for i in $(seq 20); do
	mount_db
	exec 9>"$mnt/lazy" 8>"$mnt/lazier"
	echo "$i" >&9
	fusermount3 -uz "$mnt"
	exec 9>&- 8>&-
	status=0
	wait "$daemon_pid" || status=$?
	daemon_pid=
	same "exit status after lazy unmount $i" "$status" 0
	same "what was written before it" "$("$wombat" get "$db" lazy)" "$i"
done
# An abort is no unmount.
mount_db
device=$(stat -c %d "$mnt")
number=$((device & 0xff | device >> 12 & 0xfff00))
mkdir "$dir/connections"
if unshare -m sh -c "mount -t fusectl fusectl '$dir/connections' && echo 1 >'$dir/connections/$number/abort'" 2>/dev/null; then
	status=0
	wait "$daemon_pid" || status=$?
	daemon_pid=
	same "exit status after an abort" "$status" 1
	fusermount3 -u "$mnt" 2>/dev/null || ! mountpoint -q "$mnt" || fail "the mount stayed after an abort"
else
	unmount_db
fi

# The daemon is dead: who mounts there again is told what to do.
mount_db
echo kept >"$mnt/b"
sync "$mnt/b"
kill -KILL "$daemon_pid"
wait "$daemon_pid" 2>/dev/null || true
daemon_pid=
refused "not connected" ls "$mnt/a"
same "on a stale mount" "$(status_of "$wombatfs" "$db" "$mnt")" 1
grep -q "fusermount3 -u $mnt" "$dir/out" || fail "it does not say how to go on: $(cat "$dir/out")"
fusermount3 -u "$mnt"
mount_db
same "after it" "$(cat "$mnt/b")" kept
same "df" "$(df --output=source,fstype "$mnt" | tail -1)" "$db fuse.wombatfs"
same "findmnt" "$(findmnt -n -o SOURCE,FSTYPE "$mnt")" "$db fuse.wombatfs"
remount_db -o fsname=notes
same "another source" "$(findmnt -n -o SOURCE "$mnt")" notes
unmount_db

if [ "$(id -u)" -eq 0 ] && [ -e /sbin/mount.fuse3 ]; then
	mount -t fuse "$wombatfs#$db" "$mnt" -o noatime,nosuid
	same "by mount(8)" "$(cat "$mnt/a")" kept
	same "its options" "$(findmnt -n -o OPTIONS "$mnt" | grep -c nosuid)" 1
	# A remount, with the options that mount(8) finds and hands on.
	again() { /sbin/mount.fuse3 "$wombatfs#$db" "$mnt" -o "$1,remount,user_id=0,group_id=0"; }
	flags() { findmnt -n -o VFS-OPTIONS "$mnt"; }
	again ro,nosuid,noatime
	refused "Read-only file system" touch "$mnt/x"
	same "remounted ro" "$(cat "$mnt/a") $(flags)" "kept ro,nosuid,noatime"
	again rw,nodev,noatime
	echo more >"$mnt/x"
	same "remounted rw" "$(cat "$mnt/x") $(flags)" "more rw,nodev,noatime"
	same "a remount of nothing" "$(status_of "$wombatfs" "$db" "$dir/second" -o remount,ro)" 1
	grep -q "no database is mounted there" "$dir/out" || fail "it does not say why: $(cat "$dir/out")"
	umount "$mnt"
	gone || fail "the mount stayed"
	# A line of fstab(5); what concerns systemd and mount(8) alone is not refused.
	options=noauto,nofail,_netdev,x-systemd.automount,x-systemd.idle-timeout=60,x-gvfs-hide,allow_other,noexec
	echo "$wombatfs#$db $mnt fuse $options 0 0" >"$dir/fstab"
	mount -T "$dir/fstab" "$mnt"
	same "by fstab" "$(cat "$mnt/a") $(findmnt -n -o FSTYPE "$mnt")" "kept fuse.wombatfs"
	findmnt -n -o OPTIONS "$mnt" | grep -q "noexec.*allow_other" || fail "options: $(findmnt -n -o OPTIONS "$mnt")"
	umount "$mnt"
	gone || fail "the mount stayed"
	# As installed, in /usr/bin of a namespace of its own, the type is enough.
	echo "$db $mnt fuse.wombatfs ro,$options 0 0" >"$dir/fstab"
	mkdir "$dir/work"
	cat >"$dir/install.sh" <<-SH
		set -e
		mount -t tmpfs tmpfs "$dir/work"
		mkdir "$dir/work/upper" "$dir/work/work"
		ln -s "$wombatfs" "$dir/work/upper/wombatfs"
		mount -t overlay overlay -o "lowerdir=/usr/bin,upperdir=$dir/work/upper,workdir=$dir/work/work" /usr/bin
	SH
	cat >"$dir/installed.sh" <<-SH
		. "$dir/install.sh"
		mount -T "$dir/fstab" "$mnt"
		cat "$mnt/a"
		! touch "$mnt/x" 2>/dev/null
		findmnt -n -o SOURCE,FSTYPE "$mnt"
		umount "$mnt"
	SH
	if unshare -m bash "$dir/install.sh" 2>/dev/null; then
		same "by its type" "$(unshare -m bash "$dir/installed.sh" 2>&1)" "kept"$'\n'"$db fuse.wombatfs"
	fi
fi
