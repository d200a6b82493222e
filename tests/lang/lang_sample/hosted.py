from kernmalloc.lang import entry, machine_record, primitive

memset = primitive("memset", 3)


@entry
def fill(addr, value, n):
    memset(addr, value, n)
    return n


@entry
def record_address():
    return machine_record()
