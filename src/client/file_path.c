/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Paths as the pool takes them, and symbolic links, which a client follows itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/file.h"

/* ---- paths as bytes -------------------------------------------------------------------------------------------- */

/* One component more, or one less for "..". */
static int add_component(char *path, __u32 *length, const char *component, size_t bytes)
{
	if (!bytes || (bytes == 1 && component[0] == '.'))
		return 0;
	if (bytes == 2 && component[0] == '.' && component[1] == '.') {
		if (!*length)
			return -EXDEV;
		*length = vg_file_name_offset(path, *length);
		*length -= *length > 0;
		return 0;
	}
	if (bytes > VG_FILE_NAME_MAX)
		return -ENAMETOOLONG;
	if (*length)
		path[(*length)++] = '/';
	memcpy(path + *length, component, bytes);
	*length += (__u32)bytes;
	return 0;
}

int vg_remote_path(const char *path, char **ret_path, __u32 *ret_length)
{
	size_t bytes = path ? strlen(path) : 0;
	__u32 length = 0;
	char *made;
	int error = 0;

	if (!path)
		return -EINVAL;
	if (bytes > 16 * VG_FILE_PATH_MAX)
		return -ENAMETOOLONG;
	made = malloc(bytes + 2);
	if (!made)
		return -ENOMEM;
	while (*path && !error) {
		size_t part = strcspn(path, "/");

		error = add_component(made, &length, path, part);
		path += part;
		path += strspn(path, "/");
	}
	if (!error)
		error = -vg_file_path_check(made, length);
	if (error) {
		free(made);
		return error;
	}
	made[length] = '\0';
	*ret_path = made;
	*ret_length = length;
	return 0;
}

/* ---- walking --------------------------------------------------------------------------------------------------- */

/* READLINK of everything that may be in the way, all at once: one round trip for a link, however deep. */
struct vg_remote_walk {
	struct vg_remote_call *call;
	unsigned int first_count, count, left;
	struct vg_remote_call links[];
};

static unsigned int components(const char *path, __u32 length)
{
	unsigned int count = length > 0;

	for (__u32 i = 0; i < length; i++)
		count += path[i] == '/';
	return count;
}

/* Where the component of this number ends. */
static __u32 component_end(const char *path, __u32 length, unsigned int number)
{
	__u32 at = 0;

	for (; at < length; at++)
		if (path[at] == '/' && !number--)
			break;
	return at;
}

static void free_walk(struct vg_remote_walk *walk)
{
	for (unsigned int i = 0; i < walk->count; i++) {
		if (walk->links[i].request.grown)
			free(walk->links[i].request.into);
		vg_remote_call_deinit(&walk->links[i]);
	}
	free(walk);
}

/* What the link says, where it stands: ret_path is then the path to go on with. */
static int replace(const char *path, __u32 length, unsigned int number, const struct vg_remote_request *link,
		   char **ret_path, __u32 *ret_length)
{
	const __u32 end = component_end(path, length, number), start = vg_file_name_offset(path, end);
	const size_t said = link->answer_length, rest = length - end;
	char *text;
	int error;

	if (memchr(link->into, '\0', said))
		return -EINVAL;
	if (((const char *)link->into)[0] == '/')
		return -EXDEV;
	text = malloc(start + said + rest + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, path, start);
	memcpy(text + start, link->into, said);
	memcpy(text + start + said, path + end, rest);
	text[start + said + rest] = '\0';
	error = vg_remote_path(text, ret_path, ret_length);
	free(text);
	return error;
}

/* The first link of links[from] … links[to - 1] takes effect. 1, 0: none, or negative errno. */
static int take_first(const struct vg_remote_walk *walk, unsigned int from, unsigned int to, char **path, __u32 *length)
{
	for (unsigned int i = from; i < to; i++) {
		const struct vg_remote_call *link = &walk->links[i];
		char *changed;
		__u32 changed_length;
		int error;

		if (link->result || !link->request.answer_length)
			continue;
		error = replace(*path, *length, i - from, &link->request, &changed, &changed_length);
		if (error)
			return error;
		free(*path);
		*path = changed;
		*length = changed_length;
		return 1;
	}
	return 0;
}

static void one_done(struct vg_remote_call *link)
{
	struct vg_remote_walk *walk = link->context;
	struct vg_remote_call *call = walk->call;
	int first, second;

	if (--walk->left)
		return;
	first = take_first(walk, 0, walk->first_count, &call->path, &call->length);
	second = first < 0 ? 0 : take_first(walk, walk->first_count, walk->count, &call->second, &call->second_length);
	call->walk = NULL;
	free_walk(walk);
	if (first >= 0 && second >= 0 && first + second && ++call->symlinks > VG_REMOTE_SYMLINKS_MAX)
		first = -ELOOP;
	vg_remote_walked(call, first < 0 ? first : second < 0 ? second : first || second);
}

static void prepare(struct vg_remote_walk *walk, unsigned int at, const char *path, __u32 length)
{
	struct vg_remote_call *link = &walk->links[at];

	vg_remote_call_init(link, walk->call->v, VG_OP_FILE_READLINK);
	link->plain = true;
	link->request.grow = true;
	link->path = strndup(path, length);
	link->length = length;
}

void vg_remote_walk(struct vg_remote_call *call, bool last)
{
	unsigned int first = components(call->path, call->length),
		     second = call->second ? components(call->second, call->second_length) : 0, count;
	struct vg_remote_walk *walk;
	bool whole = true;

	first -= first && !last;
	second -= second > 0;
	count = first + second;
	walk = count ? calloc(1, sizeof(*walk) + count * sizeof(walk->links[0])) : NULL;
	if (!walk) {
		vg_remote_walked(call, count ? -ENOMEM : 0);
		return;
	}
	walk->call = call;
	walk->first_count = first;
	walk->count = walk->left = count;
	for (unsigned int i = 0; i < count; i++) {
		const char *path = i < first ? call->path : call->second;
		__u32 length = i < first ? call->length : call->second_length;

		prepare(walk, i, path, component_end(path, length, i < first ? i : i - first));
		whole = whole && walk->links[i].path;
	}
	if (!whole) {
		free_walk(walk);
		vg_remote_walked(call, -ENOMEM);
		return;
	}
	call->walk = walk;
	for (unsigned int i = 0; i < count; i++)
		vg_remote_call_start(&walk->links[i], one_done, walk);
}
