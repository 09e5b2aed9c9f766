/* SPDX-License-Identifier: GPL-3.0-or-later */
/* LCS: the longest common subsequence of two values. */
#include <errno.h>

#include "svc/mem/cmd.h"
#include "svc/mem/data.h"

#define CELLS_MAX (32u << 20) /* of the table: 128 MB, and a worker that does nothing else for a fraction of a second */

struct lcs {
	struct vg_call *call;
	const char *a, *b;
	__u32 a_length, b_length;
	__u32 *cell; /* length of the longest one of the first i bytes of a and the first j of b */
	bool length_only, ranges, with_length;
	__s64 least;
	struct vg_out matches;
	__u64 count;
	char *text; /* NULL: not wanted */
	__u32 at;   /* first byte of `text` that is known */
};

static __u32 *cell(const struct lcs *lcs, __u32 i, __u32 j)
{
	return &lcs->cell[(size_t)i * (lcs->b_length + 1) + j];
}

static void fill(struct lcs *lcs)
{
	for (__u32 i = 0; i <= lcs->a_length; i++) {
		for (__u32 j = 0; j <= lcs->b_length; j++) {
			if (i == 0 || j == 0)
				*cell(lcs, i, j) = 0;
			else if (lcs->a[i - 1] == lcs->b[j - 1])
				*cell(lcs, i, j) = *cell(lcs, i - 1, j - 1) + 1;
			else if (*cell(lcs, i - 1, j) > *cell(lcs, i, j - 1))
				*cell(lcs, i, j) = *cell(lcs, i - 1, j);
			else
				*cell(lcs, i, j) = *cell(lcs, i, j - 1);
		}
	}
}

/* A run of bytes that are equal and next to each other in both: its first and last places. */
struct range {
	bool open;
	__u32 a_first, a_last, b_first;
};

static void emit(struct lcs *lcs, struct range *range)
{
	struct vg_out *out = &lcs->matches;
	__u32 length = range->a_last - range->a_first + 1;

	range->open = false;
	if (!lcs->ranges || (lcs->least && length < lcs->least))
		return;
	vg_resp_array(out, lcs->with_length ? 3 : 2);
	vg_resp_array(out, 2);
	vg_resp_integer(out, range->a_first);
	vg_resp_integer(out, range->a_last);
	vg_resp_array(out, 2);
	vg_resp_integer(out, range->b_first);
	vg_resp_integer(out, range->b_first + length - 1);
	if (lcs->with_length)
		vg_resp_integer(out, length);
	lcs->count++;
}

/* From the end to the beginning, along the cells that made the last one. */
static void walk(struct lcs *lcs)
{
	__u32 i = lcs->a_length, j = lcs->b_length;
	struct range range = { 0 };

	lcs->at = *cell(lcs, i, j);
	while (i > 0 && j > 0) {
		bool ends = false;

		if (lcs->a[i - 1] == lcs->b[j - 1]) {
			if (lcs->text)
				lcs->text[--lcs->at] = lcs->a[i - 1];
			i--;
			j--;
			if (!range.open)
				range = (struct range){ true, i, i, j };
			else if (range.a_first == i + 1 && range.b_first == j + 1)
				range.a_first = i, range.b_first = j;
			else
				ends = true;
			ends |= range.a_first == 0 || range.b_first == 0;
		} else {
			if (*cell(lcs, i - 1, j) > *cell(lcs, i, j - 1))
				i--;
			else
				j--;
			ends = range.open;
		}
		if (ends)
			emit(lcs, &range);
	}
}

static void answer(struct lcs *lcs)
{
	struct vg_call *call = lcs->call;
	__u32 length = *cell(lcs, lcs->a_length, lcs->b_length);

	if (lcs->ranges) {
		vg_resp_map(call->out, call->version, 2);
		vg_resp_bulk_text(call->out, "matches");
		vg_resp_array(call->out, lcs->count);
		vg_out_splice(call->out, &lcs->matches);
		vg_resp_bulk_text(call->out, "len");
		vg_resp_integer(call->out, length);
	} else if (lcs->length_only) {
		vg_resp_integer(call->out, length);
	} else {
		vg_resp_bulk(call->out, lcs->text, length);
	}
}

static int compare(struct lcs *lcs)
{
	const struct vg_mem *mem = lcs->call->env->mem;
	size_t cells = (size_t)(lcs->a_length + 1) * (lcs->b_length + 1);
	size_t text = lcs->a_length < lcs->b_length ? lcs->a_length : lcs->b_length;

	if (cells > CELLS_MAX) {
		vg_resp_error(lcs->call->out,
			      "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
		return 0;
	}
	lcs->cell = mem->alloc(mem->context, cells * sizeof(*lcs->cell) + text + 1);
	if (!lcs->cell)
		return vg_call_failure(lcs->call, -ENOMEM);
	if (!lcs->length_only && !lcs->ranges)
		lcs->text = (char *)(lcs->cell + cells);
	vg_out_init(&lcs->matches, lcs->call->env->chunks);
	fill(lcs);
	if (!lcs->length_only)
		walk(lcs);
	answer(lcs);
	vg_out_deinit(&lcs->matches);
	mem->free(mem->context, lcs->cell);
	return 0;
}

/* False: an error was answered. */
static bool read_options(struct vg_call *call, struct lcs *lcs)
{
	for (int i = 3; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];

		if (vg_arg_is(arg, "idx")) {
			lcs->ranges = true;
		} else if (vg_arg_is(arg, "len")) {
			lcs->length_only = true;
		} else if (vg_arg_is(arg, "withmatchlen")) {
			lcs->with_length = true;
		} else if (vg_arg_is(arg, "minmatchlen") && i + 1 < call->args) {
			if (!vg_call_integer(call, ++i, &lcs->least))
				return false;
			if (lcs->least < 0)
				lcs->least = 0;
		} else {
			vg_call_syntax_error(call);
			return false;
		}
	}
	if (lcs->ranges && lcs->length_only) {
		vg_resp_error(call->out, "ERR If you want both the length and indexes, please just use IDX.");
		return false;
	}
	return true;
}

int vg_cmd_lcs(struct vg_call *call)
{
	struct lcs lcs = { .call = call };
	struct vg_value value[2] = { { .data = "" }, { .data = "" } };
	char buffer[2][VG_CELL_MAX];

	for (int i = 0; i < 2; i++) {
		struct vg_key key = vg_call_key(call, 1 + i);

		if (vg_data_get(call, &key, buffer[i], &value[i]))
			vg_data_miss(call, &key);
		else
			call->env->stats->hits++;
	}
	if (read_options(call, &lcs)) {
		lcs.a = value[0].data;
		lcs.b = value[1].data;
		lcs.a_length = (__u32)value[0].length;
		lcs.b_length = (__u32)value[1].length;
		compare(&lcs);
	}
	vg_value_release(&value[0]);
	vg_value_release(&value[1]);
	return 0;
}
