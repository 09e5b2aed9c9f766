/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What has happened to keys, for who wants to hear of it: key-space notifications and clients that keep copies. A
 * change is noted where it is made, in memory of its thread, often with the bucket locked; it is told when the command
 * has ended, or at the end of the turn. Nobody listens: one load.
 *
 * Commands of RESP note their changes themselves, by the names that Redis gives them (data.c); the store's observer
 * notes all others: the binary protocol, memcached, datagrams, and what expires or is evicted.
 */
#ifndef VG_MEM_EVENTS_H
#define VG_MEM_EVENTS_H

#include "svc/mem/shared.h"

/* Classes of events, by the letters of notify-keyspace-events; K and E say where they go. X(NAME, letter) */
#define VG_EVENT_CLASSES(X) \
	X(GENERIC, 'g')     \
	X(STRING, '$')      \
	X(LIST, 'l')        \
	X(SET, 's')         \
	X(HASH, 'h')        \
	X(ZSET, 'z')        \
	X(EXPIRED, 'x')     \
	X(EVICTED, 'e')     \
	X(STREAM, 't')      \
	X(MODULE, 'd')      \
	X(NEW, 'n')         \
	X(KEYSPACE, 'K')    \
	X(KEYEVENT, 'E')    \
	X(MISS, 'm')

enum vg_event_class_bit {
#define X(name, letter) VG_EVENT_BIT_##name,
	VG_EVENT_CLASSES(X)
#undef X
	VG_EVENT_BIT_MAX
};
enum vg_event_class {
#define X(name, letter) VG_EVENT_##name = 1 << VG_EVENT_BIT_##name,
	VG_EVENT_CLASSES(X)
#undef X
	VG_EVENT_ALL = VG_EVENT_NEW - 1, /* what "A" stands for */
};

/* "KEA" … to classes: false: a letter that is none. And back, as CONFIG GET shows it. */
bool vg_event_classes_read(const char *text, size_t length, __u32 *ret_classes);
void vg_event_classes_write(__u32 classes, char text[VG_EVENT_BIT_MAX + 1]);
/* Of all nodes of the process; a change is taken over by vg_events_listen. */
void vg_events_set_classes(struct vg_mem_shared *shared, __u32 classes);
__u32 vg_events_classes(const struct vg_mem_shared *shared);

/* shared->listening */
#define VG_LISTEN_NOTIFY 1u
#define VG_LISTEN_TRACKING 2u
#define VG_LISTEN_MONITOR 4u /* of commands, not of changes */
#define VG_LISTEN_PAUSE 8u   /* connections have to wait, see pause.h */
#define VG_LISTEN_CHANGES (VG_LISTEN_NOTIFY | VG_LISTEN_TRACKING)

static inline __u32 vg_events_listening(const struct vg_mem_shared *shared)
{
	return __atomic_load_n(&shared->listening, __ATOMIC_RELAXED);
}
void vg_events_listen(struct vg_mem_shared *shared, __u32 who, bool on);

/*
 * Note it. `changed`: the key is another now, copies of it are stale. `by`: the connection that did it, 0: none.
 * `name` must last.
 */
void vg_event_note(struct vg_mem_shared *shared, enum vg_event_class class, const char *name, const struct vg_key *key,
		   bool changed, __u64 by);

/* Between the two the observer keeps quiet about what this thread changes (not about what expires or is evicted). */
void vg_events_mute(void);
void vg_events_unmute(void);
/* What was noted since the mark did not happen. */
__u32 vg_events_mark(void);
void vg_events_rewind(__u32 mark);

/* Tell what this thread has noted. */
extern _Thread_local __u32 vg_events_bytes;
void vg_events_tell(struct vg_env *env);
static inline void vg_events_flush(struct vg_env *env)
{
	if (__builtin_expect(vg_events_bytes != 0, 0))
		vg_events_tell(env);
}

/* The store's observer: `context` is the shared state. */
void vg_events_observe(void *context, struct vg_observed *observed);

#endif
