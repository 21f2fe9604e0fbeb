#!/bin/bash
# scan and list: order, bounds, both directions, and the three forms of output.
. "$(dirname "$0")/lib.sh"

for key in a b/1 b/2 b/sub/x b-x b c/deep/er c/deep/est d; do
	"$wombat" put db "$key" "v:$key"
done
keys() { # of a scan, on one line
	"$wombat" scan --keys-only "$@" db | tr '\n' ' '
}

same "all, in byte order" "$(keys)" 'a b b-x b/1 b/2 b/sub/x c/deep/er c/deep/est d '
same "reverse" "$(keys --reverse)" 'd c/deep/est c/deep/er b/sub/x b/2 b/1 b-x b a '
same "prefix" "$(keys --prefix b/)" 'b/1 b/2 b/sub/x '
same "prefix, reverse, limit" "$(keys --prefix b/ --reverse --limit 2)" 'b/sub/x b/2 '
same "from is included" "$(keys --from b/2)" 'b/2 b/sub/x c/deep/er c/deep/est d '
same "to is not" "$(keys --to b/1)" 'a b b-x '
same "both" "$(keys --from b --to c)" 'b b-x b/1 b/2 b/sub/x '
same "both and a prefix" "$(keys --from a --to b/2 --prefix b)" 'b b-x b/1 '
same "nothing between" "$(keys --from x --to y)" ''
same "nothing, reversed" "$(keys --from c --to b)" ''
same "to the empty key" "$(keys --to '')" ''
same "limit" "$(keys --limit 3)" 'a b b-x '
same "limit of none" "$(keys --limit 0)" ''
same "hexadecimal" "$("$wombat" scan --hex --keys-only --prefix 622f db | tr '\n' ' ')" '622f31 622f32 622f7375622f78 '
same "lines" "$("$wombat" scan --limit 2 db)" $'a\tv:a\nb\tv:b'

# Escapes, JSON, NULs.
printf 'tab\there\nnew\\line\0nul \xff caf\xc3\xa9' | "$wombat" put --keyspace 20 db $'k\te\ny'
"$wombat" put --keyspace 20 db plain '{"a": "quote"}'
"$wombat" put --keyspace 20 --hex db ff00 text
same "escapes" "$("$wombat" scan --keyspace 20 --limit 1 db)" \
	'k\te\ny	tab\there\nnew\\line\x00nul \xff café'
"$wombat" scan --keyspace 20 --json db >json
same "JSON lines" "$(jq -s length json)" 3
same "a key in JSON" "$(jq -r 'select(.value == "{\"a\": \"quote\"}") | .key' json)" plain
same "a value that is not UTF-8" "$(jq -r 'select(.value_base64) | .value_base64' json | base64 -d | od -An -c)" \
	"$(printf 'tab\there\nnew\\line\0nul \xff caf\xc3\xa9' | od -An -c)"
same "a key that is not UTF-8" "$(jq -r 'select(.key_base64) | .key_base64' json)" "$(printf '\xff\0' | base64)"
same "sizes" "$(jq -s 'map(.size) | add' json)" $((29 + 14 + 4))
same "keys only" "$("$wombat" scan --keyspace 20 --json --keys-only db | jq -s 'map(has("value") or has("value_base64")) | any')" false
"$wombat" scan --keyspace 20 --null db | od -An -c >nul
printf 'k\te\ny\0tab\there\nnew\\line\0nul \xff caf\xc3\xa9\0plain\0{"a": "quote"}\0\xff\0\0text\0' | od -An -c >wanted
cmp nul wanted

# list: values, prefixes, what is both; deeper keys are not seen.
same "top" "$("$wombat" list db | tr '\n' ' ')" 'a b b-x b/ c/ d '
same "below" "$("$wombat" list db b/ | tr '\n' ' ')" '1 2 sub/ '
same "without the slash" "$("$wombat" list db b | tr '\n' ' ')" '1 2 sub/ '
same "deep" "$("$wombat" list db c/deep | tr '\n' ' ')" 'er est '
same "NULs" "$("$wombat" list --null db c/deep | tr '\0' ' ')" 'er est '
same "JSON" "$("$wombat" list --json db b | jq -r '"\(.name) \(.is_prefix) \(.size)"')" \
	$'1 false 5\n2 false 5\nsub true null'
code 1 "$wombat" list db nothing
says nothing
code 1 "$wombat" list db a
code 0 "$wombat" put --keyspace 30 db x//y z
same "an empty name" "$("$wombat" list --keyspace 30 db x)" /

# An empty database lists and scans as nothing.
code 0 "$wombat" put new key x
code 0 "$wombat" del new key
code 0 "$wombat" list new
code 0 "$wombat" scan new
[ ! -s out ] || fail "an empty database showed something"

# Many: in order, once each, from memory and from tables.
seq -f 'n/%06.0f' 1 20000 | awk '{ print "record\t1\t1\t0\t=" $1 "\t=\t=" NR } END { print "end\t" NR }' |
	sed '1i wombat-dump 1' >many
code 0 "$wombat" load --option mem_table_size=64K many-db many
same "many" "$("$wombat" scan --keys-only many-db | sha256sum)" "$(seq -f 'n/%06.0f' 1 20000 | sha256sum)"
same "many, reversed" "$("$wombat" scan --keys-only --reverse many-db | sha256sum)" "$(seq -f 'n/%06.0f' 20000 -1 1 | sha256sum)"
same "from the middle" "$("$wombat" scan --from n/010000 --limit 1 many-db)" $'n/010000\t10000'
same "listed" "$("$wombat" list many-db n | wc -l)" 20000
# A reader that has seen enough is no error of ours.
"$wombat" scan many-db | head -n 1 >/dev/null || [ "${PIPESTATUS[0]}" -eq 141 ]
