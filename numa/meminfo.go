package numa

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// roomOn returns an error when a node cannot hold that many bytes more. Memory that is bound to a node and
// does not fit wakes the kernel's out-of-memory killer, which takes this process first: it is better to
// refuse. What counts is free memory and the page cache, which gives way; explicit huge pages are set aside
// already, so a node full of them is no reason.
func roomOn(root string, node int, size uint64) error {
	if node < 0 {
		return nil
	}
	file := filepath.Join(root, "sys/devices/system/node", "node"+strconv.Itoa(node), "meminfo")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // No such node, or a kernel without NUMA: mbind answers that.
	}
	if err != nil {
		return err
	}
	var room uint64
	var hugeFree uint64
	for line := range strings.Lines(string(text)) {
		// "Node 0 MemFree:        4424144 kB"; the counts of huge pages have no unit.
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		n, err := strconv.ParseUint(fields[3], 10, 64)
		if err != nil {
			return fmt.Errorf("%s: parse %q: %w", file, line, err)
		}
		switch fields[2] {
		case "MemFree:", "Active(file):", "Inactive(file):", "SReclaimable:":
			room += n << 10
		case "HugePages_Free:":
			hugeFree = n * hugeSize
		}
	}
	if size > room && size > hugeFree {
		return fmt.Errorf("the node has room for %d MiB: use fewer frames, or another node", room>>20)
	}
	return nil
}

// transparency reads which share of the memory lies on transparent huge pages from the mappings in it. A
// kernel that does not say counts as none.
func transparency(smaps string, base uintptr, length int) string {
	file, err := os.Open(smaps)
	if err != nil {
		return hugeNone
	}
	defer file.Close()
	var inside bool
	var huge uint64
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if first, last, ok := strings.Cut(fields[0], "-"); ok {
			low, errLow := strconv.ParseUint(first, 16, 64)
			high, errHigh := strconv.ParseUint(last, 16, 64)
			if errLow == nil && errHigh == nil {
				inside = low < uint64(base)+uint64(length) && high > uint64(base)
			}
			continue
		}
		if inside && fields[0] == "AnonHugePages:" && len(fields) > 1 {
			if n, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
				huge += n << 10
			}
		}
	}
	switch {
	case huge == 0:
		return hugeNone
	case huge < uint64(length):
		return hugePartly
	default:
		return hugeTransparent
	}
}
