#!/bin/bash
# The examples run, and print what they are meant to show.
. "$(dirname "$0")/lib.sh"
examples=$build_dir/examples

"$examples/01_put_get" one >out
same "01_put_get" "$(cat out)" $'users/42/name = Ada Lovelace\nusers/42/draft is gone'
same "what it left behind" "$("$wombat" get one users/42/name)" 'Ada Lovelace'
"$examples/01_put_get" one >/dev/null # again, on what is there

"$examples/02_batch_snapshot" two >out
same "02_batch_snapshot" "$(cat out)" \
	$'before: alice 100, bob 50, together 150\nafter: alice 70, bob 80, together 150'

"$examples/03_scan" three >out
same "03_scan" "$(sed -n '2p;7p;9p;$p' out)" "$(printf '%s\n' '  log/2026-05-17/09:00  all quiet at 0 past 9' \
	'  log/2026-05-17/10:40  all quiet at 40 past 10' '  log/2026-05-17/10:40  all quiet at 40 past 10' '  format')"

"$examples/04_transaction" four >out
grep -q "accounts hold 20000" out || fail "transaction printed: $(cat out)"

# The set-ups, with few records: each says what its options did.
for setup in write-heavy read-heavy mixed ssd hdd large-memory small-memory; do
	"$examples/05_setups" "setup-$setup" "$setup" 2000 >out || fail "set-up $setup"
	value() { sed -n "s/^  $1 *//p" out; }
	case $setup in
	mixed) [ "$(value wal.syncs_total)" -ge 2000 ] || fail "mixed did not sync each write" ;;
	small-memory) [ "$(value packed_cache.entries)" -gt 0 ] || fail "small-memory has no packed blocks: $(cat out)" ;;
	esac
done
same "an unknown set-up" "$("$examples/05_setups" x nonsense 2>/dev/null || echo $?)" 2

"$examples/06_sequential_keys" six 20000 >out
same "one second" "$(tail -n 1 out)" "one second of the log: 1000 records"
rewritten() { sed -n "s/^$1 .*rewrote \([0-9]*\) bytes.*/\1/p" out; }
[ "$(rewritten "in order")" -lt "$(rewritten "in no order")" ] || fail "keys in order were rewritten: $(cat out)"

"$examples/07_bulk_load" seven 3000 >out
same "log records" "$(sed 's/.*s, *\([0-9]*\) log records.*/\1/' out | tr '\n' ' ')" "3000 3 3 0 "

"$examples/08_adaptive" eight 20000 >out
same "share of reads" "$(sed -n 's/.*: \([0-9]*\) % reads/\1/p' out | tr '\n' ' ')" "0 100 0 "
grep -q '^  block_cache_size=256M' out && [ "$(grep -c '^  mem_table_size=' out)" -eq 3 ] || fail "08_adaptive did: $(cat out)"

same "no alert" "$("$examples/09_alerts" eight)" "all is well"
"$examples/09_alerts" eight 'sequence=10' 'uptime_ns<1e18' >out && fail "09_alerts found nothing"
same "alerts" "$(grep -c '^ALERT' out)" 2

"$examples/10_capacity" ten 1000000 5000 >out
grep -qE '^disk: +[0-9.]+ GiB' out || fail "10_capacity printed $(cat out)"

"$examples/11_compare" eleven "" "compression=zlib" 5000 >out
awk '/bytes on disk/ { exit !($NF < 0.8) }' out || fail "zlib saved nothing: $(cat out)"
