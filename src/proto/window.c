// SPDX-License-Identifier: GPL-3.0-or-later
#include "proto/window.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "virgo/hash.h"

#define SEEN_WORDS (VG_WINDOW_SEQUENCES / 64)

struct client {
	__u64 name;
	__u64 newest;		/* highest sequence recorded */
	__u64 used;		/* count of the window when it was last recorded; 0: the place is free */
	__u64 seen[SEEN_WORDS]; /* bit sequence % VG_WINDOW_SEQUENCES, for those in (newest - VG_WINDOW_SEQUENCES,
				   newest] */
	struct vg_window_answer answer[VG_WINDOW_SEQUENCES];
};

struct vg_window {
	size_t bytes;
	__u32 sets;
	__u64 count, secret;
	struct client client[];
};

int vg_window_new(struct vg_window **ret_window, __u32 clients, __u64 secret)
{
	size_t bytes = sizeof(struct vg_window) + clients * sizeof(struct client);
	struct vg_window *window;

	assert(clients && clients % VG_WINDOW_WAYS == 0);
	window = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (window == MAP_FAILED)
		return -ENOMEM;
	window->bytes = bytes;
	window->sets = clients / VG_WINDOW_WAYS;
	window->secret = secret;
	*ret_window = window;
	return 0;
}

void vg_window_free(struct vg_window *window)
{
	if (window)
		munmap(window, window->bytes);
}

static __u32 first_of_set(const struct vg_window *window, __u64 name)
{
	const __u64 key[2] = { window->secret, ~window->secret };

	return (__u32)(vg_siphash24(key, &name, sizeof(name)) % window->sets) * VG_WINDOW_WAYS;
}

static const struct client *find(const struct vg_window *window, __u64 name)
{
	const struct client *client = &window->client[first_of_set(window, name)];

	for (int way = 0; way < VG_WINDOW_WAYS; way++)
		if (client[way].used && client[way].name == name)
			return &client[way];
	return NULL;
}

static bool bit(const __u64 *words, __u64 sequence)
{
	__u32 at = sequence % VG_WINDOW_SEQUENCES;

	return words[at / 64] >> (at % 64) & 1;
}

enum vg_window_verdict vg_window_look(const struct vg_window *window, __u64 name, __u64 sequence,
				      struct vg_window_answer *ret_answer)
{
	const struct client *client = find(window, name);

	if (!client || sequence > client->newest)
		return VG_WINDOW_NEW;
	if (client->newest - sequence >= VG_WINDOW_SEQUENCES)
		return VG_WINDOW_OLD;
	if (!bit(client->seen, sequence))
		return VG_WINDOW_NEW;
	*ret_answer = client->answer[sequence % VG_WINDOW_SEQUENCES];
	return VG_WINDOW_DUPLICATE;
}

/* The place of a client that has none: a free one of its set, or that of the longest unheard-of. */
static struct client *make_room(struct vg_window *window, __u64 name, __u64 sequence)
{
	struct client *client = &window->client[first_of_set(window, name)], *oldest = client;

	for (int way = 1; way < VG_WINDOW_WAYS; way++)
		if (client[way].used < oldest->used)
			oldest = &client[way];
	*oldest = (struct client){ .name = name, .newest = sequence };
	return oldest;
}

void vg_window_record(struct vg_window *window, __u64 name, __u64 sequence, const struct vg_window_answer *answer)
{
	struct client *client = (struct client *)find(window, name);
	__u32 at = sequence % VG_WINDOW_SEQUENCES;

	if (!client)
		client = make_room(window, name, sequence);
	if (sequence > client->newest) {
		/* What falls out of the window at its old end makes place for what enters at the new one. */
		if (sequence - client->newest >= VG_WINDOW_SEQUENCES)
			memset(client->seen, 0, sizeof(client->seen));
		else
			/* Downwards: there is no number behind the last. */
			for (__u64 gone = sequence; gone != client->newest; gone--)
				client->seen[gone % VG_WINDOW_SEQUENCES / 64] &= ~(1ULL << (gone % 64));
		client->newest = sequence;
	}
	assert(client->newest - sequence < VG_WINDOW_SEQUENCES);
	client->used = ++window->count;
	client->seen[at / 64] |= 1ULL << (at % 64);
	client->answer[at] = *answer;
}
