# How an example kernel is built and run: `make` and `make run` in its folder. Its Makefile says ARCH, MODE, CC, CFLAGS,
# SOURCES and QEMU. It may say what is set with ?= below, and MEMORY and CPUS of the machine;
# WISH is told to the kernel.

KERNMALLOC ?= kernmalloc
BUILD ?= build

# what describes the kernel, to itself by config.h, and to a simulation: a file, or a profile by its name
PROFILE ?= $(wildcard profile.toml)

COMMON := $(dir $(lastword $(MAKEFILE_LIST)))
PROGRAM ?= $(if $(filter arena,$(MODE)),arena.c fill.c,memory.c processors.c program.c state.c $(if $(PROFILE),profile.c))
SOURCES += $(addprefix $(COMMON),console.c $(PROGRAM))
OBJECTS := $(addprefix $(BUILD)/,$(addsuffix .o,$(basename $(notdir $(SOURCES)))))
EXPORT := $(BUILD)/export
LINKED ?= $(EXPORT)/libkernmalloc-$(ARCH).a
SCRIPT ?= kernel.ld
VPATH := $(sort $(dir $(SOURCES))) $(EXPORT)

BARE ?= -ffreestanding -fno-pic -fno-stack-protector
override CFLAGS += $(OPTIMIZE) -std=gnu11 -g -Wall -Wextra $(BARE) -fno-delete-null-pointer-checks \
	-fno-tree-loop-distribute-patterns -I. -I$(COMMON) -I$(EXPORT)
LDFLAGS ?= -nostdlib -static -Wl,--build-id=none -Wl,-T,$(SCRIPT) -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments
OPTIMIZE ?= -O2

.PHONY: all run command tools profile clean
all: $(BUILD)/kernel.elf

$(BUILD)/kernel.elf: $(OBJECTS) $(LINKED) $(SCRIPT)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(OBJECTS) $(LINKED)

$(EXPORT)/kernmalloc.h:
	mkdir -p $(BUILD)
	$(KERNMALLOC) export -o $(EXPORT) --arch $(ARCH) $(if $(filter arena guest,$(MODE)),--mode $(MODE)) $(if $(PROFILE),--kernel $(PROFILE))

$(EXPORT)/kernmalloc.c $(EXPORT)/libkernmalloc-$(ARCH).a: $(EXPORT)/kernmalloc.h

$(BUILD)/%.o: %.c $(EXPORT)/kernmalloc.h
	$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.S $(EXPORT)/kernmalloc.h
	$(CC) $(CFLAGS) -c -o $@ $<

run: all
	$(RUN)

# what `kernmalloc emulate` asks for: what runs the kernel, and the tools that all this takes
RUN ?= $(QEMU) $(if $(MEMORY),-m $(MEMORY)) $(if $(CPUS),-smp $(CPUS)) -kernel $(BUILD)/kernel.elf $(if $(WISH),-append $(WISH)) \
	-display none -serial stdio -monitor none -no-reboot
command:
	@echo '$(RUN)'
tools:
	@echo $(firstword $(CC)) $(firstword $(QEMU))
profile:
	@echo $(PROFILE)

clean:
	rm -rf $(BUILD)
