/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The BPF objects inside the agent: one table of them, and how one comes into the kernel on the pinned maps. */
#ifndef VG_LOADER_OBJECTS_H
#define VG_LOADER_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>

#include "pin.h"

/* Programs of the network first; behind them the probes, which a node can do without. */
enum vg_object {
	VG_OBJECT_INGRESS,
	VG_OBJECT_EGRESS,
	VG_OBJECT_PASS,
	VG_OBJECT_NETWORK_MAX,
	VG_OBJECT_SCHED_SWITCH = VG_OBJECT_NETWORK_MAX,
	VG_OBJECT_SCHED_WAKEUP,
	VG_OBJECT_SCHED_NEW,
	VG_OBJECT_BLOCK_ISSUE,
	VG_OBJECT_BLOCK_DONE,
	VG_OBJECT_MAX,
};

struct vg_object_type {
	const char *file;    /* the object's name, without .bpf.o */
	const char *program; /* the program that is pinned and attached; of its object it alone is loaded */
	bool own_notes;	     /* a probe that is only of use where the kernel does not note when tasks are queued */
};

extern const struct vg_object_type vg_object_types[VG_OBJECT_MAX];

struct bpf_object;

/*
 * Open an object and let its maps be the pinned ones where they exist; -EPROTONOSUPPORT when one of them has another
 * layout. `root` may be NULL: then the object has maps of its own. The caller closes it with bpf_object__close.
 */
int vg_object_open(const struct vg_pin_root *root, enum vg_object which, struct bpf_object **ret_object);

/* Load it; a refusal is explained. */
int vg_object_load(enum vg_object which, struct bpf_object *object);

/* Pin the maps of a loaded object that are not pinned yet. */
int vg_object_pin_maps(struct vg_pin_root *root, struct bpf_object *object);

/* -EEXIST unless a pinned object is a program of the kind and name that the object has. */
int vg_object_program_check(enum vg_object which, const struct bpf_object *object, int pinned_fd);

/* Whether probes take notes of their own when tasks are queued; to be said before one is opened. */
void vg_objects_own_notes(bool own_notes);

/* The descriptor of the program to attach; the object's. */
int vg_object_program_fd(enum vg_object which, const struct bpf_object *object);

/* Print what libbpf has to say on stderr, or nothing. */
void vg_objects_verbose(int verbose);

#endif
