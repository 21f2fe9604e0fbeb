#!/bin/bash
# A directory of many keys is renamed while others work: nobody waits for all of it, what is changed in it meanwhile comes along,
# and a kill leaves it in one place, whole. WOMBAT_RENAME_KEYS: how many keys.
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "there is no jq"
keys=${WOMBAT_RENAME_KEYS:-60000}

# A tree below t/a: files of a line, every 1,000th one of 20,000 bytes in the value log, in directories of 1,000.
cat >"$dir/fill.py" <<'PY'
import sys
n = int(sys.argv[1])
out = sys.stdout
out.write("wombat-dump 2\n")
for i in range(n):
    value = "x" * 20000 if i % 1000 == 7 else f"value {i}"
    out.write(f"record\t1\t0\t0\t=t/a/{i // 1000:04d}/{i % 1000:03d}\t=\t={value}\n")
out.write(f"end\t{n}\n")
PY
python3 "$dir/fill.py" "$keys" >"$dir/dump"
fill() {
	rm -rf "$db"
	"$wombat" load "$db" "$dir/dump" >/dev/null
}

# While it goes on: changes in the tree by way of a directory that is open, and elsewhere. What is to be there in the end is compared.
cat >"$dir/beside.py" <<'PY'
import os, random, sys, threading, time
mnt, n, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
print("seed", seed)
want = {f"{i // 1000:04d}/{i % 1000:03d}": "x" * 20000 if i % 1000 == 7 else f"value {i}" for i in range(n)}
def read(path, at):
    fd = os.open(path, os.O_RDONLY, dir_fd=at)
    try: return os.read(fd, 1 << 20).decode()
    finally: os.close(fd)
def write(path, at, text):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=at)
    try: os.write(fd, text.encode())
    finally: os.close(fd)
tree = os.open(mnt + "/t/a", os.O_DIRECTORY)
subs = {d: os.open(d, os.O_DIRECTORY, dir_fd=tree) for d in sorted({k.split("/")[0] for k in want})}
os.mkdir(mnt + "/t/b")
os.rmdir(mnt + "/t/b")
os.makedirs(mnt + "/other", exist_ok=True)
done = threading.Event()
failed = []
def rename():
    try: os.rename(mnt + "/t/a", mnt + "/t/b")
    except OSError as e: failed.append(e)
    done.set()
mover = threading.Thread(target=rename)
mover.start()
changes = elsewhere = 0
longest = 0
while not done.is_set():
    began = time.monotonic()
    d = rng.choice(list(subs))
    key = f"{d}/{rng.randrange(1200):03d}"
    name = key.split("/")[1]
    what = rng.randrange(6)
    if what < 3:
        want[key] = f"changed {changes}" * (1 if what else 2000)
        write(name, subs[d], want[key])
    elif what == 3 and key in want:
        os.unlink(name, dir_fd=subs[d])
        del want[key]
    elif key in want:
        assert read(name, subs[d]) == want[key], key
    else:
        try: read(name, subs[d]); raise AssertionError(key)
        except FileNotFoundError: pass
    changes += 1
    with open(f"{mnt}/other/{elsewhere % 50}", "w") as f: f.write(str(elsewhere))
    elsewhere += 1
    longest = max(longest, time.monotonic() - began)
mover.join()
assert not failed, failed
write("at the end", tree, "later")
want["at the end"] = "later"
print(f"{changes} changes beside it, the longest took {longest * 1000:.1f} ms")
def compare(top):
    seen = {}
    for base, _, files in os.walk(top):
        for f in files:
            path = os.path.join(base, f)
            with open(path) as h: seen[os.path.relpath(path, top)] = h.read()
    for k in seen.keys() | want.keys():
        assert seen.get(k) == want.get(k), (k, (seen.get(k) or "-")[:40], (want.get(k) or "-")[:40])
compare(mnt + "/t/b")
assert os.listdir(mnt + "/t") == ["b"]
with open(sys.argv[4], "w") as f:
    f.write(f"{changes}\n")
    for k in want: f.write(f"{k} {len(want[k])}\n")
PY
lengths() { (cd "$1" && find . -type f -printf '%P %s\n' | LC_ALL=C sort); }
for round in 1 2; do
	fill
	mount_db
	python3 "$dir/beside.py" "$mnt" "$keys" "${WOMBAT_SEED:-$RANDOM}" "$dir/want"
	# Were it held up for the whole rename, one round of the loop would have been all.
	[ "$(head -n 1 "$dir/want")" -ge 20 ] || fail "only $(head -n 1 "$dir/want") changes were made while the rename went on"
	lengths "$mnt/t/b" >"$dir/before"
	tail -n +2 "$dir/want" | LC_ALL=C sort | cmp - "$dir/before"
	same "made beside" "$(jq '.ingested_tables_total > 0' "$mnt/.wombat/stats")" true
	remount_db
	lengths "$mnt/t/b" | cmp - "$dir/before"
	same "the tree" "$(ls "$mnt/t")" b
	mv "$mnt/t/b" "$mnt/moved" # to another directory, quiet
	lengths "$mnt/moved" | cmp - "$dir/before"
	same "nothing is left" "$(ls "$mnt/t")" ""
	unmount_db
	same "check" "$("$wombat" check "$db" >"$dir/out.txt" && echo sound || cat "$dir/out.txt")" sound
done

# Killed while it goes on: all of it is at one place or the other.
places=
for round in $(seq "${WOMBAT_E2E_KILLS:-8}"); do
	fill
	mount_db
	mv "$mnt/t/a" "$mnt/t/b" 2>/dev/null &
	mover=$!
	sleep "0.$(printf %03d $((RANDOM % 200)))"
	kill_daemon "$mover"
	mount_db
	place=$(ls "$mnt/t")
	case $place in
	a | b) ;;
	*) fail "after a kill there are: $place" ;;
	esac
	same "keys after a kill" "$(find "$mnt/t/$place" -type f | wc -l)" "$keys"
	same "a file after a kill" "$(cat "$mnt/t/$place/0001/123")" "value 1123"
	same "a large one" "$(stat -c %s "$mnt/t/$place/0001/007")" 20000
	places+=$place
	unmount_db
done
echo "kills left it at: $places"
same "check" "$("$wombat" check "$db" >"$dir/out.txt" && echo sound || cat "$dir/out.txt")" sound
