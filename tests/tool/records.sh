#!/bin/bash
# get, put, del: values from everywhere, awkward keys, expiry, exit codes.
. "$(dirname "$0")/lib.sh"

# There is no database yet: reading says so, writing makes it.
code 1 "$wombat" get db key
code 1 "$wombat" del db key
[ ! -e db ] || fail "reading made a database"
code 0 "$wombat" put db users/42/name 'Ada Lovelace'
code 0 "$wombat" get db users/42/name
same "value" "$(cat out)" 'Ada Lovelace'
code 1 "$wombat" get db users/42
says 'there is no key "users/42"'
[ ! -s out ] || fail "a missing key printed something"

# Empty values and keys are values and keys.
code 0 "$wombat" put db empty ''
code 0 "$wombat" get db empty
[ ! -s out ] || fail "an empty value is not empty"
code 0 "$wombat" put db '' 'of the empty key'
code 0 "$wombat" get db ''
same "value of the empty key" "$(cat out)" 'of the empty key'

# Standard input and files, any bytes, and out to a file.
head -c 300000 /dev/urandom >random
"$wombat" put db from-stdin <random
"$wombat" get db from-stdin | cmp - random
code 0 "$wombat" put --file random db from-file
code 0 "$wombat" get --output copy db from-file
cmp copy random
printf 'dash' | "$wombat" put db --file - from-dash
same "value from a dash" "$("$wombat" get db from-dash)" dash
code 5 "$wombat" put --file nowhere db key
says nowhere
code 5 "$wombat" get --output /nowhere/file db empty
code 2 "$wombat" put --file random db key value

# Keys of any bytes, by --hex; keys that look like options.
code 0 "$wombat" put --hex db 00ff0a2F 'awkward'
code 0 "$wombat" get db --hex 00FF0a2f
same "value of an awkward key" "$(cat out)" awkward
code 1 "$wombat" get --hex db 00ff0a
code 2 "$wombat" get --hex db 0
code 2 "$wombat" get --hex db xy
code 0 "$wombat" put db -- --hex hyphens
code 0 "$wombat" get db -- --hex
same "value of a key like an option" "$(cat out)" hyphens

# Replaced whole.
code 0 "$wombat" put db users/42/name short
same "replaced value" "$("$wombat" get db users/42/name)" short

# What is known of a record.
code 0 "$wombat" put --sync db sized 12345
code 0 "$wombat" get --meta db sized
same "size" "$(jq .size out)" 5
same "expiry" "$(jq .expiry_ns out)" 0
now=$(date +%s)
written=$(jq '.time_ns / 1e9 | floor' out)
[ "$written" -le "$now" ] && [ "$written" -gt $((now - 600)) ] || fail "written at $written, now is $now"
code 0 "$wombat" put --ttl 2h db fleeting x
code 0 "$wombat" get --meta db fleeting
expires=$(jq '.expiry_ns / 1e9 | floor' out)
[ "$expires" -ge $((now + 7190)) ] && [ "$expires" -le $((now + 7800)) ] || fail "expires at $expires, now is $now"
for ttl in 0 -1 5x 1hh '' 99999999d; do
	code 2 "$wombat" put --ttl "$ttl" db key value
done
# Gone once its time has come.
code 0 "$wombat" put --ttl 1s db brief x
for _ in $(seq 100); do
	"$wombat" get db brief >/dev/null 2>&1 || break
	sleep 0.1
done
code 1 "$wombat" get db brief

# del: several, one of them missing; prefixes and ranges.
for key in a/1 a/2 a/3 a/4 b c; do "$wombat" put db "$key" x; done
code 1 "$wombat" del db b missing c
says 'there is no key "missing"'
code 1 "$wombat" get db b
code 1 "$wombat" get db c
code 0 "$wombat" del --range db a/1 a/3
same "after a range" "$("$wombat" scan --keys-only --prefix a/ db | tr '\n' ' ')" 'a/3 a/4 '
code 0 "$wombat" del --prefix db a/
code 0 "$wombat" del --prefix db a/
same "after a prefix" "$("$wombat" scan --keys-only --prefix a/ db)" ''
code 0 "$wombat" put --hex db ffff01 x
code 0 "$wombat" del --hex --prefix db ffff
code 1 "$wombat" get --hex db ffff01

# Keyspaces are apart.
code 0 "$wombat" put --keyspace 99 db key 'of 99'
code 1 "$wombat" get db key
code 0 "$wombat" get --keyspace 99 db key
same "value in a keyspace" "$(cat out)" 'of 99'
for keyspace in 0 255 -1 x; do
	code 2 "$wombat" get --keyspace "$keyspace" db key
done

# Limits are said, and nothing is stored.
code 2 "$wombat" put --option max_value_size=10 db key 12345678901
code 2 "$wombat" put db "$(head -c 5000 /dev/zero | tr '\0' k)" x
code 1 "$wombat" get db key

# A full output is an error.
if [ -c /dev/full ]; then
	"$wombat" get db from-stdin >/dev/full 2>err && fail "a full output went unnoticed"
	grep -q '^wombat: ' err || fail "a full output was not said"
fi
