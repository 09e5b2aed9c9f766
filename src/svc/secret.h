/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Passwords. */
#ifndef VG_SVC_SECRET_H
#define VG_SVC_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Takes the same time wherever the two differ, so that the time tells nothing; the length is no secret. */
static inline bool vg_secret_matches(const char *secret, const char *guess, size_t length)
{
	unsigned char wrong = 0;

	if (strlen(secret) != length)
		return false;
	for (size_t i = 0; i < length; i++)
		wrong |= (unsigned char)(guess[i] ^ secret[i]);
	return !wrong;
}

#endif
