# SPDX-License-Identifier: GPL-3.0-or-later
# Completion of the virgo command for bash. Commands and options come from the program itself, so there is no second list.

_virgo_options() {
	virgo "$@" --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,' | sort -u
}

# Paths of the pool that begin as the word does; "" or ":" is put before each, as it was typed.
_virgo_paths() { # COLON WORD
	local colon=$1 word=${2#"$1"} folder=
	[[ $word != */* ]] || folder=${word%/*}/
	# Mode, eight words, two spaces, the name.
	virgo ls -l "${folder:-/}" 2>/dev/null |
		sed -nE 's/^(.).{9}( +[^ ]+){8}  (.*)$/\1\3/; s/^l(.*) -> .*/-\1/; /^d/{ s/^d(.*)/\1\//p; d }; s/^-//p' |
		while IFS= read -r name; do printf '%s\n' "$colon$folder$name"; done | grep -F -- "$colon$word"
}

_virgo() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-n | -k | -t | --node | --key-file | --timeout | --cpu-port | --file-port) ((i++)) ;;
		-*) ;;
		*) command=${COMP_WORDS[i]} && break ;;
		esac
	done
	case $before in
	-k | --key-file | -o | --output)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--resume | --input)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--cwd)
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
		return
		;;
	--policy)
		mapfile -t COMPREPLY < <(compgen -W "prequal leastloaded p2c prg locality" -- "$word")
		return
		;;
	--kind)
		mapfile -t COMPREPLY < <(compgen -W "executable function kernel" -- "$word")
		return
		;;
	-s | --signal)
		mapfile -t COMPREPLY < <(compgen -A signal -- "$word")
		return
		;;
	-n | --node | -t | --timeout | --ex | --interval | -c | --count | --on | --cpu | --mem | --busy | --retry | \
		--priority | --env | --jobs | --cpu-port | --file-port | --stripe | --workers | --home | -m | --mode) return ;;
	esac
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_virgo_options ${command:+"$command"})" -- "$word")
	elif [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(virgo --help 2>/dev/null | awk '/^  [a-z-]+ / { print $1 }') help" -- "$word")
	else
		case $command in
		run | map)
			mapfile -t COMPREPLY < <(compgen -c -- "$word"; compgen -f -- "$word")
			;;
		attach | logs | kill)
			mapfile -t COMPREPLY < <(compgen -W "$(virgo jobs 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$word")
			;;
		ls | cat | rm | mkdir | mv | stat | du)
			mapfile -t COMPREPLY < <(_virgo_paths "" "$word")
			compopt -o nospace
			;;
		cp | sync)
			# bash takes a colon for a word of its own, if it is not told otherwise.
			if [[ $word == : || $before == : ]]; then
				mapfile -t COMPREPLY < <(_virgo_paths "" "${word#:}")
			elif [[ $word == :* ]]; then
				mapfile -t COMPREPLY < <(_virgo_paths : "$word")
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$word")
			fi
			compopt -o nospace
			;;
		put) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
		get) mapfile -t COMPREPLY < <(compgen -f -- "$word"; _virgo_paths "" "$word") ;;
		mount | umount) mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
		load | verify | write | backup | restore) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
		esac
	fi
}
complete -o filenames -F _virgo virgo
