#!/bin/bash
# Files that are put into the page cache ahead: a tree that is read in its order asks for few of its files, and whoever reads beside
# writers never sees less than what was written and closed before.
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "there is no jq"
[ -w /proc/sys/vm/drop_caches ] || skip "caches cannot be dropped"
cat >"$dir/beside.py" <<'PY'
"""Writers that give files ascending versions, in several ways, beside readers that go through them in order. Shared between the
processes: of each file the version that is being written and the last that was written and closed."""
import mmap, os, random, sys, time
d, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
FILES, WRITERS, READERS = 120, 2, 2
shared = memoryview(mmap.mmap(-1, 8 * FILES * 2)).cast("Q") # each number is read and written at once
def get(i, acked): return shared[2 * i + acked]
def put(i, acked, v): shared[2 * i + acked] = v
def path(i): return f"{d}/f{i:03d}"
def content(v): return (b"%010d" % v) * 30
def write(i, v, how):
    if how == 0:                       # a new file over the old one
        with open(path(i) + ".new", "wb") as f: f.write(content(v))
        os.rename(path(i) + ".new", path(i))
    elif how == 1:                     # in place
        fd = os.open(path(i), os.O_WRONLY); os.pwrite(fd, content(v), 0); os.close(fd)
    elif how == 2:                     # emptied first
        with open(path(i), "wb") as f: f.write(content(v))
    else:                              # emptied by its path, then written
        os.truncate(path(i), 0)
        fd = os.open(path(i), os.O_WRONLY); os.pwrite(fd, content(v), 0); os.close(fd)
def writer(me, end):
    r = random.Random(seed + me)
    while time.time() < end:
        i = r.randrange(FILES // WRITERS) * WRITERS + me
        v = get(i, 0) + 1
        put(i, 0, v); write(i, v, r.randrange(4)); put(i, 1, v)
def reader(me, end):
    r = random.Random(seed + 100 + me)
    looks = 0
    while time.time() < end:
        if r.randrange(3) == 0:
            with open("/proc/sys/vm/drop_caches", "w") as f: f.write(str(r.choice([1, 3])))
        for name in os.listdir(d):
            try: os.stat(f"{d}/{name}")
            except FileNotFoundError: pass
        for i in range(FILES):
            least = get(i, 1)
            try:
                with open(path(i), "rb") as f: b = f.read()
            except FileNotFoundError: continue
            most = get(i, 0)
            looks += 1
            # In the middle of being written; the kernel shows zeros when a read meets a truncation.
            if len(b) < 300 or b[0] == 0: continue
            v = int(b[:10])
            if not least <= v <= most:
                print(f"file {i} has version {v}, and {least} was closed, {most} begun", flush=True); os._exit(1)
    os._exit(0 if looks > 100 else 2)
for i in range(FILES): write(i, 0, 0)
end = time.time() + seconds
children = []
for role, n in ((writer, WRITERS), (reader, READERS)):
    for me in range(n):
        pid = os.fork()
        if pid == 0:
            role(me, end); os._exit(0)
        children.append(pid)
failed = [s for s in (os.waitpid(p, 0)[1] for p in children) if s]
for i in range(FILES):
    with open(path(i), "rb") as f: b = f.read()
    assert b == content(get(i, 1)), (i, b[:20], get(i, 1))
sys.exit(1 if failed else 0)
PY

# A tree of files, some in directories below, read as a whole.
mount_db -o noxattr
mkdir -p "$mnt/d/below"
python3 - "$mnt/d" <<'PY'
import sys
for i in range(1000):
    name = f"below/g{i:04d}" if i % 3 == 0 else f"f{i:04d}"
    open(f"{sys.argv[1]}/{name}", "w").write(f"the text of {i}\n" * (1 + i % 50))
PY
# The pauses let the daemon keep ahead on a busy machine.
sum() {
	python3 - "$mnt/d" <<'PY'
import hashlib, os, sys, time
h = hashlib.sha1()
for at, _, names in sorted(os.walk(sys.argv[1])):
    for name in sorted(names):
        h.update(open(f"{at}/{name}", "rb").read()); time.sleep(0.001)
print(h.hexdigest())
PY
}
want=$(sum)
for option in "" ,neighbours=0; do
	remount_db -o "noxattr$option"
	find "$mnt/d" -size +100M >/dev/null # a listing, by which the kernel knows the files
	before=$(jq .mount.requests.read "$mnt/.wombat/stats")
	same "what is read" "$(sum)" "$want"
	reads=$(($(jq .mount.requests.read "$mnt/.wombat/stats") - before))
	put=$(jq .mount.neighbours "$mnt/.wombat/stats")
	if [ -z "$option" ]; then
		[ "$reads" -lt 500 ] && [ "$put" -gt 500 ] || fail "$reads of 1000 files were asked for, $put were put ahead"
	else
		[ "$reads" -ge 1000 ] && [ "$put" -eq 0 ] || fail "$reads of 1000 files were asked for, $put were put ahead of none"
	fi
done
# Changeable while mounted.
echo neighbours=8 >"$mnt/.wombat/config"
same "the option" "$(cat "$mnt/.wombat/tune/neighbours")" 8
unmount_db

seed=${WOMBAT_SEED:-$RANDOM}
mount_db
mkdir "$mnt/beside"
python3 "$dir/beside.py" "$mnt/beside" "${WOMBAT_SECONDS:-6}" "$seed" || fail "seed $seed"
[ "$(jq .mount.neighbours "$mnt/.wombat/stats")" -gt 100 ] || fail "nothing was put ahead"
unmount_db
same "check" "$("$wombat" check "$db" >"$dir/out" && echo sound || cat "$dir/out")" sound
