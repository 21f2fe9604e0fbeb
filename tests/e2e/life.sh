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
if [ "$(id -u)" -eq 0 ] && [ -e /sbin/mount.fuse3 ]; then
	mount -t fuse "$wombatfs#$db" "$mnt" -o noatime,nosuid
	same "by mount(8)" "$(cat "$mnt/a")" kept
	same "its options" "$(findmnt -n -o OPTIONS "$mnt" | grep -c nosuid)" 1
	umount "$mnt"
	gone || fail "the mount stayed"
fi
