// SPDX-License-Identifier: GPL-3.0-or-later
#include "explain.h"

#include <stdarg.h>
#include <stdio.h>

static char sentence[1024];

int vg_explain(int error, const char *format, ...)
{
	va_list arguments;

	if (sentence[0])
		return error;
	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	return error;
}

const char *vg_explanation(void)
{
	return sentence;
}

void vg_explain_forget(void)
{
	sentence[0] = '\0';
}
