#!/bin/bash
# The command on a database that is mounted: readers answer through the mount what they answered before it, for every
# awkward key; writers say who holds the database and where; and nothing of the database was changed by looking.
. "$(dirname "$0")/../tool/lib.sh"
wombatfs=${WOMBATFS:-$build_dir/fs/wombatfs}

if [ ! -c /dev/fuse ] || ! command -v fusermount3 >/dev/null; then
	echo "there is no /dev/fuse, or no fusermount3"
	exit 77
fi

# Keys that a path can hardly say: one per line, hexadecimal.
long=$(printf 'l%.0s' $(seq 255))
hex() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }
{
	hex users/42/name && echo
	for key in a a/b a-x a.x a/ a//b / // /a '.' '..' a/./b a/../b '%' '%value' '%empty' 'a/%value' '100%' 'a%20b' '%2E' \
		.wombat .wombat/stats x/.wombat 'c%+' 'c%+/d' "$long" "${long}x" "$long$long/tail" "${long}y/z" "${long}/below" \
		'caf\xe9' $'line\nbreak' $'tab\there' 'deep/er/and/deeper/still'; do
		hex "$key" && echo
	done
	echo 610062 # a NUL within
	echo ff00ff
	echo 00
} | sort -u >keys

# Values of several sizes, the last of a key of its own with half a megabyte.
{
	echo 'wombat-dump 1'
	while read -r key; do
		printf 'record\t1\t1600000000123456789\t0\t=%s\t=\t=value of %s\n' "$(sed 's/../\\x&/g' <<<"$key")" "$key"
	done <keys
	printf 'end\t%d\n' "$(wc -l <keys)"
} >dump
code 0 "$wombat" load db dump
head -c 500000 /dev/urandom >big
code 0 "$wombat" put db big/value --file big
"$wombat" dump db before

look() { # what every reading verb says, in a directory
	mkdir "$1"
	"$wombat" scan db >"$1/scan"
	"$wombat" scan --reverse --keys-only db >"$1/reverse"
	"$wombat" scan --null --prefix a db >"$1/prefix"
	"$wombat" scan --keys-only --from a/ --to b db >"$1/range"
	"$wombat" scan --json --limit 5 db | jq -c 'del(.attributes)' >"$1/json"
	"$wombat" list db >"$1/top"
	"$wombat" list db a >"$1/a"
	"$wombat" list --json db users/42 >"$1/json-list"
	"$wombat" list db nothing >"$1/nothing" 2>&1 || echo "exit $?" >>"$1/nothing"
	"$wombat" get db missing >"$1/missing" 2>&1 || echo "exit $?" >>"$1/missing"
	"$wombat" get db big/value >"$1/big"
	while read -r key; do
		"$wombat" get --hex db "$key" && echo
	done <keys >"$1/gets"
}
look offline

mkdir mnt
"$wombatfs" db mnt
unmount() {
	fusermount3 -u "$dir/mnt" 2>/dev/null || fusermount3 -u -z "$dir/mnt" 2>/dev/null || true
}
trap 'cd /; unmount; rm -rf "$dir"' EXIT

look mounted
diff -r offline mounted || fail "the mount answers otherwise"

# An empty directory is no key, and what is not committed yet is seen.
mkdir mnt/empty
same "an empty directory" "$("$wombat" list db | grep -c '^empty' || true)" 0
exec 9>mnt/staged
printf 'not yet' >&9
same "what is staged" "$("$wombat" get db staged)" 'not yet'
exec 9>&-
rm mnt/staged
rmdir mnt/empty

# A symbolic link is a value, and no way to other keys.
ln -s users mnt/link
same "a link" "$("$wombat" get db link)" users
code 1 "$wombat" get db link/42/name
rm mnt/link

code 0 "$wombat" stats db
jq -e .schema out >/dev/null
code 0 "$wombat" stats --text db
awk 'NF != 2 { exit 1 }' out || fail "a line of stats is not name and value"

for verb in "put db key value" "del db key" "check db" "compact db" "dump db" "load db dump"; do
	# shellcheck disable=SC2086
	code 4 "$wombat" $verb
	says "$dir/mnt"
	says pid
done
code 4 "$wombat" get --keyspace 2 db key

unmount
for _ in $(seq 100); do
	"$wombat" get db missing 2>err && fail "there is a key \"missing\""
	grep -q 'no key' err && break
	sleep 0.1
done
"$wombat" dump db after
diff <(grep -P '^record\t1\t' before) <(grep -P '^record\t1\t' after) >/dev/null || fail "looking changed the database"
code 0 "$wombat" check db
