#!/bin/bash
# Owners, modes, set-id bits, sticky directories, times: as another user too, beside the machine's own file system.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" -eq 0 ] || skip "another user's part takes root"
id nobody >/dev/null 2>&1 || skip "there is no nobody"
command -v setpriv >/dev/null || skip "there is no setpriv"
command -v python3 >/dev/null || skip "there is no python3"
chmod 755 "$dir"
nobody=(setpriv --reuid=65534 --regid=65534 --groups=65534,100)
"${nobody[@]}" test -x "$dir" || skip "others may not enter ${TMPDIR:-/tmp}"
python=$(PATH=/usr/bin:/bin command -v python3) # one that others may run too
reference=$dir/reference
mkdir "$reference"
cat >"$dir/setid.py" <<'PY'
# Each change of a file with set-id bits, by the caller's user: what is left of its mode.
import os, sys
d, ids = sys.argv[1], (int(sys.argv[2]), int(sys.argv[3]))
FALLOC_KEEP, FALLOC_PUNCH = 1, 2
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
def fallocate(fd, mode, at, size):
    if libc.fallocate(fd, mode, at, size): raise OSError(ctypes.get_errno(), "fallocate")
def write(p):
    fd = os.open(p, os.O_WRONLY); os.write(fd, b"x"); os.close(fd)
def punch(p):
    fd = os.open(p, os.O_RDWR); fallocate(fd, FALLOC_KEEP | FALLOC_PUNCH, 0, 4096); os.close(fd)
def allocate(p):
    fd = os.open(p, os.O_RDWR); fallocate(fd, 0, 0, 100000); os.close(fd)
def copy(p):
    a, b = os.open(d + "/source", os.O_RDONLY), os.open(p, os.O_RDWR)
    os.copy_file_range(a, b, 100000); os.close(a); os.close(b)
kinds = {
    "write": write, "truncate": lambda p: os.truncate(p, 5), "open-truncate": lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC)),
    "allocate": allocate, "punch": punch, "copy": copy,
    "chown": lambda p: os.chown(p, *ids), "chgrp": lambda p: os.chown(p, -1, ids[1]), "chown-nothing": lambda p: os.chown(p, -1, -1),
    "utime": lambda p: os.utime(p, ns=(1, 2)), "read": lambda p: open(p).read(),
}
for kind, change in kinds.items():
    for mode in (0o6755, 0o4711, 0o2755, 0o2644, 0o6777, 0o2767):
        p = f"{d}/{kind}{mode:o}"
        fd = os.open(p, os.O_CREAT | os.O_RDWR, 0o666); os.write(fd, b"s" * 8192); os.close(fd)
        os.chmod(p, mode)
        try: change(p); result = "done"
        except OSError as e: result = os.strerror(e.errno)
        seen = os.stat(p).st_mode & 0o7777
        print(f"{kind} {mode:o}: {result} {seen:o}")
PY
cat >"$dir/rules.py" <<'PY'
# What one who does not own it may do to a file of root's, or in a sticky directory; inheritance of groups; times.
import os, sys
d = sys.argv[1]
def tell(what, f):
    try: r = f(); print(what, "done" if r is None else r)
    except OSError as e: print(what, e.strerror)
p = d + "/root-owned"
tell("chmod", lambda: os.chmod(p, 0o777))
tell("chown", lambda: os.chown(p, os.getuid(), -1))
tell("utime now", lambda: os.utime(p))
tell("utime set", lambda: os.utime(p, ns=(1, 2)))
tell("read", lambda: open(p).read())
tell("write", lambda: open(p, "w").close())
tell("read private", lambda: open(d + "/private").read())
tell("utime now, private", lambda: os.utime(d + "/private"))
tell("enter", lambda: os.listdir(d + "/closed"))
tell("unlink sticky", lambda: os.unlink(d + "/sticky/roots"))
tell("rename sticky", lambda: os.rename(d + "/sticky/roots", d + "/sticky/other"))
tell("create", lambda: os.close(os.open(d + "/sticky/mine", os.O_CREAT | os.O_WRONLY, 0o6777)))
tell("mode", lambda: oct(os.stat(d + "/sticky/mine").st_mode))
tell("unlink own", lambda: os.unlink(d + "/sticky/mine"))
os.umask(0o027)
for kind, make in (("file", lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o2777))), ("dir", lambda p: os.mkdir(p, 0o777)),
                   ("fifo", lambda p: os.mkfifo(p, 0o666))):
    q = f"{d}/setgid/{kind}{os.getuid()}"
    tell(kind, lambda: make(q))
    st = os.stat(q); print(kind, oct(st.st_mode), st.st_gid)
    tell("chmod g+s", lambda: os.chmod(q, 0o2770)); print(oct(os.stat(q).st_mode))
    for ns in ((1, 999999999), (-1, -999999999), (1 << 32) * 10**9 + 7, 123456789012345678):
        pair = ns if isinstance(ns, tuple) else (ns, ns + 1)
        os.utime(q, ns=pair); st = os.stat(q); print(kind, st.st_atime_ns, st.st_mtime_ns)
PY
prepare() {
	( umask 022
	cd "$1"
	chmod 777 .
	head -c 200000 /dev/urandom >source
	echo text >root-owned && echo text >private && chmod 600 private
	mkdir closed && chmod 700 closed
	mkdir sticky && chmod 1777 sticky && touch sticky/roots
	mkdir setgid && chgrp 4 setgid && chmod 2777 setgid )
}
mount_db -o allow_other
prepare "$mnt" && prepare "$reference"
for where in "$mnt" "$reference"; do
	mkdir "$where/by-root" "$where/by-nobody"
	cp "$where/source" "$where/by-root" && cp "$where/source" "$where/by-nobody"
	chown 65534:65534 "$where/by-nobody"
	name=$(basename "$where")
	"$python" "$dir/setid.py" "$where/by-root" 7 8 >"$dir/setid-root.$name"
	"${nobody[@]}" "$python" "$dir/setid.py" "$where/by-nobody" -1 100 >"$dir/setid-nobody.$name"
	"${nobody[@]}" "$python" "$dir/rules.py" "$where" >"$dir/rules-nobody.$name" 2>&1
	"$python" "$dir/rules.py" "$where" >"$dir/rules-root.$name" 2>&1
done
for what in setid-root setid-nobody rules-nobody rules-root; do
	[ -s "$dir/$what.reference" ] || fail "$what says nothing"
	diff "$dir/$what.reference" "$dir/$what.mnt" || fail "$what: not as on the machine's file system"
done
# All of it is kept.
(cd "$mnt" && find . -printf '%p %m %u %g %T@ %A@\n' | sort >"$dir/before")
remount_db -o allow_other
(cd "$mnt" && find . -printf '%p %m %u %g %T@ %A@\n' | sort >"$dir/after")
diff "$dir/before" "$dir/after" || fail "not kept over a remount"
unmount_db
# A mount that lets nobody else in does not.
mount_db
refused "Permission denied" "${nobody[@]}" ls "$mnt"
unmount_db
