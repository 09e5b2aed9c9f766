# SPDX-License-Identifier: GPL-3.0-or-later
# Which compilers and libraries; the packages themselves are scripts/deps' business.

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang-19
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/bin/bpftool) bpftool)
CFLAGS ?= -O2 -g

WARNINGS := -Wall -Wextra -Werror -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unused-parameter \
	    -Wno-missing-field-initializers
BASE_CFLAGS := -std=gnu17 -D_GNU_SOURCE -Iinclude -Isrc -fPIC -fno-strict-aliasing -fno-omit-frame-pointer $(WARNINGS)
BASE_CFLAGS += -DVG_VERSION='"$(VERSION)"'
