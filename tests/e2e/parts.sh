#!/bin/bash
# Large files that are changed in parts, in step with plain files: writes, holes, truncation, renames, removal while open,
# fsync, remounts and kills between; and what such a change costs.
. "$(dirname "$0")/lib.sh"

stat_of() { jq ".$1" "$mnt/.wombat/stats"; }

cd "$dir"
mount_db
cat >steps.py <<'P'
import os, random, sys

ours, plain, seed, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
random.seed(seed)
names = ["a", "b", "d/c", "d/e"]
LIMIT = 6 << 20

def paths(name):
    return os.path.join(ours, name), os.path.join(plain, name)

def both(name, what):
    """The same on both; errors must agree."""
    results = []
    for path in paths(name):
        try:
            results.append(what(path))
        except OSError as e:
            results.append(e.errno)
    assert results[0] == results[1], (seed, name, results[0] if len(str(results[0])) < 100 else "...")

def compare(name):
    def content(path):
        with open(path, "rb") as f:
            return f.read()
    both(name, content)
    both(name, lambda p: os.stat(p).st_size)

def holes_are_zeros(path):
    """What is said to be a hole reads as zeros."""
    with open(path, "rb") as f:
        at, size = 0, os.fstat(f.fileno()).st_size
        while at < size:
            try:
                data = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                data = size
            assert not any(os.pread(f.fileno(), data - at, at)), (seed, path, at)
            at = os.lseek(f.fileno(), data, os.SEEK_HOLE) if data < size else size

def write(name):
    size = random.choice([1, 100, 4096, 70000, 300000, 1500000])
    at = random.randrange(LIMIT - size)
    if random.random() < 0.5:
        at &= ~4095
    data = random.randbytes(size)
    sync, flags = random.random() < 0.3, random.choice([0, 0, 0, os.O_APPEND, os.O_TRUNC])
    def do(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
        os.pwrite(fd, data, at)
        if sync:
            os.fsync(fd)
            os.pwrite(fd, data[:100], at // 2)
        got = os.pread(fd, 5000, at)
        os.close(fd)
        return got
    both(name, do)

def truncate(name):
    size = random.randrange(LIMIT)
    both(name, lambda p: os.truncate(p, size))

def punch(name):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    at, size, mode = random.randrange(LIMIT), random.randrange(1, 400000), random.choice([0, 1, 3, 0x10, 0x11])
    def do(path):
        fd = os.open(path, os.O_RDWR)
        try:
            return libc.fallocate(fd, mode, at, size)
        finally:
            os.close(fd)
    both(name, do)

def rename(name):
    to = random.choice(names)
    pairs = zip(paths(name), paths(to))
    results = []
    for a, b in pairs:
        try:
            results.append(os.rename(a, b))
        except OSError as e:
            results.append(e.errno)
    assert results[0] == results[1], (seed, name, to, results)

def rename_dir(name):
    for root in (ours, plain):
        os.rename(os.path.join(root, "d"), os.path.join(root, "d2"))
        os.rename(os.path.join(root, "d2"), os.path.join(root, "d"))

def unlink_open(name):
    """A file that is removed while it is open keeps what it has, and can be changed."""
    data = random.randbytes(200000)
    def do(path):
        fd = os.open(path, os.O_RDWR)
        os.unlink(path)
        os.pwrite(fd, data, 1234567)
        got = os.pread(fd, 8 << 20, 0)
        os.close(fd)
        return got
    both(name, do)

def copy_range(name):
    to = random.choice(names)
    at, into, size = random.randrange(LIMIT), random.randrange(LIMIT // 2), random.randrange(1, LIMIT // 2)
    results = []
    for a, b in zip(paths(name), paths(to)):
        try:
            src, dst = os.open(a, os.O_RDONLY), os.open(b, os.O_RDWR | os.O_CREAT, 0o644)
            if name == to:
                into = at + size # the ranges may not overlap
            done = 0
            while done < size:
                n = os.copy_file_range(src, dst, size - done, at + done, into + done)
                if n == 0:
                    break
                done += n
            os.close(src)
            os.close(dst)
            results.append(done)
        except OSError as e:
            results.append(e.errno)
    assert results[0] == results[1], (seed, name, to, results)
    compare(to)

def chmod(name):
    mode = random.choice([0o600, 0o644, 0o755])
    both(name, lambda p: os.chmod(p, mode))
    both(name, lambda p: os.stat(p).st_mode)

for root in (ours, plain):
    os.makedirs(os.path.join(root, "d"), exist_ok=True)
actions = [write] * 8 + [truncate, punch, punch, copy_range, copy_range, rename, rename_dir, unlink_open, chmod]
for step in range(steps):
    name = random.choice(names)
    random.choice(actions)(name)
    compare(name)
for name in names:
    compare(name)
    if os.path.exists(paths(name)[0]):
        holes_are_zeros(paths(name)[0])
P
mkdir plain
seed=${WOMBAT_SEED:-$(date +%s)}
echo "seed $seed"
for round in 1 2 3 4; do
	python3 steps.py "$mnt" "$PWD/plain" $((seed + round)) 60 || fail "seed $((seed + round)): ours and plain files differ"
	if [ $round = 2 ]; then # Everything is closed, so the end of the daemon takes nothing.
		kill_daemon
		mount_db
	fi
	cd "$dir"
	remount_db
	cd "$dir"
	diff -r "$mnt" plain || fail "after a remount"
done

# Four kilobytes in a large file cost little more, also when its name and attributes change.
head -c 100000000 /dev/urandom | dd bs=1M iflag=fullblock of="$mnt/big" status=none
before=$(($(stat_of value_log.bytes_total) + $(stat_of wal.bytes_total)))
for at in 1 5000 12345 20000; do
	head -c 4096 /dev/urandom | dd of="$mnt/big" bs=4096 seek=$at conv=notrunc,fsync status=none
done
mv "$mnt/big" "$mnt/d/bigger"
chmod 600 "$mnt/d/bigger"
mv "$mnt/d" "$mnt/dir"
written=$(($(stat_of value_log.bytes_total) + $(stat_of wal.bytes_total) - before))
[ $written -lt 40000 ] || fail "$written bytes were written for four times 4096"

# A copy within the mount shares the bytes.
before=$(stat_of value_log.bytes_total)
cp "$mnt/dir/bigger" "$mnt/copy"
[ "$(($(stat_of value_log.bytes_total) - before))" -lt 1000000 ] || fail "a copy wrote the bytes again"
cmp "$mnt/dir/bigger" "$mnt/copy"
printf changed | dd of="$mnt/copy" bs=1 seek=50000000 conv=notrunc status=none
cmp -s "$mnt/dir/bigger" "$mnt/copy" && fail "a change of a copy changed both"
cmp -n 50000000 "$mnt/dir/bigger" "$mnt/copy"
rm "$mnt/copy"

# A sparse file takes what it has.
truncate -s 1T "$mnt/sparse"
printf end | dd of="$mnt/sparse" bs=1 seek=$(((1 << 40) - 3)) conv=notrunc status=none
same "size" "$(stat -c %s "$mnt/sparse")" $((1 << 40))
[ "$(stat -c %b "$mnt/sparse")" -lt 100 ] || fail "a sparse file has $(stat -c %b "$mnt/sparse") blocks"
same "its end" "$(tail -c 3 "$mnt/sparse")" end
remount_db
same "its end after a remount" "$(tail -c 3 "$mnt/sparse")" end
[ "$(du -k "$mnt/sparse" | cut -f 1)" -lt 50 ] || fail "du: $(du -k "$mnt/sparse")"
# So does a small one.
truncate -s 128K "$mnt/small"
printf end | dd of="$mnt/small" bs=1 seek=100000 conv=notrunc status=none
printf far | dd of="$mnt/far" bs=1 seek=200000 status=none
for name in small far; do
	[ "$(stat -c %b "$mnt/$name")" -lt 32 ] || fail "$name has $(stat -c %b "$mnt/$name") blocks"
done
same "what is in it" "$(cmp -l <(head -c 131072 /dev/zero) "$mnt/small" | awk '{ print $1 - 1 }' | tr '\n' ' ')" "100000 100001 100002 "
same "its end" "$(tail -c +200001 "$mnt/far")" far
rm "$mnt/small" "$mnt/far"
truncate -s 10M "$mnt/sparse"
cp --sparse=always "$mnt/sparse" sparse.copy
cmp "$mnt/sparse" sparse.copy

# What is removed gives its space back.
rm "$mnt/dir/bigger" "$mnt/sparse"
for _ in 1 2; do echo flush >"$mnt/.wombat/ctl"; echo compact >"$mnt/.wombat/ctl"; done
for ((i = 0; i < 100; i++)); do
	[ "$(stat_of value_log.bytes)" -lt 90000000 ] && break
	echo compact >"$mnt/.wombat/ctl"
	sleep 0.1
done
[ $i -lt 100 ] || fail "$(stat_of value_log.bytes) bytes stay in the value log"
unmount_db
"$wombat" check "$db" >/dev/null || fail "check"
