#!/bin/bash
# SQLite databases, with a rollback journal and with a write-ahead log, two writers at a time.
. "$(dirname "$0")/lib.sh"
command -v sqlite3 >/dev/null || skip "there is no sqlite3"
mount_db
for mode in delete truncate wal; do
	file=$mnt/$mode.db
	sqlite3 "$file" "pragma journal_mode=$mode; create table t(a integer primary key, b);" >/dev/null
	writer() {
		for i in $(seq 40); do
			sqlite3 -cmd '.timeout 20000' "$file" "begin immediate; insert into t(b) select hex(randomblob(50)) from \
				(with recursive c(x) as (select 1 union all select x+1 from c where x<50) select x from c); commit;"
		done
	}
	writer &
	other=$!
	writer
	wait "$other"
	same "$mode: rows" "$(sqlite3 "$file" 'select count(*) from t')" 4000
	same "$mode: integrity" "$(sqlite3 "$file" 'pragma integrity_check')" ok
done
remount_db
for mode in delete truncate wal; do
	same "$mode after remount" "$(sqlite3 "$mnt/$mode.db" 'pragma integrity_check; select count(*) from t')" $'ok\n4000'
done
unmount_db
