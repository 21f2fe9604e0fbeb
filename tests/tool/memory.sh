#!/bin/bash
# Memory stays within its budgets: of a few hundred thousand keys with the preset for little memory, whose caches they fill.
. "$(dirname "$0")/lib.sh"
memory=$build_dir/tests/bench/memory
[ -x "$memory" ] || exit 77
! sanitized || exit 77
for strategy in leveled tiered; do
	MEMORY_LIMIT_RATIO=1.2 "$memory" "$dir/$strategy" 400000 100 memory_optimized "compaction_strategy=$strategy" >out 2>err ||
		fail "$strategy: $(cat out err)"
	cat out
done
