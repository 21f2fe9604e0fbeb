#!/bin/bash
# A directory of 100,000 files: created, listed, half removed, listed, while somebody else reads the listing.
. "$(dirname "$0")/lib.sh"
count=${WOMBAT_E2E_FILES:-100000}
mount_db
mkdir "$mnt/d"
cat >"$dir/many.py" <<'PY'
import os, sys
what, d, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
if what == "create":
    for i in range(n):
        with open(f"{d}/file{i:07d}", "wb") as f:
            f.write(b"%d" % i)
elif what == "halve":
    # While the directory is read: what is removed behind the reader's back must not hide what stays.
    seen = set()
    with os.scandir(d) as entries:
        for e in entries:
            assert e.name not in seen, e.name
            seen.add(e.name)
            if int(e.name[4:]) % 2:
                os.unlink(e.path)
    assert len(seen) == n, (len(seen), n)
PY
python3 "$dir/many.py" create "$mnt/d" "$count"
same "names" "$(ls -f "$mnt/d" | grep -c file)" "$count"
same "no name twice" "$(ls -f "$mnt/d" | sort | uniq -d)" ""
python3 "$dir/many.py" halve "$mnt/d" "$count"
same "half" "$(ls "$mnt/d" | wc -l)" $((count / 2))
same "with attributes" "$(ls -l "$mnt/d" | grep -c ^-)" $((count / 2))
remount_db
same "half after remount" "$(ls -l "$mnt/d" | grep -c ^-)" $((count / 2))
same "content" "$(cat "$mnt/d/file0000042")" 42
rm -r "$mnt/d"
same "empty" "$(ls -A "$mnt")" ""
unmount_db
