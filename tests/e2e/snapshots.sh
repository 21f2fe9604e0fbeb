#!/bin/bash
# Snapshots below .wombat/snapshot: made in constant cost, browsed with the tools that people use, unchanged by whatever
# happens to the mount, there after a remount and a kill -9, dropped by rmdir and by ctl.
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "there is no jq"
mount_db
snapshots=$mnt/.wombat/snapshot
mkdir -p "$mnt/src/deep/er" "$mnt/empty"
for i in $(seq 200); do echo "file $i" >"$mnt/src/f$i"; done
echo below >"$mnt/src/deep/er/file"
ln -s ../f1 "$mnt/src/deep/link"
head -c 3000000 /dev/urandom | dd bs=1M iflag=fullblock of="$mnt/large" status=none
truncate -s 50M "$mnt/sparse"
chmod 640 "$mnt/src/f7"
touch -d '2001-02-03 04:05:06.789' "$mnt/src/f8"
if command -v setfattr >/dev/null; then setfattr -n user.colour -v blue "$mnt/src/f9"; fi
cp -a "$mnt/." "$dir/before"

mkdir "$snapshots/one"
# What is compared is compared by its own number: diff passes over files that it takes for the same.
[ "$(stat -c %i "$snapshots/one/src/f1")" != "$(stat -c %i "$mnt/src/f1")" ] || fail "two files of one number"
listing() { (cd "$1" && find . -mindepth 1 \( -type d -printf '%p %y %m %T@\n' -o -printf '%p %y %m %s %T@ %l\n' \) | sort | md5sum); }
same "right after" "$(listing "$snapshots/one")" "$(listing "$dir/before")"

rm -r "$mnt/src/deep" "$mnt/large"
for i in $(seq 100); do echo "changed $i" >"$mnt/src/f$i"; done
mv "$mnt/src/f200" "$mnt/moved"
chmod 600 "$mnt/src/f7"
echo new >"$mnt/src/new"
unchanged() { # SNAPSHOT: shows what was there, whatever reads it
	same "find in $1" "$(listing "$snapshots/$1")" "$(listing "$dir/before")"
	diff -r --no-dereference "$dir/before" "$snapshots/$1" || fail "diff -r tells a difference in $1"
	rm -rf "$dir/copy"
	cp -a "$snapshots/$1" "$dir/copy"
	diff -r --no-dereference "$dir/before" "$dir/copy" || fail "cp -a of $1 is another tree"
	same "tar" "$(tar -C "$snapshots/$1" -cf - . | tar -tf - | sort)" "$(tar -C "$dir/before" -cf - . | tar -tf - | sort)"
	same "grep" "$(grep -rl 'file 42$' "$snapshots/$1")" "$snapshots/$1/src/f42"
	[ ! -x "$(command -v getfattr)" ] || same "attribute" "$(getfattr --absolute-names --only-values -n user.colour "$snapshots/$1/src/f9")" blue
}
unchanged one
refused "Read-only file system" bash -c "echo x >$snapshots/one/src/f1"
refused "Read-only file system" rm "$snapshots/one/src/f1"
refused "Read-only file system" mkdir "$snapshots/one/new"
refused "Read-only file system" touch "$snapshots/one/src/f1"
refused "Operation not permitted" mv "$snapshots/one" "$snapshots/other"
refused "File exists" mkdir "$snapshots/one"
refused "Invalid argument" mkdir "$snapshots/.hidden"
grep -q "no name of a snapshot" "$mnt/.wombat/last_error" || fail "last_error: $(cat "$mnt/.wombat/last_error")"
# Back from it, large data is shared and not written again.
written() { jq '.value_log.bytes_total' "$mnt/.wombat/stats"; }
before=$(written)
cp "$snapshots/one/large" "$mnt/back"
cmp "$mnt/back" "$dir/before/large"
[ $(($(written) - before)) -lt 100000 ] || fail "a copy out of a snapshot wrote its data again"

# A file that is still open for writing is in it as it is seen.
exec 6>"$mnt/open"
echo staged >&6
mkdir "$snapshots/two"
echo later >&6
exec 6>&-
same "staged" "$(cat "$snapshots/two/open")" staged
same "later" "$(cat "$mnt/open")" $'staged\nlater'
same "all" "$(ls "$snapshots")" $'one\ntwo'
now=$(date +%s)
age=$((now - $(stat -c %Y "$snapshots/two")))
[ "$age" -ge 0 ] && [ "$age" -lt 100 ] || fail "a snapshot's time is not that of its making"

remount_db
unchanged one
kill -KILL "$daemon_pid"
wait "$daemon_pid" 2>/dev/null || true
daemon_pid=
fusermount3 -u "$mnt"
mount_db
unchanged one
same "after kill -9" "$(ls "$snapshots")" $'one\ntwo'
unmount_db
mount_db -o ro
same "on a read-only mount" "$(cat "$snapshots/two/open")" staged
refused "Read-only file system" mkdir "$snapshots/three"
unmount_db
mount_db

# Dropped: gone at once, by either way, also where the kernel remembers it; who has a file of it open reads on.
exec 7<"$snapshots/one/large"
rmdir "$snapshots/one"
[ ! -e "$snapshots/one" ] || fail "a dropped snapshot is still there"
cmp - "$dir/before/large" <&7
exec 7<&-
[ -e "$snapshots/two/open" ] || fail "the other is not there any more"
echo drop-snapshot two >"$mnt/.wombat/ctl"
for _ in $(seq 100); do [ -e "$snapshots/two" ] || break; sleep 0.02; done
[ ! -e "$snapshots/two" ] || fail "a snapshot that ctl dropped is still there"
same "none" "$(ls -A "$snapshots")" ""
mkdir "$snapshots/two"
same "anew" "$(cat "$snapshots/two/open")" $'staged\nlater'
unmount_db

# Many keys: one request makes it and a page or two is written, whatever there is.
rm -rf "$db"
mount_db
mkdir "$mnt/many"
python3 - "$mnt/many" <<'PY'
import os, sys
for i in range(20000):
    with open(f"{sys.argv[1]}/{i:06d}", "w") as f: f.write("value")
PY
counts() { jq -c '[.mount.requests | del(.open, .read, .release, .lookup, .forget, .batch_forget, .getattr, .flush) | add] + [.wal.bytes_total]' "$mnt/.wombat/stats"; }
sync
a=$(counts)
mkdir "$snapshots/many"
b=$(counts)
jq -en --argjson a "$a" --argjson b "$b" '$b[0] - $a[0] == 1 and $b[1] - $a[1] < 16384' >/dev/null || fail "making a snapshot cost $a .. $b"
same "count" "$(ls -f "$snapshots/many/many" | wc -l)" 20002
unmount_db
