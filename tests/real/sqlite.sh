#!/bin/bash
# SQLite in every journal mode and locking mode it has, with four writers at a time, and one of them killed.
. "$(dirname "$0")/lib.sh"
need sqlite3
mount_db
rounds=$(choose 10 100)
for mode in delete truncate persist memory wal; do
	file=$mnt/$mode.db
	sqlite3 "$file" "pragma journal_mode=$mode; create table t(a integer primary key, writer, b);" >/dev/null
	writer() { # N
		for _ in $(seq "$rounds"); do
			sqlite3 -cmd '.timeout 60000' "$file" "pragma journal_mode=$mode; begin immediate; insert into t(writer, b) select $1, hex(randomblob(50)) \
				from (with recursive c(x) as (select 1 union all select x+1 from c where x<20) select x from c); commit;" >/dev/null
		done
	}
	pids=()
	for n in 1 2 3 4; do
		writer $n &
		pids+=($!)
	done
	wait "${pids[@]}"
	same "$mode: rows" "$(sqlite3 "$file" 'select count(*) from t')" $((rounds * 80))
	if [ "$mode" != memory ]; then # which promises nothing when it is killed
		python3 - "$file" <<'P' &
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
while True:
    c.execute("begin immediate")
    c.executemany("insert into t(writer, b) values (9, ?)", [("x" * 500,)] * 20)
    c.execute("commit")
P
		victim=$!
		sleep 1
		kill -KILL "$victim"
		wait "$victim" 2>/dev/null || true
		same "$mode: whole commits" "$(sqlite3 "$file" 'select count(*) % 20 from t where writer = 9')" 0
	fi
	same "$mode: integrity" "$(sqlite3 "$file" 'pragma integrity_check')" ok
done
remount_db
for mode in delete truncate persist memory wal; do
	same "$mode after a remount" "$(sqlite3 "$mnt/$mode.db" 'pragma integrity_check')" ok
done
sound
