#!/bin/bash
# A directory of very many files: made, listed with and without attributes, walked, renamed, removed; the daemon's memory
# beside it. What is asserted is counted; times are printed. `make check-big` does it with 1,000,000 files.
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "there is no jq"
[ -w /proc/sys/vm/drop_caches ] || skip "caches cannot be dropped"
count=${WOMBAT_BIG_FILES:-20000}
rounds=${WOMBAT_BIG_ROUNDS:-1}

cat >"$dir/make.py" <<'PY'
import os, sys
d, n = sys.argv[1], int(sys.argv[2])
for i in range(n):
    fd = os.open(f"{d}/file{i:07d}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(fd, b"%d" % i)
    os.close(fd)
PY
stats() { jq "$1" "$mnt/.wombat/stats"; }
memory_mb() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$daemon_pid/status"; }
# timed WHAT COMMAND...: its output is in $dir/out
timed() {
	local what=$1 begin end
	shift
	begin=$(date +%s%N)
	"$@" >"$dir/out"
	end=$(date +%s%N)
	awk -v what="$what" -v ns=$((end - begin)) -v n="$count" -v mb="$(memory_mb)" \
		'BEGIN { printf "%-28s %8.3f s %9.0f files/s, daemon %d MB\n", what, ns / 1e9, n / ns * 1e9, mb }'
}
# at_most WHAT GOT LIMIT
at_most() {
	[ "$2" -le "$3" ] || fail "$1: $2, over $3"
}
# A directory whose names alone were asked for is not remembered: so many nodes at most.
names_only_nodes=17000
lines() { wc -l <"$dir/out"; }

mount_db
for round in $(seq "$rounds"); do
	mkdir "$mnt/d"
	timed "create" python3 "$dir/make.py" "$mnt/d" "$count"
	remount_db
	timed "ls -f | head" bash -c "ls -f '$mnt/d' | head -n 3"
	at_most "listings for the first names" "$(requests readdirplus)" 5
	lookups=$(requests lookup)
	timed "ls -f" ls -f "$mnt/d"
	same "names" "$(lines)" $((count + 2))
	at_most "nodes after names alone" "$(stats .mount.nodes)" "$names_only_nodes"
	at_most "lookups for names alone" $(($(requests lookup) - lookups)) 10
	at_most "listings for names" "$(requests readdirplus)" $((count / 100 + 10))
	before=$(memory_mb) nodes=$(stats .mount.nodes)
	echo 3 >/proc/sys/vm/drop_caches
	lookups=$(requests lookup) lists=$(requests readdirplus) attributes=$(requests getxattr)
	timed "ls -l" ls -l "$mnt/d"
	same "files" "$(grep -c ^- "$dir/out")" "$count"
	at_most "lookups for attributes" $(($(requests lookup) - lookups)) $((count / 100 + 250))
	at_most "listings for attributes" $(($(requests readdirplus) - lists)) $((count / 100 + 10))
	at_most "attributes of attributes" $(($(requests getxattr) - attributes)) $((count + 10)) # the kernel asks for the access list
	timed "ls -l again" ls -l "$mnt/d"
	at_most "kernel's nodes" "$(stats .mount.nodes)" $((count + 10))
	echo "memory of a node: about $((($(memory_mb) - before) * 1048576 / ($(stats .mount.nodes) - nodes))) bytes"
	timed "find" find "$mnt/d" -size +1k
	same "found" "$(lines)" 0
	timed "du -s" du -s "$mnt/d"
	timed "rename" mv "$mnt/d" "$mnt/e"
	same "renamed" "$(cat "$mnt/e/file$(printf %07d $((count - 1)))")" $((count - 1))
	[ ! -e "$mnt/d" ] || fail "the old name is still there"
	timed "rm -r" rm -r "$mnt/e"
	at_most "nodes in the end" "$(stats .mount.nodes)" 20
	mkdir "$mnt/fresh" "$mnt/e"
	timed "listing, fresh" ls -f "$mnt/fresh"
	timed "listing, emptied" ls -f "$mnt/e"
	sleep 5 # for the compaction of what was removed
	timed "listing, emptied, 5 s later" ls -f "$mnt/e"
	same "nothing left" "$(ls -A "$mnt/e")" ""
	rmdir "$mnt/fresh" "$mnt/e"
	echo "round $round: daemon $(memory_mb) MB"
done
unmount_db
