#!/bin/bash
# The daemon is killed while files are rewritten: after a remount each holds an old or the new content, whole. With commit=write that
# is promised of what one call writes.
. "$(dirname "$0")/lib.sh"
cat >"$dir/rewrite.py" <<'PY'
import os, sys
d, rounds, by_write = sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3
def content(i, r):
    head = b"file %d round %d " % (i, r)
    return head + bytes([65 + r % 26]) * (100 + 977 * (i % 40)) + b" end\n"
try:
    for r in range(rounds):
        for i in range(60):
            with open(f"{d}/f{i}", "wb", buffering=0 if by_write else -1) as f:
                data = content(i, r)
                half = 0 if by_write else len(data) // 2
                f.write(data[:half])
                f.write(data[half:])
            print(i, r, flush=True)
except OSError:
    pass
PY
cat >"$dir/verify.py" <<'PY'
import os, re, sys
d, acks, ever = sys.argv[1:4]
closed = {}
for line in open(acks):
    i, r = map(int, line.split())
    closed[i] = r
# Of any run: a short one may not have come to the last files.
ever_closed = set(int(line.split()[0]) for line in open(ever))
for i in range(60):
    try:
        data = open(f"{d}/f{i}", "rb").read()
    except FileNotFoundError:
        assert i not in ever_closed, f"f{i} was closed and is gone"
        continue
    m = re.fullmatch(rb"file (\d+) round (\d+) ([A-Z])\3* end\n", data)
    assert m and int(m[1]) == i, f"f{i} holds {data[:60]!r}..., {len(data)} bytes"
    r = int(m[2])
    assert len(data) == len(b"file %d round %d " % (i, r)) + 100 + 977 * (i % 40) + 5, f"f{i}: {len(data)} bytes"
    if i in closed:
        assert r >= closed[i], f"f{i} holds round {r}, but {closed[i]} was closed"
PY
for round in $(seq "${WOMBAT_E2E_KILLS:-8}"); do
	mount_db
	python3 "$dir/rewrite.py" "$mnt" 100000 $(commits_by_write && echo by_write) >"$dir/acks" &
	writer=$!
	sleep "0.$((RANDOM % 8 + 1))"
	kill_daemon "$writer"
	mount_db
	cat "$dir/acks" >>"$dir/ever"
	python3 "$dir/verify.py" "$mnt" "$dir/acks" "$dir/ever"
	unmount_db
done
same "check" "$("$wombat" check "$db" >"$dir/out.txt" && echo sound || cat "$dir/out.txt")" sound
