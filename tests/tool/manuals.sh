#!/bin/bash
# What the manuals and the completion say is what there is: verbs, options of the engine, functions.
. "$(dirname "$0")/lib.sh"

for verb in $("$wombat" help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'); do
	grep -q "^\.It Cm $verb" "$source_dir/engine/tool/wombat.1" || fail "wombat(1) has no verb $verb"
	grep -qw "$verb" "$source_dir/contrib/completion/wombat.bash" || fail "the completion has no verb $verb"
done

# Options: name, default and range.
"$wombat" help options | sed -n 's/^\([a-z_]*\)=\(.*\)/\1 \2/p' >options
[ "$(wc -l <options)" -ge 20 ] || fail "there are too few options"
while read -r name default; do
	grep -qF ".It Cm $name Pq default Li $default; range Li " "$source_dir/engine/wombat.3" ||
		fail "wombat(3) does not have option $name with default $default"
done <options
sed -n 's/^\.It Cm \([a-z_]*\) Pq default .*/\1/p' "$source_dir/engine/wombat.3" | sort >documented
cut -d ' ' -f 1 options | sort | diff documented - || fail "wombat(3) has an option that does not exist"

# Functions: those of the list of exported symbols.
sed -n 's/^\.Fn \(wombat_[a-z_]*\)\( .*\|$\)/\1/p' "$source_dir/engine/wombat.3" | sort -u >functions
diff functions <(sort "$source_dir/engine/wombat.sym") || fail "wombat(3) and wombat.sym differ"
for status in $(sed -n 's/^\t\(WOMBAT_[A-Z_]*\)\( = 0\)\?,.*/\1/p' "$source_dir/engine/wombat.h" | sed '/WOMBAT_TYPE_/d'); do
	[ "$status" = WOMBAT_STATUS_COUNT ] && continue
	case $status in WOMBAT_KEYSPACE_MAX | WOMBAT_FS_*) continue ;; esac
	grep -q "Dv $status\>" "$source_dir/engine/wombat.3" || fail "wombat(3) does not have $status"
done
