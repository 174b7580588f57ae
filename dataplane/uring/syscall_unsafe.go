package uring

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setup calls io_uring_setup and returns the ring's file descriptor.
func setup(entries int, p *params) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// enter submits and runs what became ready, without waiting. It is a raw system call: it never blocks, so the
// scheduler need not be told, which would cost more than the call.
func enter(fd int, submit uint32) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), 0,
		enterGetEvents, 0, 0)
	return errno
}

// waitArgument is what enterWait passes: the kernel reads both parts, and the first names the second.
type waitArgument struct {
	events  eventsArgument
	timeout timespec
}

// newWaitArgument takes a page of its own: the argument holds an address as a number, which would go stale
// on a stack that moves.
func newWaitArgument() ([]byte, error) {
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mmap wait argument: %w", err)
	}
	argument := (*waitArgument)(unsafe.Pointer(unsafe.SliceData(page)))
	argument.events.timeout = uint64(uintptr(unsafe.Pointer(&argument.timeout)))
	return page, nil
}

// enterWait is enter that waits until a completion is there, at most nanoseconds long.
func enterWait(fd int, submit uint32, page []byte, nanoseconds int64) unix.Errno {
	const second = 1_000_000_000
	argument := (*waitArgument)(unsafe.Pointer(unsafe.SliceData(page)))
	argument.timeout = timespec{seconds: nanoseconds / second, nanoseconds: nanoseconds % second}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), 1,
		enterGetEvents|enterExtArg, uintptr(unsafe.Pointer(&argument.events)), unsafe.Sizeof(argument.events))
	return errno
}

// registerTable makes a table of so many places for memory that operations with a fixed buffer use. All of
// them are empty.
func registerTable(fd, places int) error {
	table := bufferTable{count: uint32(places), flags: registerSparse}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), registerBuffersTable,
		uintptr(unsafe.Pointer(&table)), unsafe.Sizeof(table), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// registerAt pins memory and puts it into a place of the table, which is empty.
func registerAt(fd, place int, memory []byte) error {
	vector := &unix.Iovec{Base: unsafe.SliceData(memory)}
	vector.SetLen(len(memory))
	// The update names the vector by a number, which a stack that moves would leave behind.
	var pinner runtime.Pinner
	pinner.Pin(vector)
	defer pinner.Unpin()
	update := bufferUpdate{
		offset: uint32(place), from: uint64(uintptr(unsafe.Pointer(vector))), count: 1,
	}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), registerBuffersUpdate,
		uintptr(unsafe.Pointer(&update)), unsafe.Sizeof(update), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// registerEvent names the eventfd that the kernel writes to.
func registerEvent(fd, event int) error {
	number := int32(event)
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), registerEventFD,
		uintptr(unsafe.Pointer(&number)), 1, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// readProbe asks which operations the kernel knows.
func readProbe(fd int, into *probe) error {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), registerProbe,
		uintptr(unsafe.Pointer(into)), probeOps, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// mapRings maps the rings' indices and completions, and the submission entries.
func mapRings(fd int, p *params) (rings, sqes []byte, err error) {
	if p.features&featSingleMmap == 0 {
		return nil, nil, errors.New("the kernel maps the two rings apart, which none since 5.4 does")
	}
	size := p.completion.cqes + p.cqEntries*uint32(unsafe.Sizeof(CQE{}))
	if p.flags&setupNoSQArray == 0 {
		size = max(size, p.submission.array+4*p.sqEntries)
	}
	const protection, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	rings, err = unix.Mmap(fd, offsetRings, int(size), protection, flags)
	if err != nil {
		return nil, nil, fmt.Errorf("mmap rings: %w", err)
	}
	sqes, err = unix.Mmap(fd, offsetSQEs, int(p.sqEntries)*int(unsafe.Sizeof(SQE{})), protection, flags)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("mmap submission entries: %w", err), unix.Munmap(rings))
	}
	return rings, sqes, nil
}
