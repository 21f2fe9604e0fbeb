#!/bin/bash
# A PostgreSQL cluster on the mount: initdb with checksums, pgbench, the server killed under load, amcheck and checksums after.
. "$(dirname "$0")/lib.sh"
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
[ -n "$bin" ] || skip "there is no PostgreSQL; contrib/install-deps --real"
export PATH=$bin:$PATH
[ "$(id -u)" -eq 0 ] || skip "the server is started as another user, by root"
chmod 755 "$dir"
mount_db -o allow_other,default_permissions
data=$mnt/pg
install -d -o postgres -m 700 "$data"
install -d -o postgres "$dir/run"
as() { setpriv --reuid=postgres --regid=postgres --init-groups env HOME="$dir/run" "$@"; }
server=
start() {
	as pg_ctl -D "$data" -o "-k $dir/run -c listen_addresses= -c shared_buffers=16MB" -l "$dir/run/log" -w start >/dev/null ||
		{ tail -20 "$dir/run/log" >&2; fail "the server does not start"; }
	server=$(head -n 1 "$data/postmaster.pid")
}
before_cleanup() {
	[ -z "$server" ] || kill -QUIT "$server" 2>/dev/null || true
	for _ in $(seq 50); do [ -n "$server" ] && kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
}
sql() { as psql -h "$dir/run" -X -q -t -A -v ON_ERROR_STOP=1 "$@"; }

as initdb -D "$data" --data-checksums -A trust >"$dir/out" 2>&1 || { cat "$dir/out" >&2; fail initdb; }
start
as createdb -h "$dir/run" bench
as pgbench -h "$dir/run" -i -s "$(choose 1 10)" -q bench >"$dir/out" 2>&1 || { cat "$dir/out" >&2; fail "pgbench -i"; }
as pgbench -n -h "$dir/run" -c 4 -j 2 -T "$(choose 3 30)" bench >"$dir/out" 2>&1 || { cat "$dir/out" >&2; fail pgbench; }
grep -E '^tps' "$dir/out"
for round in $(seq "$(choose 1 3)"); do
	as pgbench -n -h "$dir/run" -c 4 -j 2 -T 20 bench >"$dir/out" 2>&1 &
	load=$!
	sleep 2
	before=$(sql -d bench -c 'select count(*) from pgbench_history')
	children=$(pgrep -P "$server" | tr '\n' ' ')
	# shellcheck disable=SC2086
	kill -KILL "$server" $children 2>/dev/null || true
	wait "$load" || true
	for child in $server $children; do
		while [ -d "/proc/$child" ]; do sleep 0.05; done
	done
	rm -f "$data/postmaster.pid" "$dir"/run/.s.PGSQL.*
	start
	after=$(sql -d bench -c 'select count(*) from pgbench_history')
	[ "$after" -ge "$before" ] || fail "round $round: $before rows before the kill, $after after"
	same "balances agree" "$(sql -d bench -c 'select (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from
		pgbench_history) and (select sum(bbalance) from pgbench_branches) = (select coalesce(sum(delta), 0) from pgbench_history)')" t
done
as pg_amcheck -h "$dir/run" --install-missing --heapallindexed --parent-check bench >"$dir/out" 2>&1 || { cat "$dir/out" >&2; fail amcheck; }
as pg_ctl -D "$data" -m fast -w stop >/dev/null
server=
remount_db -o allow_other,default_permissions
as pg_checksums -D "$data" --check >"$dir/out" 2>&1 || { cat "$dir/out" >&2; fail "checksums"; }
grep -E 'Blocks scanned|Bad checksums' "$dir/out"
sound
