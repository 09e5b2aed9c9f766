/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nodes and their names. A node is found by the pool's inode number, so that the names of one file are one file to the
 * kernel too; by its time of creation a file is told from a later one with the same number. A directory has one name,
 * the last one heard. Names hold their directory; a node that the kernel has forgotten and that holds no name goes.
 *
 * What other clients rename is learnt when the kernel looks the name up again; until then a path may be wrong, which
 * the pool says (ENOENT) and the kernel asks again from the top (ESTALE). Trees that others turned inside out may make
 * a ring of names here: walks end because paths have a length.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mount/mount.h"

#define BUCKETS_FIRST 1024

struct name {
	struct name *next;    /* of those with the same hash */
	struct name *sibling; /* of the same node */
	struct node *node, *parent;
	__u32 hash;
	char text[];
};

static size_t inode_bucket(const struct tree *tree, __u64 inode)
{
	return (size_t)((inode * 0x9e3779b97f4a7c15ull) >> 32) & (tree->buckets - 1);
}

static __u32 name_hash(const struct node *parent, const char *text)
{
	__u64 hash = 0xcbf29ce484222325ull ^ (uintptr_t)parent;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3ull;
	return (__u32)(hash ^ hash >> 32);
}

int tree_init(struct tree *tree, const char *prefix)
{
	*tree = (struct tree){ .buckets = BUCKETS_FIRST, .prefix = prefix };
	pthread_mutex_init(&tree->lock, NULL);
	pthread_cond_init(&tree->renamed_cond, NULL);
	tree->root = (struct node){ .directory = true, .lookups = 1, .inode = FUSE_ROOT_ID };
	tree->nodes = calloc(tree->buckets, sizeof(*tree->nodes));
	tree->names = calloc(tree->buckets, sizeof(*tree->names));
	if (tree->nodes && tree->names)
		return 0;
	tree_deinit(tree);
	return -ENOMEM;
}

/* What the kernel still holds goes with the mount. */
void tree_deinit(struct tree *tree)
{
	for (size_t i = 0; tree->names && i < tree->buckets; i++) {
		while (tree->names[i]) {
			struct name *name = tree->names[i];

			tree->names[i] = name->next;
			free(name);
		}
	}
	while (tree->all) {
		struct node *node = tree->all;

		tree->all = node->after;
		free(node);
	}
	free(tree->names);
	free(tree->nodes);
	tree->names = NULL;
	tree->nodes = NULL;
}

struct node *tree_node(struct tree *tree, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &tree->root : (struct node *)(uintptr_t)ino;
}

fuse_ino_t tree_ino(struct tree *tree, struct node *node)
{
	return node == &tree->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)node;
}

/* Both tables twice as large; without memory they stay as they are, and are slower. */
static void grow(struct tree *tree)
{
	size_t old = tree->buckets, count = old * 2;
	struct node **nodes = calloc(count, sizeof(*nodes));
	struct name **names = calloc(count, sizeof(*names));

	if (!nodes || !names) {
		free(nodes);
		free(names);
		return;
	}
	tree->buckets = count;
	for (size_t i = 0; i < old; i++) {
		while (tree->nodes[i]) {
			struct node *node = tree->nodes[i];
			struct node **to = &nodes[inode_bucket(tree, node->inode)];

			tree->nodes[i] = node->next;
			node->next = *to;
			*to = node;
		}
		while (tree->names[i]) {
			struct name *name = tree->names[i];
			struct name **to = &names[name->hash & (count - 1)];

			tree->names[i] = name->next;
			name->next = *to;
			*to = name;
		}
	}
	free(tree->nodes);
	free(tree->names);
	tree->nodes = nodes;
	tree->names = names;
}

static void unhash(struct tree *tree, struct node *node)
{
	struct node **link = &tree->nodes[inode_bucket(tree, node->inode)];

	if (!node->hashed)
		return;
	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
	node->hashed = false;
	tree->node_count--;
}

static struct name **find_name(struct tree *tree, const struct node *parent, const char *text)
{
	__u32 hash = name_hash(parent, text);
	struct name **link = &tree->names[hash & (tree->buckets - 1)];

	while (*link && ((*link)->hash != hash || (*link)->parent != parent || strcmp((*link)->text, text)))
		link = &(*link)->next;
	return link;
}

/* Take the name out; its directory, which may have nothing to stay for, is the caller's to release. */
static struct node *drop_name(struct tree *tree, struct name **link)
{
	struct name *name = *link, **sibling = &name->node->names;
	struct node *parent = name->parent;

	*link = name->next;
	while (*sibling != name)
		sibling = &(*sibling)->sibling;
	*sibling = name->sibling;
	free(name);
	tree->name_count--;
	assert(parent->inside);
	parent->inside--;
	return parent;
}

/* Free the node if nothing needs it, and what only it held. */
static void release(struct tree *tree, struct node *node)
{
	while (node != &tree->root && !node->lookups && !node->inside && !node->handles) {
		struct node *parent = NULL;

		while (node->names) {
			struct node *of = drop_name(tree, find_name(tree, node->names->parent, node->names->text));

			/* Only directories are worth a walk upwards, and they have one name. */
			if (parent && parent != of)
				release(tree, parent);
			parent = of;
		}
		unhash(tree, node);
		*node->before = node->after;
		if (node->after)
			node->after->before = node->before;
		free(node);
		if (!parent)
			return;
		node = parent;
	}
}

static struct node *find_node(struct tree *tree, const struct virgo_file_stat *stat)
{
	struct node *node = tree->nodes[inode_bucket(tree, stat->inode)];

	while (node && node->inode != stat->inode)
		node = node->next;
	/* The number was given to another file: that one is gone, whoever has it open still. */
	if (node && (node->created_ns != stat->created_ns || (node->mode & S_IFMT) != (stat->mode & S_IFMT))) {
		unhash(tree, node);
		node = NULL;
	}
	return node;
}

static void note(struct node *node, const struct virgo_file_stat *stat)
{
	node->mode = stat->mode;
	node->links = stat->links;
	node->gid = stat->gid;
	node->striped = stat->stripes;
}

static struct node *add_node(struct tree *tree, const struct virgo_file_stat *stat)
{
	struct node *node = calloc(1, sizeof(*node)), **bucket;

	if (!node)
		return NULL;
	node->inode = stat->inode;
	node->created_ns = stat->created_ns;
	note(node, stat);
	node->directory = S_ISDIR(stat->mode);
	bucket = &tree->nodes[inode_bucket(tree, stat->inode)];
	node->next = *bucket;
	*bucket = node;
	node->after = tree->all;
	node->before = &tree->all;
	if (tree->all)
		tree->all->before = &node->after;
	tree->all = node;
	node->hashed = true;
	tree->node_count++;
	return node;
}

static int add_name(struct tree *tree, struct node *parent, const char *text, struct node *node)
{
	size_t bytes = strlen(text) + 1;
	struct name *name = malloc(sizeof(*name) + bytes), **bucket;

	if (!name)
		return -ENOMEM;
	*name = (struct name){ .node = node, .parent = parent, .hash = name_hash(parent, text) };
	memcpy(name->text, text, bytes);
	bucket = &tree->names[name->hash & (tree->buckets - 1)];
	name->next = *bucket;
	*bucket = name;
	name->sibling = node->names;
	node->names = name;
	parent->inside++;
	tree->name_count++;
	if (tree->name_count > tree->buckets)
		grow(tree);
	return 0;
}

/* The name is that node's from now on. 0 or -ENOMEM. */
static int set_name(struct tree *tree, struct node *parent, const char *text, struct node *node)
{
	struct name **link = find_name(tree, parent, text);

	if (*link && (*link)->node == node)
		return 0;
	if (*link) {
		struct node *former = (*link)->node;

		(void)drop_name(tree, link);
		release(tree, former);
	}
	if (node->directory) {
		while (node->names) {
			struct node *of = drop_name(tree, find_name(tree, node->names->parent, node->names->text));

			if (of != parent)
				release(tree, of);
		}
	}
	return add_name(tree, parent, text, node);
}

struct node *tree_enter(struct tree *tree, struct node *parent, const char *name, const struct virgo_file_stat *stat)
{
	struct node *node;

	pthread_mutex_lock(&tree->lock);
	node = find_node(tree, stat);
	if (!node)
		node = add_node(tree, stat);
	if (node) {
		node->lookups++;
		note(node, stat);
		if (set_name(tree, parent, name, node)) {
			node->lookups--;
			release(tree, node);
			node = NULL;
		}
	}
	pthread_mutex_unlock(&tree->lock);
	return node;
}

void tree_forget(struct tree *tree, struct node *node, __u64 lookups)
{
	if (node == &tree->root)
		return;
	pthread_mutex_lock(&tree->lock);
	assert(node->lookups >= lookups);
	node->lookups -= lookups;
	release(tree, node);
	pthread_mutex_unlock(&tree->lock);
}

/* Under the lock. */
static void remove_name(struct tree *tree, struct node *parent, const char *name, bool unlinked)
{
	struct name **link = find_name(tree, parent, name);
	struct node *node;

	if (!*link)
		return;
	node = (*link)->node;
	(void)drop_name(tree, link); /* the kernel has the directory: it was asked by it */
	/* Its last name: the number may be another file's soon. */
	if (unlinked && !node->names && (node->directory || node->links <= 1))
		unhash(tree, node);
	else if (unlinked && node->links)
		node->links--;
	release(tree, node);
}

void tree_remove(struct tree *tree, struct node *parent, const char *name, bool unlinked)
{
	pthread_mutex_lock(&tree->lock);
	tree->changes += unlinked;
	remove_name(tree, parent, name, unlinked);
	pthread_mutex_unlock(&tree->lock);
}

bool tree_rename_begin(struct tree *tree, struct node *from, const char *from_name, struct node *to,
		       const char *to_name)
{
	const struct name *old, *new;
	bool directory;

	pthread_mutex_lock(&tree->lock);
	old = *find_name(tree, from, from_name);
	new = *find_name(tree, to, to_name);
	directory = !old || old->node->directory || (new && new->node->directory);
	tree->renames[0].running++;
	tree->renames[1].running += directory;
	pthread_mutex_unlock(&tree->lock);
	return directory;
}

void tree_rename(struct tree *tree, struct node *from, const char *from_name, struct node *to, const char *to_name,
		 bool exchange)
{
	struct name *old, *new;
	struct node *node, *other;

	pthread_mutex_lock(&tree->lock);
	tree->changes++;
	old = *find_name(tree, from, from_name);
	new = *find_name(tree, to, to_name);
	node = old ? old->node : NULL;
	other = new ? new->node : NULL;
	/* Neither may go while its names are changed. */
	if (node)
		node->lookups++;
	if (other)
		other->lookups++;
	if (node == other && node && !exchange) {
		/* Two names of one file: rename(2) does nothing. */
	} else {
		remove_name(tree, from, from_name, false);
		remove_name(tree, to, to_name, other && !exchange);
		if (node)
			(void)set_name(tree, to, to_name, node);
		if (other && exchange)
			(void)set_name(tree, from, from_name, other);
	}
	if (node) {
		node->lookups--;
		release(tree, node);
	}
	if (other) {
		other->lookups--;
		release(tree, other);
	}
	pthread_mutex_unlock(&tree->lock);
}

void tree_rename_end(struct tree *tree, bool directory)
{
	pthread_mutex_lock(&tree->lock);
	assert(tree->renames[0].running && tree->renames[1].running >= directory);
	tree->renames[0].running--;
	tree->renames[0].ended++;
	tree->renames[1].running -= directory;
	tree->renames[1].ended += directory;
	pthread_cond_broadcast(&tree->renamed_cond);
	pthread_mutex_unlock(&tree->lock);
}

void tree_changed(struct tree *tree)
{
	pthread_mutex_lock(&tree->lock);
	tree->changes++;
	pthread_mutex_unlock(&tree->lock);
}

__u64 tree_changes(struct tree *tree)
{
	__u64 changes;

	pthread_mutex_lock(&tree->lock);
	changes = tree->changes;
	pthread_mutex_unlock(&tree->lock);
	return changes;
}

bool tree_note(struct tree *tree, struct node *node, const struct virgo_file_stat *stat, bool opened)
{
	bool same;

	pthread_mutex_lock(&tree->lock);
	note(node, stat);
	/* The latest of its pieces' times need not change with each of them: nodes have clocks of their own. */
	same = node->cached && !stat->stripes && node->modified_ns == stat->modified_ns && node->size == stat->size;
	if (opened) {
		node->cached = true;
		node->modified_ns = stat->modified_ns;
		node->size = stat->size;
	}
	pthread_mutex_unlock(&tree->lock);
	return same;
}

/* ---- paths ------------------------------------------------------------------------------------------------------ */

int tree_path(struct tree *tree, const struct node *node, const char *last, char *path)
{
	char *at = path + MOUNT_PATH_BYTES - 1;
	size_t prefix = strlen(tree->prefix);

	*at = '\0';
	for (;;) {
		const char *text = last ? last : node->names ? node->names->text : NULL;
		size_t length;

		if (!last && node == &tree->root)
			break;
		if (!text)
			return -ESTALE;
		length = strlen(text);
		if ((size_t)(at - path) < length + 1 + prefix + 1)
			return -ENAMETOOLONG;
		at -= length;
		memcpy(at, text, length);
		*--at = '/';
		node = last ? node : node->names->parent;
		last = NULL;
	}
	if (!*at && !prefix)
		*--at = '/';
	at -= prefix;
	memcpy(at, tree->prefix, prefix);
	memmove(path, at, strlen(at) + 1);
	return 0;
}
