#!/bin/bash
# Keys that expire: gone on time from lookups, listings, sizes and the kernel's caches, over remounts and kill -9.
. "$(dirname "$0")/lib.sh"
command -v getfattr >/dev/null || skip "there is no getfattr"
ttl() { getfattr --only-values -n user.wombat.ttl "$1" 2>/dev/null; }
expire() { setfattr -n user.wombat.ttl -v "$1" "$2"; }
# gone PATH: within five seconds
gone() {
	for _ in $(seq 100); do
		[ -e "$1" ] || return 0
		sleep 0.05
	done
	fail "$1 is still there"
}

mount_db
cd "$mnt"
mkdir d
for f in a b c e keep; do echo "content of $f" >"d/$f"; done
ls -l d >/dev/null # the kernel has all of them for ever
refused "No such attribute" getfattr -n user.wombat.ttl d/keep
refused "Invalid argument" expire 0 d/a
refused "Invalid argument" expire soon d/a
refused "Invalid argument" expire -1 d/a
refused "Invalid argument" expire 1e d/a
refused "Numerical result out of range" expire 99999999999 d/a
refused "Operation not supported" expire 1 d

# A name that is cached goes, without anybody asking for it to be looked up anew.
expire 1.2 d/a
[ "$(ttl d/a)" -ge 1 ] && [ "$(ttl d/a)" -le 2 ] || fail "the ttl reads $(ttl d/a)"
exec 5<d/a
gone d/a
commits_by_write || same "an open file keeps its content" "$(cat <&5)" "content of a"
exec 5<&-
exec 5<d/e # open before it is to expire
expire 0.5 d/e
gone d/e
commits_by_write || same "a file open before keeps its content" "$(cat <&5)" "content of e"
exec 5<&-
same "the listing" "$(ls d | tr '\n' ' ')" "b c keep "
refused "No such file" cat d/a
echo anew >d/a # the name is free, for a file that does not expire
refused "No such attribute" getfattr -n user.wombat.ttl d/a

# Renewal, removal, and what keeps the expiry: new content, a rename, a change of mode.
expire 1 d/b
expire 100 d/b
expire 1 d/c
setfattr -x user.wombat.ttl d/c
expire 100 d/keep
echo more >>d/keep
chmod 600 d/keep
mv d/keep d/kept
echo over >d/kept
[ "$(ttl d/kept)" -gt 90 ] || fail "the expiry is lost: $(ttl d/kept)"
sleep 1.3
same "renewed and removed" "$(ls d | tr '\n' ' ')" "a b c kept "
cp -a d/kept d/copy
refused "No such attribute" getfattr -n user.wombat.ttl d/copy

# Sliding: for as long as somebody sets it again, and no longer.
echo session >d/session
for _ in $(seq 8); do
	expire 1.5 d/session
	sleep 0.3
done
same "kept alive" "$(cat d/session)" session
gone d/session

# Over a remount, and over a kill -9 right after the attribute was set.
cd /
remount_db
cd "$mnt"
[ "$(ttl d/kept)" -gt 80 ] || fail "the expiry did not last: $(ttl d/kept)"
expire 1.5 d/b
cd /
kill -KILL "$daemon_pid"
wait "$daemon_pid" || true
fusermount3 -uz "$mnt"
mount_db
gone "$mnt/d/b"
same "after kill -9" "$(ls "$mnt/d" | tr '\n' ' ')" "a c copy kept "

# Entries of a listing, and many at a time.
for i in $(seq 300); do echo "$i" >"$mnt/d/n$i" && expire 2.5 "$mnt/d/n$i"; done
cd /
remount_db
ls -l "$mnt/d" >"$dir/before"
gone "$mnt/d/n300"
gone "$mnt/d/n1"
same "a whole directory's" "$(ls "$mnt/d" | tr '\n' ' ')" "a c copy kept "
unmount_db
same "what the library sees" "$("$wombat" scan --prefix d/ "$db" | wc -l)" 4

# What computes itself.
mount_db
cd "$mnt"
same "the key" "$(getfattr --only-values -n user.wombat.key d/kept)" "d/kept"
[ "$(getfattr --only-values -n user.wombat.seq d/kept)" -gt 0 ] || fail "no sequence number"
before=$(getfattr --only-values -n user.wombat.seq d/kept)
echo x >d/kept
[ "$(getfattr --only-values -n user.wombat.seq d/kept)" -gt "$before" ] || fail "the sequence number stays"
truncate -s 100M d/sparse
printf x | dd of=d/sparse bs=1 seek=1000000 conv=notrunc status=none
[ "$(getfattr --only-values -n user.wombat.size_on_disk d/sparse)" -lt 1000000 ] || fail "holes count"
[ "$(getfattr --only-values -n user.wombat.entries d)" -ge 4 ] || fail "no entries"
[ "$(getfattr --only-values -n user.wombat.bytes d)" -gt 0 ] || fail "no bytes"
same "nothing is listed" "$(getfattr -d -m - d d/kept)" ""
refused "Operation not permitted" setfattr -n user.wombat.key -v x d/kept
cd /
unmount_db

# The space comes back, but for the file of the value log that is being written and the write-ahead log's files.
mount_db -o value_log_file_size=1M
cd "$mnt"
mkdir space
used() { find "$db" \( -name '*.vlog' -o -name '*.sst' \) -printf '%s\n' | awk '{ n += $1 } END { print int(n / 1000000) }'; }
for i in $(seq 40); do head -c 500000 /dev/urandom >"space/$i" && expire 3 "space/$i"; done
before=$(used)
[ "$before" -ge 16 ] || fail "20 MB take $before"
gone space/40
rmdir space
echo gc >.wombat/ctl
[ "$(used)" -le $((before - 14)) ] || fail "of $before MB that expired $(used) are there after gc"
cd /
unmount_db
