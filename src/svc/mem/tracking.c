/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/tracking.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "svc/mem/events.h"
#include "svc/mem/hub.h"
#include "svc/mem/more.h"
#include "svc/mem/shared.h"

#define SHARDS 256 /* by bits of the hash above those of a row */
#define ROWS 1024  /* of a shard */

struct holder {
	struct holder *next;
	struct vg_client_ref client;
};

struct entry {
	struct entry *next;
	struct holder *first;
	__u64 hash;
	__u32 length;
	char key[];
};

struct shard {
	pthread_mutex_t lock;
	__u32 sweep; /* the row whose keys make room next */
	struct entry *row[ROWS];
};

struct vg_tracking {
	const struct vg_mem *mem;
	__u64 clients, keys, items, prefix_count;
	pthread_mutex_t prefix_lock;
	struct vg_prefix *prefixes;
	struct shard shard[SHARDS];
};

__s64 vg_tracking_keys_max = 1000000;

int vg_tracking_new(struct vg_tracking **ret_tracking, const struct vg_mem *mem)
{
	struct vg_tracking *tracking = mem->alloc(mem->context, sizeof(*tracking));

	if (!tracking)
		return -ENOMEM;
	memset(tracking, 0, sizeof(*tracking));
	tracking->mem = mem;
	pthread_mutex_init(&tracking->prefix_lock, NULL);
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&tracking->shard[i].lock, NULL);
	*ret_tracking = tracking;
	return 0;
}

static void holders_free(struct vg_tracking *tracking, struct holder *holder)
{
	while (holder) {
		struct holder *next = holder->next;

		tracking->mem->free(tracking->mem->context, holder);
		__atomic_sub_fetch(&tracking->items, 1, __ATOMIC_RELAXED);
		holder = next;
	}
}

static void entry_free(struct vg_tracking *tracking, struct entry *entry)
{
	holders_free(tracking, entry->first);
	tracking->mem->free(tracking->mem->context, entry);
}

/* Take every entry out of the table. */
static void drop_all(struct vg_tracking *tracking)
{
	for (int i = 0; i < SHARDS; i++) {
		struct shard *shard = &tracking->shard[i];

		pthread_mutex_lock(&shard->lock);
		for (int row = 0; row < ROWS; row++) {
			while (shard->row[row]) {
				struct entry *entry = shard->row[row];

				shard->row[row] = entry->next;
				__atomic_sub_fetch(&tracking->keys, 1, __ATOMIC_RELAXED);
				entry_free(tracking, entry);
			}
		}
		pthread_mutex_unlock(&shard->lock);
	}
}

void vg_tracking_free(struct vg_tracking *tracking)
{
	if (!tracking)
		return;
	assert(!tracking->prefixes);
	drop_all(tracking);
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_destroy(&tracking->shard[i].lock);
	pthread_mutex_destroy(&tracking->prefix_lock);
	tracking->mem->free(tracking->mem->context, tracking);
}

static struct vg_tracking *tracking_of(const struct vg_env *env)
{
	return vg_mem_shared(env)->tracking;
}

static struct vg_client_ref ref_of(struct vg_client *client)
{
	struct vg_session *session = vg_client_session(client);

	return (struct vg_client_ref){ session->env->worker, vg_session_ref(session), session->id };
}

static bool same_client(const struct vg_client_ref *a, const struct vg_client_ref *b)
{
	return a->id == b->id;
}

/* ---- telling a client ------------------------------------------------------------------------------------------- */

/* What is told: a key, or that all have gone. It travels to the worker of the connection it is for. */
struct news {
	struct vg_mail mail; /* first */
	struct vg_client_ref to;
	__u64 by;
	bool all, redirected, broken;
	__u32 length;
	const char *key;
	char bytes[];
};

static void tell(struct vg_env *env, const struct news *news);

static void on_news(struct vg_env *env, struct vg_mail *mail)
{
	struct news *news = (struct news *)mail;

	tell(env, news);
	env->mem->free(env->mem->context, news);
}

/* To the connection's worker. One that cannot be told would keep a stale copy: it is closed. */
static void send_news(struct vg_env *env, const struct news *news)
{
	struct news *copy;

	if (news->to.worker == env->worker) {
		tell(env, news);
		return;
	}
	copy = env->mem->alloc(env->mem->context, sizeof(*copy) + news->length);
	if (!copy) {
		vg_refuse(env, VG_REFUSAL_NO_MEMORY);
		vg_session_kill(env, news->to.id);
		return;
	}
	*copy = *news;
	copy->mail = (struct vg_mail){ .fn = on_news };
	copy->key = copy->bytes;
	if (news->length)
		memcpy(copy->bytes, news->key, news->length);
	vg_env_post(env, news->to.worker, &copy->mail);
}

static void push(struct vg_session *session, const struct news *news)
{
	struct vg_client *client = vg_session_client(session);
	int version = client->flags & VG_CLIENT_RESP3 ? 3 : 2;

	if (client->flags & VG_CLIENT_CUT_OFF)
		return;
	if (version == 3) {
		vg_resp_push(session->out, 3, 2);
		vg_resp_bulk_text(session->out, "invalidate");
	} else if (news->redirected && client->flags & VG_CLIENT_PUBSUB) {
		vg_resp_push(session->out, 2, 3);
		vg_resp_bulk_text(session->out, "message");
		vg_resp_bulk_text(session->out, "__redis__:invalidate");
	} else {
		return;
	}
	if (news->all) {
		vg_resp_null(session->out, version);
	} else {
		vg_resp_array(session->out, 1);
		vg_resp_bulk(session->out, news->key, news->length);
	}
	vg_hub_pushed(session);
}

/* The other connection has gone: the first one is told, if its protocol has words for it. */
static void tell_broken(struct vg_env *env, const struct vg_client_ref *origin, __u64 gone)
{
	struct vg_session *session = vg_session_find(env, origin->session);
	struct vg_client *client;

	if (!session || session->id != origin->id)
		return;
	client = vg_session_client(session);
	client->more->tracking.flags |= VG_TRACKING_BROKEN;
	if (!(client->flags & VG_CLIENT_RESP3))
		return;
	vg_resp_push(session->out, 3, 2);
	vg_resp_bulk_text(session->out, "tracking-redir-broken");
	vg_resp_integer(session->out, (__s64)gone);
	vg_hub_pushed(session);
}

static bool is_there(struct vg_env *env, const struct vg_client_ref *client)
{
	struct vg_session *session;

	if (client->worker != env->worker)
		return vg_session_locate(env, client->id, NULL, NULL);
	session = vg_session_find(env, client->session);
	return session && session->id == client->id;
}

/* On the worker of the connection that is told. */
static void tell(struct vg_env *env, const struct news *news)
{
	struct vg_session *session = vg_session_find(env, news->to.session);
	const struct vg_tracking_client *own;
	struct news onward = *news;
	struct vg_client *client;

	if (!session || session->id != news->to.id)
		return;
	client = vg_session_client(session);
	if (news->redirected) {
		push(session, news);
		return;
	}
	if (!(client->flags & VG_CLIENT_TRACKING))
		return;
	own = &client->more->tracking;
	if (own->flags & VG_TRACKING_NOLOOP && news->by == session->id)
		return;
	if (!own->redirect.id) {
		push(session, news);
	} else if (!is_there(env, &own->redirect)) {
		tell_broken(env, &news->to, own->redirect.id);
	} else {
		onward.to = own->redirect;
		onward.redirected = true;
		send_news(env, &onward);
	}
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static struct shard *shard_of(struct vg_tracking *tracking, __u64 hash)
{
	return &tracking->shard[(hash >> 40) % SHARDS];
}

static struct entry **find(struct shard *shard, __u64 hash, const void *key, size_t length)
{
	struct entry **at = &shard->row[(hash >> 16) % ROWS];

	while (*at && !((*at)->hash == hash && (*at)->length == length && memcmp((*at)->key, key, length) == 0))
		at = &(*at)->next;
	return at;
}

/* With the shard's lock. False: no memory. */
static bool enter(struct vg_tracking *tracking, struct shard *shard, const struct vg_key *key,
		  const struct vg_client_ref *client)
{
	const struct vg_mem *mem = tracking->mem;
	struct entry **at = find(shard, key->hash, key->data, key->length), *entry = *at;
	struct holder *holder;

	for (holder = entry ? entry->first : NULL; holder; holder = holder->next)
		if (same_client(&holder->client, client))
			return true;
	holder = mem->alloc(mem->context, sizeof(*holder));
	if (holder && !entry) {
		entry = mem->alloc(mem->context, sizeof(*entry) + key->length);
		if (entry) {
			*entry = (struct entry){ .hash = key->hash, .length = key->length };
			memcpy(entry->key, key->data, key->length);
			*at = entry;
			__atomic_add_fetch(&tracking->keys, 1, __ATOMIC_RELAXED);
		}
	}
	if (!holder || !entry) {
		mem->free(mem->context, holder);
		return false;
	}
	*holder = (struct holder){ .next = entry->first, .client = *client };
	entry->first = holder;
	__atomic_add_fetch(&tracking->items, 1, __ATOMIC_RELAXED);
	return true;
}

static void tell_holders(struct vg_env *env, struct entry *entry, __u64 by)
{
	for (struct holder *holder = entry->first; holder; holder = holder->next) {
		struct news news = { .to = holder->client, .by = by, .length = entry->length, .key = entry->key };

		send_news(env, &news);
	}
	__atomic_sub_fetch(&tracking_of(env)->keys, 1, __ATOMIC_RELAXED);
	entry_free(tracking_of(env), entry);
}

/* Too many keys: some other one of the shard is given up, and who holds it is told as if it had changed. */
static void make_room(struct vg_env *env, struct shard *shard)
{
	struct vg_tracking *tracking = tracking_of(env);
	__s64 limit = __atomic_load_n(&vg_tracking_keys_max, __ATOMIC_RELAXED);
	struct entry *victim = NULL;

	if (!limit || __atomic_load_n(&tracking->keys, __ATOMIC_RELAXED) < (__u64)limit)
		return;
	pthread_mutex_lock(&shard->lock);
	for (int i = 0; i < ROWS && !victim; i++) {
		struct entry **row = &shard->row[shard->sweep++ % ROWS];

		victim = *row;
		if (victim)
			*row = victim->next;
	}
	pthread_mutex_unlock(&shard->lock);
	if (victim)
		tell_holders(env, victim, 0);
}

void vg_tracking_remember(struct vg_call *call)
{
	struct vg_tracking_client *own = &call->client->more->tracking;
	struct vg_tracking *tracking = tracking_of(call->env);
	struct vg_client_ref client = ref_of(call->client);
	int last = vg_command_last_key(call->command, call->args);
	bool caching = own->flags & VG_TRACKING_CACHING;

	if (own->flags & VG_TRACKING_BCAST || (own->flags & VG_TRACKING_OPTIN && !caching) ||
	    (own->flags & VG_TRACKING_OPTOUT && caching))
		return;
	for (int i = call->command->first; i && i <= last; i += call->command->step) {
		struct vg_key key = vg_call_key(call, i);
		struct shard *shard = shard_of(tracking, key.hash);
		bool entered;

		make_room(call->env, shard);
		pthread_mutex_lock(&shard->lock);
		entered = enter(tracking, shard, &key, &client);
		pthread_mutex_unlock(&shard->lock);
		if (!entered) { /* its copy would never be called back */
			vg_refuse(call->env, VG_REFUSAL_NO_MEMORY);
			vg_client_session(call->client)->finish = true;
		}
	}
}

/* ---- changing --------------------------------------------------------------------------------------------------- */

static void tell_prefixes(struct vg_env *env, const struct vg_key *key, __u64 by)
{
	struct vg_tracking *tracking = tracking_of(env);

	if (!__atomic_load_n(&tracking->prefix_count, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&tracking->prefix_lock);
	for (const struct vg_prefix *prefix = tracking->prefixes; prefix; prefix = prefix->next) {
		struct news news = { .to = prefix->client, .by = by, .length = key->length, .key = key->data };

		if (prefix->length <= key->length && memcmp(prefix->text, key->data, prefix->length) == 0)
			send_news(env, &news);
	}
	pthread_mutex_unlock(&tracking->prefix_lock);
}

void vg_tracking_invalidate(struct vg_env *env, const struct vg_key *key, __u64 by)
{
	struct vg_tracking *tracking = tracking_of(env);
	struct shard *shard = shard_of(tracking, key->hash);
	struct entry **at, *entry;

	tell_prefixes(env, key, by);
	pthread_mutex_lock(&shard->lock);
	at = find(shard, key->hash, key->data, key->length);
	entry = *at;
	if (entry)
		*at = entry->next;
	pthread_mutex_unlock(&shard->lock);
	if (entry)
		tell_holders(env, entry, by);
}

/* On each worker: all its own connections that track. */
static void tell_own_all(struct vg_env *env, __u64 by);

struct all_gone {
	struct vg_mail mail; /* first */
	__u64 by;
};

static void on_all_gone(struct vg_env *env, struct vg_mail *mail)
{
	struct all_gone *gone = (struct all_gone *)mail;

	tell_own_all(env, gone->by);
	env->mem->free(env->mem->context, gone);
}

static void tell_own_all(struct vg_env *env, __u64 by)
{
	struct vg_mem_worker *worker = vg_mem_worker(env);

	for (struct vg_client_more *more = worker->tracking_first; more; more = more->tracking_next) {
		struct news news = { .to = ref_of(more->client), .by = by, .all = true };

		send_news(env, &news);
	}
}

void vg_tracking_invalidate_all(struct vg_env *env, __u64 by)
{
	struct vg_mem_shared *shared = vg_mem_shared(env);

	drop_all(shared->tracking);
	for (__u32 worker = 0; worker < VG_MEM_WORKERS_MAX; worker++) {
		struct all_gone *gone;

		if (!shared->env[worker])
			continue;
		if (worker == env->worker) {
			tell_own_all(env, by);
			continue;
		}
		gone = env->mem->alloc(env->mem->context, sizeof(*gone));
		if (!gone) {
			vg_refuse(env, VG_REFUSAL_NO_MEMORY);
			continue;
		}
		*gone = (struct all_gone){ .mail.fn = on_all_gone, .by = by };
		vg_env_post(env, worker, &gone->mail);
	}
}

/* ---- on and off ------------------------------------------------------------------------------------------------- */

int vg_tracking_add_prefix(struct vg_client *client, const void *text, size_t length)
{
	struct vg_tracking *tracking = tracking_of(vg_client_session(client)->env);
	struct vg_prefix *prefix = tracking->mem->alloc(tracking->mem->context, sizeof(*prefix) + length);

	if (!prefix)
		return -ENOMEM;
	*prefix = (struct vg_prefix){ .client = ref_of(client), .length = (__u32)length,
				      .next_of_client = client->more->tracking.prefixes };
	memcpy(prefix->text, text, length);
	client->more->tracking.prefixes = prefix;
	pthread_mutex_lock(&tracking->prefix_lock);
	prefix->next = tracking->prefixes;
	tracking->prefixes = prefix;
	__atomic_add_fetch(&tracking->prefix_count, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&tracking->prefix_lock);
	return 0;
}

static void remove_prefix(struct vg_tracking *tracking, struct vg_prefix *prefix)
{
	struct vg_prefix **at = &tracking->prefixes;

	pthread_mutex_lock(&tracking->prefix_lock);
	while (*at != prefix)
		at = &(*at)->next;
	*at = prefix->next;
	__atomic_sub_fetch(&tracking->prefix_count, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&tracking->prefix_lock);
	tracking->mem->free(tracking->mem->context, prefix);
}

/*
 * A connection that turns tracking off may turn it on again, and hears of what it has read before: so writers note
 * changes until the table is empty, or until nobody tracks and a connection has gone.
 */
static void count_client(struct vg_env *env, int change, bool gone)
{
	struct vg_tracking *tracking = tracking_of(env);

	pthread_mutex_lock(&tracking->prefix_lock);
	__atomic_store_n(&tracking->clients, tracking->clients + (__u64)change, __ATOMIC_RELAXED);
	if (gone && !tracking->clients && __atomic_load_n(&tracking->keys, __ATOMIC_RELAXED))
		drop_all(tracking);
	vg_events_listen(vg_mem_shared(env), VG_LISTEN_TRACKING,
			 tracking->clients || __atomic_load_n(&tracking->keys, __ATOMIC_RELAXED));
	pthread_mutex_unlock(&tracking->prefix_lock);
}

void vg_tracking_on(struct vg_client *client)
{
	struct vg_env *env = vg_client_session(client)->env;
	struct vg_mem_worker *worker = vg_mem_worker(env);
	struct vg_client_more *more = client->more;

	if (client->flags & VG_CLIENT_TRACKING)
		return;
	client->flags |= VG_CLIENT_TRACKING;
	more->client = client;
	more->tracking_next = worker->tracking_first;
	more->tracking_before = NULL;
	if (more->tracking_next)
		more->tracking_next->tracking_before = more;
	worker->tracking_first = more;
	count_client(env, 1, false);
}

void vg_tracking_off(struct vg_client *client)
{
	struct vg_env *env = vg_client_session(client)->env;
	struct vg_client_more *more = client->more;

	if (!(client->flags & VG_CLIENT_TRACKING))
		return;
	client->flags &= ~(__u32)VG_CLIENT_TRACKING;
	while (more->tracking.prefixes) {
		struct vg_prefix *prefix = more->tracking.prefixes;

		more->tracking.prefixes = prefix->next_of_client;
		remove_prefix(tracking_of(env), prefix);
	}
	more->tracking = (struct vg_tracking_client){ 0 };
	if (more->tracking_next)
		more->tracking_next->tracking_before = more->tracking_before;
	if (more->tracking_before)
		more->tracking_before->tracking_next = more->tracking_next;
	else
		vg_mem_worker(env)->tracking_first = more->tracking_next;
	count_client(env, -1, false);
}

void vg_tracking_closed(struct vg_client *client)
{
	vg_tracking_off(client);
	count_client(vg_client_session(client)->env, 0, true);
}

void vg_tracking_figures(const struct vg_tracking *tracking, struct vg_tracking_figures *ret_figures)
{
	*ret_figures = (struct vg_tracking_figures){
		.clients = __atomic_load_n(&tracking->clients, __ATOMIC_RELAXED),
		.keys = __atomic_load_n(&tracking->keys, __ATOMIC_RELAXED),
		.items = __atomic_load_n(&tracking->items, __ATOMIC_RELAXED),
		.prefixes = __atomic_load_n(&tracking->prefix_count, __ATOMIC_RELAXED),
	};
}
