#!/bin/bash
# rename(2) and renameat2(2): over files and directories, without replacing, exchanging; open files go along.
. "$(dirname "$0")/lib.sh"
mount_db
cat >"$dir/rename.py" <<'PY'
import ctypes, errno, os, sys
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) != 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
def put(p, s):
    with open(p, "w") as f: f.write(s)
def get(p):
    with open(p) as f: return f.read()
def refused(e, f, *a):
    try: f(*a)
    except OSError as x: assert x.errno == e, (x, e); return
    raise AssertionError(f"{f} {a} was not refused")
NOREPLACE, EXCHANGE = 1, 2
put("a", "A"); put("b", "B")
refused(errno.EEXIST, renameat2, "a", "b", NOREPLACE)
renameat2("a", "c", NOREPLACE); assert get("c") == "A" and not os.path.exists("a")
ino_c, ino_b = os.stat("c").st_ino, os.stat("b").st_ino
renameat2("c", "b", EXCHANGE); assert get("c") == "B" and get("b") == "A"
assert (os.stat("b").st_ino, os.stat("c").st_ino) == (ino_c, ino_b)
refused(errno.ENOENT, renameat2, "c", "none", EXCHANGE)
os.rename("b", "c"); assert get("c") == "A" and os.listdir(".") == ["c"]
os.makedirs("d/e"); put("d/e/f", "F"); put("d/g", "G")
refused(errno.EINVAL, os.rename, "d", "d/e/x")
refused(errno.ENOTDIR, os.rename, "d", "c")
refused(errno.EISDIR, os.rename, "c", "d")
os.mkdir("full"); put("full/x", "X")
refused(errno.ENOTEMPTY, os.rename, "d", "full")
os.mkdir("empty"); os.rename("d", "empty")
assert get("empty/e/f") == "F" and get("empty/g") == "G" and not os.path.exists("d")
renameat2("empty", "full", EXCHANGE)
assert get("full/e/f") == "F" and get("empty/x") == "X"
renameat2("c", "full", EXCHANGE); assert get("full") == "A" and get("c/g") == "G"
renameat2("c", "full", EXCHANGE); assert get("c") == "A" and get("full/g") == "G"
# An open file that is not committed yet goes along with its name, and over a stored one.
with open("fresh", "w") as f:
    f.write("one"); f.flush()
    os.rename("fresh", "moved"); f.write(" two")
assert get("moved") == "one two"
put("target", "old")
with open("new", "w") as f:
    f.write("half"); f.flush(); os.rename("new", "target"); assert get("target") == "half"; f.write(" whole")
assert get("target") == "half whole"
# A directory is renamed under an open file.
os.mkdir("p")
with open("p/q", "w") as f:
    f.write("1"); f.flush(); os.rename("p", "r"); f.write("2")
assert get("r/q") == "12"
# An unlinked open file keeps its content, stored or not, large or small.
for size in (10, 300000):
    put("u", "u" * size)
    with open("u") as f:
        os.unlink("u"); assert not os.path.exists("u"); assert f.read() == "u" * size
    with open("u", "w+") as f:
        os.unlink("u"); f.write("v" * size); f.seek(0); assert f.read() == "v" * size
    put("u", "w" * size); put("w", "other")
    with open("u") as f:
        os.rename("w", "u"); assert f.read() == "w" * size
    assert get("u") == "other"
print("renames passed")
PY
python3 "$dir/rename.py" "$mnt"
# A large file that is open, whose directory was renamed before.
cat >"$dir/open.py" <<'PY'
import os, sys
os.chdir(sys.argv[1])
for size in (10000, 3000000):
    content = os.urandom(size)
    os.mkdir("d")
    with open("d/f", "wb") as f: f.write(content)
    with open("d/f", "rb") as f:
        os.lseek(f.fileno(), 0, os.SEEK_DATA); f.read(1)
        os.rename("d", "e"); os.rename("e/f", "g")
        f.seek(0); assert f.read() == content
    with open("g", "rb") as f: assert f.read() == content
    os.unlink("g"); os.rmdir("e")
PY
python3 "$dir/open.py" "$mnt"
before=$(cd "$mnt" && find . -type f -exec md5sum {} + | sort)
remount_db
same "after remount" "$(cd "$mnt" && find . -type f -exec md5sum {} + | sort)" "$before"
unmount_db
