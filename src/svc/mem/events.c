/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/events.h"

#include <stdio.h>
#include <string.h>

#include "svc/mem/hub.h"
#include "svc/mem/interest.h"
#include "svc/mem/tracking.h"

#define BUFFER_BYTES 262144 /* of a thread: any one key fits, and a thousand ordinary ones */

struct event {
	struct vg_mem_shared *shared;
	const char *name;
	__u64 hash, by;
	__u32 class, key_length;
	bool changed, all; /* all: of all keys */
	char key[];
};

_Thread_local __u32 vg_events_bytes;
static _Thread_local char buffer[BUFFER_BYTES] __attribute__((aligned(8)));
static _Thread_local bool lost; /* something did not fit */
static _Thread_local int muted;

/* ---- classes ---------------------------------------------------------------------------------------------------- */

static const char letters[VG_EVENT_BIT_MAX + 1] = {
#define X(name, letter) letter,
	VG_EVENT_CLASSES(X)
#undef X
};

bool vg_event_classes_read(const char *text, size_t length, __u32 *ret_classes)
{
	__u32 classes = 0;

	for (size_t i = 0; i < length; i++) {
		const char *letter = text[i] ? strchr(letters, text[i]) : NULL;

		if (text[i] == 'A')
			classes |= VG_EVENT_ALL;
		else if (letter)
			classes |= 1u << (letter - letters);
		else
			return false;
	}
	*ret_classes = classes;
	return true;
}

/* Redis's order, and its silence about "n" beside "A". */
void vg_event_classes_write(__u32 classes, char text[VG_EVENT_BIT_MAX + 1])
{
	bool all = (classes & VG_EVENT_ALL) == VG_EVENT_ALL;
	int length = 0;

	if (all)
		text[length++] = 'A';
	for (int bit = 0; bit < VG_EVENT_BIT_MAX; bit++)
		if (classes & 1u << bit && (!all || bit >= VG_EVENT_BIT_KEYSPACE))
			text[length++] = letters[bit];
	text[length] = '\0';
}

void vg_events_set_classes(struct vg_mem_shared *shared, __u32 classes)
{
	__atomic_store_n(&shared->notify, classes, __ATOMIC_RELAXED);
	vg_events_listen(shared, VG_LISTEN_NOTIFY, classes & (VG_EVENT_KEYSPACE | VG_EVENT_KEYEVENT));
}

__u32 vg_events_classes(const struct vg_mem_shared *shared)
{
	return __atomic_load_n(&shared->notify, __ATOMIC_RELAXED);
}

void vg_events_listen(struct vg_mem_shared *shared, __u32 who, bool on)
{
	if (on)
		__atomic_or_fetch(&shared->listening, who, __ATOMIC_SEQ_CST);
	else
		__atomic_and_fetch(&shared->listening, ~who, __ATOMIC_SEQ_CST);
}

/* ---- noting ----------------------------------------------------------------------------------------------------- */

static struct event *take_room(struct vg_mem_shared *shared, __u32 key_length)
{
	__u32 bytes = (__u32)VG_ALIGN_UP(sizeof(struct event) + key_length, 8UL);
	struct event *event = (struct event *)(buffer + vg_events_bytes);

	if (bytes > BUFFER_BYTES - vg_events_bytes) {
		lost = true;
		return NULL;
	}
	vg_events_bytes += bytes;
	*event = (struct event){ .shared = shared, .key_length = key_length };
	return event;
}

void vg_event_note(struct vg_mem_shared *shared, enum vg_event_class class, const char *name, const struct vg_key *key,
		   bool changed, __u64 by)
{
	struct event *event = take_room(shared, key->length);

	if (!event)
		return;
	event->name = name;
	event->class = class;
	event->hash = key->hash;
	event->by = by;
	event->changed = changed;
	memcpy(event->key, key->data, key->length);
}

void vg_events_mute(void)
{
	muted++;
}

void vg_events_unmute(void)
{
	muted--;
}

__u32 vg_events_mark(void)
{
	return vg_events_bytes;
}

void vg_events_rewind(__u32 mark)
{
	vg_events_bytes = mark;
}

static void note_all_gone(struct vg_mem_shared *shared)
{
	struct event *event = take_room(shared, 0);

	if (event)
		event->all = true;
}

static void note_observed(struct vg_mem_shared *shared, const struct vg_observed *observed)
{
	const struct vg_key *key = observed->key;

	switch (observed->kind) {
	case VG_OBSERVED_EXPIRED:
		vg_event_note(shared, VG_EVENT_EXPIRED, "expired", key, true, 0);
		break;
	case VG_OBSERVED_EVICTED:
		vg_event_note(shared, VG_EVENT_EVICTED, "evicted", key, true, 0);
		break;
	case VG_OBSERVED_SET:
		if (muted)
			break;
		vg_event_note(shared, VG_EVENT_STRING, "set", key, true, 0);
		if (observed->entry.expire_ms)
			vg_event_note(shared, VG_EVENT_GENERIC, "expire", key, false, 0);
		break;
	case VG_OBSERVED_DELETE:
		if (!muted)
			vg_event_note(shared, VG_EVENT_GENERIC, "del", key, true, 0);
		break;
	case VG_OBSERVED_DEADLINE:
		if (!muted)
			vg_event_note(shared, VG_EVENT_GENERIC, observed->entry.expire_ms ? "expire" : "persist", key,
				      true, 0);
		break;
	case VG_OBSERVED_CLEARED:
		note_all_gone(shared);
		break;
	default:
		break;
	}
}

void vg_events_observe(void *context, struct vg_observed *observed)
{
	struct vg_mem_shared *shared = context;

	switch (observed->kind) {
	case VG_OBSERVED_SET:
	case VG_OBSERVED_DEADLINE:
		vg_interest_note(shared->interest, observed->key->hash, true);
		break;
	case VG_OBSERVED_DELETE:
	case VG_OBSERVED_EXPIRED:
	case VG_OBSERVED_EVICTED:
		vg_interest_note(shared->interest, observed->key->hash, false);
		break;
	case VG_OBSERVED_CLEAR:
	case VG_OBSERVED_CLEARED: /* who began to watch in between may have missed it */
		vg_interest_clear(shared->interest);
		break;
	default:
		return;
	}
	if (vg_events_listening(shared) & VG_LISTEN_CHANGES)
		note_observed(shared, observed);
}

/* ---- telling ---------------------------------------------------------------------------------------------------- */

static void publish(struct vg_env *env, const char *prefix, const char *name, size_t name_length, const char *payload,
		    size_t payload_length)
{
	char channel[VG_KEY_MAX + 32];
	size_t length = strlen(prefix);

	memcpy(channel, prefix, length);
	memcpy(channel + length, name, name_length);
	vg_hub_publish(env, VG_TOPIC_CHANNEL, channel, length + name_length, payload, payload_length);
}

static void notify(struct vg_env *env, const struct event *event)
{
	__u32 classes = vg_events_classes(event->shared);

	if (!(classes & event->class) || !vg_hub_has_listeners(event->shared))
		return;
	if (classes & VG_EVENT_KEYSPACE)
		publish(env, "__keyspace@0__:", event->key, event->key_length, event->name, strlen(event->name));
	if (classes & VG_EVENT_KEYEVENT)
		publish(env, "__keyevent@0__:", event->name, strlen(event->name), event->key, event->key_length);
}

void vg_events_tell(struct vg_env *env)
{
	struct vg_mem_shared *shared = vg_mem_shared(env);

	for (__u32 at = 0; at < vg_events_bytes;) {
		const struct event *event = (const struct event *)(buffer + at);
		struct vg_key key = { event->key, event->key_length, event->hash };

		at += (__u32)VG_ALIGN_UP(sizeof(*event) + event->key_length, 8UL);
		if (event->shared != shared) /* of another node of this process that has ended */
			continue;
		if (!event->all)
			notify(env, event);
		if (event->all)
			vg_tracking_invalidate_all(env, event->by);
		else if (event->changed)
			vg_tracking_invalidate(env, &key, event->by);
	}
	vg_events_bytes = 0;
	if (lost)
		vg_tracking_invalidate_all(env, 0);
	lost = false;
}
