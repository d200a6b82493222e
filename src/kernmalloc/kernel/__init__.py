"""The memory manager itself, in kernel Python.

Its rooms, the lowest first; each imports lower ones only:

    loaders          what boot loaders hand over, by any protocol, as ranges; inputs read dumps of it by this room
    core             the kernel's own records, its lock, trees and lists
    frames           physical regions, which frames of them are free, who owns each, and who may take which
    map              the kernel's virtual window: which frame lies behind which page
    heap             malloc, and caches of kernel objects: runs of pages, slabs, magazines
    pages, devices   pages of objects in frames and in address spaces; ranges of devices that are published
    boot, stalls     from a list of memory ranges to a kernel that is up; threads that wait
    check, calls     every invariant against a slow recount; the entries, by which all is called
"""
