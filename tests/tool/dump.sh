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
same "first line" "$(head -n 1 dump)" 'wombat-dump 2'
same "last line" "$(tail -n 1 dump)" $'end\t9'
same "ASCII only" "$(tr -d '\t\n\40-\176' <dump | wc -c)" 0
"$wombat" dump db >dump2
cmp dump dump2

# Back, into a new database: the same dump, so the same records.
code 0 "$wombat" load copy dump
"$wombat" dump copy | cmp - dump
"$wombat" dump db | "$wombat" load piped
code 0 "$wombat" load --bulk bulk dump
"$wombat" dump bulk | cmp - dump
code 0 "$wombat" check bulk
same "log" "$("$wombat" stats bulk | jq '.wal.bytes_total')" 0
[ "$(wc -l <dump)" -gt 3 ]
{ sed -n 1p dump; sed '1d;$d' dump | tac; tail -n 1 dump; } >descending
code 3 "$wombat" load --bulk descending-db descending
case $(cat err) in *"line 3: with --bulk records ascend"*) ;; *) fail "it says: $(cat err)" ;; esac
same "of a load that failed" "$("$wombat" dump descending-db | tail -n 1)" $'end\t0'
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
sed '1s/2$/3/' dump | damaged "another version" 1
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

# Large values go in pieces, and what is no piece takes no space: 5 GiB here, and one of the log that is just too large.
five=5368709120
{
	printf 'wombat-dump 2\nrecord\t1\t1\t0\t=before\t=\t=x\n'
	printf 'large\t1\t1700000000000000002\t0\t=huge\t=mode\t%s\n' $five
	printf 'piece\t0\t=begin\npiece\t4294967296\t='
	head -c 200000 /dev/zero | tr '\0' y
	printf '\npiece\t%s\t=end\npieces\t3\n' $((five - 3))
	printf 'record\t1\t1\t0\t=later\t=\t=x\nend\t3\n'
} >huge
code 0 "$wombat" load huge-db huge
same "its size and attributes" "$("$wombat" get --meta huge-db huge | tr ',' '\n' | grep -c "\"size\":$five$\|time_ns\":1700000000000000002$\|attributes\":\"mode\"")" 3
same "its space" "$(($(du -sk huge-db | cut -f1) < 40000))" 1
same "its begin" "$("$wombat" get huge-db huge 2>/dev/null | head -c 8 | od -An -c | tr -d ' ')" 'begin\0\0\0'
"$wombat" dump huge-db >huge2
code 0 "$wombat" load huge-again huge2
"$wombat" dump huge-again | cmp - huge2
same "its pieces" "$(grep -c '^piece	' huge2)" "$(grep '^pieces	' huge2 | cut -f2)"
grep -q "^piece	$((five - 3))	=end" huge2 || grep -q '=end$\|end$' huge2 || fail "the last piece"
head -c 1500000 /dev/urandom >random
code 0 "$wombat" put --option value_threshold=4K three random <random
code 0 "$wombat" put --option value_threshold=4K three middle < <(head -c 70000 random)
"$wombat" dump three >three.dump
same "one in pieces" "$(grep -c '^large' three.dump) $(grep -c '^record' three.dump)" "1 1"
for bulk in "" --bulk; do
	rm -rf three-again
	code 0 "$wombat" load $bulk three-again three.dump
	"$wombat" get three-again random | cmp - random
	"$wombat" dump three-again | cmp - three.dump
done
if ! sanitized; then
	(ulimit -v 400000 && "$wombat" load limited huge && "$wombat" dump limited) >limited.dump
	cmp limited.dump huge2
fi
# Damage in one, and nothing of it is there.
n=$(grep -n '^piece	4294967296' huge | cut -d: -f1)
sed "${n}d" huge | damaged "a piece is missing" $((n + 1))
same "of a value that is not whole" "$("$wombat" list bad-db)" before
sed "${n}s/4294967296/3/" huge | damaged "pieces that overlap" "$n"
sed "${n}s/4294967296/$five/" huge | damaged "a piece beyond the end" "$n"
sed "$((n + 1))s/=end/=endless/" huge | damaged "a piece over the end" $((n + 1))
sed "$((n + 2))d" huge | damaged "no end of it" $((n + 2))
sed "$((n + 2))s/3/x/" huge | damaged "no count" $((n + 2))
sed "3s/$five/much/" huge | damaged "no size" 3
sed "3s/$/\t=more/" huge | damaged "a field more" 3
head -n "$n" huge | damaged "it is cut short in it" "$n"
same "of a value that is cut short" "$("$wombat" list bad-db)" before
sed "3d" huge | damaged "a piece of none" 3
sed "3s/$five/9223372036854775807/" huge >bad
code 2 "$wombat" load bad-db bad
says "over max_value_size"
code 5 "$wombat" load --bulk bad-bulk huge
says "with --bulk"

code 5 "$wombat" load bad-db nowhere
code 1 "$wombat" dump nowhere
