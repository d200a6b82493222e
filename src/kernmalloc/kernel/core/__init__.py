"""What all rooms stand on: the records `Kern` and `Cpu` from which everything is reached, the kernel lock, search
trees and doubly linked lists."""
