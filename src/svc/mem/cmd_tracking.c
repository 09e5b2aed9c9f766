/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR. */
#include <errno.h>

#include "svc/mem/cmd.h"
#include "svc/mem/more.h"
#include "svc/mem/tracking.h"

#define PREFIXES_MAX 256 /* of one connection */

struct options {
	__u32 flags;
	__s64 redirect;
	struct vg_client_ref to;
	int prefixes;
	int prefix[PREFIXES_MAX]; /* positions */
};

static bool refuse(struct vg_call *call, const char *text)
{
	vg_resp_error(call->out, "%s", text);
	return false;
}

static bool read_redirect(struct vg_call *call, int at, struct options *options)
{
	if (options->redirect)
		return refuse(call, "ERR A client can only redirect to a single other client");
	if (!vg_call_integer(call, at, &options->redirect))
		return false;
	options->to.id = (__u64)options->redirect;
	if (!vg_session_locate(call->env, options->to.id, &options->to.worker, &options->to.session))
		return refuse(call, "ERR The client ID you want redirect to does not exist");
	return true;
}

/* False: an error was answered. */
static bool read_options(struct vg_call *call, struct options *options)
{
	for (int i = 3; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];
		bool more = i + 1 < call->args;

		if (vg_arg_is(arg, "redirect") && more) {
			if (!read_redirect(call, ++i, options))
				return false;
		} else if (vg_arg_is(arg, "bcast")) {
			options->flags |= VG_TRACKING_BCAST;
		} else if (vg_arg_is(arg, "optin")) {
			options->flags |= VG_TRACKING_OPTIN;
		} else if (vg_arg_is(arg, "optout")) {
			options->flags |= VG_TRACKING_OPTOUT;
		} else if (vg_arg_is(arg, "noloop")) {
			options->flags |= VG_TRACKING_NOLOOP;
		} else if (vg_arg_is(arg, "prefix") && more && options->prefixes < PREFIXES_MAX) {
			options->prefix[options->prefixes++] = ++i;
		} else {
			vg_call_syntax_error(call);
			return false;
		}
	}
	return true;
}

static bool overlap(const void *a, size_t a_length, const void *b, size_t b_length)
{
	return memcmp(a, b, a_length < b_length ? a_length : b_length) == 0;
}

static bool prefixes_fit(struct vg_call *call, const struct options *options)
{
	for (int i = 0; i < options->prefixes; i++) {
		const struct vg_resp_arg *one = &call->arg[options->prefix[i]];

		for (const struct vg_prefix *had = call->client->more->tracking.prefixes; had;
		     had = had->next_of_client) {
			if (!overlap(one->data, one->length, had->text, had->length))
				continue;
			vg_resp_error(call->out,
				      "ERR Prefix '%.*s' overlaps with an existing prefix '%.*s'. Prefixes for a "
				      "single client must not overlap.",
				      (int)one->length, one->data, (int)had->length, had->text);
			return false;
		}
		for (int k = i + 1; k < options->prefixes; k++) {
			const struct vg_resp_arg *other = &call->arg[options->prefix[k]];

			if (!overlap(one->data, one->length, other->data, other->length))
				continue;
			vg_resp_error(call->out,
				      "ERR Prefix '%.*s' overlaps with another provided prefix '%.*s'. Prefixes for a "
				      "single client must not overlap.",
				      (int)one->length, one->data, (int)other->length, other->data);
			return false;
		}
	}
	return true;
}

#define ANOTHER_MODE "before disabling tracking for this client, and then re-enabling it with a different mode."

/* Do the options go together, and with what is on already? */
static bool options_fit(struct vg_call *call, const struct options *options)
{
	__u32 flags = options->flags, had = call->client->more->tracking.flags;
	bool on = call->client->flags & VG_CLIENT_TRACKING;

	if (options->prefixes && !(flags & VG_TRACKING_BCAST))
		return refuse(call, "ERR PREFIX option requires BCAST mode to be enabled");
	if (on && (flags ^ had) & VG_TRACKING_BCAST)
		return refuse(call, "ERR You can't switch BCAST mode on/off " ANOTHER_MODE);
	if (flags & VG_TRACKING_BCAST && flags & (VG_TRACKING_OPTIN | VG_TRACKING_OPTOUT))
		return refuse(call, "ERR OPTIN and OPTOUT are not compatible with BCAST");
	if (flags & VG_TRACKING_OPTIN && flags & VG_TRACKING_OPTOUT)
		return refuse(call, "ERR You can't specify both OPTIN mode and OPTOUT mode");
	if ((flags & VG_TRACKING_OPTIN && had & VG_TRACKING_OPTOUT) ||
	    (flags & VG_TRACKING_OPTOUT && had & VG_TRACKING_OPTIN))
		return refuse(call, "ERR You can't switch OPTIN/OPTOUT mode " ANOTHER_MODE);
	return !(flags & VG_TRACKING_BCAST) || prefixes_fit(call, options);
}

static int turn_on(struct vg_call *call, const struct options *options)
{
	struct vg_tracking_client *own = &call->client->more->tracking;
	int error = 0;

	for (int i = 0; i < options->prefixes && !error; i++)
		error = vg_tracking_add_prefix(call->client, call->arg[options->prefix[i]].data,
					       call->arg[options->prefix[i]].length);
	if (!error && options->flags & VG_TRACKING_BCAST && !options->prefixes && !own->prefixes)
		error = vg_tracking_add_prefix(call->client, "", 0); /* all keys */
	vg_tracking_on(call->client);
	if (error) {
		vg_tracking_off(call->client);
		return error;
	}
	own->flags = options->flags | (own->flags & VG_TRACKING_CACHING);
	own->redirect = options->to;
	return 0;
}

int vg_cmd_client_tracking(struct vg_call *call)
{
	struct options options = { 0 };
	int error = 0;

	if (!vg_client_more(call->client))
		return vg_call_failure(call, -ENOMEM);
	if (!read_options(call, &options))
		return 0;
	if (vg_arg_is(&call->arg[2], "on")) {
		if (!options_fit(call, &options))
			return 0;
		error = turn_on(call, &options);
	} else if (vg_arg_is(&call->arg[2], "off")) {
		vg_tracking_off(call->client);
	} else {
		return vg_call_syntax_error(call);
	}
	if (error)
		return vg_call_failure(call, error);
	vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_client_caching(struct vg_call *call)
{
	struct vg_client *client = call->client;
	bool yes = vg_arg_is(&call->arg[2], "yes");

	if (!(client->flags & VG_CLIENT_TRACKING)) {
		refuse(call, "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
			     "OPTOUT mode enabled");
		return 0;
	}
	if (!yes && !vg_arg_is(&call->arg[2], "no"))
		return vg_call_syntax_error(call);
	if (!(client->more->tracking.flags & (yes ? VG_TRACKING_OPTIN : VG_TRACKING_OPTOUT))) {
		refuse(call, yes ? "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode." :
				   "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
		return 0;
	}
	client->more->tracking.flags |= VG_TRACKING_CACHING;
	vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_client_getredir(struct vg_call *call)
{
	bool on = call->client->flags & VG_CLIENT_TRACKING;

	vg_resp_integer(call->out, on ? (__s64)call->client->more->tracking.redirect.id : -1);
	return 0;
}

static int flag_names(const struct vg_client *client, const char *names[8])
{
	__u32 flags = client->more ? client->more->tracking.flags : 0;
	int count = 0;

	names[count++] = client->flags & VG_CLIENT_TRACKING ? "on" : "off";
	if (flags & VG_TRACKING_BCAST)
		names[count++] = "bcast";
	if (flags & VG_TRACKING_OPTIN)
		names[count++] = "optin";
	if (flags & VG_TRACKING_OPTIN && flags & VG_TRACKING_CACHING)
		names[count++] = "caching-yes";
	if (flags & VG_TRACKING_OPTOUT)
		names[count++] = "optout";
	if (flags & VG_TRACKING_OPTOUT && flags & VG_TRACKING_CACHING)
		names[count++] = "caching-no";
	if (flags & VG_TRACKING_NOLOOP)
		names[count++] = "noloop";
	if (flags & VG_TRACKING_BROKEN)
		names[count++] = "broken_redirect";
	return count;
}

int vg_cmd_client_trackinginfo(struct vg_call *call)
{
	const struct vg_client *client = call->client;
	const char *names[8];
	int count = flag_names(client, names);
	__u64 prefixes = 0;

	vg_resp_map(call->out, call->version, 3);
	vg_resp_bulk_text(call->out, "flags");
	vg_resp_set(call->out, call->version, (__u64)count);
	for (int i = 0; i < count; i++)
		vg_resp_bulk_text(call->out, names[i]);
	vg_resp_bulk_text(call->out, "redirect");
	vg_resp_integer(call->out,
			client->flags & VG_CLIENT_TRACKING ? (__s64)client->more->tracking.redirect.id : -1);
	vg_resp_bulk_text(call->out, "prefixes");
	for (const struct vg_prefix *at = client->more ? client->more->tracking.prefixes : NULL; at;
	     at = at->next_of_client)
		prefixes++;
	vg_resp_array(call->out, prefixes);
	for (const struct vg_prefix *at = client->more ? client->more->tracking.prefixes : NULL; at;
	     at = at->next_of_client)
		vg_resp_bulk(call->out, at->text, at->length);
	return 0;
}
