#!/bin/bash
# How many requests the kernel sends per operation: the cost that matters. What is counted is the mount's own figure.
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "there is no jq"
cat >"$dir/ops.py" <<'PY'
import os, sys
what, d, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
def drop():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f: f.write("3\n")
for i in range(n):
    p = f"{d}/f{i:05d}"
    if what == "create":
        fd = os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644); os.write(fd, b"x" * 100); os.close(fd)
    elif what == "read":
        fd = os.open(p, os.O_RDONLY); assert len(os.read(fd, 65536)) == 100; os.close(fd)
    elif what == "overwrite":
        fd = os.open(p, os.O_WRONLY | os.O_TRUNC); os.write(fd, b"y" * 100); os.close(fd)
    elif what == "stat":
        os.stat(p)
    elif what == "missing":
        assert not os.path.exists(p + ".none")
    elif what == "unlink":
        os.unlink(p)
if what == "list":
    seen = 0
    with os.scandir(d) as entries:
        for e in entries:
            e.stat(follow_symlinks=False); seen += 1
    assert seen == n, (seen, n)
PY
snapshot() { jq -c '.mount.requests' "$mnt/.wombat/stats"; }
[ -w /proc/sys/vm/drop_caches ] || skip "caches cannot be dropped"
drop() { sync && echo 3 >/proc/sys/vm/drop_caches; }
n=1000
mount_db -o noxattr
mkdir "$mnt/d"
per_op create $n 4          # LOOKUP CREATE WRITE FLUSH
remount_db -o noxattr
per_op read $n 3            # LOOKUP OPEN READ
per_op read $n 1            # OPEN
per_op overwrite $n 4       # OPEN (SETATTR) WRITE FLUSH
remount_db -o noxattr
ls -l "$mnt/d" >/dev/null
per_op read $n 1.5          # OPEN: the next files are put into the page cache ahead, unless the machine is too busy for it
remount_db -o noxattr
per_op stat $n 1            # LOOKUP
per_op stat $n 0            # from the kernel's caches
per_op missing $n 1         # LOOKUP
per_op missing $n 0
per_op unlink $n 1
python3 "$dir/ops.py" create "$mnt/d" 10000
remount_db -o noxattr
per_op list 10000 0.01      # READDIRPLUS, some 195 entries a reply
# With extended attributes one question comes with the first write of a file, and none with later ones.
remount_db
rm -r "$mnt/d" && mkdir "$mnt/d"
per_op create $n 5
per_op overwrite $n 5
# ls -l asks for labels and access lists, and gives up where nobody has any.
before=$(snapshot)
ls -l "$mnt/d" >/dev/null
asked=$(jq -n --argjson a "$before" --argjson b "$(snapshot)" '$b.getxattr - $a.getxattr')
[ "$asked" -le 4 ] || fail "ls -l of $n files asked for $asked attributes"
unmount_db
