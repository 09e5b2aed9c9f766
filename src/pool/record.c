/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/record.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "base/crc32c.h"

#define HEADER_BYTES sizeof(struct vg_record_header)
#define META_BYTES 16

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "records are little-endian, and are written as they lie in memory");

const char *vg_record_kind_text(unsigned int kind)
{
	static const char *const text[VG_RECORD_MAX] = {
		"?",	 "set",	  "delete",  "deadline",    "clear",   "alloc",
		"write", "flags", "release", "transaction", "segment", "batch",
	};

	return kind < VG_RECORD_MAX ? text[kind] : text[0];
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* What is left of a body while its fields are taken from the front. */
struct body {
	const __u8 *at;
	__u64 left;
	bool short_of; /* a field was not there */
};

static __u64 take64(struct body *body)
{
	__u64 value = 0;

	if (body->left < sizeof(value)) {
		body->short_of = true;
		return 0;
	}
	memcpy(&value, body->at, sizeof(value));
	body->at += sizeof(value);
	body->left -= sizeof(value);
	return value;
}

static void take_key(struct body *body, const struct vg_record_header *header, struct vg_record *record)
{
	if (header->key_length > VG_KEY_MAX || header->key_length > body->left) {
		body->short_of = true;
		return;
	}
	record->key = body->at;
	record->key_length = header->key_length;
	body->at += header->key_length;
	body->left -= header->key_length;
}

static void take_rest(struct body *body, struct vg_record *record)
{
	record->value = body->at;
	record->value_length = body->left;
	body->left = 0;
}

static void take_set(struct body *body, const struct vg_record_header *header, struct vg_record *record)
{
	__u64 word;

	if (header->flags & VG_RECORD_DEADLINED)
		record->expire_ms = take64(body);
	if (header->flags & VG_RECORD_META) {
		record->version = take64(body);
		word = take64(body);
		record->client_flags = (__u32)word;
		record->marks = (__u32)(word >> 32);
	}
	take_key(body, header, record);
	take_rest(body, record);
	body->short_of |= record->value_length > VG_VALUE_MAX;
}

static void take_segment(struct body *body, struct vg_record *record)
{
	__u64 magic = take64(body), version;

	version = take64(body);
	record->identity = take64(body);
	version |= magic == VG_SEGMENT_MAGIC ? 0 : ~0ULL;
	record->handle = take64(body);
	record->number = (__u32)record->handle;
	record->node = (__u32)(record->handle >> 32);
	record->handle = 0;
	body->short_of |= version != VG_SEGMENT_VERSION;
}

/* The fields of the kind; all of the body must have been named. */
static bool take_fields(const struct vg_record_header *header, struct body *body, struct vg_record *record)
{
	switch (header->kind) {
	case VG_RECORD_SET:
		take_set(body, header, record);
		break;
	case VG_RECORD_DEADLINE:
		record->expire_ms = take64(body);
		take_key(body, header, record);
		break;
	case VG_RECORD_DELETE:
		take_key(body, header, record);
		break;
	case VG_RECORD_CLEAR:
		break;
	case VG_RECORD_ALLOC:
		record->handle = take64(body);
		record->value_length = take64(body);
		break;
	case VG_RECORD_WRITE:
		record->handle = take64(body);
		record->offset = take64(body);
		take_rest(body, record);
		break;
	case VG_RECORD_FLAGS:
		record->handle = take64(body);
		record->flags = (__u32)take64(body);
		break;
	case VG_RECORD_RELEASE:
		record->handle = take64(body);
		break;
	case VG_RECORD_TRANSACTION:
		take_rest(body, record);
		break;
	case VG_RECORD_SEGMENT:
		take_segment(body, record);
		break;
	case VG_RECORD_BATCH:
		record->durable = take64(body);
		break;
	default:
		return false;
	}
	return !body->short_of && !body->left;
}

static bool header_possible(const struct vg_record_header *header)
{
	return header->length >= HEADER_BYTES && header->length % VG_RECORD_ALIGN == 0 &&
	       header->length <= VG_RECORD_BYTES_MAX && header->padding < VG_RECORD_ALIGN && !header->reserved &&
	       header->kind && header->kind < VG_RECORD_MAX && header->padding <= header->length - HEADER_BYTES &&
	       !(header->flags & ~(VG_RECORD_DEADLINED | VG_RECORD_META)) &&
	       (!header->flags || header->kind == VG_RECORD_SET);
}

static bool padding_zero(const __u8 *end, __u8 padding)
{
	for (__u8 i = 1; i <= padding; i++)
		if (end[-i])
			return false;
	return true;
}

/* All but the checksum. `data` has header->length bytes. */
static bool take_apart(const __u8 *data, const struct vg_record_header *header, struct vg_record *ret_record)
{
	struct body body = { data + HEADER_BYTES, header->length - HEADER_BYTES - header->padding, false };

	*ret_record = (struct vg_record){ .kind = header->kind, .length = header->length,
					  .sequence = header->sequence };
	return padding_zero(data + header->length, header->padding) && take_fields(header, &body, ret_record);
}

/* Records inside a transaction: of kinds that change something, none of them a transaction. */
static bool inside_possible(const __u8 *data, __u64 left, struct vg_record_header *ret_header)
{
	if (left < HEADER_BYTES)
		return false;
	memcpy(ret_header, data, HEADER_BYTES);
	return header_possible(ret_header) && ret_header->kind < VG_RECORD_TRANSACTION && ret_header->length <= left;
}

static bool transaction_whole(const struct vg_record *transaction)
{
	struct vg_record_header header;
	struct vg_record inside;

	for (__u64 at = 0; at < transaction->value_length; at += header.length) {
		const __u8 *data = (const __u8 *)transaction->value + at;

		if (!inside_possible(data, transaction->value_length - at, &header) ||
		    !take_apart(data, &header, &inside))
			return false;
	}
	return true;
}

bool vg_record_next(const struct vg_record *transaction, size_t *at, struct vg_record *ret_record)
{
	const __u8 *data = (const __u8 *)transaction->value + *at;
	struct vg_record_header header;

	if (*at == transaction->value_length)
		return false;
	memcpy(&header, data, sizeof(header));
	if (!take_apart(data, &header, ret_record))
		assert(!"vg_record_read looked into the transaction");
	*at += header.length;
	return true;
}

bool vg_record_take(const void *data, size_t available, struct vg_record *ret_record)
{
	struct vg_record_header header;

	if (available < HEADER_BYTES)
		return false;
	memcpy(&header, data, sizeof(header));
	return header_possible(&header) && header.kind != VG_RECORD_TRANSACTION && header.length <= available &&
	       take_apart(data, &header, ret_record);
}

static __u32 crc_of(const __u8 *record, const struct vg_record_header *header)
{
	__u32 crc = vg_crc32c(0, record + HEADER_BYTES, header->length - HEADER_BYTES);

	return vg_crc32c(crc, (const __u8 *)header + sizeof(header->crc), HEADER_BYTES - sizeof(header->crc));
}

enum vg_record_verdict vg_record_read(const void *data, size_t available, struct vg_record *ret_record)
{
	static const struct vg_record_header nothing;
	struct vg_record_header header;

	*ret_record = (struct vg_record){ 0 };
	if (available < HEADER_BYTES)
		return VG_RECORD_MORE;
	memcpy(&header, data, sizeof(header));
	if (!memcmp(&header, &nothing, sizeof(header)))
		return VG_RECORD_END;
	if (!header_possible(&header))
		return VG_RECORD_BAD;
	if (header.length > available) {
		ret_record->length = header.length;
		return VG_RECORD_MORE;
	}
	if (crc_of(data, &header) != header.crc || !take_apart(data, &header, ret_record))
		return VG_RECORD_BAD;
	return header.kind != VG_RECORD_TRANSACTION || transaction_whole(ret_record) ? VG_RECORD_OK : VG_RECORD_BAD;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static enum vg_record_kind kind_of(const struct vg_observed *observed)
{
	static const __u8 kinds[VG_OBSERVED_MAX] = {
		[VG_OBSERVED_SET] = VG_RECORD_SET,	     [VG_OBSERVED_DELETE] = VG_RECORD_DELETE,
		[VG_OBSERVED_DEADLINE] = VG_RECORD_DEADLINE, [VG_OBSERVED_EVICTED] = VG_RECORD_DELETE,
		[VG_OBSERVED_CLEAR] = VG_RECORD_CLEAR,	     [VG_OBSERVED_ALLOC] = VG_RECORD_ALLOC,
		[VG_OBSERVED_WRITE] = VG_RECORD_WRITE,	     [VG_OBSERVED_FLAGS] = VG_RECORD_FLAGS,
		[VG_OBSERVED_RELEASE] = VG_RECORD_RELEASE,
	};

	return kinds[observed->kind];
}

static __u8 flags_of(const struct vg_observed *observed)
{
	const struct vg_entry *entry = &observed->entry;

	if (observed->kind != VG_OBSERVED_SET)
		return 0;
	return (__u8)((entry->expire_ms ? VG_RECORD_DEADLINED : 0) |
		      (entry->version || entry->client_flags || entry->marks ? VG_RECORD_META : 0));
}

/* Without padding. */
static __u64 content_bytes(const struct vg_observed *observed)
{
	__u8 flags = flags_of(observed);

	switch (kind_of(observed)) {
	case VG_RECORD_SET:
		return (flags & VG_RECORD_DEADLINED ? 8 : 0) + (flags & VG_RECORD_META ? META_BYTES : 0) +
		       observed->key->length + observed->entry.length;
	case VG_RECORD_DELETE:
		return observed->key->length;
	case VG_RECORD_DEADLINE:
		return 8 + observed->key->length;
	case VG_RECORD_ALLOC:
	case VG_RECORD_FLAGS:
		return 16;
	case VG_RECORD_WRITE:
		return 16 + observed->entry.length;
	case VG_RECORD_RELEASE:
		return 8;
	default:
		return 0;
	}
}

__u64 vg_record_bytes(const struct vg_observed *observed)
{
	if (!kind_of(observed))
		return 0;
	return VG_ALIGN_UP(HEADER_BYTES + content_bytes(observed), (__u64)VG_RECORD_ALIGN);
}

static __u8 *put64(__u8 *to, __u64 value)
{
	memcpy(to, &value, sizeof(value));
	return to + sizeof(value);
}

static __u8 *put(__u8 *to, const void *data, __u64 length)
{
	if (length)
		memcpy(to, data, length);
	return to + length;
}

static __u8 *put_fields(__u8 *to, __u8 flags, const struct vg_observed *observed)
{
	const struct vg_entry *entry = &observed->entry;
	enum vg_record_kind kind = kind_of(observed);

	if (kind == VG_RECORD_DEADLINE || flags & VG_RECORD_DEADLINED)
		to = put64(to, entry->expire_ms);
	if (flags & VG_RECORD_META) {
		to = put64(to, entry->version);
		to = put64(to, entry->client_flags | (__u64)entry->marks << 32);
	}
	if (observed->key)
		to = put(to, observed->key->data, observed->key->length);
	if (kind >= VG_RECORD_ALLOC && kind <= VG_RECORD_RELEASE)
		to = put64(to, observed->handle);
	if (kind == VG_RECORD_ALLOC)
		to = put64(to, entry->length);
	if (kind == VG_RECORD_FLAGS)
		to = put64(to, observed->flags);
	if (kind == VG_RECORD_WRITE)
		to = put64(to, observed->offset);
	return kind == VG_RECORD_SET || kind == VG_RECORD_WRITE ? put(to, entry->value, entry->length) : to;
}

void vg_record_write(void *record, const struct vg_observed *observed)
{
	__u64 length = vg_record_bytes(observed);
	struct vg_record_header header = {
		.length = (__u32)length,
		.kind = (__u8)kind_of(observed),
		.flags = flags_of(observed),
		.key_length = observed->key ? observed->key->length : 0,
	};
	__u8 *end = put_fields((__u8 *)record + HEADER_BYTES, header.flags, observed);

	assert(length && length <= VG_RECORD_BYTES_MAX);
	header.padding = (__u8)((__u8 *)record + length - end);
	memset(end, 0, header.padding);
	memcpy(record, &header, sizeof(header));
}

void vg_record_write_transaction(void *to, __u64 bytes)
{
	struct vg_record_header header = { .length = (__u32)(HEADER_BYTES + bytes), .kind = VG_RECORD_TRANSACTION };

	assert(HEADER_BYTES + bytes <= VG_RECORD_BYTES_MAX && bytes % VG_RECORD_ALIGN == 0);
	memcpy(to, &header, sizeof(header));
}

void vg_record_write_batch(void *to, __u64 sequence, __u64 durable)
{
	struct vg_record_header header = { .length = VG_RECORD_BATCH_BYTES, .kind = VG_RECORD_BATCH };

	memcpy(to, &header, sizeof(header));
	put64((__u8 *)to + HEADER_BYTES, durable);
	vg_record_seal(to, vg_record_body_crc(to), sequence);
}

void vg_record_write_segment(void *to, __u64 sequence, __u64 identity, __u32 number, __u32 node)
{
	struct vg_record_header header = { .length = VG_RECORD_SEGMENT_BYTES, .kind = VG_RECORD_SEGMENT };
	__u8 *at = (__u8 *)to + HEADER_BYTES;

	memcpy(to, &header, sizeof(header));
	at = put64(at, VG_SEGMENT_MAGIC);
	at = put64(at, VG_SEGMENT_VERSION);
	at = put64(at, identity);
	put64(at, number | (__u64)node << 32);
	vg_record_seal(to, vg_record_body_crc(to), sequence);
}

__u32 vg_record_body_crc(const void *record)
{
	struct vg_record_header header;

	memcpy(&header, record, sizeof(header));
	return vg_crc32c(0, (const __u8 *)record + HEADER_BYTES, header.length - HEADER_BYTES);
}

void vg_record_seal(void *record, __u32 body_crc, __u64 sequence)
{
	struct vg_record_header header;

	memcpy(&header, record, sizeof(header));
	header.sequence = sequence;
	header.crc = vg_crc32c(body_crc, (const __u8 *)&header + sizeof(header.crc), HEADER_BYTES - sizeof(header.crc));
	memcpy(record, &header, sizeof(header));
}
