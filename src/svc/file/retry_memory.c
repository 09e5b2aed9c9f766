// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/file/retry_memory.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* So many other clients must have come to the session while one of it was away, before it is taken for a new one. */
#define CLIENTS_GONE_MAX 1024

struct client;

struct vg_retry_record {
	struct vg_retry_record *next, *previous; /* of the client's that run, or that are done, oldest first */
	struct client *client;
	void *running; /* NULL: done */
	__u64 sequence;
	struct vg_retry_answer answer; /* its body, if there is one, lies elsewhere and is ours */
	__u8 opcode;
};

struct list {
	struct vg_retry_record *first, *last;
	__u32 count;
};

struct client {
	struct client *next; /* the one heard of last is first */
	__u64 name;
	__u64 forgotten; /* the highest sequence that was */
	bool forgot;
	struct list running, done;
};

struct vg_retry_memory {
	const struct vg_mem *mem;
	struct client *clients;
	__u32 count, answers;
	__u64 *gone; /* names of clients that were forgotten, CLIENTS_GONE_MAX of them */
	__u32 gone_count;
};

static void append(struct list *list, struct vg_retry_record *record)
{
	record->next = NULL;
	record->previous = list->last;
	if (list->last)
		list->last->next = record;
	else
		list->first = record;
	list->last = record;
	list->count++;
}

static void take_out(struct list *list, struct vg_retry_record *record)
{
	if (record->previous)
		record->previous->next = record->next;
	else
		list->first = record->next;
	if (record->next)
		record->next->previous = record->previous;
	else
		list->last = record->previous;
	list->count--;
}

static void give(struct vg_retry_memory *memory, const void *what)
{
	if (what)
		memory->mem->free(memory->mem->context, (void *)what);
}

static void forget(struct vg_retry_memory *memory, struct vg_retry_record *record)
{
	struct client *client = record->client;

	take_out(&client->done, record);
	client->forgot = true;
	if (record->sequence > client->forgotten)
		client->forgotten = record->sequence;
	give(memory, record->answer.body);
	give(memory, record);
}

/* ---- clients --------------------------------------------------------------------------------------------------- */

static struct client *find(struct vg_retry_memory *memory, __u64 name)
{
	for (struct client **link = &memory->clients; *link; link = &(*link)->next) {
		struct client *client = *link;

		if (client->name != name)
			continue;
		*link = client->next;
		client->next = memory->clients;
		memory->clients = client;
		return client;
	}
	return NULL;
}

static bool is_gone(const struct vg_retry_memory *memory, __u64 name)
{
	__u32 kept = memory->gone_count < CLIENTS_GONE_MAX ? memory->gone_count : CLIENTS_GONE_MAX;

	for (__u32 i = 0; i < kept; i++)
		if (memory->gone[i] == name)
			return true;
	return false;
}

/* The client longest unheard-of, that has nothing running. False: there is none, or no memory to remember that. */
static bool forget_client(struct vg_retry_memory *memory)
{
	struct client **found = NULL, *client;

	if (!memory->gone)
		memory->gone = memory->mem->alloc(memory->mem->context, CLIENTS_GONE_MAX * sizeof(*memory->gone));
	if (!memory->gone)
		return false;
	for (struct client **link = &memory->clients; *link; link = &(*link)->next)
		if (!(*link)->running.first)
			found = link;
	if (!found)
		return false;
	client = *found;
	while (client->done.first)
		forget(memory, client->done.first);
	*found = client->next;
	memory->gone[memory->gone_count++ % CLIENTS_GONE_MAX] = client->name;
	give(memory, client);
	memory->count--;
	return true;
}

static struct client *find_or_make(struct vg_retry_memory *memory, __u64 name, __u64 sequence)
{
	struct client *client = find(memory, name);

	if (client)
		return client;
	if (memory->count >= VG_RETRY_CLIENTS_MAX && !forget_client(memory))
		return NULL;
	client = memory->mem->alloc(memory->mem->context, sizeof(*client));
	if (!client)
		return NULL;
	*client = (struct client){ .next = memory->clients, .name = name };
	if (is_gone(memory, name)) {
		client->forgot = true;
		client->forgotten = sequence - 1;
	}
	memory->clients = client;
	memory->count++;
	return client;
}

/* ---- the calls ------------------------------------------------------------------------------------------------- */

enum vg_retry_verdict vg_retry_look(struct vg_retry_memory *memory, __u64 name, __u64 sequence, __u8 opcode,
				    struct vg_retry_answer *ret_answer, void **ret_running)
{
	struct client *client = find(memory, name);
	struct vg_retry_record *record = NULL;

	if (!client)
		return is_gone(memory, name) ? VG_RETRY_UNKNOWN : VG_RETRY_NEW;
	for (int done = 0; done < 2 && !record; done++) {
		record = done ? client->done.last : client->running.last;
		while (record && record->sequence != sequence)
			record = record->previous;
	}
	if (!record)
		return client->forgot && sequence <= client->forgotten ? VG_RETRY_UNKNOWN : VG_RETRY_NEW;
	if (record->opcode != opcode)
		return VG_RETRY_OTHER;
	if (record->running) {
		*ret_running = record->running;
		return VG_RETRY_RUNNING;
	}
	*ret_answer = record->answer;
	return VG_RETRY_DONE;
}

int vg_retry_record_begin(struct vg_retry_memory *memory, __u64 name, __u64 sequence, __u8 opcode, void *running,
			  struct vg_retry_record **ret_record)
{
	struct client *client = find_or_make(memory, name, sequence);
	struct vg_retry_record *record;

	assert(running);
	if (!client)
		return -ENOMEM;
	record = memory->mem->alloc(memory->mem->context, sizeof(*record));
	if (!record)
		return -ENOMEM;
	*record = (struct vg_retry_record){ .client = client, .running = running, .sequence = sequence,
					    .opcode = opcode };
	append(&client->running, record);
	*ret_record = record;
	return 0;
}

void vg_retry_record_end(struct vg_retry_memory *memory, struct vg_retry_record *record,
			 const struct vg_retry_answer *answer)
{
	struct client *client = record->client;
	void *body = NULL;

	assert(record->running && answer->body_length <= VG_RETRY_BODY_MAX);
	take_out(&client->running, record);
	record->running = NULL;
	append(&client->done, record);
	if (answer->body_length)
		body = memory->mem->alloc(memory->mem->context, answer->body_length);
	if (answer->body_length && !body) {
		/* Nobody can be told now: who asks again hears that it is not known. */
		forget(memory, record);
		return;
	}
	record->answer = *answer;
	record->answer.body = body ? memcpy(body, answer->body, answer->body_length) : NULL;
	while (client->done.count > memory->answers)
		forget(memory, client->done.first);
}

int vg_retry_memory_new(struct vg_retry_memory **ret_memory, const struct vg_mem *mem, __u32 answers)
{
	struct vg_retry_memory *memory = mem->alloc(mem->context, sizeof(*memory));

	if (!memory)
		return -ENOMEM;
	*memory = (struct vg_retry_memory){ .mem = mem, .answers = answers };
	*ret_memory = memory;
	return 0;
}

void vg_retry_memory_free(struct vg_retry_memory *memory, void (*drop)(void *running))
{
	if (!memory)
		return;
	while (memory->clients) {
		struct client *client = memory->clients;

		memory->clients = client->next;
		while (client->running.first) {
			struct vg_retry_record *record = client->running.first;

			take_out(&client->running, record);
			drop(record->running);
			give(memory, record);
		}
		while (client->done.first)
			forget(memory, client->done.first);
		give(memory, client);
	}
	give(memory, memory->gone);
	give(memory, memory);
}
