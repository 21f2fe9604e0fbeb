#!/bin/bash
# Random calls in step with a directory of the machine's own file system (in_step.c), with remounts and kills between, over
# set-ups that keep little in memory. WOMBAT_STEPS makes the runs longer.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" -eq 0 ] || skip "only root becomes other users"
in_step=$build_dir/tests/e2e/in_step
seed=${WOMBAT_SEED:-$(date +%N | sed 's/^0*//')}
steps=${WOMBAT_STEPS:-1500}
rights=allow_other,default_permissions,dev,suid
chmod 755 "$dir"

# walk NAME OPTIONS: calls, then the same trees after a remount and after a kill.
walk() {
	local name=$1 options=$rights${2:+,$2}
	rm -rf "$db" "$dir/reference"
	mkdir "$dir/reference"
	mount_db -o "$options"
	mkdir "$mnt/tree"
	chmod 777 "$mnt/tree" "$dir/reference"
	for round in 1 2 3; do
		seed=$((seed + 1))
		WOMBAT_SEED=$seed "$in_step" "$mnt/tree" "$dir/reference" "$steps" ||
			fail "$name: round $round; $(cat "$mnt/.wombat/last_error")"
		"$in_step" --sync "$mnt/tree"
		if [ $round -eq 2 ]; then
			# No fsync reaches the owner of a link or of a pipe; a snapshot takes all that is staged.
			printf 'snapshot before\ndrop-snapshot before\n' >"$mnt/.wombat/ctl"
			kill_daemon
			mount_db -o "$options"
		else
			remount_db -o "$options"
		fi
		"$in_step" --compare "$mnt/tree" "$dir/reference" || fail "$name: the trees differ after round $round (WOMBAT_SEED=$seed)"
	done
	unmount_db
	same "$name: check" "$("$wombat" check "$db" >"$dir/out.txt" && echo sound || cat "$dir/out.txt")" sound
}

walk "as it comes" ""
walk "little memory" block_cache_size=0,mem_table_size=64K,table_cache_size=0,filter_cache_size=0,value_threshold=1K
walk "one thread" max_threads=1
walk "commits by write" commit=write,block_cache_size=0,mem_table_size=64K,value_threshold=1K
