package numa

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// hugeSize is the size of the huge pages that are asked for: one level of the page table above the smallest
// page, on amd64 and on arm64 with 4 KiB pages. Larger ones save nothing more for memory of some megabytes.
const hugeSize = 2 << 20

// HugePages says whether memory shall lie on huge pages. They save TLB misses on every frame touched.
type HugePages uint8

const (
	// HugeAuto takes explicit huge pages where the node has free ones, else transparent ones where the kernel
	// gives them, else plain pages.
	HugeAuto HugePages = iota
	// HugeOn takes explicit huge pages or fails.
	HugeOn
	// HugeOff takes plain pages, even where the kernel would give transparent huge ones.
	HugeOff
	// HugeImplicit takes transparent ones where the kernel would give any, and leaves the explicit ones to
	// what they were set aside for. It is no word of the configuration.
	HugeImplicit
)

// ParseHugePages reads `workers.huge_pages`.
func ParseHugePages(text string) (HugePages, error) {
	for _, h := range []HugePages{HugeAuto, HugeOn, HugeOff} {
		if h.String() == text {
			return h, nil
		}
	}
	return HugeAuto, fmt.Errorf("%q is not one of auto, on, off", text)
}

// String is the word of the configuration.
func (h HugePages) String() string {
	switch h {
	case HugeOn:
		return "on"
	case HugeOff:
		return "off"
	case HugeImplicit:
		return "implicit"
	default:
		return "auto"
	}
}

// HugeExplicit is what Memory.Huge answers of memory on explicit huge pages.
const HugeExplicit = "explicit"

// What else it answers.
const (
	hugeTransparent = "transparent"
	hugePartly      = "partly transparent"
	hugeNone        = "none"
)

// Memory is memory outside of the Go heap, present in RAM from Alloc until Close. The one who allocated it
// closes it, after everything that uses it is closed.
type Memory struct {
	mapping []byte // what munmap takes
	bytes   []byte // the part that was asked for
	huge    string
}

// Bytes is the memory, zeroed at first, page-aligned (2 MiB on huge pages), of the size asked for. It is
// valid until Close.
func (m *Memory) Bytes() []byte { return m.bytes }

// Huge says which pages the memory lies on: "explicit" huge pages, "transparent", "partly transparent",
// "none".
func (m *Memory) Huge() string { return m.huge }

// Close gives the memory back. Later calls do nothing.
func (m *Memory) Close() error {
	if m.mapping == nil {
		return nil
	}
	mapping := m.mapping
	m.mapping, m.bytes = nil, nil
	if err := unix.Munmap(mapping); err != nil {
		return fmt.Errorf("unmap %d bytes: %w", len(mapping), err)
	}
	return nil
}

// Alloc takes memory of a node, or of any with -1, touches every page of it and checks where they lie. The
// order is what makes it true: mapped untouched, bound, then touched. A page touched before it is bound stays
// on the wrong node without any error.
func Alloc(size, node int, huge HugePages) (*Memory, error) {
	if size <= 0 {
		return nil, fmt.Errorf("allocate %d bytes: the size must be positive", size)
	}
	if err := roomOn("/", node, uint64(size)); err != nil {
		return nil, fmt.Errorf("allocate %d bytes on node %d: %w", size, node, err)
	}
	if huge == HugeAuto || huge == HugeOn {
		m, err := allocExplicit(size, node)
		if err == nil {
			return m, nil
		}
		if huge == HugeOn {
			return nil, fmt.Errorf("allocate %d bytes of huge pages on node %d: %w%s", size, node, err,
				hugeRemedy(size, node))
		}
	}
	m, err := allocPlain(size, node, huge)
	if err != nil {
		return nil, fmt.Errorf("allocate %d bytes on node %d: %w", size, node, err)
	}
	return m, nil
}

// allocExplicit takes pages that the administrator set aside.
func allocExplicit(size, node int) (*Memory, error) {
	mapping, err := unix.Mmap(-1, 0, roundUp(size, hugeSize), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB|unix.MAP_HUGE_2MB)
	if err != nil {
		return nil, fmt.Errorf("map huge pages: %w", err)
	}
	m := &Memory{mapping: mapping, bytes: mapping[:size:size], huge: HugeExplicit}
	if err := settle(mapping, node); err != nil {
		_ = m.Close() // The reason is err.
		return nil, err
	}
	return m, nil
}

// allocPlain takes pages of the smallest size, and asks for transparent huge ones unless they are off. The
// part that is used begins at a multiple of their size, or the first and the last of them could not be made.
// What remains above it has no such advice, so that the kernel never merges two of these areas into one line
// of smaps.
func allocPlain(size, node int, huge HugePages) (*Memory, error) {
	length := roundUp(size, os.Getpagesize())
	want := huge != HugeOff && size >= hugeSize
	if want {
		length = roundUp(size, hugeSize) + hugeSize
	}
	mapping, err := unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", err)
	}
	used, advice := mapping, unix.MADV_NOHUGEPAGE
	if want {
		skip := int(-address(mapping) & (hugeSize - 1))
		used, advice = mapping[skip:skip+roundUp(size, hugeSize)], unix.MADV_HUGEPAGE
	}
	m := &Memory{mapping: mapping, bytes: used[:size:size], huge: hugeNone}
	// A kernel without transparent huge pages answers EINVAL to either advice; the memory is plain then.
	_ = unix.Madvise(used, advice)
	if err := settle(used, node); err != nil {
		_ = m.Close() // The reason is err.
		return nil, err
	}
	if want {
		m.huge = transparency("/proc/self/smaps", address(used), len(used))
	}
	return m, nil
}

// settle binds memory that was not touched yet, touches it, and checks where its pages are.
func settle(memory []byte, node int) error {
	if node >= 0 {
		if err := bind(memory, node); err != nil && !onlyNode(node, err) {
			return fmt.Errorf("bind to node %d: %w%s", node, err, policyRemedy(node, err))
		}
	}
	// MADV_POPULATE_WRITE (Linux 5.14) answers with an error where a plain write would end in SIGBUS.
	for {
		err := unix.Madvise(memory, unix.MADV_POPULATE_WRITE)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("populate: %w: there are not enough free pages", err)
		}
	}
	if node < 0 {
		return nil
	}
	counts, err := PagesOn(memory)
	if err != nil {
		if onlyNode(node, err) {
			return nil
		}
		return err
	}
	if pages := roundUp(len(memory), os.Getpagesize()) / os.Getpagesize(); counts[node] != pages {
		return fmt.Errorf("only %d of %d pages are on node %d, by node: %v",
			counts[node], pages, node, counts)
	}
	return nil
}

// onlyNode tells whether a refused policy does not matter, since all memory is on this node: the kernel has
// no NUMA (ENOSYS), or a container's seccomp filter forbids policies (EPERM), and there is nothing to choose.
func onlyNode(node int, err error) bool {
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return false
	}
	withMemory, err := memoryNodes("/")
	return err == nil && len(withMemory) == 1 && (node == -1 || withMemory[0] == node)
}

func memoryNodes(root string) ([]int, error) {
	withMemory, err := readOptionalList(filepath.Join(root, "sys/devices/system/node/has_memory"))
	if err == nil && len(withMemory) == 0 {
		return []int{0}, nil
	}
	return withMemory, err
}

// policyRemedy says what to do about a refused policy.
func policyRemedy(node int, err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return ": a container's seccomp filter forbids memory policies; Docker's needs CAP_SYS_NICE"
	case errors.Is(err, unix.EINVAL):
		withMemory, err := memoryNodes("/")
		if err != nil {
			return ""
		}
		return fmt.Sprintf(": node %d has no memory or is outside of this process's cpuset; nodes %s have "+
			"memory, Mems_allowed_list in /proc/self/status names those allowed",
			node, FormatList(withMemory))
	default:
		return ""
	}
}

// hugeRemedy is the command that sets enough huge pages aside.
func hugeRemedy(size, node int) string {
	pages := roundUp(size, hugeSize) / hugeSize
	dir := "/sys/kernel/mm/hugepages"
	if node >= 0 {
		dir = "/sys/devices/system/node/node" + strconv.Itoa(node) + "/hugepages"
	}
	file := dir + "/hugepages-2048kB/nr_hugepages"
	return fmt.Sprintf(": set %d more pages aside in %s, or use huge_pages: auto", pages, file)
}

func roundUp(size, multiple int) int { return (size + multiple - 1) / multiple * multiple }
