#!/usr/bin/env bash
# On a medium that cannot be written: reading a database, checking it, and a backup directory's list, verification and
# restore; what must write says so. And readers of one database go beside each other, but not beside a writer.
# shellcheck source=tests/tool/lib.sh
. "$(dirname "$0")/lib.sh"

# on_medium COMMAND...: runs it where ./medium cannot be written, in a mount namespace of its own, which ends with it.
on_medium() {
	unshare --mount --propagation private -- sh -c '
		mount --bind medium medium && mount -o remount,ro,bind medium && exec "$@"' on_medium "$@"
}

mkdir medium
if ! on_medium true 2>/dev/null; then
	echo "mounts cannot be made here: skipped" >&2
	exit 77
fi
! on_medium touch medium/file 2>/dev/null || fail "the medium can be written"

"$wombat" put medium/db a 1
head -c 300000 /dev/urandom >large
"$wombat" put medium/db large <large
"$wombat" compact medium/db
"$wombat" put medium/db b 2 # in the write-ahead log
"$wombat" snapshot medium/db monday
"$wombat" backup medium/db medium/backups >/dev/null
"$wombat" checkpoint medium/db medium/point

for db in medium/db medium/point; do
	same "keys of $db" "$(on_medium "$wombat" scan --keys-only "$db" | tr '\n' ' ')" "a b large "
	on_medium "$wombat" get "$db" large | cmp - large || fail "another large value in $db"
	code 0 on_medium "$wombat" check --quiet "$db"
	code 0 on_medium "$wombat" stats "$db"
	code 0 on_medium "$wombat" estimate "$db"
done
same "a snapshot's" "$(on_medium "$wombat" get --snapshot monday medium/db b)" 2
on_medium "$wombat" dump medium/db >dump
"$wombat" load loaded dump
same "what was dumped" "$("$wombat" scan --json loaded | sha1sum)" "$(on_medium "$wombat" scan --json medium/db | sha1sum)"

code 0 on_medium "$wombat" backups --verify medium/backups
same "the backups" "$(cut -f 1 out)" 1
rm medium/backups/LOCK # as when they were copied to the medium
code 0 on_medium "$wombat" backups --verify medium/backups
code 0 on_medium "$wombat" restore restored medium/backups
same "what was restored" "$("$wombat" scan --keys-only restored | tr '\n' ' ')" "a b large "

# What must write says that it cannot.
for verb in "put medium/db c 3" "del medium/db a" "compact medium/db" "backup medium/db medium/backups" \
	"backups --delete 1 medium/backups" "repair medium/db"; do
	got=0
	# shellcheck disable=SC2086
	on_medium "$wombat" $verb >out 2>err || got=$?
	[ "$got" -ne 0 ] && grep -qF "Read-only file system" err || fail "wombat $verb exits with $got and says: $(cat err)"
done
code 0 "$wombat" check --quiet medium/db

# Readers beside each other: a dump that waits for its reader has the database open.
mkfifo pipe
for i in $(seq 40); do head -c 4000 /dev/zero | "$wombat" put medium/db "zeroes/$i"; done
"$wombat" dump medium/db >pipe &
reader=$!
exec 9<pipe
head -c 1 <&9 >/dev/null
code 0 "$wombat" get medium/db a
code 0 "$wombat" check --quiet medium/db
code 4 "$wombat" put medium/db a 3
says "in use by"
cat <&9 >/dev/null
exec 9<&-
wait "$reader" || fail "the dump ended with $?"
code 0 "$wombat" put medium/db a 3
