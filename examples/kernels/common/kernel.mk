# How an example kernel is built and run: `make` and `make run` in its folder. Its Makefile says ARCH, MODE, CC, CFLAGS,
# SOURCES and QEMU, and may say LDFLAGS, LIBRARIES, and LINKED: the memory manager as C instead of the library.

KERNMALLOC ?= kernmalloc
BUILD ?= build
MEMORY ?= 512M

COMMON := $(dir $(lastword $(MAKEFILE_LIST)))
PROGRAM = $(if $(filter arena,$(MODE)),arena.c,memory.c processors.c program.c state.c)
SOURCES += $(addprefix $(COMMON),console.c $(PROGRAM))
OBJECTS := $(addprefix $(BUILD)/,$(addsuffix .o,$(basename $(notdir $(SOURCES)))))
EXPORT := $(BUILD)/export
LINKED ?= $(EXPORT)/libkernmalloc-$(ARCH).a
VPATH := $(sort $(dir $(SOURCES))) $(EXPORT)

override CFLAGS += -std=gnu11 -O2 -g -Wall -Wextra -ffreestanding -fno-pic -fno-stack-protector \
	-fno-delete-null-pointer-checks -fno-tree-loop-distribute-patterns -I. -I$(COMMON) -I$(EXPORT)
LDFLAGS += -nostdlib -static -Wl,--build-id=none -Wl,-T,kernel.ld -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments

.PHONY: all run command tools clean
all: $(BUILD)/kernel.elf

$(BUILD)/kernel.elf: $(OBJECTS) $(LINKED) kernel.ld
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(OBJECTS) $(LINKED) $(LIBRARIES)

$(EXPORT)/kernmalloc.h:
	mkdir -p $(BUILD)
	$(KERNMALLOC) export -o $(EXPORT) --arch $(ARCH)

$(EXPORT)/kernmalloc.c $(EXPORT)/libkernmalloc-$(ARCH).a: $(EXPORT)/kernmalloc.h

$(BUILD)/%.o: %.c $(EXPORT)/kernmalloc.h
	$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.S $(EXPORT)/kernmalloc.h
	$(CC) $(CFLAGS) -c -o $@ $<

run: all
	$(RUN)

# what `kernmalloc emulate` asks for: what runs the kernel, and the tools that all this takes
RUN = $(QEMU) -m $(MEMORY) -smp $(CPUS) -kernel $(BUILD)/kernel.elf -display none -serial stdio -monitor none -no-reboot
command:
	@echo '$(RUN)'
tools:
	@echo $(firstword $(CC)) $(firstword $(QEMU))

clean:
	rm -rf $(BUILD)
