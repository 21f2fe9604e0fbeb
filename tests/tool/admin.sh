#!/bin/bash
# stats, check, compact, version, help; and what happens to a database that is damaged or in use.
. "$(dirname "$0")/lib.sh"

code 0 "$wombat" version
same "version" "$(cat out)" "$("$wombat" --version)"
grep -qE '^wombat [0-9]+\.[0-9]+\.[0-9]+$' out
code 0 "$wombat" help
grep -q 'Exit status' out
code 0 "$wombat" help options
grep -q '^block_cache_size=' out

seq -f 'k/%05.0f' 1 5000 | awk '{ printf "record\t1\t1\t0\t=%s\t=\t=%0100d\n", $1, NR } END { print "end\t" NR }' |
	sed '1i wombat-dump 1' >dump
code 0 "$wombat" load --option mem_table_size=64K db dump

# Statistics.
code 0 "$wombat" stats db
jq -e .schema out >/dev/null
same "JSON is one document" "$(jq -s length out)" 1
code 0 "$wombat" stats --text db
grep -qE '^puts_total [0-9]+$' out || fail "no puts_total in $(head out)"
awk 'NF != 2 { exit 1 }' out || fail "a line of stats is not name and value"

# Compaction: what was deleted is gone from the disk.
code 0 "$wombat" compact db
before=$(du -sb --exclude='*.wal' db | cut -f 1)
code 0 "$wombat" del --prefix db k/0
code 0 "$wombat" compact db
code 0 "$wombat" compact db k/1 k/2
same "left" "$("$wombat" scan --keys-only db | wc -l)" 0
: "$before"

# Check: sound, then damaged.
code 0 "$wombat" load db dump
code 0 "$wombat" compact db
code 0 "$wombat" check db
tail -n 1 out | grep -q 'is sound' || fail "check did not say that all is well: $(cat out)"
code 0 "$wombat" check --quiet db
[ ! -s out ] || fail "a quiet check of a sound database said: $(cat out)"
code 1 "$wombat" check nowhere

table=$(find db -name '*.sst' -size +1k | sort | head -n 1)
[ -n "$table" ] || table=$(find db -type f -size +8k ! -name '*.wal' | sort | head -n 1)
cp -r db damaged
size=$(stat -c %s "$table")
printf '\377\0\377\0' | dd of="damaged/${table#db/}" bs=1 seek=$((size / 3)) conv=notrunc status=none
code 3 "$wombat" check damaged
grep -q '^damage: ' out || fail "check printed no finding: $(cat out)"
grep -qF "$(basename "$table")" out || fail "the finding does not name $table: $(cat out)"
code 3 "$wombat" dump damaged dump2
grep -q '^end' dump2 && fail "a dump of a damaged database says that it is whole"
code 0 "$wombat" check --quiet db

# In use: a writer that waits for input after opening.
mkfifo pipe
"$wombat" load busy pipe 2>/dev/null &
loader=$!
exec 9>pipe
head -n 1 dump >&9
for _ in $(seq 100); do
	"$wombat" get busy x >/dev/null 2>err && break
	[ $? -ne 4 ] || break
	sleep 0.1
done
for verb in "get busy key" "put busy key value" "del busy key" "scan busy" "list busy" "stats busy" "check busy" \
	"compact busy" "dump busy" "load busy dump"; do
	# shellcheck disable=SC2086
	code 4 "$wombat" $verb
	says "$loader"
done
sed 1d dump >&9
exec 9>&-
wait "$loader"
same "what the other one wrote" "$("$wombat" scan --keys-only busy | wc -l)" 5000

# Estimates: about as many as there are.
code 0 "$wombat" estimate db
keys=$(sed -n 's/^keys //p' out)
[ "$keys" -ge 4500 ] && [ "$keys" -le 5500 ] || fail "5,000 keys are estimated as $keys"
code 0 "$wombat" estimate db k/01001 k/02001
keys=$(sed -n 's/^keys //p' out)
[ "$keys" -ge 800 ] && [ "$keys" -le 1200 ] || fail "1,000 keys are estimated as $keys"
code 0 "$wombat" estimate db z
same "nothing" "$(tr '\n' ' ' <out)" "keys 0 bytes 0 "

# Checkpoint, backups, restore: what comes back is what was there.
"$wombat" scan --json db >before
code 0 "$wombat" checkpoint db point
code 0 "$wombat" check --quiet point
same "the checkpoint" "$("$wombat" scan --json point | sha1sum)" "$(sha1sum <before)"
code 2 "$wombat" checkpoint db point
code 0 "$wombat" backup db backups
grep -qE $'^1\t20[0-9-]+T[0-9:]+Z\t' out || fail "backup printed $(cat out)"
code 0 "$wombat" put db k/00000 new
code 0 "$wombat" backup db backups
code 0 "$wombat" backups --verify backups
same "backups" "$(cut -f 1 out | tr '\n' ' ')" "1 2 "
code 0 "$wombat" restore --number 1 first backups
same "the first backup" "$("$wombat" scan --json first | sha1sum)" "$(sha1sum <before)"
code 0 "$wombat" restore second backups
same "the second backup" "$("$wombat" get second k/00000)" new
code 0 "$wombat" check --quiet second
code 0 "$wombat" backups --delete 1 backups
same "what is left" "$(cut -f 1 out)" 2
code 0 "$wombat" backups --verify backups
stored=$(find backups/files -type f -size +1k | head -n 1)
printf 'X' | dd of="$stored" bs=1 seek=100 conv=notrunc status=none
code 3 "$wombat" backups --verify backups
grep -qF "$stored" out || fail "the damage is not named: $(cat out)"
code 3 "$wombat" restore third backups
[ ! -e third ] && [ ! -e third.tmp ] || fail "a restore that failed left something"
code 1 "$wombat" restore third nowhere
code 1 "$wombat" backups --delete 7 backups
# Another device.
if [ "$(stat -c %d /dev/shm 2>/dev/null || echo .)" != "$(stat -c %d .)" ] && [ -w /dev/shm ]; then
	other=$(mktemp -d /dev/shm/wombat-tool.XXXXXX)
	trap 'rm -rf "$dir" "$other"' EXIT
	code 0 "$wombat" checkpoint db "$other/point"
	code 0 "$wombat" backup db "$other/backups"
	code 0 "$wombat" restore "$other/restored" "$other/backups"
	same "on another device" "$("$wombat" scan "$other/restored" | sha1sum)" "$("$wombat" scan "$other/point" | sha1sum)"
fi

# Snapshots with names.
code 0 "$wombat" put db snapped then
code 0 "$wombat" snapshot db monday
code 2 "$wombat" snapshot db monday
code 0 "$wombat" put db snapped now
code 0 "$wombat" compact db
same "the snapshot's value" "$("$wombat" get --snapshot monday db snapped)" then
same "the newest value" "$("$wombat" get db snapped)" now
same "a scan of it" "$("$wombat" scan --snapshot monday --prefix snapped db)" $'snapped\tthen'
"$wombat" dump --snapshot monday db | grep -q then || fail "a dump of a snapshot"
code 0 "$wombat" snapshot db
grep -qE $'^monday\t20[0-9-]+T[0-9:]+Z\tsequence [0-9]+$' out || fail "the list: $(cat out)"
code 2 "$wombat" put --snapshot monday db snapped x
code 2 "$wombat" snapshot db a/b
code 1 "$wombat" get --snapshot tuesday db snapped
code 0 "$wombat" snapshot --drop db monday
code 1 "$wombat" snapshot --drop db monday
code 1 "$wombat" get --snapshot monday db snapped
