package attach

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

const (
	// dispatcherName is the program's by which libxdp lets several programs share an interface, each in a
	// slot of its own (lib/libxdp/protocol.org of xdp-tools).
	dispatcherName = "xdp_dispatcher"
	// dispatcherSlots is how many it has.
	dispatcherSlots = 10
	// dispatcherPins is where libxdp pins them below a BPF file system.
	dispatcherPins = "xdp"
)

// dispatched are the names of the programs that a dispatcher of libxdp runs, in the order of their slots, as
// far as its pins may be read.
func dispatched(index int, dispatcher uint32) (names []string) {
	root := os.Getenv("LIBXDP_BPFFS")
	if root == "" {
		root = bpffs
	}
	for slot := range dispatcherSlots {
		path := filepath.Join(root, dispatcherPins, fmt.Sprintf("dispatch-%d-%d", index, dispatcher),
			fmt.Sprintf("prog%d-prog", slot))
		program, err := ebpf.LoadPinnedProgram(path, nil)
		if err != nil {
			// Slots are filled from the first on.
			return names
		}
		about, err := program.Info()
		program.Close()
		if err != nil {
			return names
		}
		names = append(names, about.Name)
	}
	return names
}
