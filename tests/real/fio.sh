#!/bin/bash
# fio writes, reads back and verifies: each engine and access that it has for files.
. "$(dirname "$0")/lib.sh"
need fio
size=$(choose 16M 256M)
mount_db
cd "$dir" # fio leaves its state where it runs
verify() { # NAME ARGUMENT...
	local name=$1
	shift
	fio --name="$name" --directory="$mnt" --size="$size" --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=7 \
		--minimal "$@" >"$dir/fio.out" 2>&1 || { cat "$dir/fio.out" >&2; fail "fio $name"; }
	echo "verified: $name"
	rm -f "$mnt/$name".*
}
verify psync_seq --ioengine=psync --rw=write --bs=128k
verify psync_rand --ioengine=psync --rw=randwrite --bs=4k --fsync=256
verify psync_odd --ioengine=psync --rw=randwrite --bsrange=1k-70k --bs_unaligned
verify append --ioengine=psync --rw=write --bs=3000 --file_append=1
verify mmap --ioengine=mmap --rw=randwrite --bs=4k
verify direct --ioengine=psync --direct=1 --rw=randwrite --bs=16k
verify libaio --ioengine=libaio --iodepth=16 --direct=1 --rw=randwrite --bs=8k
verify io_uring --ioengine=io_uring --iodepth=16 --rw=randwrite --bs=8k
verify jobs --ioengine=psync --numjobs=4 --rw=randrw --bs=4k
verify trims --ioengine=psync --rw=randwrite --bs=64k --overwrite=1 --unlink=1
# Written, remounted, verified by another process.
fio --name=kept --directory="$mnt" --size="$size" --rw=randwrite --bs=8k --verify=crc32c --do_verify=0 --end_fsync=1 --randseed=9 \
	--minimal >"$dir/fio.out" || { cat "$dir/fio.out" >&2; fail "fio kept"; }
remount_db
fio --name=kept --directory="$mnt" --size="$size" --rw=randwrite --bs=8k --verify=crc32c --verify_only=1 --randseed=9 --verify_fatal=1 \
	--minimal >"$dir/fio.out" 2>&1 || { cat "$dir/fio.out" >&2; fail "fio kept, after a remount"; }
echo "verified: kept over a remount"
sound
