/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libvirgo: the public client API. */
#ifndef VIRGO_H
#define VIRGO_H
#endif
