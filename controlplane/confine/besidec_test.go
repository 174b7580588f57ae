//go:build cgo

package confine

import (
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Goal: in a binary with C code nothing is limited, since it could not start threads then, and the result
// says so. Method: a test binary with the race detector is one.
func TestNotConfinedBesideC(t *testing.T) {
	c := Confinement{}.Enclose(Files{})
	if !strings.Contains(c.Syscalls, "CGO_ENABLED=0") || !strings.HasPrefix(c.Files, "not limited") {
		t.Fatalf("%+v", c)
	}
	var threads sync.WaitGroup
	for range 20 {
		threads.Go(runtime.LockOSThread)
	}
	threads.Wait()
}
