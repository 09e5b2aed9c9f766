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
export B
