"""Why a line of a boot log that holds a range of addresses tells nothing about memory or devices.

`reason` names the kind of line, and the reader counts it.  Each kind is a rule with an example.  A rule holds wherever
in the line its pattern begins; one that begins with "^" holds from the start of a line that no other rule knows.
"unclassified" is what none knows.  A single number (an identifier, flags, a register, a pointer) cannot state where
memory is, and is no reason to look at a line.
"""

import re

from kernmalloc.inputs.rules import Rule

_FUNCTION = r"[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]:"

_NUMBER = re.compile(r"0x[0-9a-fA-F]|\b[0-9a-f]{8}")
_RANGE = re.compile(
    r"\[(?:mem|gap|io|bus addr|\?\?\?)\b"
    r"|\b(?:0x)?[0-9a-f]{5,16}\s*(?:-|\.\.|:|to|\+|->)\s*0x[0-9a-f]|0x[0-9a-f]+\s*(?:-|\.\.)\s*(?:0x)?[0-9a-f]+\b"
    r"|\b[0-9a-f]{6,16}\s*-\s*[0-9a-f]{6,16}\b",
    re.I,
)

CUT = re.compile(r"\[(?:mem|io|bus|gap)\b[^\]\[]*$|==>$|\]:$|memory at$|nosave$|region$|from$|MMIO$")
"""The end of a line that goes on in the next one, where mail has wrapped it."""


RULES = (
    Rule(
        "gap in the map", r"(?:BIOS-\w+|user|modified): \[gap", "BIOS-e820: [gap 0x000000003f000000-0x000000005b368fff]"
    ),
    Rule(
        "hole left for PCI devices",
        r"\[(?:mem|gap) [^\]]*\] available",
        "[mem 0x8f800000-0xdfffffff] available for PCI devices",
    ),
    Rule(
        "change made by that kernel",
        r"e820:? (?:update|remove|reserve)|(?:Populating|Freeing) +[0-9a-f]+-[0-9a-f]+ pfn range",
        "e820: update [mem 0x00000000-0x00000fff] usable ==> reserved",
    ),
    Rule(
        "zone range",
        r"(?:DMA|DMA32|Normal|HighMem|Movable|Device)\s+(?:\[mem|0x|\w+ -> )",
        "DMA32    [mem 0x0000000001000000-0x00000000ffffffff]",
    ),
    Rule(
        "NUMA node",
        r"Initmem setup node|NODE_DATA|(?:numa|NUMA): |Faking a node|SRAT:|Setting up node",
        "NODE_DATA(0) allocated [mem 0x86e7fb000-0x86e7fffff]",
    ),
    Rule(
        "kernel's map of RAM",
        r"init_memory_mapping|page (?:4k|2M|4M|1G)\b|kernel direct mapping|BRK \[|PGTABLE|P[MU]D ->"
        r"|(?:Allocated new|Move) RAMDISK|initial memory mapped|radix-mmu: Mapped|hash-mmu:",
        "init_memory_mapping: [mem 0x00000000-0x000fffff]",
    ),
    Rule(
        "kernel virtual memory",
        r"(?:0x)?f{4}[0-9a-f]{12}\s*(?:-|\.\.)\s*(?:0x)?f{4}[0-9a-f]{12}\b|Freeing .* memory"
        r"|(?:\* 0x\w+\.\.0x\w+|fixmap|vmalloc|lowmem|pkmap|modules|vmemmap|vector|kasan|highmem|PCI I/O|DMA) *:"
        r"|\.\w+ +: +(?:0x)?[0-9a-f]{8}",
        "lowmem  : 0xc0000000 - 0xef800000   ( 760 MB)",
    ),
    Rule(
        "MMIO left in the map",
        r"efi: Not removing mem",
        "efi: Not removing mem50: MMIO range=[0xfe000000-0xfe010fff] (68KB) from e820 map",
    ),
    Rule(
        "EFI runtime mapping",
        r"efi: memattr|efi: .*remap|Remapping and enabling EFI",
        "efi: memattr: ! 0x000000000000-0x00000000ffff [Runtime Code]",
    ),
    Rule("I/O ports", r"\[io\b|ide\d|I/O 0x", "ide0: BM-DMA at 0xf000-0xf007, BIOS settings: hda:DMA, hdb:pio"),
    Rule(
        "bridge window",
        _FUNCTION + r"\s+(?:disabling |Assigned )?bridge window",
        "pci 0000:00:01.0:   bridge window [mem 0xf6000000-0xf70fffff]",
    ),
    Rule(
        "window of a PCI bus",
        r"pci_bus [0-9a-f:]+: (?:resource|root bus resource)",
        "pci_bus 0000:01: resource 1 [mem 0xf6000000-0xf70fffff]",
    ),
    Rule(
        "virtual function or bridge register",
        _FUNCTION + r"\s+(?:VF|BAR (?:[7-9]|1\d)\b|reg 0x[1-9a-f][0-9a-f]{2}:|resource \d+)",
        "pci 0000:00:1d.4: BAR 15: assigned [mem 0x4000000000-0x4011ffffff 64bit pref]",
    ),
    Rule(
        "device identity",
        _FUNCTION + r"\s+\[[0-9a-f]{4}:[0-9a-f]{4}\]",
        "pci 0000:01:00.0: [1cc1:8201] type 00 class 0x010802, 0x0-0x1",
    ),
    Rule(
        "damaged line",
        _FUNCTION + r" (?:reg 0x\w+:|BAR \d:?) \[mem 0x[0-9a-f]+-(?!0x[0-9a-f]+[ \]])|pci \S+: PCI bridge t\d"
        r"|reg 0x\w+: \[mem",
        "pci 0000:01:00.0: reg 0x14: [mem 0x00000000-0x0",
    ),
    Rule(
        "register as it was",
        _FUNCTION + r"\s+(?:can't|BAR|ROM|no compatible|Video device|reg|legacy|\[)",
        "pci 0000:00:1f.5: can't claim BAR 0 [mem 0xfe010000-0xfe010fff]: no compatible bridge window",
    ),
    Rule(
        "device's own address space",
        r"(?:amdgpu|radeon) " + _FUNCTION + r" (?:amdgpu: )?(?:VRAM|GART|GTT|AGP)",
        "radeon 0000:01:00.0: VRAM: 2048M 0x0000000000000000 - 0x000000007FFFFFFF (2048M used)",
    ),
    Rule(
        "device's use of its window",
        _FUNCTION + r" |ata\d+: |ITS[ @]|offset 0x|- [0-9a-f:.]+ BAR|\S+ \S+: irq \d+, io mem|NVRM|nvidiafb|\[drm|efifb"
        r"|simple-framebuffer|vesafb|fb\d: ",
        "ITS [mem 0x06020000-0x0603ffff]",
    ),
    Rule(
        "host bridge window not used",
        r"(?:acpi|pci_root) \S+: (?:host bridge|ignoring|clipped|ECAM|\[Firm)",
        "acpi PNP0A08:00: host bridge window [mem 0x000a0000-0x000bffff window] (ignored)",
    ),
    Rule(
        "PCI configuration space",
        r"PCI: (?:MMCONFIG|ECAM)|pci_mmcfg_check|is_mmconf_reserved|(?:is_)?efi_mmio|\(base 0x|size reduced to"
        r"|\(size 0x\w+\) not reserved",
        "PCI: MMCONFIG at [mem 0xe0000000-0xefffffff] reserved in E820",
    ),
    Rule(
        "host bridge range",
        r"(?:MEM|IO)\s+0x|PCI host bridge|host bridge|0x[0-9a-f]+\.\.0x[0-9a-f]+ +->|\[PE#",
        "MEM 0x9040000000..0x907fffffff -> 0x0040000000",
    ),
    Rule(
        "resource of a platform device",
        r"(?:system|pnp|platform) \S+: |[A-Z]{3}[A-Z\d][0-9A-F]{4}:[0-9a-f]{2}: |[0-9a-f]{6,16}\.[\w-]+: ",
        "system 00:00: [mem 0xfed10000-0xfed17fff] has been reserved",
    ),
    Rule(
        "boot-time reservation of that kernel",
        r"crashkernel|cma: |Reserv|software IO TLB|PM: |esrt|AGP|kexec|memory: |ACPI: PM: Registering|OF: reserved mem"
        r"|nosave|hibernation|Device tree str",
        "software IO TLB: mapped [mem 0xbbfff000-0xbffff000] (64MB)",
    ),
    Rule(
        "conflict that Linux settled",
        r"resource: |Expanded resource|OpRegion|x86/PAT: |sanity check|conflicts with|overlaps",
        "ACPI Warning: SystemIO range 0x0000000000000428-0x000000000000042F conflicts with OpRegion",
    ),
    Rule(
        "memory type registers",
        r"mtrr|MTRR",
        "mtrr: type mismatch for 0x80000000-0x8fffffff old: write-back new: write-combining",
    ),
    Rule("partition of a flash memory", r'0x\w+-0x\w+ : "', '0x000000000000-0x000001000000 : "BIOS"'),
    Rule("excerpt of /proc/iomem", r"[0-9a-f]{8,16}-[0-9a-f]{8,16} : ", "65000000-6affffff : Crash kernel"),
    Rule(
        "command line",
        r"(?:Unknown k|K)ernel command line|Command line",
        "Kernel command line: memmap=0x10000000-0x1fffffff",
    ),
    Rule("kernel version", r"Linux version ", "Linux version 6.1.0 0x0-0x1"),
    Rule("line of a comparison", r"^(?://|[-+])|.*\{\+", "+ [0x6829b018-0x682ab457] usable"),
    Rule("source code", r"\w+\(.*%", 'pr_info("[mem %#010Lx-%#010Lx]", 0x0-0x1);'),
    Rule(
        "rest of a wrapped line",
        r"^(?:\[mem |bridge window \[mem|BAR \d \[mem|shadowed ROM|.*because it overlaps)",
        "[mem 0x8f800000-0xdfffffff]",
    ),
    Rule(
        "text around the log",
        r"^(?!\S+:|\S+ \S+:|\[)(?:.*(?:\b[a-z']+ ){3}|[a-zA-Z_]+ [a-z]+ \[mem|\d\. )",
        "the range that I saw is 0x80000000-0x8fffffff",
    ),
    Rule(
        "call trace",
        r"\+0x[0-9a-f]+/0x|Kernel Offset: ",
        "Kernel Offset: 0x1c000000 from 0xffffffff81000000 (relocation range: 0xffffffff80000000-0xffffffffbfffffff)",
    ),
    Rule("IOMMU", r"DMAR|AMD-Vi|iommu", "DMAR: RMRR base: 0x0000006f7f5000 end: 0x0000006f814fff, 0x0-0x1"),
    Rule(
        "address of a firmware table",
        r"ACPI[:=]|efi: |INITRD=",
        "ACPI: FACS 0x0000000089C0F240-0x0000000089C0F27F",
    ),
    Rule("hypervisor's own line", r"\(XEN\)", "(XEN) Xen code: 0x0000000000200000-0x00000000003fffff"),
    Rule(
        "firmware's own line",
        r"Domain\d+ Region\d+ +:|lmb_|fdt memory region|Loading .* to [0-9a-f]+, end",
        "Domain0 Region00          : 0x0000000002000000-0x000000000200ffff M: (I,R,W) S/U: ()",
    ),
)


def _any(rules: dict[int, str], boundary: str) -> re.Pattern[str]:
    return re.compile(boundary + "(?:" + "|".join(f"(?P<r{index}>{pattern})" for index, pattern in rules.items()) + ")")


_ANYWHERE = _any({index: rule.pattern for index, rule in enumerate(RULES) if rule.pattern[0] != "^"}, r"(?<![\w.])")
_FROM_THE_START = _any({index: rule.pattern for index, rule in enumerate(RULES) if rule.pattern[0] == "^"}, "")


def reason(line: str) -> str:
    """The kind of an unused line: "" if it holds no address, "unclassified" if no rule knows it."""
    if not _NUMBER.search(line) and "[" not in line:
        return ""
    if not _RANGE.search(line):
        return "number without a range" if _NUMBER.search(line) else ""
    match = _ANYWHERE.search(line) or _FROM_THE_START.match(line)
    return RULES[int(match.lastgroup[1:])].name if match and match.lastgroup else "unclassified"
