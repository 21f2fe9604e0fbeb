#!/bin/bash
# commit=write: what is promised of it, what it costs in requests, and that the control directory works without opens.
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "there is no jq"
options=commit=write,noxattr
cat >"$dir/ops.py" <<'PY'
import os, sys
what, d, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
for i in range(n):
    p = f"{d}/f{i:05d}"
    if what == "create":
        fd = os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644); os.write(fd, b"x" * 100); os.close(fd)
    elif what == "read":
        fd = os.open(p, os.O_RDONLY); assert len(os.read(fd, 65536)) >= 100; os.close(fd)
    elif what == "overwrite":
        fd = os.open(p, os.O_WRONLY | os.O_TRUNC); os.write(fd, b"y" * 100); os.close(fd)
    elif what == "append":
        fd = os.open(p, os.O_WRONLY | os.O_APPEND); os.write(fd, b"z" * 10); os.close(fd)
PY
n=1000
mount_db -o $options
mkdir "$mnt/d"
per_op create $n 3 # LOOKUP MKNOD WRITE
remount_db -o $options
per_op read $n 2 # LOOKUP READ
per_op read $n 0
per_op overwrite $n 2 # SETATTR WRITE
per_op append $n 1    # WRITE
same "closes are not told" "$(jq -c '.mount.requests | [.open, .create, .flush, .release] | map(. <= 1)' "$mnt/.wombat/stats")" \
	'[true,true,true,true]'

# What write(2) has returned of is in the database, though the file is open yet; what was emptied waits for the write that follows.
echo old >"$mnt/emptied"
exec 5>>"$mnt/log"
for i in 1 2 3; do echo "line $i" >&5; done
exec 6>"$mnt/large"
head -c 3000000 /dev/zero >&6
python3 -c '
import os, signal, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
os.kill(int(sys.argv[2]), signal.SIGKILL)' "$mnt/emptied" "$daemon_pid"
kill_daemon
exec 5>&- 6>&-
same "what was written" "$("$wombat" get "$db" log)" $'line 1\nline 2\nline 3'
same "a large one" "$("$wombat" get "$db" large | wc -c)" 3000000
same "what was emptied just before" "$("$wombat" get "$db" emptied)" old
mount_db -o $options
exec 5>"$mnt/emptied" 6>"$mnt/made"
sleep 1 # longer than it waits
kill_daemon
exec 5>&- 6>&-
same "emptied, and nothing written" "$("$wombat" get "$db" emptied | wc -c)" 0
same "made, and nothing written" "$("$wombat" get "$db" made | wc -c)" 0

# Without names: an unlinked file, one that another was renamed over, each as long as it is open.
mount_db -o $options
cd "$mnt"
nodes() { jq .mount.nodes .wombat/stats; }
# few_nodes WHAT: no more than `before`, soon.
few_nodes() {
	for try in $(seq 50); do
		[ "$(nodes)" -le "$before" ] && return
		sleep 0.1
	done
	fail "$1: $(nodes) nodes, $before were there before"
}
before=$(nodes)
echo content >gone
exec 5<>gone
rm gone
echo more >&5
same "an unlinked file" "$(cat /proc/self/fd/5)" $'more\nnt'
head -c 2000000 /dev/urandom >"$dir/large"
cp "$dir/large" gone
exec 6<gone
echo other >new
mv new gone
cmp - "$dir/large" <&6
same "what took its place" "$(cat gone)" other
exec 5<&- 6<&-
rm gone
few_nodes "closed files"

# The control directory.
for file in stats config config.json stats.prom stats.txt version tune/commit_idle_ms; do
	[ "$(stat -c %s ".wombat/$file")" -gt 0 ] || fail "$file has no size"
	[ -n "$(cat ".wombat/$file")" ] || fail "$file is empty"
done
jq -e .schema .wombat/stats >/dev/null
exec 5<.wombat/config
echo commit_age_ms=1234 >.wombat/config
grep -q '^commit_age_ms=60000$' <&5 || fail "an open document has changed"
exec 5<&-
same "a setting" "$(cat .wombat/tune/commit_age_ms)" 1234
refused "Invalid argument" dd if=/proc/version of=.wombat/config conv=notrunc status=none
[ -s .wombat/last_error ] || fail "no sentence in last_error"
mkdir .wombat/snapshot/one
echo later >later
[ ! -e .wombat/snapshot/one/later ] || fail "a snapshot shows what came later"
same "in a snapshot" "$(head -n 1 .wombat/snapshot/one/log)" "line 1"
refused "Read-only file system" dd if=/dev/null of=.wombat/snapshot/one/log status=none
mkdir .wombat/txn/two
echo inside >.wombat/txn/two/inside
[ ! -e inside ] || fail "a transaction is seen before its commit"
mv .wombat/txn/two .wombat/commit/two
same "after its commit" "$(cat inside)" inside
echo raw >.wombat/raw/726177
same "by its bytes" "$(cat raw)" raw

# The feeds grow while they are read, and the access log ends with its reader.
followers=()
before_cleanup() { [ ${#followers[@]} -eq 0 ] || kill "${followers[@]}" 2>/dev/null || true; }
await() { # FILE TEXT
	for try in $(seq 100); do
		grep -qF -- "$2" "$1" && return
		sleep 0.1
	done
	fail "nobody told of $2: $(tail -n 5 "$1")"
}
before=$(nodes)
tail -n +1 -f .wombat/changes >"$dir/changes" 2>"$dir/changes.err" &
followers+=($!)
await "$dir/changes" '"key":"raw"'
for i in $(seq 3000); do echo $i >fed; done
echo last >fed_last
await "$dir/changes" '"key":"fed_last"'
jq -s -e '[.[] | select(.key == "fed")] | length >= 3000' "$dir/changes" >/dev/null || fail "lines are missing"
[ ! -s "$dir/changes.err" ] || fail "tail complained: $(cat "$dir/changes.err")"
tail -f .wombat/accesslog >"$dir/accesses" &
followers+=($!)
for try in $(seq 100); do
	stat later.none 2>/dev/null || true
	rm -f x; echo x >x
	grep -q '"path":"x"' "$dir/accesses" && break
	sleep 0.1
done
await "$dir/accesses" '"op":"write","path":"x"'
kill "${followers[@]}"
wait "${followers[@]}" 2>/dev/null || true
followers=()
rm x fed fed_last
few_nodes "readers that have ended" # with its node the access log's reader is gone, and nothing is noted any more
cd "$dir"
remount_db -o $options
same "after a remount" "$(cat "$mnt/inside")" inside
unmount_db
same "check" "$("$wombat" check "$db" >"$dir/out.txt" && echo sound || cat "$dir/out.txt")" sound
# Options that make no sense.
refused "neither close nor write" "$wombatfs" -f "$db" "$mnt" -o commit=never
