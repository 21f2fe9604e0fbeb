# Completion of wombatfs(8) for bash. The names of the options come from the command itself.

_wombatfs() {
	local cur prev words cword
	_init_completion -n =, || return

	if [ "$prev" = -o ]; then
		# A list that commas separate: its last member is what is being completed.
		local before='' names
		[[ $cur == *,* ]] && before=${cur%,*},
		names=$(wombatfs --help 2>/dev/null | grep -oE '^ +(-o )?[a-z_]+=?' | sed 's/-o//; s/ //g')
		mapfile -t COMPREPLY < <(compgen -P "$before" -W "$names" -- "${cur##*,}")
		compopt -o nospace
		return
	fi
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '-f -d -s -o -h --help -V --version' -- "$cur")
		return
	fi
	_filedir -d
} && complete -F _wombatfs wombatfs
