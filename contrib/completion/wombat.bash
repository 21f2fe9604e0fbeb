# Completion of wombat(1) for bash. The names of the engine's options come from the command itself.

_wombat() {
	local cur prev words cword
	_init_completion -n = || return

	if [ "$cword" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'get put del scan list stats check compact dump load estimate checkpoint backup backups restore repair snapshot version help' -- "$cur")
		return
	fi
	case $prev in
	--option)
		mapfile -t COMPREPLY < <(compgen -S = -W "$(wombat help options 2>/dev/null | sed -n 's/^\([a-z_]*\)=.*/\1/p')" -- "$cur")
		compopt -o nospace
		return
		;;
	--file | --output)
		_filedir
		return
		;;
	--keyspace | --snapshot | --limit | --delete | --number | --ttl | --prefix | --from | --to)
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		local options='--option --keyspace --hex --snapshot'
		case ${words[1]} in
		get) options+=' --meta --output' ;;
		put) options+=' --file --ttl --sync' ;;
		del) options+=' --prefix --range' ;;
		scan) options+=' --prefix --from --to --limit --reverse --keys-only --json --null' ;;
		list) options+=' --json --null' ;;
		stats) options+=' --text' ;;
		check) options+=' --quiet' ;;
		backups) options+=' --verify --delete' ;;
		restore) options+=' --number' ;;
		load) options+=' --bulk' ;;
		snapshot) options+=' --drop' ;;
		help) options='' ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi
	case ${words[1]} in
	help) mapfile -t COMPREPLY < <(compgen -W options -- "$cur") ;;
	version) ;;
	dump | load) _filedir ;;
	*) _filedir -d ;;
	esac
} && complete -F _wombat wombat
