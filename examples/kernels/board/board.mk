# What the Makefile of a board's kernel includes, which says ARCH, MODE, PLACE, IMAGE, CC, CFLAGS, SOURCES and QEMU.

CFLAGS += -DIMAGE=$(IMAGE) -DPLACE=$(PLACE) -Wl,--defsym=IMAGE=$(IMAGE) -Wl,--defsym=PLACE=$(PLACE) -I../board
SOURCES += ../board/board.c ../board/tree.c
SCRIPT = ../board/kernel.ld
MEMORY ?= 512M
CPUS ?= 4

include ../common/kernel.mk
