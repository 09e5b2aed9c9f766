# SPDX-License-Identifier: GPL-3.0-or-later
# Completion of the virgo command for bash. Commands and options come from the program itself, so there is no second list.

_virgo_options() {
	virgo "$@" --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,' | sort -u
}

_virgo() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-n | -k | -t | --node | --key-file | --timeout) ((i++)) ;;
		-*) ;;
		*) command=${COMP_WORDS[i]} && break ;;
		esac
	done
	case $before in
	-k | --key-file | -o | --output)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	-n | --node | -t | --timeout | --ex | --interval | -c | --count) return ;;
	esac
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_virgo_options ${command:+"$command"})" -- "$word")
	elif [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(virgo --help 2>/dev/null | awk '/^  [a-z]+ / { print $1 }') help" -- "$word")
	else
		case $command in
		load | verify | write) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
		esac
	fi
}
complete -o filenames -F _virgo virgo
