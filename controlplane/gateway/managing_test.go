package gateway

import (
	"strings"
	"testing"
)

// Goal: the warning is for what is, or may come to be, XDP in the driver of the default route's interface.
func TestManaging(t *testing.T) {
	f := func(mode string, defaultRoute, warned bool) {
		t.Helper()
		note := Managing("eth0", mode, defaultRoute)
		if (note.Text != "") != warned || warned != strings.Contains(note.String(), "leaves by eth0") {
			t.Errorf("mode %s, default route %t: %q, want a warning: %t", mode, defaultRoute, note, warned)
		}
	}
	f(modeNative, true, true)
	f(modeZeroCopy, true, true)
	f(modeAuto, true, true) // an old kernel, that does not tell what it comes to
	f(modeGeneric, true, false)
	f(modeSocket, true, false)
	f(modeNative, false, false)
}
