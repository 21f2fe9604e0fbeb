#!/bin/bash
# Listings whose next part is made before it is asked for: what changes in between is told as it is then, nothing is kept that
# the kernel does not know, and who goes elsewhere or stops finds what is there.
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "there is no jq"
mount_db
ahead() { jq .mount.listed_ahead "$mnt/.wombat/stats"; }
mkdir "$mnt/d"
(cd "$mnt/d" && seq -f 'file%04.0f' 3000 | xargs touch)

before=$(ahead)
same "all names" "$(ls -f "$mnt/d" | grep -c file)" 3000
[ "$(ahead)" -gt "$before" ] || fail "nothing was made ahead"

cat >"$dir/between.py" <<'P'
import os, random, sys, time
d, how, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
choose = random.Random(seed)
names = sorted(os.listdir(d))
gone = set()
want = {n: (os.stat(f"{d}/{n}").st_mode & 0o777, os.stat(f"{d}/{n}").st_size) for n in names}
listing = os.scandir(d)
seen = [next(listing)]
for part in range(12):
    time.sleep(0.02)  # the next part is there by now
    for n in choose.sample(names, 40):
        if n in gone:
            continue
        path = f"{d}/{n}"
        if how == "mode":
            mode = choose.choice([0o600, 0o640, 0o444])
            os.chmod(path, mode)
            want[n] = mode, want[n][1]
        elif how == "size":
            size = choose.randrange(5000)
            os.truncate(path, size)
            want[n] = want[n][0], size
        else:
            os.unlink(path)
            gone.add(n)
    for entry in listing:
        seen.append(entry)
        if len(seen) % 200 == 0:
            break
seen += list(listing)
told = [e.name for e in seen]
assert len(told) == len(set(told)), "a name twice"
assert not set(names) - gone - set(told), "a name is missing"
for n in names:
    try:
        st = os.stat(f"{d}/{n}")
        assert n not in gone, f"{n} was deleted (seed {seed})"
        assert (st.st_mode & 0o777, st.st_size) == want[n], f"{n}: {st}, not {want[n]} (seed {seed})"
    except FileNotFoundError:
        assert n in gone, f"{n} is lost (seed {seed})"
P
for how in mode size gone; do
	echo 2 >/proc/sys/vm/drop_caches 2>/dev/null || true
	python3 "$dir/between.py" "$mnt/d" $how "${WOMBAT_SEED:-$RANDOM}" || fail "changes between the parts: $how"
done

# Another place, a second reader, and one that goes away in the middle.
python3 - "$mnt/d" <<'P' || fail "other places"
import os, sys
d = sys.argv[1]
names = sorted(os.listdir(d))
for stop in (1, 150, 700):
    first, second = os.scandir(d), os.scandir(d)
    for _ in range(stop):
        next(first)
        next(second)
    rest = [e.name for e in second]
    assert len(rest) == len(names) - stop
    first.close()

import ctypes, time
libc = ctypes.CDLL(None)
class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("len", ctypes.c_ushort), ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.telldir.restype = ctypes.c_long
for call in libc.readdir, libc.telldir, libc.closedir:
    call.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
stream = libc.opendir(d.encode())
read = lambda: (lambda e: e.contents.name.decode() if e else None)(libc.readdir(stream))
told = [read() for _ in range(1000)]
place = libc.telldir(stream)
behind = [read() for _ in range(700)]
time.sleep(0.02)
libc.seekdir(stream, place)
again = [read() for _ in range(700)]
assert behind == again, "another place"
rest = [n for n in iter(read, None)]
assert sorted(told + again + rest) == sorted([".", ".."] + names)
libc.closedir(stream)
P
# What was made and not asked for is forgotten with the rest.
if [ -w /proc/sys/vm/drop_caches ]; then
	for try in $(seq 50); do
		sync
		echo 2 >/proc/sys/vm/drop_caches
		[ "$(jq .mount.nodes "$mnt/.wombat/stats")" -gt 30 ] || break
		sleep 0.1
	done
	[ "$(jq .mount.nodes "$mnt/.wombat/stats")" -le 30 ] || fail "nodes that nobody knows: $(jq -c .mount "$mnt/.wombat/stats")"
fi
# What expires between the parts is gone.
python3 - "$mnt/d" <<'P' || fail "what expires"
import os, sys, time
d = sys.argv[1]
names = sorted(os.listdir(d))
for n in names[1000:1010]:
    os.setxattr(f"{d}/{n}", "user.wombat.ttl", b"1")
listing = os.scandir(d)
next(listing)
time.sleep(0.6)
list(listing)
time.sleep(0.6)
for n in names[1000:1010]:
    assert not os.path.exists(f"{d}/{n}"), n
P
unmount_db
