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
