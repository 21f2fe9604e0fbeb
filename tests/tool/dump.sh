#!/bin/bash
# dump and load: every record of every keyspace comes back, bytes, time, expiry and attributes, and a dump that is
# damaged or cut short is noticed.
. "$(dirname "$0")/lib.sh"

"$wombat" put db users/42/name 'Ada Lovelace'
"$wombat" put db empty ''
"$wombat" put --hex db 00 'a NUL'
"$wombat" put --hex db "$(printf '%02x' $(seq 0 255))" 'all bytes'
head -c 1000000 /dev/urandom | "$wombat" put db random
printf 'tab\t newline\n return\r backslash\\ tilde~ equals=' | "$wombat" put db text
"$wombat" put --ttl 3h db fleeting x
"$wombat" put --keyspace 2 db dirs/ 'another keyspace'
"$wombat" put --keyspace 254 db last 'the last keyspace'

code 0 "$wombat" dump db dump
same "first line" "$(head -n 1 dump)" 'wombat-dump 1'
same "last line" "$(tail -n 1 dump)" $'end\t9'
same "ASCII only" "$(tr -d '\t\n\40-\176' <dump | wc -c)" 0
"$wombat" dump db >dump2
cmp dump dump2

# Back, into a new database: the same dump, so the same records.
code 0 "$wombat" load copy dump
"$wombat" dump copy | cmp - dump
"$wombat" dump db | "$wombat" load piped
"$wombat" dump piped - | cmp - dump
same "expiry" "$("$wombat" get --meta copy fleeting | jq .expiry_ns)" "$("$wombat" get --meta db fleeting | jq .expiry_ns)"
same "time" "$("$wombat" get --meta copy text | jq .time_ns)" "$("$wombat" get --meta db text | jq .time_ns)"
cmp <("$wombat" get db random) <("$wombat" get copy random)

# Attributes, and both ways to write bytes, by hand.
cat >hand <<'END'
wombat-dump 1
record	1	1700000000000000000	0	=key	=mode\x00\\	=plain
record	1	1700000000000000001	0	~a2V5Mg==	~/w==	~dmFsdWU=
record	7	0	0	=	=	=\x41\x42
end	3
END
code 0 "$wombat" load by-hand hand
same "attributes" "$("$wombat" get --meta by-hand key | jq -c .attributes)" '"mode\u0000\\"'
same "binary attributes" "$("$wombat" get --meta by-hand key2 | jq -r .attributes_base64)" '/w=='
same "base64 key and value" "$("$wombat" get by-hand key2)" value
same "its time" "$("$wombat" get --meta by-hand key2 | jq '.time_ns / 1e9 | floor')" 1700000000
same "hexadecimal value of an empty key" "$("$wombat" get --keyspace 7 by-hand '')" AB

# Into what exists: replaced or left alone.
code 0 "$wombat" put merged key old
code 0 "$wombat" put merged other stays
code 0 "$wombat" load merged hand
same "replaced" "$("$wombat" get merged key)" plain
same "left alone" "$("$wombat" get merged other)" stays

# Damage of every kind is status 3, with the line's number.
damaged() { # WHAT LINE, the dump on standard input
	cat >bad
	rm -rf bad-db
	code 3 "$wombat" load bad-db bad
	says "line $2"
}
head -n 5 dump | damaged "no last line" 5
head -c -1 dump | damaged "half a last line" "$(wc -l <dump)"
sed 3d dump | damaged "a record is missing" "$(($(wc -l <dump) - 1))"
{ cat dump; echo more; } | damaged "something after the end" "$(($(wc -l <dump) + 1))"
: | damaged "nothing at all" 0
sed '1s/1$/2/' dump | damaged "another version" 1
sed '2s/^record/recrod/' hand | damaged "another word" 2
sed '2s/\t1\t/\t0\t/' hand | damaged "keyspace 0" 2
sed '2s/\t1\t/\t255\t/' hand | damaged "keyspace 255" 2
sed '2s/\t17/\t-17/' hand | damaged "a negative time" 2
sed '2s/=key/key/' hand | damaged "no form" 2
sed '2s/x00/x0g/' hand | damaged "a bad escape" 2
sed '2s/plain/plain\\/' hand | damaged "half an escape" 2
sed '3s/a2V5Mg==/a2V5Mg=/' hand | damaged "bad base64" 3
sed '3s/a2V5Mg/a2V*Mg/' hand | damaged "a bad digit" 3
sed '2s/$/\t=more/' hand | damaged "a field too many" 2
sed '2s/\t=plain//' hand | damaged "a field too few" 2
tr '\\' '\0' <hand | damaged "a NUL byte" 2
code 5 "$wombat" load bad-db nowhere
code 1 "$wombat" dump nowhere
