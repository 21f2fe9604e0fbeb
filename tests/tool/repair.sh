#!/bin/bash
# repair: what is damaged opens again, what is lost is listed, and the exit status says whether anything is.
. "$(dirname "$0")/lib.sh"

seq -f 'k/%05.0f' 1 3000 | awk '{ printf "record\t1\t1\t0\t=%s\t=\t=%0100d\n", $1, NR } END { print "end\t" NR }' |
	sed '1i wombat-dump 1' >dump
code 0 "$wombat" load --option mem_table_size=64K db dump
code 0 "$wombat" compact db
code 1 "$wombat" repair nothing
code 2 "$wombat" repair

# Sound.
code 0 "$wombat" repair db
grep -q 'nothing is lost' out
[ ! -e db/lost ] || fail "repair of a sound database kept something as lost"

# CURRENT alone says nothing that the manifests do not.
rm db/CURRENT
code 0 "$wombat" repair db
code 0 "$wombat" check --quiet db

# Without a manifest all records are there, and that it is lost is said.
rm db/MANIFEST-*
code 3 "$wombat" repair db
grep -q '^lost: .*manifest' out
code 0 "$wombat" check --quiet db
same "records" "$("$wombat" scan --keys-only db | wc -l)" 3000

# So also of more tables than files can be open: of those that do not overlap one is open at a time.
seq -f 'k/%05.0f' 1 20000 | awk '{ printf "record\t1\t1\t0\t=%s\t=\t=%0300d\n", $1, NR } END { print "end\t" NR }' |
	sed '1i wombat-dump 1' >many.dump
code 0 "$wombat" load --option mem_table_size=256K --option max_table_size=64K many many.dump
code 0 "$wombat" compact --option max_table_size=64K many
"$wombat" scan --json many >before
[ "$(find many -name '*.sst' | wc -l)" -gt 80 ] || fail "there are only $(find many -name '*.sst' | wc -l) tables"
rm many/MANIFEST-* many/CURRENT
(ulimit -n 40 && code 3 "$wombat" repair many)
code 0 "$wombat" check --quiet many
same "records of many tables" "$("$wombat" scan --json many | sha1sum)" "$(sha1sum <before)"

# A damaged block: the others are there, and the table is kept.
table=$(ls -S db/*.sst | head -n 1)
printf 'XYZ' | dd of="$table" bs=1 seek=9000 conv=notrunc 2>/dev/null
code 3 "$wombat" check db
code 3 "$wombat" repair db
same "losses" "$(grep -c '^lost: ' out)" 1
[ -e "db/lost/$(basename "$table")" ] || fail "the damaged table is not in lost/"
code 0 "$wombat" check --quiet db
left=$("$wombat" scan --keys-only db | wc -l)
[ "$left" -gt 2900 ] && [ "$left" -lt 3000 ] || fail "$left records are left"
code 0 "$wombat" repair db

# A table without its end: its blocks are found.
table=$(ls -S db/*.sst | head -n 1)
truncate -s -50 "$table"
code 0 "$wombat" repair db
code 0 "$wombat" check --quiet db
same "records" "$("$wombat" scan --keys-only db | wc -l)" "$left"
