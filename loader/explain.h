/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a person is told when a command fails. Functions return negative errnos; the one that knows the cause leaves a
 * sentence here, and main prints it. The first sentence wins, because the deepest function knows best. Main thread.
 */
#ifndef VG_LOADER_EXPLAIN_H
#define VG_LOADER_EXPLAIN_H

/* Returns `error`, so that it reads `return vg_explain(-EBUSY, "…")`. */
int vg_explain(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The sentence, or "" when nobody explained. */
const char *vg_explanation(void);
void vg_explain_forget(void);

#endif
