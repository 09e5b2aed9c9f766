/* SPDX-License-Identifier: GPL-3.0-or-later */
/* COMMAND: the table, as clients read it. */


#include "svc/mem/cmd.h"

static const char *const flag_texts[] = {
#define X(name, text) text,
	VG_COMMAND_FLAGS(X)
#undef X
};
static const char *const category_texts[] = {
#define X(name, text) "@" text,
	VG_COMMAND_CATEGORIES(X)
#undef X
};

/* A set of the names whose bits are set. */
static void bit_names(struct vg_call *call, __u32 bits, const char *const *texts, int count)
{
	vg_resp_set(call->out, call->version, (__u64)__builtin_popcount(bits & ((1u << count) - 1)));
	for (int i = 0; i < count; i++)
		if (bits & 1u << i)
			vg_resp_simple(call->out, texts[i]);
}

/* What the flags say of the categories: they need not be written twice. */
static __u32 categories_of(const struct vg_command *command)
{
	__u32 categories = command->categories;

	if (command->flags & VG_CMD_READONLY)
		categories |= VG_ACL_READ;
	if (command->flags & VG_CMD_WRITE)
		categories |= VG_ACL_WRITE;
	if (command->flags & VG_CMD_ADMIN)
		categories |= VG_ACL_ADMIN | VG_ACL_DANGEROUS;
	return categories | (command->flags & VG_CMD_FAST ? VG_ACL_FAST : VG_ACL_SLOW);
}

static int count_words(const char *words, char end)
{
	int count = 0;

	for (const char *at = words; *at && *at != end; at++)
		count += at == words || at[-1] == ' ';
	return count;
}

/* Next word of a blank-separated list; its length, 0 at the end. */
static size_t next_word(const char **at, char end)
{
	size_t length = 0;

	while (**at == ' ')
		(*at)++;
	while ((*at)[length] && (*at)[length] != ' ' && (*at)[length] != end)
		length++;
	return length;
}

static void key_specification(struct vg_call *call, const struct vg_command *command, int begin, const char *flags,
			      int last)
{
	size_t length;

	vg_resp_map(call->out, call->version, 3);
	vg_resp_bulk_text(call->out, "flags");
	vg_resp_set(call->out, call->version, (__u64)count_words(flags, ';'));
	for (const char *at = flags; (length = next_word(&at, ';')) > 0; at += length) {
		char word[32];

		memcpy(word, at, length);
		word[length] = '\0';
		vg_resp_simple(call->out, word);
	}
	vg_resp_bulk_text(call->out, "begin_search");
	vg_resp_map(call->out, call->version, 2);
	vg_resp_bulk_text(call->out, "type");
	vg_resp_bulk_text(call->out, "index");
	vg_resp_bulk_text(call->out, "spec");
	vg_resp_map(call->out, call->version, 1);
	vg_resp_bulk_text(call->out, "index");
	vg_resp_integer(call->out, begin);
	vg_resp_bulk_text(call->out, "find_keys");
	vg_resp_map(call->out, call->version, 2);
	vg_resp_bulk_text(call->out, "type");
	vg_resp_bulk_text(call->out, "range");
	vg_resp_bulk_text(call->out, "spec");
	vg_resp_map(call->out, call->version, 3);
	vg_resp_bulk_text(call->out, "lastkey");
	vg_resp_integer(call->out, last);
	vg_resp_bulk_text(call->out, "keystep");
	vg_resp_integer(call->out, command->step);
	vg_resp_bulk_text(call->out, "limit");
	vg_resp_integer(call->out, 0);
}

static void key_specifications(struct vg_call *call, const struct vg_command *command)
{
	const char *second = strchr(command->key_flags, ';');

	if (!command->first) {
		vg_resp_set(call->out, call->version, 0);
		return;
	}
	vg_resp_set(call->out, call->version, second ? 2 : 1);
	key_specification(call, command, command->first, command->key_flags, command->last < 0 ? command->last : 0);
	if (second)
		key_specification(call, command, command->first + 1, second + 1, 0);
}

static int count_subs(const struct vg_command *command)
{
	int count = 0;

	while (command->subs && command->subs[count].name)
		count++;
	return count;
}

static void describe(struct vg_call *call, const struct vg_command *command)
{
	size_t length;

	vg_resp_array(call->out, 10);
	vg_resp_bulk_text(call->out, command->name);
	vg_resp_integer(call->out, command->arity);
	bit_names(call, command->flags, flag_texts, VG_CMD_BIT_MAX);
	vg_resp_integer(call->out, command->first);
	vg_resp_integer(call->out, command->last);
	vg_resp_integer(call->out, command->step);
	bit_names(call, categories_of(command), category_texts, VG_ACL_BIT_MAX);
	vg_resp_set(call->out, call->version, (__u64)count_words(command->tips, '\0'));
	for (const char *at = command->tips; (length = next_word(&at, '\0')) > 0; at += length)
		vg_resp_bulk(call->out, at, length);
	key_specifications(call, command);
	vg_resp_set(call->out, call->version, (__u64)count_subs(command));
	for (int i = 0; i < count_subs(command); i++)
		describe(call, &command->subs[i]);
}

/* A command or, with "parent|name", a subcommand. NULL: none. */
static const struct vg_command *find_any(const struct vg_resp_arg *arg)
{
	const char *bar = memchr(arg->data, '|', arg->length);
	const struct vg_command *parent;

	if (!bar)
		return vg_command_find(arg->data, arg->length);
	parent = vg_command_find(arg->data, (size_t)(bar - arg->data));
	return parent ? vg_command_find_sub(parent, bar + 1, arg->length - (size_t)(bar + 1 - arg->data)) : NULL;
}

int vg_cmd_command(struct vg_call *call)
{
	vg_resp_array(call->out, (__u64)vg_commands_count);
	for (int i = 0; i < vg_commands_count; i++)
		describe(call, &vg_commands[i]);
	return 0;
}

int vg_cmd_command_count(struct vg_call *call)
{
	vg_resp_integer(call->out, vg_commands_count);
	return 0;
}

int vg_cmd_command_info(struct vg_call *call)
{
	if (call->args == 2)
		return vg_cmd_command(call);
	vg_resp_array(call->out, (__u64)call->args - 2);
	for (int i = 2; i < call->args; i++) {
		const struct vg_command *command = find_any(&call->arg[i]);

		if (command)
			describe(call, command);
		else
			vg_resp_null(call->out, call->version);
	}
	return 0;
}

static void document(struct vg_call *call, const struct vg_command *command)
{
	int subs = count_subs(command);

	vg_resp_bulk_text(call->out, command->name);
	vg_resp_map(call->out, call->version, subs ? 4 : 3);
	vg_resp_bulk_text(call->out, "summary");
	vg_resp_bulk_text(call->out, command->summary);
	vg_resp_bulk_text(call->out, "since");
	vg_resp_bulk_text(call->out, command->since);
	vg_resp_bulk_text(call->out, "group");
	vg_resp_bulk_text(call->out, command->group);
	if (!subs)
		return;
	vg_resp_bulk_text(call->out, "subcommands");
	vg_resp_map(call->out, call->version, (__u64)subs);
	for (int i = 0; i < subs; i++)
		document(call, &command->subs[i]);
}

int vg_cmd_command_docs(struct vg_call *call)
{
	__u64 found = 0;

	if (call->args == 2) {
		vg_resp_map(call->out, call->version, (__u64)vg_commands_count);
		for (int i = 0; i < vg_commands_count; i++)
			document(call, &vg_commands[i]);
		return 0;
	}
	for (int i = 2; i < call->args; i++)
		found += find_any(&call->arg[i]) != NULL;
	vg_resp_map(call->out, call->version, found);
	for (int i = 2; i < call->args; i++)
		if (find_any(&call->arg[i]))
			document(call, find_any(&call->arg[i]));
	return 0;
}

/* FILTERBY ACLCAT x, PATTERN x, MODULE x. */
static bool is_listed(const struct vg_command *command, const struct vg_resp_arg *kind, const struct vg_resp_arg *value)
{
	if (vg_arg_is(kind, "pattern"))
		return vg_glob_match(value->data, value->length, command->name, strlen(command->name), true);
	if (vg_arg_is(kind, "aclcat"))
		for (int i = 0; i < VG_ACL_BIT_MAX; i++)
			if (categories_of(command) & 1u << i && vg_arg_is(value, category_texts[i] + 1))
				return true;
	return false; /* MODULE: there are none */
}

int vg_cmd_command_list(struct vg_call *call)
{
	const struct vg_resp_arg *kind = NULL, *value = NULL;
	__u64 count = 0;

	if (call->args == 5 && vg_arg_is(&call->arg[2], "filterby") &&
	    (vg_arg_is(&call->arg[3], "pattern") || vg_arg_is(&call->arg[3], "aclcat") ||
	     vg_arg_is(&call->arg[3], "module"))) {
		kind = &call->arg[3];
		value = &call->arg[4];
	} else if (call->args != 2) {
		return vg_call_syntax_error(call);
	}
	for (int i = 0; i < vg_commands_count; i++)
		count += !kind || is_listed(&vg_commands[i], kind, value);
	if (kind)
		vg_resp_array(call->out, count);
	else
		vg_resp_set(call->out, call->version, count);
	for (int i = 0; i < vg_commands_count; i++)
		if (!kind || is_listed(&vg_commands[i], kind, value))
			vg_resp_bulk_text(call->out, vg_commands[i].name);
	return 0;
}

int vg_cmd_command_getkeys(struct vg_call *call)
{
	const struct vg_command *command = vg_command_find(call->arg[2].data, call->arg[2].length);
	int args = call->args - 2, last;

	if (command && command->subs && args > 1) {
		const struct vg_command *sub = vg_command_find_sub(command, call->arg[3].data, call->arg[3].length);

		command = sub;
	}
	if (!command) {
		vg_resp_error(call->out, "ERR Invalid command specified");
		return 0;
	}
	if (!command->first) {
		vg_resp_error(call->out, "ERR The command has no key arguments");
		return 0;
	}
	if (!vg_command_arity_fits(command, args)) {
		vg_resp_error(call->out, "ERR Invalid number of arguments specified for command");
		return 0;
	}
	last = vg_command_last_key(command, args);
	vg_resp_array(call->out, (__u64)((last - command->first) / command->step + 1));
	for (int i = command->first; i <= last; i += command->step)
		vg_resp_bulk(call->out, call->arg[2 + i].data, call->arg[2 + i].length);
	return 0;
}

int vg_cmd_command_help(struct vg_call *call)
{
	static const char *const lines[] = {
		"(no subcommand)", "    Arity, flags and key positions of all commands.",
		"COUNT", "    How many commands there are.",
		"DOCS [<command-name> ...]", "    What the commands do.",
		"GETKEYS <full-command>", "    Which arguments of a command are keys.",
		"INFO [<command-name> ...]", "    Arity, flags and key positions of these commands.",
		"LIST [FILTERBY (PATTERN <pattern>|ACLCAT <category>)]", "    The names of all commands.",
		NULL,
	};

	return vg_call_help(call, "COMMAND", lines);
}
