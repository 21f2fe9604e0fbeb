#!/bin/bash
# Mistakes on the command line: status 2, one sentence, and nothing is made or changed.
. "$(dirname "$0")/lib.sh"

code 2 "$wombat"
code 2 "$wombat" nonsense
says nonsense
for verb in get put del scan list stats check compact dump load; do
	code 2 "$wombat" "$verb"
	says "usage: wombat $verb"
	code 2 "$wombat" "$verb" --nonsense db
	says nonsense
	code 2 "$wombat" "$verb" --option
	code 2 "$wombat" "$verb" --option nonsense=1 db a
	says nonsense
	code 2 "$wombat" "$verb" --option block_cache_size db a
	code 2 "$wombat" "$verb" --option block_cache_size=much db a
	says block_cache_size
	code 2 "$wombat" "$verb" --option num_memtables=1000000 db a
	says num_memtables
	code 2 "$wombat" "$verb" db a b c d e --keyspace x
done
code 2 "$wombat" get db
code 2 "$wombat" get db a b
code 2 "$wombat" put db a b c
code 2 "$wombat" del --range db a
code 2 "$wombat" del --prefix db a b
code 2 "$wombat" scan --limit x db
code 2 "$wombat" scan db extra
code 2 "$wombat" list db a b
code 2 "$wombat" compact db a b c
code 2 "$wombat" version db
[ ! -e db ] || fail "a mistake made a database"

# The configuration file in the directory counts, and its mistakes are said with their line.
code 0 "$wombat" put db a b
printf '# fine\nblock_cache_size=1M\n' >db/wombat.conf
code 0 "$wombat" get db a
printf '# fine\nblock_cache_size=1M\nnonsense=1\n' >db/wombat.conf
"$wombat" get db a >out 2>err && fail "a mistake in wombat.conf went unnoticed"
says nonsense
says 3
rm db/wombat.conf

# What is in the way of a directory.
echo file >file
"$wombat" put file a b >out 2>err && fail "a file was taken for a database"
[ "$(wc -l <err)" -eq 1 ] || fail "no clear sentence: $(cat err)"
same "the file" "$(cat file)" file
if [ "$(id -u)" -ne 0 ]; then
	mkdir closed
	chmod 0 closed
	code 5 "$wombat" put closed/db a b
	chmod 700 closed
fi
