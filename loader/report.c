// SPDX-License-Identifier: GPL-3.0-or-later
#include "report.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

const struct vg_reason_words vg_report_reasons[VG_REASON_MAX] = {
#define X(name, verdict, text) { #name, #verdict, text },
	VG_REASONS(X)
#undef X
};

static const char *const lease_names[] = {
	[VG_LEASE_NONE] = "none",
	[VG_LEASE_EXPIRED] = "expired",
	[VG_LEASE_ALIVE] = "alive",
};

const char *const vg_load_names[VG_LOADS_MAX] = { [VG_LOAD_MEM] = "mem", [VG_LOAD_CPU] = "cpu" };

double vg_report_age_s(const struct vg_node_status *status, __u64 then_ns)
{
	return status->now_ns > then_ns ? (double)(status->now_ns - then_ns) / 1e9 : 0;
}

/* "NOT_IP" is for C; the rest of the world reads "not_ip". */
const char *vg_report_lower(const char *name, char (*buffer)[32])
{
	size_t i;

	for (i = 0; i < sizeof(*buffer) - 1 && name[i]; i++)
		(*buffer)[i] = (char)tolower((unsigned char)name[i]);
	(*buffer)[i] = '\0';
	return *buffer;
}

const char *vg_report_interface(const struct vg_attachment *attachment, char (*buffer)[48])
{
	if (attachment->interface[0])
		snprintf(*buffer, sizeof(*buffer), "%s", attachment->interface);
	else if (attachment->here || !attachment->alive)
		snprintf(*buffer, sizeof(*buffer), "#%u (gone)", attachment->ifindex);
	else
		snprintf(*buffer, sizeof(*buffer), "#%u in netns %llu", attachment->ifindex,
			 (unsigned long long)attachment->netns);
	return *buffer;
}

static const char *node_address(const struct vg_node *node, int family, char (*buffer)[INET6_ADDRSTRLEN])
{
	bool has = node->flags & (family == AF_INET ? VG_NODE_HAS_V4 : VG_NODE_HAS_V6);
	const void *address = family == AF_INET ? (const void *)&node->address4 : node->address6;

	return has ? inet_ntop(family, address, *buffer, sizeof(*buffer)) : NULL;
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

static void table_head(FILE *out, const struct vg_node_status *status)
{
	const struct vg_config *config = &status->config;

	fprintf(out, "virgo-agent %s  %s/v%d\n", VG_VERSION, status->pin_root, VG_LAYOUT_VERSION);
	fprintf(out, "daemon      lease %s", lease_names[status->lease]);
	if (status->lease != VG_LEASE_NONE)
		fprintf(out, ", renewed %.3f s ago", (double)status->lease_age_ns / 1e9);
	fprintf(out, "\nnode        %u of %u, epoch %u, %s\nports       %u", config->node, config->nodes, config->epoch,
		config->flags & VG_CONFIG_KEYED ? "keyed" : "no key", VG_BE16TOH(config->port_mem));
	for (size_t i = 0; i < sizeof(config->ports_other) / sizeof(config->ports_other[0]); i++) {
		if (config->ports_other[i])
			fprintf(out, " %u", VG_BE16TOH(config->ports_other[i]));
	}
	fputc('\n', out);
	fprintf(out, "load        %u in flight, %.1f us a request, %.1f us run-queue delay, %.1f %% memory free\n",
		status->local.in_flight, status->local.service_ns / 1e3, status->local.run_queue_delay_ns / 1e3,
		status->local.memory_free_permille / 10.0);
}

static void table_counters(FILE *out, const struct vg_node_status *status)
{
	bool any = false;

	for (int reason = 0; reason < VG_REASON_MAX; reason++) {
		const struct vg_counter *counter = &status->counters[reason];
		char name[32];

		if (!counter->packets)
			continue;
		if (!any)
			fprintf(out, "\n%-16s %-8s %14s %16s  %s\n", "REASON", "VERDICT", "PACKETS", "BYTES",
				"MEANING");
		any = true;
		fprintf(out, "%-16s %-8s %14llu %16llu  %s\n", vg_report_lower(vg_report_reasons[reason].name, &name),
			vg_report_reasons[reason].verdict, (unsigned long long)counter->packets,
			(unsigned long long)counter->bytes, vg_report_reasons[reason].text);
	}
	if (!any)
		fprintf(out, "\nno packet seen yet\n");
}

static void table_nodes(FILE *out, const struct vg_node_status *status)
{
	for (int node = 0; node < status->config.nodes && node < VG_NODES_MAX; node++) {
		char v4[INET6_ADDRSTRLEN], v6[INET6_ADDRSTRLEN];
		const char *address4 = node_address(&status->nodes[node], AF_INET, &v4);
		const char *address6 = node_address(&status->nodes[node], AF_INET6, &v6);

		if (!node)
			fprintf(out, "\n%-6s %-16s %-40s %s\n", "NODE", "IPV4", "IPV6", "PORT");
		fprintf(out, "%-6d %-16s %-40s %u%s\n", node, address4 ?: "-", address6 ?: "-",
			VG_BE16TOH(status->nodes[node].port_mem), node == status->config.node ? "  (this one)" : "");
	}
}

void vg_report_table(FILE *out, const struct vg_node_status *status)
{
	table_head(out, status);
	fprintf(out, "\n%-16s %6s  %-16s %12s %10s\n", "PROGRAM", "ID", "TAG", "VERIFIED", "JITED");
	for (int i = 0; i < VG_OBJECT_MAX; i++) {
		if (status->programs[i].probe && !status->programs[i].id)
			continue;
		fprintf(out, "%-16s %6u  %-16s %12u %10u%s\n", status->programs[i].name, status->programs[i].id,
			status->programs[i].tag, status->programs[i].verified_instructions,
			status->programs[i].jited_bytes,
			!status->programs[i].probe     ? ""
			: status->programs[i].attached ? "  probing"
						       : "  not attached");
	}
	fprintf(out, "\n%-24s %-19s %s\n", "ATTACHED TO", "HOW", "PROGRAM");
	for (int i = 0; i < status->attachments_count; i++) {
		char interface[48];

		fprintf(out, "%-24s %-19s %s\n", vg_report_interface(&status->attachments[i], &interface),
			vg_attachment_mode(&status->attachments[i]), status->attachments[i].program);
	}
	if (!status->attachments_count)
		fprintf(out, "nothing\n");
	table_counters(out, status);
	table_nodes(out, status);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static json_t *json_programs(const struct vg_node_status *status)
{
	json_t *programs = json_array();

	for (int i = 0; i < VG_OBJECT_MAX; i++) {
		const struct vg_program_status *program = &status->programs[i];

		if (program->id)
			json_array_append_new(
				programs,
				json_pack("{s:s, s:I, s:s, s:I, s:I, s:b, s:I, s:I}", "name", program->name, "id",
					  (json_int_t)program->id, "tag", program->tag, "verified_instructions",
					  (json_int_t)program->verified_instructions, "jited_bytes",
					  (json_int_t)program->jited_bytes, "probing", program->attached, "runs",
					  (json_int_t)program->runs, "run_ns", (json_int_t)program->run_ns));
	}
	return programs;
}

static json_t *json_maps(const struct vg_node_status *status)
{
	json_t *maps = json_array();

	for (int i = 0; i < VG_MAPS_MAX; i++) {
		if (!status->maps[i].id)
			continue;
		json_array_append_new(maps, json_pack("{s:s, s:I, s:I}", "name", status->maps[i].name, "id",
						      (json_int_t)status->maps[i].id, "memory_bytes",
						      (json_int_t)status->maps[i].memory_bytes));
	}
	return maps;
}

static json_t *json_attachments(const struct vg_node_status *status)
{
	json_t *attachments = json_array();

	for (int i = 0; i < status->attachments_count; i++) {
		const struct vg_attachment *attachment = &status->attachments[i];

		json_array_append_new(attachments,
				      json_pack("{s:s?, s:I, s:I, s:b, s:s, s:s, s:I}", "interface",
						attachment->interface[0] ? attachment->interface : NULL, "ifindex",
						(json_int_t)attachment->ifindex, "netns", (json_int_t)attachment->netns,
						"alive", attachment->alive, "mode", vg_attachment_mode(attachment),
						"program", attachment->program, "program_id",
						(json_int_t)attachment->program_id));
	}
	return attachments;
}

static json_t *json_counters(const struct vg_node_status *status)
{
	json_t *counters = json_array();

	for (int reason = 0; reason < VG_REASON_MAX; reason++) {
		char name[32], verdict[32];

		json_array_append_new(counters,
				      json_pack("{s:s, s:s, s:I, s:I}", "reason",
						vg_report_lower(vg_report_reasons[reason].name, &name), "verdict",
						vg_report_lower(vg_report_reasons[reason].verdict, &verdict), "packets",
						(json_int_t)status->counters[reason].packets, "bytes",
						(json_int_t)status->counters[reason].bytes));
	}
	return counters;
}

static json_t *json_service_load(__u32 in_flight, __u32 service_ns, __u32 sent, double age_s)
{
	return json_pack("{s:I, s:I, s:I, s:f}", "in_flight", (json_int_t)in_flight, "service_ns",
			 (json_int_t)service_ns, "sent_since", (json_int_t)sent, "age_s", age_s);
}

/* What is known of a node's load; of this one, what it says itself. Services that were never heard are left out. */
static json_t *json_load(const struct vg_node_status *status, int node)
{
	const struct vg_node_load *load = &status->loads[node];
	bool self = node == status->config.node;
	json_t *json = json_pack("{s:I, s:i, s:I, s:I}", "run_queue_delay_ns",
				 (json_int_t)(self ? status->local.run_queue_delay_ns : load->run_queue_delay_ns),
				 "memory_free_permille",
				 self ? status->local.memory_free_permille : load->memory_free_permille, "stamps",
				 (json_int_t)load->stamps, "strangers", (json_int_t)load->strangers);

	for (int which = 0; which <= VG_LOAD_CPU; which++) {
		const struct vg_service_load *heard = &load->service[which];
		const struct vg_service_now own =
			which == VG_LOAD_MEM
				? (struct vg_service_now){ status->local.in_flight, status->local.service_ns }
				: status->local.other[which - 1];

		if (self)
			json_object_set_new(json, vg_load_names[which],
					    json_service_load(own.in_flight, own.service_ns, 0, 0));
		else if (heard->seen_ns)
			json_object_set_new(json, vg_load_names[which],
					    json_service_load(heard->in_flight, heard->service_ns, heard->sent,
							      vg_report_age_s(status, heard->seen_ns)));
	}
	return json;
}

json_t *vg_report_nodes(const struct vg_node_status *status)
{
	json_t *nodes = json_array();

	for (int node = 0; node < status->config.nodes && node < VG_NODES_MAX; node++) {
		char v4[INET6_ADDRSTRLEN], v6[INET6_ADDRSTRLEN];

		json_array_append_new(nodes, json_pack("{s:i, s:b, s:s?, s:s?, s:i, s:i, s:o}", "node", node, "self",
						       node == status->config.node, "ipv4",
						       node_address(&status->nodes[node], AF_INET, &v4), "ipv6",
						       node_address(&status->nodes[node], AF_INET6, &v6), "port",
						       VG_BE16TOH(status->nodes[node].port_mem), "port_cpu",
						       VG_BE16TOH(status->nodes[node].port_cpu), "load",
						       json_load(status, node)));
	}
	return nodes;
}

static json_t *json_config(const struct vg_node_status *status)
{
	const struct vg_config *config = &status->config;
	json_t *ports = json_array();

	for (size_t i = 0; i < sizeof(config->ports_other) / sizeof(config->ports_other[0]); i++) {
		if (config->ports_other[i])
			json_array_append_new(ports, json_integer(VG_BE16TOH(config->ports_other[i])));
	}
	return json_pack("{s:i, s:i, s:I, s:b, s:I, s:i, s:o}", "node", config->node, "nodes", config->nodes, "epoch",
			 (json_int_t)config->epoch, "keyed", !!(config->flags & VG_CONFIG_KEYED), "budget_per_ms",
			 (json_int_t)(config->budget_per_ms ?: VG_XDP_BUDGET_DEFAULT), "port",
			 VG_BE16TOH(config->port_mem), "ports_other", ports);
}

json_t *vg_report_json(const struct vg_node_status *status)
{
	json_t *lease = json_pack("{s:s, s:o}", "state", lease_names[status->lease], "age_seconds",
				  status->lease == VG_LEASE_NONE ? json_null() : json_real(status->lease_age_ns / 1e9));
	json_t *load = json_pack("{s:I, s:I, s:I, s:i}", "in_flight", (json_int_t)status->local.in_flight, "service_ns",
				 (json_int_t)status->local.service_ns, "run_queue_delay_ns",
				 (json_int_t)status->local.run_queue_delay_ns, "memory_free_permille",
				 status->local.memory_free_permille);

	return json_pack("{s:s, s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version", VG_VERSION, "layout",
			 VG_LAYOUT_VERSION, "pin_root", status->pin_root, "lease", lease, "config", json_config(status),
			 "load", load, "programs", json_programs(status), "maps", json_maps(status), "attachments",
			 json_attachments(status), "counters", json_counters(status), "nodes", vg_report_nodes(status));
}
