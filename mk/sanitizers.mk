# SPDX-License-Identifier: GPL-3.0-or-later
B := build
ifeq ($(ASAN),1)
B := build/asan
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
endif
ifeq ($(TSAN),1)
B := build/tsan
SANITIZE := -fsanitize=thread
endif
ifneq ($(SANITIZE),)
# Instrumented code hides from gcc the ranges it would need: its guesses about truncation are wrong then.
SANITIZE += -Wno-format-truncation
endif
export B
