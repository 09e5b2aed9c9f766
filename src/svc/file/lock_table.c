// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/file/lock_table.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/prng.h"
#include "svc/file/lock_inside.h"

/* What somebody wants to be so. */
struct claim {
	struct vg_lock_file *file;
	struct vg_lock_owner *owner;
	__u64 start, last, descriptor;
	__u32 pid;
	__u8 kind;
};

struct vg_lock_wait {
	struct claim claim;
	struct vg_lock_wait *next, *previous; /* of the file */
	struct vg_lock_wait *newer, *older;   /* of the owner */
	vg_lock_fn fn;
	void *context;
	int result; /* once it has ended */
};

/* ---- locks ----------------------------------------------------------------------------------------------------- */

static struct vg_lock_tree *tree_of(const struct claim *claim)
{
	return &claim->file->tree[claim->owner->whole];
}

static struct vg_lock *lock_new(struct vg_locks *locks, const struct claim *claim)
{
	struct vg_lock_session *session = claim->owner->session;
	struct vg_lock *lock;

	if (locks->figures.held + locks->figures.waiting >= VG_LOCKS_MAX || session->held >= VG_LOCKS_SESSION_MAX)
		return NULL;
	lock = vg_lock_take_memory(locks, sizeof(*lock));
	if (!lock)
		return NULL;
	*lock = (struct vg_lock){
		.priority = vg_prng_next(&locks->random),
		.start = claim->start,
		.last = claim->last,
		.file = claim->file,
		.owner = claim->owner,
		.older = claim->owner->locks,
		.descriptor = claim->descriptor,
		.pid = claim->pid,
		.kind = claim->kind,
	};
	if (lock->older)
		lock->older->newer = lock;
	lock->owner->locks = lock;
	lock->owner->references++;
	lock->file->references++;
	session->held++;
	locks->figures.held++;
	return lock;
}

/* It is in no tree. Somebody else must keep its owner and its file, if they are still needed. */
static void lock_free(struct vg_locks *locks, struct vg_lock *lock)
{
	if (lock->newer)
		lock->newer->older = lock->older;
	else
		lock->owner->locks = lock->older;
	if (lock->older)
		lock->older->newer = lock->newer;
	lock->owner->session->held--;
	locks->figures.held--;
	vg_lock_file_put(locks, lock->file);
	vg_lock_owner_put(locks, lock->owner);
	vg_lock_give_memory(locks, lock);
}

/* The first of another owner that is in the way, or NULL; behind `after`, if that is not NULL. */
static struct vg_lock *in_the_way(const struct claim *claim, const struct vg_lock *after)
{
	struct vg_lock *lock = after ? vg_lock_tree_next(after, claim->start, claim->last) :
				       vg_lock_tree_first(tree_of(claim), claim->start, claim->last);

	while (lock && (lock->owner == claim->owner ||
			(lock->kind != VG_FILE_LOCK_EXCLUSIVE && claim->kind != VG_FILE_LOCK_EXCLUSIVE)))
		lock = vg_lock_tree_next(lock, claim->start, claim->last);
	return lock;
}

/* Whether the two may become one lock. */
static bool melts(const struct claim *claim, const struct vg_lock *lock)
{
	return claim->kind == lock->kind && claim->descriptor == lock->descriptor && claim->pid == lock->pid;
}

/* The owner's locks that the claim changes: all in its range, and neighbours that melt with it. */
static struct vg_lock *pick(const struct claim *claim)
{
	__u64 start = claim->start ? claim->start - 1 : 0;
	__u64 last = claim->last < VG_LOCK_LAST ? claim->last + 1 : claim->last;
	struct vg_lock *picked = NULL;

	for (struct vg_lock *lock = vg_lock_tree_first(tree_of(claim), start, last); lock;
	     lock = vg_lock_tree_next(lock, start, last)) {
		bool touches = lock->start <= claim->last && lock->last >= claim->start;

		if (lock->owner != claim->owner || (!touches && !melts(claim, lock)))
			continue;
		lock->picked = picked;
		picked = lock;
	}
	return picked;
}

/* What is left of a lock outside the claim's range goes back into the tree. `spare` is for the second of two parts. */
static void cut(struct vg_locks *locks, const struct claim *claim, struct vg_lock *lock, struct vg_lock *spare)
{
	struct vg_lock_tree *tree = tree_of(claim);
	bool left = lock->start < claim->start, right = lock->last > claim->last;

	if (left && right) {
		spare->start = claim->last + 1;
		spare->last = lock->last;
		spare->kind = lock->kind;
		spare->descriptor = lock->descriptor;
		spare->pid = lock->pid;
		vg_lock_tree_insert(tree, spare);
	}
	if (left)
		lock->last = claim->start - 1;
	else if (right)
		lock->start = claim->last + 1;
	if (left || right)
		vg_lock_tree_insert(tree, lock);
	else
		lock_free(locks, lock);
}

/*
 * Make it so; nothing is in the way. 0 or -ENOLCK, then nothing has changed. *ret_released is set if another may have
 * become possible by that.
 */
static int carry_out(struct vg_locks *locks, const struct claim *claim, bool *ret_released)
{
	struct vg_lock *picked = pick(claim), *made = NULL, *spare = NULL;
	bool split = false, fails = false;

	for (struct vg_lock *lock = picked; lock; lock = lock->picked)
		split = split || (!melts(claim, lock) && lock->start < claim->start && lock->last > claim->last);
	if (claim->kind != VG_FILE_UNLOCK)
		fails = !(made = lock_new(locks, claim));
	if (!fails && split)
		fails = !(spare = lock_new(locks, claim));
	if (fails) {
		if (made)
			lock_free(locks, made);
		locks->figures.refused++;
		return -ENOLCK;
	}
	for (struct vg_lock *lock = picked, *next; lock; lock = next) {
		next = lock->picked;
		vg_lock_tree_remove(tree_of(claim), lock);
		if (!melts(claim, lock)) {
			cut(locks, claim, lock, spare);
			*ret_released = true;
			continue;
		}
		made->start = lock->start < made->start ? lock->start : made->start;
		made->last = lock->last > made->last ? lock->last : made->last;
		lock_free(locks, lock);
	}
	if (made)
		vg_lock_tree_insert(tree_of(claim), made);
	return 0;
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

/*
 * Whether who wants this would wait for itself: breadth first over the owners of what is in the way, of what those wait
 * for, and so on. 0, -EDEADLK, or -ENOLCK: there is too much of it to know.
 */
static int look_for_itself(struct vg_locks *locks, const struct claim *claim)
{
	struct vg_lock_owner *first = claim->owner, **end = &first->to_visit;
	__u64 search = ++locks->searches;
	__u32 steps = 0;

	first->to_visit = NULL;
	first->search = search;
	for (struct vg_lock_owner *owner = first; owner; owner = owner->to_visit) {
		/* Of the one who asks what it wants now counts, not what its other threads wait for already. */
		const struct vg_lock_wait *wait = owner == first ? NULL : owner->waits;
		const struct claim *wanted = owner == first ? claim : wait ? &wait->claim : NULL;

		while (wanted) {
			for (struct vg_lock *lock = in_the_way(wanted, NULL); lock; lock = in_the_way(wanted, lock)) {
				if (++steps > VG_LOCK_STEPS_MAX)
					return -ENOLCK;
				if (lock->owner == first)
					return -EDEADLK;
				if (lock->owner->search == search)
					continue;
				lock->owner->search = search;
				lock->owner->to_visit = NULL;
				*end = lock->owner;
				end = &lock->owner->to_visit;
			}
			wait = wait ? wait->older : NULL;
			wanted = wait ? &wait->claim : NULL;
		}
	}
	return 0;
}

static int wait_for(struct vg_locks *locks, const struct claim *claim, vg_lock_fn fn, void *context)
{
	struct vg_lock_session *session = claim->owner->session;
	int error = look_for_itself(locks, claim);
	struct vg_lock_wait *wait;

	if (error == -EDEADLK) {
		locks->figures.deadlocks++;
		return error;
	}
	if (error || session->waiting >= VG_LOCK_WAITS_SESSION_MAX ||
	    locks->figures.held + locks->figures.waiting >= VG_LOCKS_MAX ||
	    !(wait = vg_lock_take_memory(locks, sizeof(*wait)))) {
		locks->figures.refused++;
		return -ENOLCK;
	}
	*wait = (struct vg_lock_wait){ .claim = *claim, .fn = fn, .context = context, .previous = claim->file->last,
			       .older = claim->owner->waits };
	if (wait->previous)
		wait->previous->next = wait;
	else
		claim->file->first = wait;
	claim->file->last = wait;
	if (wait->older)
		wait->older->newer = wait;
	claim->owner->waits = wait;
	claim->owner->references++;
	claim->file->references++;
	session->waiting++;
	locks->figures.waiting++;
	return -EINPROGRESS;
}

static void unlink_wait(struct vg_locks *locks, struct vg_lock_wait *wait)
{
	struct claim *claim = &wait->claim;

	if (wait->previous)
		wait->previous->next = wait->next;
	else
		claim->file->first = wait->next;
	if (wait->next)
		wait->next->previous = wait->previous;
	else
		claim->file->last = wait->previous;
	if (wait->newer)
		wait->newer->older = wait->older;
	else
		claim->owner->waits = wait->older;
	if (wait->older)
		wait->older->newer = wait->newer;
	claim->owner->session->waiting--;
	locks->figures.waiting--;
	vg_lock_file_put(locks, claim->file);
	vg_lock_owner_put(locks, claim->owner);
}

/* It is told by tell_ended, when all is as it shall be. */
static void end_wait(struct vg_locks *locks, struct vg_lock_wait *wait, int result)
{
	unlink_wait(locks, wait);
	wait->result = result;
	wait->next = NULL;
	*locks->ended_end = wait;
	locks->ended_end = &wait->next;
}

static void tell_ended(struct vg_locks *locks)
{
	while (locks->ended) {
		struct vg_lock_wait *wait = locks->ended;
		vg_lock_fn fn = wait->fn;
		void *context = wait->context;
		int result = wait->result;

		locks->ended = wait->next;
		if (!locks->ended)
			locks->ended_end = &locks->ended;
		vg_lock_give_memory(locks, wait);
		fn(context, result);
	}
}

/* Something was given back: who waits may have it now, in the order they came. The file is the caller's. */
static void grant_waiting(struct vg_locks *locks, struct vg_lock_file *file)
{
	bool released = true;

	/* What is granted may give back in turn: shared, where its owner held exclusive. */
	while (released) {
		released = false;
		for (struct vg_lock_wait *wait = file->first, *next; wait; wait = next) {
			next = wait->next;
			if (!in_the_way(&wait->claim, NULL))
				end_wait(locks, wait, carry_out(locks, &wait->claim, &released));
		}
	}
}

static int interrupt(struct vg_locks *locks, const struct claim *claim)
{
	int count = 0;

	for (struct vg_lock_wait *wait = claim->owner->waits, *older; wait; wait = older) {
		older = wait->older;
		if (wait->claim.file != claim->file || wait->claim.start > claim->last ||
		    wait->claim.last < claim->start)
			continue;
		end_wait(locks, wait, -EINTR);
		count++;
	}
	return count;
}

/* ---- the calls ------------------------------------------------------------------------------------------------- */

static int claim_range(const struct vg_lock_request *request, struct claim *ret_claim)
{
	bool ends = !request->length || request->whole;

	if (request->kind > VG_FILE_LOCK_EXCLUSIVE)
		return -EINVAL;
	*ret_claim = (struct claim){
		.start = request->whole ? 0 : request->start,
		.last = VG_LOCK_LAST,
		.descriptor = request->descriptor,
		.pid = request->pid,
		.kind = request->kind,
	};
	if (ret_claim->start > VG_LOCK_LAST || (!ends && request->length - 1 > VG_LOCK_LAST - ret_claim->start))
		return -EINVAL;
	if (!ends)
		ret_claim->last = ret_claim->start + (request->length - 1);
	return 0;
}

/* The claim's file and owner are there and the caller's until claim_put; false: no memory, or there are none. */
static bool claim_get(struct vg_locks *locks, const struct vg_lock_request *request, bool make, struct claim *claim)
{
	claim->file = vg_lock_file_get(locks, request->device, request->inode, make);
	if (claim->file)
		claim->owner = vg_lock_owner_get(locks, request->session, request->owner, request->whole, make);
	if (claim->file && !claim->owner)
		vg_lock_file_put(locks, claim->file);
	return claim->owner;
}

static void claim_put(struct vg_locks *locks, const struct claim *claim)
{
	vg_lock_owner_put(locks, claim->owner);
	vg_lock_file_put(locks, claim->file);
}

/* Nothing is in the way. */
static int set_now(struct vg_locks *locks, const struct claim *claim, __u8 kind)
{
	struct claim wanted = *claim;
	bool released = false;
	int error;

	wanted.kind = kind;
	error = carry_out(locks, &wanted, &released);
	if (released)
		grant_waiting(locks, claim->file);
	return error;
}

int vg_lock_set(struct vg_locks *locks, const struct vg_lock_request *request, vg_lock_fn fn, void *context)
{
	bool unlocks = request->kind == VG_FILE_UNLOCK;
	struct claim claim;
	int error = claim_range(request, &claim);

	if (error)
		return error;
	if (!claim_get(locks, request, !unlocks, &claim)) {
		locks->figures.refused += !unlocks;
		return unlocks ? 0 : -ENOLCK;
	}
	if (unlocks) {
		interrupt(locks, &claim);
		error = set_now(locks, &claim, claim.kind);
	} else if (!in_the_way(&claim, NULL)) {
		error = set_now(locks, &claim, claim.kind);
	} else {
		if (request->whole) /* the rule of flock(2) */
			(void)set_now(locks, &claim, VG_FILE_UNLOCK);
		error = fn ? wait_for(locks, &claim, fn, context) : -EAGAIN;
	}
	claim_put(locks, &claim);
	tell_ended(locks);
	return error;
}

int vg_lock_test(struct vg_locks *locks, const struct vg_lock_request *request, struct vg_lock_request *ret_holder)
{
	struct vg_lock_owner stranger = { .whole = request->whole }, *owner;
	struct vg_lock *holder = NULL;
	struct claim claim;
	int error = claim_range(request, &claim);

	if (error)
		return error;
	claim.file = *vg_lock_file_link(locks, request->device, request->inode);
	owner = *vg_lock_owner_link(locks, request->session, request->owner, request->whole);
	claim.owner = owner ? owner : &stranger;
	if (claim.file && claim.kind != VG_FILE_UNLOCK)
		holder = in_the_way(&claim, NULL);
	*ret_holder = (struct vg_lock_request){ .kind = VG_FILE_UNLOCK };
	if (holder)
		*ret_holder = (struct vg_lock_request){
			.device = request->device,
			.inode = request->inode,
			.session = holder->owner->session,
			.owner = holder->owner->number,
			.descriptor = holder->descriptor,
			.start = holder->start,
			.length = holder->last == VG_LOCK_LAST ? 0 : holder->last - holder->start + 1,
			.pid = holder->pid,
			.kind = holder->kind,
			.whole = request->whole,
		};
	return 0;
}

int vg_lock_interrupt(struct vg_locks *locks, const struct vg_lock_request *request)
{
	struct claim claim;
	int count = claim_range(request, &claim);

	if (count)
		return count;
	if (!claim_get(locks, request, false, &claim))
		return 0;
	count = interrupt(locks, &claim);
	claim_put(locks, &claim);
	tell_ended(locks);
	return count;
}

void vg_locks_close(struct vg_locks *locks, struct vg_lock_session *session, __u64 device, __u64 inode,
		    __u64 descriptor)
{
	struct vg_lock_file *file;
	struct vg_lock *picked = NULL;

	if (!session->held && !session->waiting)
		return;
	file = vg_lock_file_get(locks, device, inode, false);
	if (!file)
		return;
	for (struct vg_lock_wait *wait = file->first, *next; wait; wait = next) {
		next = wait->next;
		if (wait->claim.owner->session == session && wait->claim.descriptor == descriptor)
			end_wait(locks, wait, -EINTR);
	}
	for (int space = 0; space < 2; space++)
		for (struct vg_lock *lock = vg_lock_tree_first(&file->tree[space], 0, VG_LOCK_LAST); lock;
		     lock = vg_lock_tree_next(lock, 0, VG_LOCK_LAST)) {
			if (lock->owner->session != session || lock->descriptor != descriptor)
				continue;
			lock->picked = picked;
			picked = lock;
		}
	for (struct vg_lock *lock = picked, *next; lock; lock = next) {
		next = lock->picked;
		vg_lock_tree_remove(&file->tree[lock->owner->whole], lock);
		lock_free(locks, lock);
	}
	if (picked)
		grant_waiting(locks, file);
	vg_lock_file_put(locks, file);
	tell_ended(locks);
}

void vg_locks_end_session(struct vg_locks *locks, struct vg_lock_session *session, void (*drop)(void *context))
{
	struct vg_lock_file *dirty = NULL;

	while (session->owners) {
		struct vg_lock_owner *owner = session->owners;

		owner->references++;
		while (owner->waits) {
			struct vg_lock_wait *wait = owner->waits;

			unlink_wait(locks, wait);
			if (drop)
				drop(wait->context);
			vg_lock_give_memory(locks, wait);
		}
		while (owner->locks) {
			struct vg_lock *lock = owner->locks;
			struct vg_lock_file *file = lock->file;

			if (!file->is_dirty) {
				file->references++;
				file->is_dirty = true;
				file->dirty = dirty;
				dirty = file;
			}
			vg_lock_tree_remove(&file->tree[owner->whole], lock);
			lock_free(locks, lock);
		}
		vg_lock_owner_put(locks, owner);
	}
	assert(!session->held && !session->waiting);
	while (dirty) {
		struct vg_lock_file *file = dirty;

		dirty = file->dirty;
		file->is_dirty = false;
		grant_waiting(locks, file);
		vg_lock_file_put(locks, file);
	}
	tell_ended(locks);
}

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

int vg_locks_new(struct vg_locks **ret_locks, const struct vg_mem *mem, __u64 random)
{
	struct vg_locks *locks = mem->alloc(mem->context, sizeof(*locks));

	if (!locks)
		return -ENOMEM;
	assert(random);
	memset(locks, 0, sizeof(*locks));
	locks->mem = mem;
	locks->random = random;
	locks->key[0] = vg_prng_next(&locks->random);
	locks->key[1] = vg_prng_next(&locks->random);
	locks->ended_end = &locks->ended;
	*ret_locks = locks;
	return 0;
}

void vg_locks_free(struct vg_locks *locks)
{
	if (!locks)
		return;
	assert(!locks->figures.held && !locks->figures.waiting);
	vg_lock_give_memory(locks, locks);
}

const struct vg_lock_figures *vg_locks_figures(const struct vg_locks *locks)
{
	return &locks->figures;
}
