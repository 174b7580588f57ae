package numa

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// nodesMax is the size of the node masks: the kernel's largest MAX_NUMNODES (CONFIG_NODES_SHIFT=10).
	nodesMax = 1024
	maskBits = 64
	// movePagesBatch is how many pages one call asks about: two arrays that fit on a page or two.
	movePagesBatch = 1024
)

// nodeMask is a bit per node, in the unsigned longs of the kernel's 64-bit ABI.
type nodeMask [nodesMax / maskBits]uint64

func maskOf(node int) (*nodeMask, error) {
	if node < 0 || node >= nodesMax {
		return nil, fmt.Errorf("node %d is not in 0-%d: %w", node, nodesMax-1, unix.EINVAL)
	}
	mask := new(nodeMask)
	mask[node/maskBits] = 1 << (node % maskBits)
	return mask, nil
}

// bind sets the policy of memory that has not been touched yet: its pages come from this node or not at all.
// The kernel reads one bit less than the count it is given (mm/mempolicy.c, get_nodes), hence + 1.
func bind(memory []byte, node int) error {
	mask, err := maskOf(node)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_MBIND, uintptr(unsafe.Pointer(unsafe.SliceData(memory))),
		uintptr(len(memory)), unix.MPOL_BIND, uintptr(unsafe.Pointer(mask)), nodesMax+1, 0)
	runtime.KeepAlive(mask)
	if errno != 0 {
		return errno
	}
	return nil
}

// PreferNode lets the calling thread's later memory come from this node where there is some, and from
// elsewhere otherwise; -1 takes it back. It covers what the kernel allocates on this thread's behalf (rings)
// and, which is wanted for a worker, the fresh pages of the Go heap that it touches first. The caller has
// locked its goroutine to the thread and never unlocks it.
func PreferNode(node int) error {
	mode, mask := uintptr(unix.MPOL_DEFAULT), new(nodeMask)
	if node != -1 {
		var err error
		if mask, err = maskOf(node); err != nil {
			return fmt.Errorf("prefer memory of node %d: %w", node, err)
		}
		mode = unix.MPOL_PREFERRED
	}
	_, _, errno := unix.Syscall(unix.SYS_SET_MEMPOLICY, mode, uintptr(unsafe.Pointer(mask)), nodesMax+1)
	runtime.KeepAlive(mask)
	if errno == 0 || onlyNode(node, errno) {
		return nil
	}
	return fmt.Errorf("prefer memory of node %d: %w%s", node, errno, policyRemedy(node, errno))
}

// PagesOn counts the memory's pages by the node that they lie on; pages that were never touched are counted
// under -1. Pages are those of the MMU's smallest size, also inside huge ones.
func PagesOn(memory []byte) (map[int]int, error) {
	pageSize := uintptr(os.Getpagesize())
	base := uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	end := base + uintptr(len(memory))
	counts := make(map[int]int)
	pages := make([]uintptr, 0, movePagesBatch)
	status := make([]int32, movePagesBatch)
	for page := base &^ (pageSize - 1); page < end; {
		pages = pages[:0]
		for ; page < end && len(pages) < movePagesBatch; page += pageSize {
			pages = append(pages, page)
		}
		if err := nodesOf(pages, status); err != nil {
			return nil, err
		}
		for _, node := range status[:len(pages)] {
			counts[max(int(node), -1)]++
		}
	}
	runtime.KeepAlive(memory)
	return counts, nil
}

// Gather moves pages of the memory that lie on other nodes to this one, and returns how many it moved. Only
// pages that belong to the memory as a whole are moved; what is pinned, or finds no room, stays where it is.
// The memory is the caller's, who keeps it from being freed meanwhile; others may go on using it.
func Gather(memory []byte, node int) (moved int, err error) {
	pageSize := uintptr(os.Getpagesize())
	whole := WholePages(memory)
	page, end := address(whole), address(whole)+uintptr(len(whole))
	pages := make([]uintptr, 0, movePagesBatch)
	for page < end {
		pages = pages[:0]
		for ; page < end && len(pages) < movePagesBatch; page += pageSize {
			pages = append(pages, page)
		}
		n, err := gatherPages(pages, node)
		moved += n
		if err != nil {
			return moved, err
		}
	}
	runtime.KeepAlive(memory)
	return moved, nil
}

// WholePages is the part of memory that fills pages: what lies beside it on the first and on the last one is
// somebody else's. It is empty where the memory fills none.
func WholePages(memory []byte) []byte {
	size := os.Getpagesize()
	skip := int(-address(memory) & uintptr(size-1))
	if skip >= len(memory) {
		return nil
	}
	return memory[skip : skip+(len(memory)-skip)&^(size-1)]
}

// gatherPages moves those of up to movePagesBatch pages that lie on other nodes.
func gatherPages(pages []uintptr, node int) (moved int, err error) {
	var status, to [movePagesBatch]int32
	if err := nodesOf(pages, status[:]); err != nil {
		return 0, err
	}
	astray := pages[:0]
	for i, page := range pages {
		if at := status[i]; at >= 0 && int(at) != node {
			to[len(astray)] = int32(node)
			astray = append(astray, page)
		}
	}
	if len(astray) == 0 {
		return 0, nil
	}
	_, _, errno := unix.Syscall6(unix.SYS_MOVE_PAGES, 0, uintptr(len(astray)),
		uintptr(unsafe.Pointer(unsafe.SliceData(astray))), uintptr(unsafe.Pointer(&to[0])),
		uintptr(unsafe.Pointer(&status[0])), unix.MPOL_MF_MOVE)
	if errno != 0 {
		return 0, fmt.Errorf("move %d pages to node %d: %w", len(astray), node, errno)
	}
	// The answer is where each page is now, or why it did not move.
	for _, at := range status[:len(astray)] {
		if int(at) == node {
			moved++
		}
	}
	return moved, nil
}

// nodesOf asks where up to movePagesBatch pages lie; a page that is not present, or of which the kernel does
// not tell, has a negative answer. Without target nodes, the call only reports (man move_pages).
func nodesOf(pages []uintptr, status []int32) error {
	_, _, errno := unix.Syscall6(unix.SYS_MOVE_PAGES, 0, uintptr(len(pages)),
		uintptr(unsafe.Pointer(unsafe.SliceData(pages))), 0,
		uintptr(unsafe.Pointer(unsafe.SliceData(status))), 0)
	if errno != 0 {
		return fmt.Errorf("ask for the nodes of %d pages: %w", len(pages), errno)
	}
	return nil
}

// StackNode is the node of the page that the caller's stack is on now, -1 if the kernel does not tell. A
// stack that lies elsewhere than on node home is moved there first; with home -1 it is left alone. The caller
// has locked its goroutine to the thread. The stack may move with every call and with every collection.
func StackNode(home int) (int, error) {
	var here [1]byte
	pages := [1]uintptr{uintptr(unsafe.Pointer(&here)) &^ (uintptr(os.Getpagesize()) - 1)}
	if home >= 0 {
		if _, err := gatherPages(slices.Clone(pages[:]), home); err != nil {
			return -1, err
		}
	}
	var status [1]int32
	if err := nodesOf(pages[:], status[:]); err != nil {
		return -1, err
	}
	return max(int(status[0]), -1), nil
}

// currentCPU is the CPU that the calling thread runs on.
func currentCPU() (int, error) {
	var cpu uint32
	_, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(cpu), nil
}

// address is where memory begins, for messages and for alignment.
func address(memory []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(memory))) }
